//! The destination of a download: a partial file beside its target, a spool file, or standard
//! output directly.
//!
//! A partial file `.<name>.towpath-partial` has a record beside it: the hash of its manifest. A
//! later get that finds both continues at the end of the partial file, after hashing its content
//! again. Nothing appears under the target's own name before size and hash are verified.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{Uid, geteuid};
use towpath_protocol::Escaped;
use towpath_protocol::channel::{CHUNK_LEN, Chunk};
use towpath_protocol::signed::{Content, Manifest, ManifestHash};

use crate::error::Error;
use crate::local::config_dir;

/// Suffix of the name of a partial file.
const PARTIAL: &str = ".towpath-partial";

/// Further suffix of the name of its record.
const RECORD: &str = ".of";

/// The destination of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only the command line writes to standard output")
)]
pub(crate) enum Target {
    /// A file at `path`.
    File {
        /// The final path.
        path: PathBuf,
        /// For a tree of files, its root: directories below it are created, and none may be a
        /// symlink.
        tree: Option<PathBuf>,
    },
    /// Standard output, after verification.
    Output,
    /// Standard output, before verification.
    UnverifiedOutput,
}

/// A download in progress: the open file and the hash so far.
#[derive(Debug)]
pub(crate) struct Receiving {
    output: Output,
    hasher: Box<blake3::Hasher>,
    received: u64,
    resume: Option<ManifestHash>,
}

#[derive(Debug)]
enum Output {
    Partial(Box<Partial>),
    Spool(File),
    Stdout,
}

#[derive(Debug)]
struct Partial {
    /// Locked, so that two clients never write the same partial file.
    file: Flock<File>,
    path: PathBuf,
    record: PathBuf,
    target: PathBuf,
    tree: Option<PathBuf>,
}

impl Receiving {
    /// Opens the files that the target needs, and hashes the partial file of an earlier get.
    ///
    /// # Errors
    /// A local [`Error`] when the target must not be replaced, or the directory is not writable.
    pub(crate) fn open(target: &Target) -> Result<Self, Error> {
        let (output, resume) = match target {
            Target::File { path, tree } => {
                let (partial, resume) = Partial::open(path, tree.as_deref())?;
                (Output::Partial(Box::new(partial)), resume)
            }
            Target::Output => {
                let spool = tempfile::tempfile().map_err(|e| {
                    Error::io(
                        "make a temporary file in",
                        std::env::temp_dir().display(),
                        &e,
                    )
                })?;
                (Output::Spool(spool), None)
            }
            Target::UnverifiedOutput => (Output::Stdout, None),
        };
        let mut this = Self {
            output,
            hasher: Box::default(),
            received: 0,
            resume,
        };
        if this.resume.is_some() {
            this.read_prefix()?;
        }
        Ok(this)
    }

    /// The offset to continue at, in bytes, and the hash of the manifest; 0 and `None` for a new
    /// download. The offset is a multiple of 65,536.
    pub(crate) fn resume(&self) -> (u64, Option<ManifestHash>) {
        if self.received == 0 {
            (0, None)
        } else {
            (self.received, self.resume)
        }
    }

    /// Records the manifest, which was accepted; data follows from `offset` on.
    ///
    /// # Errors
    /// An [`Error`] when the server continues at another offset than requested, or on an I/O error.
    pub(crate) fn begin(&mut self, manifest: &Manifest, offset: u64) -> Result<(), Error> {
        let hash = manifest.hash();
        if offset != 0 && (self.resume != Some(hash) || offset != self.received) {
            return Err(Error::verification(format!(
                "{}: the server continues at byte {offset}, which was not asked for",
                manifest.path
            )));
        }
        if offset == 0 {
            *self.hasher = blake3::Hasher::new();
            self.received = 0;
        }
        if let Output::Partial(partial) = &mut self.output {
            partial.begin(&hash, offset)?;
        }
        self.resume = Some(hash);
        Ok(())
    }

    /// Writes and hashes received data.
    ///
    /// # Errors
    /// An [`Error`] when there is more data than the manifest says, or on an I/O error.
    pub(crate) fn write(&mut self, chunks: &[Chunk], manifest: &Manifest) -> Result<(), Error> {
        let Content::File { size, .. } = manifest.content else {
            return Ok(());
        };
        for chunk in chunks {
            if self.received + chunk.len() as u64 > size {
                return Err(Error::verification(format!(
                    "{}: the server sent more than the signed {size} bytes",
                    manifest.path
                )));
            }
            self.hasher.update(chunk);
            let written = match &mut self.output {
                Output::Partial(partial) => partial.file.write_all(chunk),
                Output::Spool(spool) => spool.write_all(chunk),
                Output::Stdout => io::stdout().lock().write_all(chunk),
            };
            written.map_err(|e| Error::io("write", self.shown(), &e))?;
            self.received += chunk.len() as u64;
        }
        Ok(())
    }

