//! Pins: for each path the newest version seen, its manifest and signer; for each user the keys
//! that signed.
//!
//! One text file for each store, `pins/<store id>`, to which lines are appended; the last line
//! about a path or a signer applies:
//! ```text
//! towpath pins v1
//! signer <user> <uid> <key>
//! path <version> <manifest hash> <uid> <key> <path>
//! ```
//! Appending is cheap for ten thousand small files; outdated lines are dropped when the file is
//! rewritten (compaction). All reading and writing happens under a lock. The first version of the
//! file is written beside its name and renamed, so a crash cannot leave a file without its first
//! line. A last line without a newline was cut off by a crash and is dropped: nothing that depends
//! on it was acknowledged. Any other damage is an error, since a lost pin would let the server show
//! an old version.
//!
//! [`Pins::unsynced`] syncs the file. One sync covers all lines appended before it, so parallel
//! transfers share it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use towpath_protocol::signed::{
    FilePath, Fingerprint, Manifest, ManifestHash, SignedManifest, StoreId, UserId, UserName,
};

use crate::error::{Error, ErrorKind};
use crate::limits::{MAX_PINS, PIN_SLACK};
use crate::local::config_dir::{self, ConfigDir};

const DIRECTORY: &str = "pins";
const HEADER: &str = "towpath pins v1\n";

/// The pin of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPin {
    /// The newest version seen.
    pub(crate) version: u64,
    /// Hash of its manifest.
    pub(crate) manifest: ManifestHash,
    /// User id of the signer.
    pub(crate) uid: UserId,
    /// The key that signed it.
    pub(crate) key: Fingerprint,
}

/// The newest version at a path according to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) version: u64,
    pub(crate) manifest: ManifestHash,
    /// The manifest of the version before.
    pub(crate) previous: Option<ManifestHash>,
}

impl Shown {
    /// That of `signed`.
    pub(crate) fn of(signed: &SignedManifest) -> Self {
        Self::of_manifest(signed.manifest())
    }

    fn of_manifest(manifest: &Manifest) -> Self {
        Self {
            version: manifest.version,
            manifest: manifest.hash(),
            previous: manifest.previous,
        }
    }
}

/// Contradictions of the pins that the user allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// A signer other than the one pinned (`--accept-signer`).
    pub(crate) signer: bool,
    /// An older version than the one pinned, or one of another history (`--accept-rollback`).
    pub(crate) rollback: bool,
}

/// The status of the signer of an accepted manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignerStatus {
    /// The signer was pinned before.
    Known,
    /// First use of this name and id.
    FirstUse,
    /// The signer contradicts the pins, and the user allowed it.
    Accepted,
}

/// The pins of one store.
#[derive(Debug)]
pub(crate) struct Pins {
    config_dir: ConfigDir,
    name: String,
    file: PathBuf,
    paths: BTreeMap<FilePath, PathPin>,
    signers: BTreeMap<UserName, (UserId, BTreeSet<Fingerprint>)>,
    /// Bytes read of the file, and the inode they were read from.
    read: u64,
    inode: u64,
    lines: usize,
    on_disk: Arc<OnDisk>,
}

/// How much of a file of pins is synced.
#[derive(Debug, Default)]
struct OnDisk {
    /// Bytes from the start. Locked during a sync: a thread that waited for the lock finds its
    /// bytes synced.
    synced: Mutex<u64>,
}

/// Pins that may not be synced yet.
#[derive(Debug)]
pub(crate) struct Unsynced {
    file: PathBuf,
    inode: u64,
    on_disk: Arc<OnDisk>,
    length: u64,
}

impl Unsynced {
    #[cfg(test)]
    pub(crate) fn is_synced(&self) -> bool {
        *self.on_disk.synced.lock().unwrap() >= self.length
    }

    /// Syncs them.
    ///
    /// # Errors
    /// A local [`Error`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let mut synced = (self.on_disk.synced.lock()).unwrap_or_else(PoisonError::into_inner);
        if *synced >= self.length {
            return Ok(());
        }
        let fail = |e: io::Error| Error::io("write", self.file.display(), &e);
        let file = File::open(&self.file).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        // A file that replaced it was synced before the rename, with all these pins.
        if meta.ino() == self.inode {
            file.sync_data().map_err(fail)?;
        }
        *synced = meta.len().max(self.length);
        Ok(())
    }
}

