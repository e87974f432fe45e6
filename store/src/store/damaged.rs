//! Stored files that could not be read when the store was opened: they are listed, refused by name,
//! replaced under conditions, and served again once they are repaired.

use std::io;

use towpath_protocol::signed::{FilePath, SignedManifest};

use super::download::Stored;
use super::error::StoreError;
use super::index::Damage;
use super::shared::{Shared, stored_name};
use crate::age::ProofContext;
use crate::files::Files;

/// Why a stored file was not read, and its manifest if that is left.
pub(super) struct Unreadable {
    pub(super) signed: Option<SignedManifest>,
    pub(super) error: StoreError,
}

/// Reads the manifest of the stored file at the context's path.
pub(super) fn read(
    files: &dyn Files,
    context: ProofContext<'_>,
) -> Result<SignedManifest, Unreadable> {
    let manifest = || {
        let file = files.open(&stored_name(context.path));
        let file = file.map_err(StoreError::io("opening a stored file"))?;
        let stored = Stored::read(&*file, context)?;
        let signed = stored.manifest(context.store, context.path)?;
        Ok((stored, signed))
    };
    let (stored, signed) = manifest().map_err(|error| Unreadable {
        signed: None,
        error,
    })?;
    match stored.check(&signed) {
        Ok(()) => Ok(signed),
        Err(error) => Err(Unreadable {
            signed: Some(signed),
            error,
        }),
    }
}

impl Shared {
    /// Reads a file again that was damaged: it may have been repaired in place.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it still is damaged; [`StoreError::NotFound`] when nothing lies
    /// at a path whose directory could not be read.
    pub(super) fn reread(&self, path: &FilePath) -> Result<(), StoreError> {
        if self.index().damage(path).is_none() {
            return Ok(());
        }
        let _path = self.paths.lock(path);
        let Some(damage) = self.index().damage(path) else {
            return Ok(()); // another thread was first
        };
        let unreadable = match read(&*self.files, self.proof_context(path)) {
            Ok(signed) => {
                tracing::warn!(file = %path, "a damaged file was repaired in place and is served again");
                self.index_mut().publish(&signed);
                return Ok(());
            }
            Err(unreadable) => unreadable,
        };
        let (by_itself, directory) = {
            let index = self.index();
            (index.is_damaged_by_itself(path), index.is_unreadable(path))
        };
        match unreadable.error {
            StoreError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                if directory {
                    Err(StoreError::Corrupt("it is a directory that cannot be read"))
                } else if by_itself {
                    Err(StoreError::Corrupt("it is gone from the disk"))
                } else {
                    Err(StoreError::NotFound)
                }
            }
            StoreError::Io { error, .. } => {
                tracing::error!(file = %path, %error, "a stored file cannot be read");
                Err(StoreError::Corrupt("it cannot be read"))
            }
            error => {
                // The proof alone may have been repaired.
                if damage == Damage::Proof && unreadable.signed.is_some() {
                    self.index_mut()
                        .set_damaged(path.clone(), unreadable.signed);
                }
                Err(error)
            }
        }
    }
}
