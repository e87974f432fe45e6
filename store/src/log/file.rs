//! The file behind the log.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// An appended file that follows its name.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
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
            open: Mutex::new(Open { file, lost: 0 }),
        })
    }

    /// Appends a line, which ends with a line feed. What cannot be written is counted, and said
    /// with the next line that can.
    pub(super) fn write(&self, mut line: String) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
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