impl Pins {
    /// Opens the pins of `store`; an absent file is empty.
    ///
    /// # Errors
    /// An [`Error`] naming the line that cannot be read.
    pub(crate) fn open(config_dir: &ConfigDir, store: StoreId) -> Result<Self, Error> {
        config_dir.directory(DIRECTORY)?;
        let name = format!("{DIRECTORY}/{store}");
        let file = config_dir.path(&name);
        let mut pins = Self {
            config_dir: config_dir.clone(),
            name,
            file,
            paths: BTreeMap::new(),
            signers: BTreeMap::new(),
            read: 0,
            inode: 0,
            lines: 0,
            on_disk: Arc::default(),
        };
        let _lock = pins.config_dir.lock(&pins.name)?;
        pins.refresh()?;
        Ok(pins)
    }

    /// The pin of `path`.
    pub(crate) fn path(&self, path: &FilePath) -> Option<&PathPin> {
        self.paths.get(path)
    }

    /// Whether `key` is pinned as a key of `user`.
    pub(crate) fn knows(&self, user: &UserName, key: &Fingerprint) -> bool {
        self.signers
            .get(user)
            .is_some_and(|(_, keys)| keys.contains(key))
    }

    /// Checks a manifest that the server gives as the newest at its path.
    ///
    /// # Errors
    /// A verification [`Error`] when it is older than the pin, differs at the same version, does
    /// not follow the pin as the next version, or has another signer.
    pub(crate) fn check(
        &self,
        presented: &Manifest,
        allowed: Allowed,
    ) -> Result<SignerStatus, Error> {
        let shown = Shown::of_manifest(presented);
        self.check_version(&presented.path, Some(shown), allowed)?;
        let path = &presented.path;
        let who = format!(
            "{} ({}, key {})",
            presented.name, presented.uid, presented.key
        );
        let advice = "if you expect this, run the command again with --accept-signer";
        if let Some((uid, keys)) = self.signers.get(&presented.name) {
            let usual = *uid == presented.uid && keys.contains(&presented.key);
            if !usual && !allowed.signer {
                let kind = if *uid == presented.uid {
                    "a key not seen before"
                } else {
                    "another user who has the same name"
                };
                return Err(Error::verification(format!(
                    "{path}: signed by {who}: {kind}; ask {} whether the key is theirs, and {advice}",
                    presented.name
                )));
            }
            if !usual {
                return Ok(SignerStatus::Accepted);
            }
        }
        let pinned = self.paths.get(path);
        let same = pinned.is_none_or(|pin| {
            pin.uid == presented.uid
                && (pin.key == presented.key || self.knows(&presented.name, &presented.key))
        });
        match pinned {
            Some(pin) if !same && !allowed.signer => Err(Error::verification(format!(
                "{path}: signed by {who}, but the version seen before was signed by {} with key {}; {advice}",
                pin.uid, pin.key
            ))),
            _ if !same => Ok(SignerStatus::Accepted),
            _ if self.signers.contains_key(&presented.name) => Ok(SignerStatus::Known),
            _ => Ok(SignerStatus::FirstUse),
        }
    }

    /// Checks the newest version at `path` according to the server, by any signer, before this user
    /// signs the next version.
    ///
    /// # Errors
    /// A verification [`Error`] when the server shows an older version than was seen before, or
    /// another history.
    pub(crate) fn check_version(
        &self,
        path: &FilePath,
        presented: Option<Shown>,
        allowed: Allowed,
    ) -> Result<(), Error> {
        let Some(pin) = self.paths.get(path) else {
            return Ok(());
        };
        let advice = "the server may have been set back to an older state, or an administrator replaced a damaged file; ask them, and if that is so, run the command again with --accept-rollback";
        let wrong = match presented {
            None => format!(
                "{path}: version {} was seen before, and now the server says there never was one; {advice}",
                pin.version
            ),
            Some(Shown { version, .. }) if version < pin.version => format!(
                "{path}: the server shows version {version}, but version {} was seen before; {advice}",
                pin.version
            ),
            Some(Shown {
                version, manifest, ..
            }) if version == pin.version && manifest != pin.manifest => {
                format!(
                    "{path}: version {version} is not the version {version} seen before; {advice}"
                )
            }
            // Versions further ahead follow versions that were not seen.
            Some(Shown {
                version, previous, ..
            }) if version - pin.version == 1 && previous != Some(pin.manifest) => format!(
                "{path}: version {version} does not follow the version {} seen before; {advice}",
                pin.version
            ),
            Some(_) => return Ok(()),
        };
        if allowed.rollback {
            Ok(())
        } else {
            Err(Error::verification(wrong))
        }
    }

