//! The source of an upload: a regular file, or standard input. Read once, and hashed while reading.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::OFlag;
use towpath_protocol::Escaped;
use towpath_protocol::channel::{CHUNK_LEN, Chunk};
use towpath_protocol::signed::{Blake3Hash, Content, Timestamp};

use crate::error::Error;

/// Mode of a file uploaded from standard input.
const INPUT_MODE: u32 = 0o644;

/// Argument for standard input or output.
pub(crate) const STANDARD: &str = "-";

/// An upload's open file and the hash so far.
#[derive(Debug)]
pub(crate) struct Source {
    input: Input,
    shown: String,
    hasher: Box<blake3::Hasher>,
    read: u64,
}

#[derive(Debug)]
enum Input {
    File { file: File, opened: Box<Metadata> },
    Standard,
}

impl Source {
    /// Opens `path` (`-` is standard input), which must be a regular file, not a symlink.
    ///
    /// # Errors
    /// A local [`Error`] that names its type.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let shown = Escaped(&path.display().to_string()).to_string();
        if path == Path::new(STANDARD) {
            return Ok(Self {
                input: Input::Standard,
                shown: "standard input".into(),
                hasher: Box::default(),
                read: 0,
            });
        }
        // Non-blocking: opening a fifo must not wait for its writer.
        let flags = OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits() | OFlag::O_NOCTTY.bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
                return Err(Error::local(format!(
                    "{shown} is a symbolic link; name the file itself"
                )));
            }
            Err(e) => return Err(Error::io("open", &shown, &e)),
        };
        let opened = file.metadata().map_err(|e| Error::io("read", &shown, &e))?;
        if opened.is_dir() {
            return Err(Error::local(format!(
                "{shown} is a directory; use -r to put it with all that is in it"
            )));
        }
        if !opened.is_file() {
            return Err(Error::local(format!("{shown} is not a regular file")));
        }
        Ok(Self {
            input: Input::File {
                file,
                opened: Box::new(opened),
            },
            shown,
            hasher: Box::default(),
            read: 0,
        })
    }

    /// Expected size in bytes: the file's length, 0 when not known.
    pub(crate) fn size_hint(&self) -> u64 {
        match &self.input {
            Input::File { opened, .. } => opened.len(),
            Input::Standard => 0,
        }
    }

    /// Reads up to `count` chunks; the flag is true at the end of the file. Only the last chunk may
    /// be short.
    ///
    /// # Errors
    /// A local [`Error`] when reading fails or the file grows.
    pub(crate) fn read(&mut self, count: usize) -> Result<(Vec<Chunk>, bool), Error> {
        let mut chunks = Vec::with_capacity(count);
        while chunks.len() < count {
            let mut chunk = Chunk::new();
            chunk.resize(CHUNK_LEN);
            let filled = fill(&mut self.input, &mut chunk)
                .map_err(|e| Error::io("read", &self.shown, &e))?;
            chunk.truncate(filled);
            self.hasher.update(&chunk);
            self.read += filled as u64;
            if filled > 0 {
                chunks.push(chunk);
            }
            if filled < CHUNK_LEN {
                return Ok((chunks, true));
            }
            if matches!(&self.input, Input::File { opened, .. } if self.read > opened.len()) {
                return Err(self.changed());
            }
        }
        Ok((chunks, false))
    }

    /// Size, hash and metadata of the content, for the manifest.
    ///
    /// # Errors
    /// A local [`Error`] when the file changed while it was read.
    pub(crate) fn content(&self) -> Result<Content, Error> {
        let hash = Blake3Hash::from_bytes(*self.hasher.finalize().as_bytes());
        match &self.input {
            Input::Standard => Ok(Content::File {
                size: self.read,
                hash,
                mtime: Timestamp::from_system_time(SystemTime::now()),
                mode: INPUT_MODE,
            }),
            Input::File { file, opened } => {
                let now = file
                    .metadata()
                    .map_err(|e| Error::io("read", &self.shown, &e))?;
                // The change time too: the modification time can be set back.
                let same = now.len() == self.read
                    && opened.len() == self.read
                    && (now.mtime(), now.mtime_nsec()) == (opened.mtime(), opened.mtime_nsec())
                    && (now.ctime(), now.ctime_nsec()) == (opened.ctime(), opened.ctime_nsec());
                if !same {
                    return Err(self.changed());
                }
                let mtime = opened
                    .modified()
                    .map_err(|e| Error::io("read", &self.shown, &e))?;
                Ok(Content::File {
                    size: self.read,
                    hash,
                    mtime: Timestamp::from_system_time(mtime),
                    mode: opened.mode() & 0o777,
                })
            }
        }
    }

    fn changed(&self) -> Error {
        Error::local(format!(
            "{} changed while it was read; nothing was published, put it again",
            self.shown
        ))
    }
}

