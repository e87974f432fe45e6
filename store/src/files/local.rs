//! The trait over a directory of the local file system, walked part by part without following
//! symlinks.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::operations::{Files, Guard, Kind, Lock, OpenFile, Space, Stat};

/// A directory, held open: renaming it does not move the store from under a running server.
pub(crate) struct LocalFiles {
    root: OwnedFd,
}

impl LocalFiles {
    /// Opens the directory at `path`, whose path may contain symlinks.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = open(
            path,
            OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { root })
    }

    /// Who owns the root, and its permission bits.
    pub(crate) fn owner_and_mode(&self) -> io::Result<(u32, u32)> {
        let metadata = File::from(self.root.try_clone()?).metadata()?;
        Ok((metadata.uid(), metadata.mode() & 0o777))
    }

    /// Opens a directory below the root, each part on its own, so that no symlink is followed.
    fn dir(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut at = self.root.try_clone()?;
        for part in name.split('/').filter(|_| !name.is_empty()) {
            at = openat(&at, checked(part)?, flags, Mode::empty())?;
        }
        Ok(at)
    }

    /// The directory that holds `name`, and the last part.
    fn split<'a>(&self, name: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
        Ok((self.dir(parent)?, checked(last)?))
    }
}

/// Names come from parsed paths and from scans; this holds whatever their callers do.
fn checked(part: &str) -> io::Result<&str> {
    match part {
        "" | "." | ".." => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name of a file",
        )),
        part if part.contains(['/', '\0']) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name of a file",
        )),
        part => Ok(part),
    }
}

