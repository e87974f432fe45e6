//! The upload of one file: records wait while a worker seals and writes earlier ones.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{FilePath, SignedManifest};
use towpath_store::Upload;

use crate::jobs::{AuthenticatedUser, Job};
use crate::limits::BATCH_CHUNKS;

/// The server's end of an upload.
///
/// Invariant: at most one job of an upload is under way, so its records are written in order.
pub(super) struct Incoming {
    path: FilePath,
    stage: Stage,
    pending: VecDeque<Chunk>,
    proof: Option<Box<SignedManifest>>,
    started: Instant,
    last_arrival: Instant,
    longest_gap: Duration,
    bytes: u64,
}

enum Stage {
    /// A worker has the file.
    Working,
    /// No job holds the file.
    Idle(Box<Upload>),
    /// Published; the client has to end the transfer.
    Published,
}

impl Incoming {
    /// An upload to `path`, whose opening is under way.
    pub(super) fn new(path: FilePath, now: Instant) -> Self {
        Self {
            path,
            stage: Stage::Working,
            pending: VecDeque::new(),
            proof: None,
            started: now,
            last_arrival: now,
            longest_gap: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Where the file goes.
    pub(super) fn path(&self) -> &FilePath {
        &self.path
    }

    /// Bytes received, time since the opening, and the longest time without data in between.
    pub(super) fn statistics(&self, now: Instant) -> (u64, Duration, Duration) {
        let lasted = now.saturating_duration_since(self.started);
        (self.bytes, lasted, self.longest_gap)
    }

    /// Whether it is on stable storage.
    pub(super) fn is_published(&self) -> bool {
        matches!(self.stage, Stage::Published)
    }

    /// Data arrived.
    pub(super) fn push(&mut self, chunk: Chunk, now: Instant) {
        if self.bytes > 0 {
            let gap = now.saturating_duration_since(self.last_arrival);
            self.longest_gap = self.longest_gap.max(gap);
        }
        self.last_arrival = now;
        self.bytes += chunk.len() as u64;
        self.pending.push_back(chunk);
    }

    /// All data and the signature arrived.
    pub(super) fn prove(&mut self, signed: SignedManifest) {
        self.proof = Some(Box::new(signed));
    }

    /// A job returned the file.
    pub(super) fn returned(&mut self, upload: Box<Upload>) {
        self.stage = Stage::Idle(upload);
    }

    /// The file was published.
    pub(super) fn published(&mut self) {
        self.stage = Stage::Published;
    }

    /// The next job, when no job holds the file and there is work.
    pub(super) fn next_job(&mut self, user: &AuthenticatedUser) -> Option<Job> {
        if self.pending.is_empty() && self.proof.is_none() {
            return None;
        }
        let upload = match std::mem::replace(&mut self.stage, Stage::Working) {
            Stage::Idle(upload) => upload,
            other => {
                self.stage = other;
                return None;
            }
        };
        if !self.pending.is_empty() {
            let batch = self.pending.len().min(BATCH_CHUNKS);
            let chunks = self.pending.drain(..batch).collect();
            return Some(Job::Append {
                caller: user.clone(),
                upload,
                chunks,
            });
        }
        match self.proof.take() {
            Some(signed) => Some(Job::Commit {
                caller: user.clone(),
                upload,
                signed,
            }),
            None => {
                self.stage = Stage::Idle(upload);
                None
            }
        }
    }
}