    /// Checks size and hash against the manifest.
    ///
    /// # Errors
    /// A verification [`Error`] saying what differs.
    pub(crate) fn verify(&self, manifest: &Manifest) -> Result<(), Error> {
        let Content::File { size, hash, .. } = manifest.content else {
            return Err(Error::verification(format!(
                "{}: this manifest says that the file is deleted",
                manifest.path
            )));
        };
        if self.received != size {
            return Err(Error::verification(format!(
                "{}: {} bytes came, {size} were signed",
                manifest.path, self.received
            )));
        }
        if self.hasher.finalize().as_bytes() != hash.as_bytes() {
            return Err(Error::verification(format!(
                "{}: the content is not what {} signed; nothing was kept",
                manifest.path, manifest.name
            )));
        }
        Ok(())
    }

    /// Renames the verified file to its final path. The umask applies, as to any new file.
    ///
    /// # Errors
    /// A local [`Error`]; the target is then untouched.
    pub(crate) fn publish(self, manifest: &Manifest, umask: u32) -> Result<(), Error> {
        match self.output {
            Output::Partial(partial) => partial.publish(manifest, umask),
            Output::Spool(mut spool) => {
                let fail = |e: io::Error| Error::output(&e);
                spool.seek(SeekFrom::Start(0)).map_err(fail)?;
                let mut out = io::stdout().lock();
                io::copy(&mut spool, &mut out).map_err(fail)?;
                out.flush().map_err(fail)
            }
            Output::Stdout => io::stdout().flush().map_err(|e| Error::output(&e)),
        }
    }

    /// Ends the download without a file; with `keep` the partial file stays for a later get.
    ///
    /// # Errors
    /// A local [`Error`] when the partial file cannot be removed.
    pub(crate) fn abandon(self, keep: bool) -> Result<(), Error> {
        match self.output {
            Output::Partial(partial)
                if keep && self.received >= CHUNK_LEN as u64 && self.resume.is_some() =>
            {
                partial
                    .file
                    .sync_data()
                    .map_err(|e| Error::io("write", partial.path.display(), &e))
            }
            Output::Partial(partial) => partial.remove(),
            Output::Spool(_) | Output::Stdout => Ok(()),
        }
    }

    /// Hashes the complete chunks of the partial file and truncates the rest.
    fn read_prefix(&mut self) -> Result<(), Error> {
        let Output::Partial(partial) = &mut self.output else {
            return Ok(());
        };
        let fail = |e: io::Error| Error::io("read", partial.path.display(), &e);
        let length = partial.file.metadata().map_err(fail)?.len();
        let whole = length - length % CHUNK_LEN as u64;
        partial.file.seek(SeekFrom::Start(0)).map_err(fail)?;
        self.hasher
            .update_reader((&*partial.file).take(whole))
            .map_err(fail)?;
        self.received = self.hasher.count();
        Ok(())
    }

    fn shown(&self) -> String {
        match &self.output {
            Output::Partial(partial) => partial.path.display().to_string(),
            Output::Spool(_) => "a temporary file".to_owned(),
            Output::Stdout => "standard output".to_owned(),
        }
    }
}

impl Partial {
    fn open(target: &Path, tree: Option<&Path>) -> Result<(Self, Option<ManifestHash>), Error> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::usage(format!("{} names no file", target.display())))?;
        let directory = target.parent().unwrap_or(Path::new(""));
        if let Some(tree) = tree {
            make_directories(tree, directory)?;
        }
        check_target(target)?;
        if is_own_name(name) {
            // In a tree, such a file would replace the partial file of another download.
            return Err(Error::local(format!(
                "{} is a name that unfinished downloads have; choose another name",
                target.display()
            )));
        }
        let mut partial_name = std::ffi::OsString::from(".");
        partial_name.push(name);
        partial_name.push(PARTIAL);
        let path = directory.join(&partial_name);
        partial_name.push(RECORD);
        let record = directory.join(partial_name);
        let file = open_locked(&path, geteuid())?;
        let resume = read_record(&record, geteuid())?;
        Ok((
            Self {
                file,
                path,
                record,
                target: target.to_owned(),
                tree: tree.map(Path::to_owned),
            },
            resume,
        ))
    }

    fn begin(&mut self, hash: &ManifestHash, offset: u64) -> Result<(), Error> {
        let fail = |e: io::Error| Error::io("write", self.path.display(), &e);
        // Truncated before the record changes: data of one manifest is never recorded as that of
        // another.
        self.file.set_len(offset).map_err(fail)?;
        self.file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut record = open_own(&self.record, geteuid())?;
        record
            .set_len(0)
            .and_then(|()| writeln!(record, "{hash}"))
            .map_err(|e| Error::io("write", self.record.display(), &e))
    }

    fn publish(self, manifest: &Manifest, umask: u32) -> Result<(), Error> {
        let fail = |e: io::Error| Error::io("finish", self.path.display(), &e);
        if let Content::File { mode, mtime, .. } = manifest.content {
            self.file
                .set_permissions(Permissions::from_mode(local_mode(mode, umask)))
                .map_err(fail)?;
            if let Some(time) = mtime.to_system_time() {
                self.file
                    .set_times(FileTimes::new().set_modified(time))
                    .map_err(fail)?;
            }
        }
        self.file.sync_all().map_err(fail)?;
        if let Some(tree) = &self.tree {
            make_directories(tree, self.target.parent().unwrap_or(Path::new("")))?;
        }
        check_target(&self.target)?;
        // The file to rename must be the file that was verified.
        if !is_at(&self.file, &self.path).map_err(fail)? {
            return Err(Error::local(format!(
                "{} was replaced while it was written; nothing was put in place of {}",
                self.path.display(),
                self.target.display()
            )));
        }
        fs::rename(&self.path, &self.target)
            .map_err(|e| Error::io("rename the verified file to", self.target.display(), &e))?;
        config_dir::sync_directory(self.target.parent().unwrap_or(Path::new(""))).map_err(fail)?;
        remove(&self.record)
    }

    fn remove(self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&self.record)
    }
}