impl Files for LocalFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        let (parent, last) = self.split(name)?;
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = openat(&parent, last, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Box::new(File::from(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        let (parent, last) = self.split(name)?;
        // Not blocking: a pipe put in the place of a file must not hang the server.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&parent, last, flags, Mode::empty())?;
        if kind(&fstat(&file)?) != Kind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Box::new(File::from(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from) = self.split(from)?;
        let (to_dir, to) = self.split(to)?;
        Ok(renameat(&from_dir, from, &to_dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (parent, last) = self.split(name)?;
        Ok(unlinkat(&parent, last, UnlinkatFlags::NoRemoveDir)?)
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let (parent, last) = self.split(name)?;
        Ok(mkdirat(&parent, last, Mode::S_IRWXU)?)
    }

    fn sync_dir(&self, name: &str) -> io::Result<()> {
        File::from(self.dir(name)?).sync_all()
    }

    fn entries(&self, name: &str) -> io::Result<Vec<(OsString, Kind)>> {
        let mut dir = Dir::from_fd(self.dir(name)?)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::File) => Kind::File,
                Some(Type::Directory) => Kind::Directory,
                Some(_) => Kind::Other,
                None => Kind::Other, // settled below: not every file system says
            };
            names.push((name.to_owned(), kind, entry.file_type().is_none()));
        }
        let resolve =
            |(name, kind, unknown): (OsString, Kind, bool)| -> io::Result<(OsString, Kind)> {
                let kind = if unknown {
                    self::kind(&fstatat(&dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
                } else {
                    kind
                };
                Ok((name, kind))
            };
        let mut names = names
            .into_iter()
            .map(resolve)
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        let found = self
            .split(name)
            .and_then(|(parent, last)| Ok(fstatat(&parent, last, AtFlags::AT_SYMLINK_NOFOLLOW)?));
        match found {
            Ok(stat) => Ok(Some(from_stat(&stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "the fields have other widths on other systems"
    )]
    fn space(&self) -> io::Result<Space> {
        let stat = fstatvfs(&self.root)?;
        let block = stat.fragment_size() as u64;
        Ok(Space {
            free: block.saturating_mul(u64::from(stat.blocks_available())),
            total: block.saturating_mul(u64::from(stat.blocks())),
        })
    }

    fn lock(&self, name: &str, lock: Lock) -> io::Result<Option<Box<dyn Guard>>> {
        let (parent, last) = self.split(name)?;
        let flags = OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let mut file = openat(&parent, last, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let how = match lock {
            Lock::Shared => FlockArg::LockSharedNonblock,
            Lock::Exclusive => FlockArg::LockExclusiveNonblock,
        };
        loop {
            match Flock::lock(file, how) {
                Ok(held) => return Ok(Some(Box::new(held))),
                Err((back, Errno::EINTR)) => file = back,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }
}

impl Guard for Flock<OwnedFd> {}

impl OpenFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    }
}

#[expect(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields have other widths on other systems"
)]
fn from_stat(stat: &FileStat) -> Stat {
    Stat {
        kind: kind(stat),
        mode: u32::from(stat.st_mode) & 0o777,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        inode: stat.st_ino as u64,
        changed: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn files() -> (tempfile::TempDir, LocalFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = LocalFiles::open(dir.path()).unwrap();
        (dir, files)
    }

    #[test]
    fn links_are_never_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let (dir, files) = files();
        symlink(outside.path(), dir.path().join("dir")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
        std::fs::write(dir.path().join("real"), "y").unwrap();

        assert!(files.open("file").is_err());
        assert!(files.open("dir/secret").is_err());
        assert!(files.create("dir/new").is_err());
        assert!(files.create("file").is_err());
        assert!(files.create_dir("dir/new").is_err());
        assert!(files.rename("real", "dir/new").is_err());
        assert!(files.remove("dir/secret").is_err());
        assert!(files.entries("dir").is_err());
        assert!(files.sync_dir("dir").is_err());
        assert!(files.lock("file", Lock::Exclusive).is_err());
        assert_eq!(files.stat("file").unwrap().unwrap().kind, Kind::Other);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        for name in ["../x", "a/../x", ".", "", "./x"] {
            assert!(files.create(name).is_err(), "{name}");
        }
    }

    #[test]
    fn modes_kinds_and_order() {
        let (dir, files) = files();
        files.create_dir("d").unwrap();
        let file = files.create("c").unwrap();
        file.write_at(b"abc", 2).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        symlink("c", dir.path().join("b")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("a"), Mode::S_IRWXU).unwrap();
        let kinds: Vec<_> = files
            .entries("")
            .unwrap()
            .into_iter()
            .map(|(_, kind)| kind)
            .collect();
        assert_eq!(
            kinds,
            [Kind::Other, Kind::Other, Kind::File, Kind::Directory]
        );
        assert!(files.open("a").is_err(), "a pipe");
        assert!(files.open("d").is_err(), "a directory");
        let stat = files.stat("c").unwrap().unwrap();
        assert_eq!((stat.kind, stat.mode, stat.len), (Kind::File, 0o600, 5));
        let mode = std::fs::metadata(dir.path().join("d"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(files.stat("d/none").unwrap(), None);
        assert_eq!(read(&files, "c"), b"\0\0abc");
    }

    fn read(files: &LocalFiles, name: &str) -> Vec<u8> {
        super::super::read_all(&*files.open(name).unwrap(), 100)
            .unwrap()
            .to_vec()
    }

    #[test]
    fn an_open_file_outlives_its_name() {
        let (_dir, files) = files();
        files.create("a").unwrap().write_at(b"old", 0).unwrap();
        files.create("b").unwrap().write_at(b"new", 0).unwrap();
        let open = files.open("a").unwrap();
        files.rename("b", "a").unwrap();
        assert_eq!(
            super::super::read_all(&*open, 100).unwrap().as_slice(),
            b"old"
        );
        assert_eq!(read(&files, "a"), b"new");
    }

    #[test]
    fn locks_exclude_each_other_even_in_one_process() {
        let (_dir, files) = files();
        let held = files.lock("lock", Lock::Exclusive).unwrap();
        assert!(held.is_some());
        assert!(files.lock("lock", Lock::Exclusive).unwrap().is_none());
        drop(held);
        let shared = files.lock("lock", Lock::Shared).unwrap();
        assert!(files.lock("lock", Lock::Shared).unwrap().is_some());
        assert!(files.lock("lock", Lock::Exclusive).unwrap().is_none());
        drop(shared);
        assert!(files.lock("lock", Lock::Exclusive).unwrap().is_some());
    }
}
