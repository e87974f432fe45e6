//! The order in which streams with queued messages are served.

use std::collections::VecDeque;

/// Chooses among the streams that have a queued message.
///
/// A stream is in the scheduler once or not at all and is served one message at a time, since
/// fragments of different messages cannot be interleaved without RFC 8260.
pub(crate) trait Scheduler: std::fmt::Debug {
    /// Adds a stream that has a message.
    fn ready(&mut self, stream: u16);
    /// Removes the stream to be served next.
    fn pick(&mut self) -> Option<u16>;
    /// Number of streams that wait.
    fn len(&self) -> usize;
}

/// Round robin: one message of each stream in turn.
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
