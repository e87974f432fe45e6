//! The download of one file: records wait for the client's credit while a worker reads the next
//! ones.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::FilePath;
use towpath_store::Download;

use crate::jobs::{AuthenticatedUser, Job};
use crate::limits::BATCH_CHUNKS;

/// The server's end of a download.
///
/// Invariant: at most two batches of records are held, however slowly the client receives them.
pub(super) struct Outgoing {
    path: FilePath,
    stage: Stage,
    ready: VecDeque<Chunk>,
    started: Instant,
    bytes: u64,
}

enum Stage {
    /// A worker has the file.
    Working,
    /// No job holds the file.
    Idle(Box<Download>),
    /// Everything is read.
    Drained,
    /// The end was sent.
    Ended,
}

impl Outgoing {
    /// A download of `path`, whose opening is under way.
    pub(super) fn new(path: FilePath, now: Instant) -> Self {
        Self {
            path,
            stage: Stage::Working,
            ready: VecDeque::new(),
            started: now,
            bytes: 0,
        }
    }

    /// Which file it is.
    pub(super) fn path(&self) -> &FilePath {
        &self.path
    }

    /// Bytes handed to the connection and the time since the opening.
    pub(super) fn statistics(&self, now: Instant) -> (u64, Duration) {
        (self.bytes, now.saturating_duration_since(self.started))
    }

    /// The file is open, at its first wanted record.
    pub(super) fn opened(&mut self, download: Box<Download>) {
        self.stage = Stage::Idle(download);
    }

    /// A worker read a batch; a short one is the last.
    pub(super) fn read(&mut self, download: Box<Download>, chunks: Vec<Chunk>) {
        self.stage = if chunks.len() < BATCH_CHUNKS {
            Stage::Drained
        } else {
            Stage::Idle(download)
        };
        self.ready.extend(chunks);
    }

    /// The next record, if it has at most `room` bytes.
    pub(super) fn next_chunk(&mut self, room: usize) -> Option<Chunk> {
        self.ready.front().filter(|chunk| chunk.len() <= room)?;
        let chunk = self.ready.pop_front()?;
        self.bytes += chunk.len() as u64;
        Some(chunk)
    }

    /// The next job, when no job holds the file and less than a batch waits.
    pub(super) fn next_job(&mut self, user: &AuthenticatedUser) -> Option<Job> {
        if self.ready.len() >= BATCH_CHUNKS {
            return None;
        }
        match std::mem::replace(&mut self.stage, Stage::Working) {
            Stage::Idle(download) => Some(Job::Read {
                caller: user.clone(),
                download,
            }),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// True once, when everything has been handed to the connection.
    pub(super) fn take_end(&mut self) -> bool {
        let ends = self.ready.is_empty() && matches!(self.stage, Stage::Drained);
        if ends {
            self.stage = Stage::Ended;
        }
        ends
    }
}
