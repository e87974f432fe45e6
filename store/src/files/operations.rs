//! The file operations that the store and the registry need.

use std::ffi::OsString;
use std::io;

/// A directory tree.
pub(crate) trait Files: Send + Sync {
    /// Makes a regular file of mode 0600, for reading and writing; `AlreadyExists` when the name is
    /// taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn OpenFile>>;
    /// Opens a regular file for reading; `InvalidInput` for anything else.
    fn open(&self, name: &str) -> io::Result<Box<dyn OpenFile>>;
    /// Moves a file over whatever is at `to`, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes one directory of mode 0700 in one that exists.
    fn create_dir(&self, name: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, name: &str) -> io::Result<()>;
    /// The names in a directory, in order.
    fn entries(&self, name: &str) -> io::Result<Vec<(OsString, Kind)>>;
    /// What is at a name; `None` when nothing is.
    fn stat(&self, name: &str) -> io::Result<Option<Stat>>;
    /// How much room the file system has.
    fn space(&self) -> io::Result<Space>;
    /// Locks the file at `name`, which is made when missing, until the guard drops. `None` when it
    /// is taken; never waits.
    fn lock(&self, name: &str, lock: Lock) -> io::Result<Option<Box<dyn Guard>>>;
}

/// An open file. Its content stays what it is when the name is removed or replaced.
pub(crate) trait OpenFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
}

/// Holds a lock until it drops.
pub(crate) trait Guard: Send + Sync {}

/// How to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// With other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A symlink, socket, pipe or device, which the store neither creates nor changes.
    Other,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    /// Permission bits, 0o777 at most.
    pub(crate) mode: u32,
    pub(crate) len: u64,
    pub(crate) inode: u64,
    /// Time of the last change in nanoseconds since the epoch.
    pub(crate) changed: i128,
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// What a process without privileges can still write.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) total: u64,
}

/// Reads a whole file of at most `limit` bytes; `FileTooLarge` beyond.
pub(crate) fn read_all(file: &dyn OpenFile, limit: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        ));
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = zeroize::Zeroizing::new(vec![0; len]);
    let read = read_full(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads until `buffer` is full or the file ends, and says how much there was.
pub(crate) fn read_full(file: &dyn OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// The directory that holds `name`; the root holds names without a slash.
pub(crate) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}
