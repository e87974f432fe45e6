//! Where a download goes: a partial file beside its target, a spool, or standard output as it
//! comes.
//!
//! A partial file `.<name>.towpath-partial` carries a record beside it, the hash of the manifest it
//! belongs to. A later get that finds both continues where the partial ends, after hashing again
//! what is there. Nothing appears under the target's own name before size and hash are verified.

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

/// What a partial file's name ends with.
const PARTIAL: &str = ".towpath-partial";

/// What the name of its record ends with besides.
const RECORD: &str = ".of";

/// Where a download goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only the command line writes to standard output")
)]
pub(crate) enum Target {
    /// At this path.
    File {
        /// The final name.
        path: PathBuf,
        /// For a tree of files, its root: the directories below it are made, and none may be a
        /// link.
        tree: Option<PathBuf>,
    },
    /// To standard output once verified.
    Output,
    /// To standard output as it comes.
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
    /// Locked, so that two clients never write one partial.
    file: Flock<File>,
    path: PathBuf,
    record: PathBuf,
    target: PathBuf,
    tree: Option<PathBuf>,
}

impl Receiving {
    /// Opens what the target needs, and hashes what an earlier get left.
    ///
    /// # Errors
    /// A local [`Error`] when the target is something that must not be replaced, or the directory
    /// cannot be written.
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

    /// Where to continue and under which manifest; offset 0 and `None` for a fresh start. The
    /// offset is a multiple of 65,536.
    pub(crate) fn resume(&self) -> (u64, Option<ManifestHash>) {
        if self.received == 0 {
            (0, None)
        } else {
            (self.received, self.resume)
        }
    }

    /// The manifest is accepted and data comes from `offset` on: notes down whose bytes these are.
    ///
    /// # Errors
    /// An [`Error`] when the server continues where this client did not ask, or the disk fails.
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

    /// Writes and hashes what came.
    ///
    /// # Errors
    /// An [`Error`] when there is more than the manifest says, or the disk fails.
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

    /// Whether size and hash are what was signed.
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

    /// Puts the verified file in its place. The umask holds for it as for any new file.
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

    /// Ends without the file: `keep` leaves what came for a later get.
    ///
    /// # Errors
    /// A local [`Error`] when the partial cannot be removed.
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

    /// Hashes the whole chunks that are there and cuts off the rest.
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
            // In a tree, such a file would take the place of another one's partial.
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
        // Emptied before the record changes: bytes of one manifest are never recorded as another's.
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
        // What is renamed must be what was verified.
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

/// Opens a file of a download, or makes it, private. It must be a regular file with one name that
/// belongs to `owner`: whoever made it could still change what is written to it.
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

/// Opens the partial and locks it; `Error` when another client holds it.
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
        // Between opening and locking, the one who held it may have renamed it to its target.
        if is_at(&lock, path).map_err(fail)? {
            return Ok(lock);
        }
    }
}

/// The manifest that a partial belongs to; none when its record is absent or damaged.
fn read_record(path: &Path, owner: Uid) -> Result<Option<ManifestHash>, Error> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let mut text = String::new();
    let read = open_own(path, owner)?.take(128).read_to_string(&mut text);
    Ok(read.ok().and_then(|_| text.trim_end().parse().ok()))
}

/// Makes `directory` and all between it and `tree`, which it is below; what is there already must
/// be a directory and no link. `tree` itself may be a link: the user named it.
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

/// Whether `path` names this very file.
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

/// A file needs a directory to be in; the system's own message would name a partial file that
/// nobody asked for.
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

/// Only a regular file may be replaced; a link at the final name is never followed.
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