    /// Checks `signed` again under the lock and records it.
    ///
    /// # Errors
    /// As [`Pins::check`], and when the file cannot be written.
    pub(crate) fn record(
        &mut self,
        signed: &SignedManifest,
        allowed: Allowed,
    ) -> Result<SignerStatus, Error> {
        let manifest = signed.manifest();
        self.record_manifest(manifest, allowed, false)
    }

    /// Records the version that this user just published. A newer version that another client of
    /// this user recorded meanwhile stays.
    ///
    /// # Errors
    /// A verification [`Error`] when another manifest of this version was seen meanwhile, or one of
    /// the version before that this one does not follow: the server has shown two histories. And
    /// when the file cannot be written.
    pub(crate) fn record_own(
        &mut self,
        signed: &SignedManifest,
        allowed: Allowed,
    ) -> Result<(), Error> {
        let allowed = Allowed {
            signer: true,
            ..allowed
        };
        self.record_manifest(signed.manifest(), allowed, true)
            .map(drop)
    }

    /// The pins that may not be synced yet. Sync them without holding the pins, before anything
    /// that depends on them is acknowledged.
    pub(crate) fn unsynced(&self) -> Unsynced {
        Unsynced {
            file: self.file.clone(),
            inode: self.inode,
            on_disk: Arc::clone(&self.on_disk),
            length: self.read,
        }
    }

    fn record_manifest(
        &mut self,
        manifest: &Manifest,
        allowed: Allowed,
        own: bool,
    ) -> Result<SignerStatus, Error> {
        let _lock = self.config_dir.lock(&self.name)?;
        self.refresh()?;
        let overtaken = own
            && (self.paths.get(&manifest.path)).is_some_and(|old| old.version > manifest.version);
        let status = if overtaken {
            SignerStatus::Accepted
        } else {
            self.check(manifest, allowed)?
        };
        let pin = PathPin {
            version: manifest.version,
            manifest: manifest.hash(),
            uid: manifest.uid,
            key: manifest.key,
        };
        let mut text = String::new();
        if !self
            .signers
            .get(&manifest.name)
            .is_some_and(|(uid, keys)| *uid == manifest.uid && keys.contains(&manifest.key))
        {
            text.push_str(&signer_line(&manifest.name, manifest.uid, &manifest.key));
        }
        if !overtaken && self.paths.get(&manifest.path) != Some(&pin) {
            text.push_str(&path_line(&manifest.path, &pin));
        }
        if !text.is_empty() {
            self.append(&text)?;
        }
        Ok(status)
    }

