//! The file behind the log.

use std::fs::{self, File, Metadata, OpenOptions, metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::limits::OLD_LOGS;

/// An appended file that follows its name, and begins anew when it is full.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// Bytes of the file before it is renamed.
    pub(super) longest: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Lines that could not be written since the last one that could.
    lost: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = append_to(path)?;
        Ok(Self {
            path: path.into(),
            longest: u64::MAX,
            open: Mutex::new(Open { file, lost: 0 }),
        })
    }

    /// Appends a line, which ends with a line feed. What cannot be written is counted, and said
    /// with the next line that can.
    pub(super) fn write(&self, mut line: String) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_full(&open.file, line.len())
            && let Err(error) = self.rotate()
        {
            // Better too long than silent; the line itself goes to the old file.
            line = format!("cannot rotate the log: {error}\n{line}");
        }
        if self.was_renamed(&open.file) {
            // Where the name cannot be had, the old file still takes the line.
            if let Ok(file) = append_to(&self.path) {
                open.file = file;
            }
        }
        if open.lost > 0 {
            // The failed line may have been written in part.
            line = format!("\nlines lost before this one: {}\n{line}", open.lost);
        }
        match open.file.write_all(line.as_bytes()) {
            Ok(()) => open.lost = 0,
            Err(_) => open.lost += 1,
        }
    }

    fn is_full(&self, file: &File, more: usize) -> bool {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        length > 0 && length.saturating_add(more as u64) > self.longest
    }

    /// Renames the file to `.1`, and what has that name to `.2`, up to [`OLD_LOGS`], which is
    /// replaced.
    fn rotate(&self) -> io::Result<()> {
        let old = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..OLD_LOGS).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))
    }

    fn was_renamed(&self, file: &File) -> bool {
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        match (metadata(&self.path), file.metadata()) {
            (Ok(named), Ok(open)) => id(named) != id(open),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}
