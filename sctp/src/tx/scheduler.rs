//! In which order streams with something to send get their turn.

use std::collections::VecDeque;

/// Chooses among the streams that have a message waiting.
///
/// A stream is in the scheduler once or not at all; its turn is one message, since DATA chunks of
/// different messages cannot be interleaved (RFC 8260 would change that).
pub(crate) trait Scheduler: std::fmt::Debug {
    /// A stream has a message.
    fn ready(&mut self, stream: u16);
    /// Takes out the stream whose turn it is.
    fn pick(&mut self) -> Option<u16>;
    /// How many streams wait.
    fn len(&self) -> usize;
}

/// Each stream in turn, one message at a time.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin(VecDeque<u16>);

impl Scheduler for RoundRobin {
    fn ready(&mut self, stream: u16) {
        self.0.push_back(stream);
    }

    fn pick(&mut self) -> Option<u16> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
