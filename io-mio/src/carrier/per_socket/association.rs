//! One association: its socket and its send queue.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use bytes::Bytes;

use super::socket::MessageSocket;
use crate::carrier::LostReason;

pub(super) struct Association<S> {
    pub(super) socket: S,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Messages that the kernel has not taken, and their total length.
    pub(super) queue: VecDeque<(u16, Bytes)>,
    pub(super) queued: usize,
    /// The session found no room and waits for `Ready`.
    pub(super) starved: bool,
    /// Reported once by `receive`, behind what the socket has.
    pub(super) failed: Option<LostReason>,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing more can be sent: the peer has closed, or the association was lost.
    Ended,
    /// Closing: the queue is sent, then the end of the association.
    Flushing,
    /// Waiting for the peer's end; what it sends is discarded.
    Shutdown,
}

/// No room in the socket, or no memory in the system.
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

impl<S: MessageSocket> Association<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            // What was there before the registration may give no edge; one needless attempt is
            // cheap.
            readable: true,
            writable: true,
            queue: VecDeque::new(),
            queued: 0,
            starved: false,
            failed: None,
            phase: Phase::Open,
        }
    }

    /// Passes the queue to the kernel until that is full.
    pub(super) fn flush(&mut self) {
        while self.writable
            && let Some((stream, payload)) = self.queue.front()
        {
            match self.socket.send(*stream, payload) {
                Ok(()) => {
                    self.queued -= payload.len();
                    self.queue.pop_front();
                }
                Err(error) if is_full(&error) => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(LostReason::Socket(error.to_string()));
                    return;
                }
            }
        }
    }

    /// What is there to be received often has the reason for a failed send, so that is read first.
    pub(super) fn fail(&mut self, reason: LostReason) {
        self.queue.clear();
        self.queued = 0;
        self.writable = false;
        self.readable = true;
        self.failed = Some(reason);
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Flushing | Phase::Shutdown)
    }

    pub(super) fn unsent(&mut self) -> usize {
        self.queued + self.socket.unsent()
    }
}
