//! The configuration directory: keys, known servers and pins.
//!
//! The directory is 0700 and its files 0600. A file is replaced by writing a new file and renaming
//! it, under a lock on a separate file: a lock on the replaced file itself would be on the old
//! inode.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

/// Environment variable that names the directory.
pub(crate) const CONFIG_DIR_VARIABLE: &str = "TOWPATH_CONFIG_DIR";

/// The configuration directory, which exists and is writable by its owner only.
#[derive(Clone, Debug)]
pub(crate) struct ConfigDir {
    root: PathBuf,
}

/// Lock that is held while a file of the configuration directory is read and replaced.
#[derive(Debug)]
pub(crate) struct ConfigLock {
    _lock: Flock<File>,
}

impl ConfigDir {
    /// Opens the directory: `chosen` (from `--config-dir` or the environment), else
    /// `~/.config/towpath`, creating it when absent.
    ///
    /// # Errors
    /// A local [`Error`] when it cannot be created, is not a directory, belongs to another user, or
    /// is writable by others.
    pub(crate) fn open(chosen: Option<&Path>) -> Result<Self, Error> {
        let root = match chosen {
            Some(path) => path.to_owned(),
            None => default_root()?,
        };
        let fail = |doing: &str, e: &io::Error| Error::io(doing, root.display(), e);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .map_err(|e| fail("create the directory", &e))?;
        let meta = fs::metadata(&root).map_err(|e| fail("read", &e))?;
        if meta.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Error::local(format!(
                "{} belongs to another user; choose a directory of your own with --config-dir",
                root.display()
            )));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(Error::local(format!(
                "others may write to {0}; run `chmod 700 {0}` or choose another directory with --config-dir",
                root.display()
            )));
        }
        Ok(Self { root })
    }

    /// The path of `name` inside the configuration directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Creates a directory inside the configuration directory, with mode 0700.
    ///
    /// # Errors
    /// A local [`Error`].
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|e| Error::io("create the directory", path.display(), &e))?;
        Ok(path)
    }

    /// Waits for the lock that guards changes of the file `name`.
    ///
    /// # Errors
    /// A local [`Error`].
    pub(crate) fn lock(&self, name: &str) -> Result<ConfigLock, Error> {
        let path = self.path(&format!("{name}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io("open", path.display(), &e))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| Error::io("lock", path.display(), &e.into()))?;
        Ok(ConfigLock { _lock: lock })
    }
}

fn default_root() -> Result<PathBuf, Error> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let base =
        base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    base.map(|b| b.join("towpath")).ok_or_else(|| {
        Error::local(format!(
            "neither HOME nor {CONFIG_DIR_VARIABLE} is set; name a directory with --config-dir"
        ))
    })
}

/// Reads a text file of at most `limit` bytes; `None` when it does not exist.
///
/// # Errors
/// A local [`Error`] when it cannot be read, is too large or is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<Option<String>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path.display(), &e)),
    };
    // The buffer is allocated once: a buffer that grows leaves copies of a key that are not erased.
    let length = file.metadata().map_or(0, |meta| meta.len()).min(limit);
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|e| Error::io("read", path.display(), &e))?;
    if text.len() as u64 > limit {
        return Err(Error::local(format!(
            "{} is larger than {limit} bytes: it is not what it should be",
            path.display()
        )));
    }
    Ok(Some(text))
}

/// Replaces `path` with `text`, 0600, so that a crash leaves the old file or the new one.
///
/// # Errors
/// A local [`Error`]; the old file is then untouched.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), Error> {
    let fail = |e: &io::Error| Error::io("write", path.display(), e);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory)
        .map_err(|e| fail(&e))?;
    temporary.write_all(text).map_err(|e| fail(&e))?;
    temporary.as_file().sync_all().map_err(|e| fail(&e))?;
    temporary.persist(path).map_err(|e| fail(&e.error))?;
    sync_directory(directory).map_err(|e| fail(&e))
}

/// Syncs `directory`, so that a rename in it survives a crash.
///
/// # Errors
/// The error of the system call.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_directory_is_private_and_one_that_others_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        ConfigDir::open(Some(&root)).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        ConfigDir::open(Some(&root)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o775)).unwrap();
        let refused = ConfigDir::open(Some(&root)).unwrap_err();
        assert!(refused.message.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn a_replaced_file_is_private_and_a_large_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"twoo").unwrap();
        assert_eq!(read_text(&path, 4).unwrap().as_deref(), Some("twoo"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(read_text(&path, 3).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
