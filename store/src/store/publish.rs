//! Publishing a complete upload, in an order that is safe against crashes.
//!
//! Data, then the proof in the header, are on the disk before the rename; the name is on the disk
//! before it is visible or acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use towpath_protocol::signed::{Content, SignedManifest};

use super::error::{CommitError, Mismatch, StoreError};
use super::index::Damage;
use super::paths::ancestors;
use super::shared::{Shared, stored_name};
use super::upload::{Partial, Upload};
use crate::age::Proof;
use crate::files::parent;

impl Upload {
    /// Publishes the file under `signed`, if what is published now is what `signed` replaces.
    ///
    /// When it returns, the file survives a crash and others see it. Committing what is current
    /// already succeeds and discards the upload.
    ///
    /// # Errors
    /// With [`CommitError::Conflict`] the upload comes back for a manifest on top of the current
    /// one; with any other error it is gone.
    pub fn commit(mut self, signed: &SignedManifest) -> Result<(), (CommitError, Option<Self>)> {
        match upload(&mut self.0, signed) {
            Ok(()) => Ok(()),
            Err(error @ CommitError::Conflict { .. }) => Err((error, Some(self))),
            Err(error) => Err((error, None)),
        }
    }
}

/// Publishes an upload. On a conflict `partial` can be published again with another manifest.
fn upload(partial: &mut Partial, signed: &SignedManifest) -> Result<(), CommitError> {
    let shared = Arc::clone(&partial.shared);
    let manifest = signed.manifest();
    if manifest.path != partial.path {
        return Err(Mismatch::Path.into());
    }
    let Content::File { size, hash, .. } = manifest.content else {
        return Err(Mismatch::Kind.into());
    };
    // Before the sync, which may take long: most conflicts are seen here.
    if shared.replaces(signed, partial.replaces_damaged)? == Standing::Current {
        return Ok(());
    }
    let (arrived, arrived_hash) = partial.complete()?;
    if size != arrived {
        return Err(Mismatch::Size {
            signed: size,
            arrived,
        }
        .into());
    }
    if hash != arrived_hash {
        return Err(Mismatch::Hash.into());
    }
    publish(&shared, partial, signed)
}

/// Publishes an empty file whose manifest says that the path is deleted.
pub(super) fn delete(shared: &Arc<Shared>, signed: &SignedManifest) -> Result<(), CommitError> {
    let manifest = signed.manifest();
    if manifest.content != Content::Deleted {
        return Err(Mismatch::Kind.into());
    }
    if shared.replaces(signed, false)? == Standing::Current {
        return Ok(());
    }
    let is_file = |signed: &SignedManifest| signed.manifest().content != Content::Deleted;
    if !shared.index().newest(&manifest.path).is_some_and(is_file) {
        return Err(CommitError::NotFound);
    }
    let mut upload = Upload::begin(shared, &manifest.path, false)?;
    upload.0.complete()?;
    publish(shared, &mut upload.0, signed)
}

fn publish(
    shared: &Shared,
    partial: &mut Partial,
    signed: &SignedManifest,
) -> Result<(), CommitError> {
    let path = &signed.manifest().path;
    let target = stored_name(path);
    let proof = Proof {
        manifest: signed.text().to_owned(),
        signature: signed.signature().to_owned(),
    };
    if !proof.fits() {
        return Err(StoreError::Misuse("the manifest is longer than the protocol allows").into());
    }

    let _path = shared.paths.lock(path);
    let standing = shared.replaces(signed, partial.replaces_damaged)?;
    if standing == Standing::Current {
        return Ok(());
    }
    if shared.read_only.load(Ordering::Acquire) {
        return Err(StoreError::ReadOnly.into());
    }
    let io = StoreError::io;
    let taken = shared
        .files
        .stat(&target)
        .map_err(io("looking for a stored file"))?
        .is_some();
    if standing == Standing::First && taken {
        return Err(CommitError::Occupied);
    }

    shared.make_parents(&target)?;
    let header = partial
        .header
        .emit(&partial.key, &proof, shared.proof_context(path))
        .map_err(StoreError::random)?;
    partial
        .file
        .write_at(&header, 0)
        .map_err(io("writing a manifest"))?;
    partial
        .file
        .sync()
        .map_err(io("writing a manifest to disk"))?;
    shared
        .files
        .rename(&partial.name, &target)
        .map_err(io("publishing a file"))?;
    partial.name.clear();
    if let Err(error) = shared.sync_dir(parent(&target)) {
        // The new version may or may not be what a restart finds, and the old one cannot be had
        // back.
        shared.index_mut().set_uncertain(path);
        return Err(error.into());
    }
    shared.index_mut().publish(signed);
    if standing == Standing::Anew {
        tracing::warn!(file = %path, version = signed.manifest().version, "a damaged file was replaced; which version it was is not known");
    }
    Ok(())
}

/// How a manifest stands to what is published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is what is published.
    Current,
    /// It is the first at its path.
    First,
    /// It replaces what is published.
    Next,
    /// It replaces a damaged file of which nothing is known.
    Anew,
}

impl Shared {
    /// The compare of compare-and-swap; the swap repeats it under the path's lock.
    fn replaces(
        &self,
        signed: &SignedManifest,
        replaces_damaged: bool,
    ) -> Result<Standing, CommitError> {
        let manifest = signed.manifest();
        if manifest.store != self.id {
            return Err(Mismatch::Store.into());
        }
        let index = self.index();
        let current = index.newest(&manifest.path);
        let hash = current.map(SignedManifest::hash);
        let damage = index.damage(&manifest.path);
        if hash == Some(signed.hash()) {
            // A damaged version is repaired by sending it again.
            let standing = damage.map_or(Standing::Current, |_| Standing::Next);
            return Ok(standing);
        }
        if replaces_damaged && damage == Some(Damage::Proof) {
            // The version it follows may be known to whoever replaces it, but not here.
            return Ok(Standing::Anew);
        }
        if manifest.previous != hash {
            return Err(CommitError::Conflict {
                current: current.cloned(),
            });
        }
        // No version can follow the last number; the comparison then fails as it should.
        let expected = current.map_or(1, |current| current.manifest().version.saturating_add(1));
        if manifest.version != expected
            || current.is_some_and(|current| current.manifest().version == expected)
        {
            return Err(Mismatch::Version {
                signed: manifest.version,
                expected,
            }
            .into());
        }
        Ok(if current.is_some() {
            Standing::Next
        } else {
            Standing::First
        })
    }

    /// Makes the directories above `name`, and makes them durable.
    fn make_parents(&self, name: &str) -> Result<(), StoreError> {
        for dir in ancestors(name) {
            if self.durable().contains(dir) {
                continue;
            }
            match self.files.create_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("making a directory")(error)),
            }
            self.sync_dir(parent(dir))?;
            self.durable().insert(dir);
        }
        Ok(())
    }

    /// Makes the names in a directory durable, or stops all further changes: a later sync would
    /// succeed although data was lost.
    fn sync_dir(&self, name: &str) -> Result<(), StoreError> {
        self.files.sync_dir(name).map_err(|error| {
            self.read_only.store(true, Ordering::Release);
            tracing::error!(directory = name, %error, "a directory could not be written to disk; no more changes until a restart");
            StoreError::io("writing a directory to disk")(error)
        })
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, super::paths::DurableDirs> {
        self.durable
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