/// Opens or creates a file of a download, with mode 0600. It must be a regular file with one link,
/// owned by `owner`: another owner could change its content later.
fn open_own(path: &Path, owner: Uid) -> Result<File, Error> {
    let fail = |e: io::Error| Error::io("open", path.display(), &e);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits());
    let file = options.open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    let wrong = if !meta.is_file() || meta.nlink() > 1 {
        "is not a plain file"
    } else if meta.uid() != owner.as_raw() {
        "belongs to another user"
    } else {
        return Ok(file);
    };
    Err(Error::local(format!(
        "{} {wrong}; remove it, or choose another target",
        path.display()
    )))
}

/// Opens and locks the partial file; an [`Error`] when another client holds the lock.
fn open_locked(path: &Path, owner: Uid) -> Result<Flock<File>, Error> {
    let fail = |e: io::Error| Error::io("open", path.display(), &e);
    loop {
        let file = open_own(path, owner)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Error::local(format!(
                "{} is being written by another towpath; wait for it, or choose another target",
                path.display()
            ))
        })?;
        // Between opening and locking, the previous holder may have renamed it to its target.
        if is_at(&lock, path).map_err(fail)? {
            return Ok(lock);
        }
    }
}

/// The hash of a partial file's manifest; `None` when its record is absent or damaged.
fn read_record(path: &Path, owner: Uid) -> Result<Option<ManifestHash>, Error> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let mut text = String::new();
    let read = open_own(path, owner)?.take(128).read_to_string(&mut text);
    Ok(read.ok().and_then(|_| text.trim_end().parse().ok()))
}

/// Creates `directory` and its parents below `tree`; those that exist must be directories, not
/// symlinks. `tree` itself may be a symlink, since the user named it.
fn make_directories(tree: &Path, directory: &Path) -> Result<(), Error> {
    let fail = |path: &Path, e: &io::Error| Error::io("create the directory", path.display(), e);
    if !tree.as_os_str().is_empty() {
        fs::create_dir_all(tree).map_err(|e| fail(tree, &e))?;
    }
    let below = directory.strip_prefix(tree).unwrap_or(directory);
    let mut path = tree.to_owned();
    for part in below {
        path.push(part);
        match fs::create_dir(&path) {
            Ok(()) => continue,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(fail(&path, &e)),
        }
        let meta = fs::symlink_metadata(&path).map_err(|e| fail(&path, &e))?;
        if !meta.is_dir() {
            let kind = if meta.is_symlink() {
                "a symbolic link"
            } else {
                "not a directory"
            };
            return Err(Error::local(format!(
                "{} is {kind}; nothing is written below it",
                Escaped(&path.display().to_string())
            )));
        }
    }
    Ok(())
}

/// Whether `path` names the open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(now) => Ok(now.ino() == ours.ino() && now.dev() == ours.dev()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a file of this name would be the partial, or the record, of another download.
fn is_own_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let name = name.strip_suffix(RECORD.as_bytes()).unwrap_or(name);
    name.starts_with(b".") && name.ends_with(PARTIAL.as_bytes())
}

/// Checks that the parent directory exists; the system's error would name the partial file instead.
fn check_directory(target: &Path) -> Result<(), Error> {
    let directory = target
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match fs::metadata(directory) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::local(format!(
            "{} is not a directory",
            Escaped(&directory.display().to_string())
        ))),
        Err(e) => Err(Error::io("write into", directory.display(), &e)),
    }
}

/// Only a regular file may be replaced; a symlink at the final path is never followed.
fn check_target(target: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => check_directory(target),
        Err(e) => Err(Error::io("look at", target.display(), &e)),
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(meta) => {
            let kind = if meta.is_dir() {
                "a directory"
            } else if meta.file_type().is_symlink() {
                "a symbolic link"
            } else {
                "not a regular file"
            };
            Err(Error::local(format!(
                "{} is {kind} and is not replaced; choose another name",
                target.display()
            )))
        }
    }
}

/// The signed mode without set-id and sticky bits and without write access for others, under the
/// umask; the owner can always read it.
fn local_mode(signed: u32, umask: u32) -> u32 {
    (signed & 0o755 & !umask) | 0o400
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", path.display(), &e)),
    }
}

#[cfg(test)]
mod tests;