fn fill(input: &mut Input, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        let read = match input {
            Input::File { file, .. } => file.read(rest),
            Input::Standard => io::stdin().lock().read(rest),
        };
        match read {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(source: &mut Source) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        loop {
            let (chunks, ended) = source.read(3)?;
            for chunk in &chunks {
                all.extend_from_slice(chunk);
            }
            if ended {
                return Ok(all);
            }
        }
    }

    #[test]
    fn every_size_around_a_chunk_is_read_and_hashed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for size in [
            0,
            1,
            CHUNK_LEN - 1,
            CHUNK_LEN,
            CHUNK_LEN + 1,
            3 * CHUNK_LEN,
            7 * CHUNK_LEN + 5,
        ] {
            let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            std::fs::write(file.path(), &content).unwrap();
            let mut source = Source::open(file.path()).unwrap();
            assert_eq!(source.size_hint(), size as u64);
            assert!(read_all(&mut source).unwrap() == content, "{size}");
            let Content::File {
                size: read, hash, ..
            } = source.content().unwrap()
            else {
                panic!("not a file")
            };
            assert_eq!(
                (read, hash.as_bytes()),
                (size as u64, blake3::hash(&content).as_bytes())
            );
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_published() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let change: [fn(&Path); 3] = [
            |path| std::fs::write(path, vec![1; 100_001]).unwrap(),
            |path| std::fs::write(path, vec![1; 99_999]).unwrap(),
            |path| {
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_modified(SystemTime::UNIX_EPOCH)
                    .unwrap()
            },
        ];
        for change in change {
            std::fs::write(file.path(), vec![0; 100_000]).unwrap();
            let mut source = Source::open(file.path()).unwrap();
            source.read(1).unwrap();
            change(file.path());
            let outcome = read_all(&mut source).and_then(|_| source.content());
            assert!(
                outcome
                    .unwrap_err()
                    .message
                    .contains("changed while it was read")
            );
        }
    }

    #[test]
    fn a_change_whose_time_was_set_back_is_not_published() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0; 100_000]).unwrap();
        let mut source = Source::open(file.path()).unwrap();
        source.read(1).unwrap();
        let modified = file.as_file().metadata().unwrap().modified().unwrap();
        // The change time has the granularity of the kernel's clock tick: repeated until it shows.
        let before = file.as_file().metadata().unwrap();
        loop {
            std::fs::write(file.path(), vec![1; 100_000]).unwrap();
            file.as_file().set_modified(modified).unwrap();
            let now = file.as_file().metadata().unwrap();
            if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
                break;
            }
        }
        read_all(&mut source).unwrap();
        let failure = source.content().unwrap_err();
        assert!(failure.message.contains("changed while it was read"));
    }

    #[test]
    fn links_directories_and_fifos_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        nix::unistd::mkfifo(
            &path("fifo"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        for (name, what) in [
            ("link", "symbolic link"),
            ("fifo", "not a regular file"),
            (".", "directory"),
            ("none", "cannot open"),
        ] {
            let failure = Source::open(&path(name)).unwrap_err();
            assert!(failure.message.contains(what), "{failure}");
        }
    }
}