    /// Reads the lines appended since the last read, or all when the file was replaced. The caller
    /// holds the lock.
    fn refresh(&mut self) -> Result<(), Error> {
        let fail = |e: &io::Error, path: &Path| Error::io("read", path.display(), e);
        let mut file = match File::open(&self.file) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.read == 0 => return Ok(()),
            Err(e) => return Err(fail(&e, &self.file)),
        };
        let meta = file.metadata().map_err(|e| fail(&e, &self.file))?;
        if meta.len() > MAX_PINS {
            return Err(Error::local(format!(
                "{} is larger than {MAX_PINS} bytes",
                self.file.display()
            )));
        }
        if meta.ino() != self.inode || meta.len() < self.read {
            self.paths.clear();
            self.signers.clear();
            (self.read, self.inode, self.lines) = (0, meta.ino(), 0);
            self.on_disk = Arc::default();
        }
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.read))
            .map_err(|e| fail(&e, &self.file))?;
        file.read_to_string(&mut text)
            .map_err(|e| fail(&e, &self.file))?;
        if self.read == 0 && !text.starts_with(HEADER) {
            return Err(Error::verification(format!(
                "{} is empty or does not begin with `{}`: the pins are damaged; restore them from a backup, or remove the file (every file and signer of this store is then new again)",
                self.file.display(),
                HEADER.trim_end()
            )));
        }
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        for line in text[..whole].lines() {
            self.lines += 1;
            if self.lines == 1 {
                continue;
            }
            self.apply(line).ok_or_else(|| {
                Error::new(ErrorKind::Verification, format!("{}, line {}: not a pin; repair or remove the line (what it pinned is then new again)", self.file.display(), self.lines))
            })?;
        }
        self.read += whole as u64;
        Ok(())
    }

    fn apply(&mut self, line: &str) -> Option<()> {
        let mut words = line.splitn(2, ' ');
        match (words.next()?, words.next()?) {
            ("signer", rest) => {
                let mut words = rest.split(' ');
                let name = UserName::parse(words.next()?).ok()?;
                let uid: UserId = words.next()?.parse().ok()?;
                let key: Fingerprint = words.next()?.parse().ok()?;
                if words.next().is_some() {
                    return None;
                }
                let entry = self
                    .signers
                    .entry(name)
                    .or_insert_with(|| (uid, BTreeSet::new()));
                if entry.0 != uid {
                    // Accepted by the user: the name now belongs to another user with other keys.
                    *entry = (uid, BTreeSet::new());
                }
                entry.1.insert(key);
            }
            ("path", rest) => {
                let mut words = rest.splitn(5, ' ');
                let version = words.next()?.parse().ok()?;
                let manifest = words.next()?.parse().ok()?;
                let uid = words.next()?.parse().ok()?;
                let key = words.next()?.parse().ok()?;
                let path = FilePath::parse(words.next()?).ok()?;
                self.paths.insert(
                    path,
                    PathPin {
                        version,
                        manifest,
                        uid,
                        key,
                    },
                );
            }
            _ => return None,
        }
        Some(())
    }

    /// Appends whole lines, after truncating an incomplete last line. The caller holds the lock and
    /// has read the file.
    fn append(&mut self, text: &str) -> Result<(), Error> {
        let fail = |e: &io::Error, path: &Path| Error::io("write", path.display(), e);
        let live = self.paths.len()
            + self
                .signers
                .values()
                .map(|(_, keys)| keys.len())
                .sum::<usize>();
        if self.read == 0 {
            config_dir::replace(&self.file, format!("{HEADER}{text}").as_bytes())?;
        } else {
            let mut file = OpenOptions::new()
                .write(true)
                .open(&self.file)
                .map_err(|e| fail(&e, &self.file))?;
            file.set_len(self.read).map_err(|e| fail(&e, &self.file))?;
            file.seek(SeekFrom::End(0))
                .and_then(|_| file.write_all(text.as_bytes()))
                .map_err(|e| fail(&e, &self.file))?;
        }
        self.refresh()?;
        if self.lines > 2 * live + PIN_SLACK {
            self.compact()
        } else {
            Ok(())
        }
    }

    fn compact(&mut self) -> Result<(), Error> {
        let mut text = HEADER.to_owned();
        for (name, (uid, keys)) in &self.signers {
            for key in keys {
                text.push_str(&signer_line(name, *uid, key));
            }
        }
        for (path, pin) in &self.paths {
            text.push_str(&path_line(path, pin));
        }
        config_dir::replace(&self.file, text.as_bytes())?;
        self.refresh()
    }
}

fn signer_line(name: &UserName, uid: UserId, key: &Fingerprint) -> String {
    format!("signer {name} {uid} {key}\n")
}

/// A path has no control characters, so it is the last field, unescaped.
fn path_line(path: &FilePath, pin: &PathPin) -> String {
    format!(
        "path {} {} {} {} {}\n",
        pin.version,
        pin.manifest,
        pin.uid,
        pin.key,
        path.as_str()
    )
}

#[cfg(test)]
mod tests;
