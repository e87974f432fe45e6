//! One association: its socket and what waits to be sent.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use bytes::Bytes;

use super::socket::MessageSocket;
use crate::carrier::LostReason;

pub(super) struct Association<S> {
    pub(super) socket: S,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Messages that the kernel has not taken, and their bytes.
    pub(super) queue: VecDeque<(u16, Bytes)>,
    pub(super) queued: usize,
    /// The session was told that there was no room, and waits for a `Ready`.
    pub(super) starved: bool,
    /// Reported once by `receive` ahead of what the socket has.
    pub(super) failed: Option<LostReason>,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing more can be sent: the peer has closed, or the association was lost.
    Ended,
    /// To be closed in order: the queue goes out, then the end of the association.
    Flushing,
    /// Waiting for the peer's end; what it sends is discarded.
    Shutdown,
}

/// No room now: in the socket, or in the system.
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

impl<S: MessageSocket> Association<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            // Whatever is there already shows as an edge, and one needless attempt costs little.
            readable: true,
            writable: true,
            queue: VecDeque::new(),
            queued: 0,
            starved: false,
            failed: None,
            phase: Phase::Open,
        }
    }

    /// Hands what is queued to the kernel until it is full.
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

    /// A failed send says little; what there is to receive first often says why, so that is read
    /// before.
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
