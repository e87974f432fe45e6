//! Messages that prove by themselves that they arrived once, whole, and in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use towpath_sctp::{AssociationHandle, Endpoint, SendError};

use super::Network;

/// What one side has to send.
#[derive(Debug, Clone)]
pub struct Flow {
    messages: Vec<(u16, bool, usize)>,
    sent: usize,
    refused: usize,
}

/// One direction of an association: what was to be sent, and what has come of it.
#[derive(Debug)]
pub struct Traffic {
    /// What is to be sent.
    pub flow: Flow,
    /// Messages that came, by number.
    arrived: BTreeSet<usize>,
    /// The number of the last ordered message of each stream.
    last: Vec<Option<usize>>,
}

impl Traffic {
    /// `count` messages of 1 to `largest` bytes on `streams` streams, one in eight unordered.
    pub fn new(network: &mut Network, count: usize, streams: u16, largest: usize) -> Self {
        let messages = (0..count)
            .map(|_| {
                let stream = network.below(u64::from(streams)) as u16;
                let unordered = network.below(8) == 0;
                // Most are small, some as large as can be.
                let bound = if network.below(4) == 0 {
                    largest
                } else {
                    largest.min(400)
                };
                (stream, unordered, 1 + network.below(bound as u64) as usize)
            })
            .collect();
        Self::of(messages, streams)
    }

    /// `count` ordered messages of one size, spread over the streams.
    pub fn uniform(count: usize, streams: u16, size: usize) -> Self {
        Self::of(
            (0..count)
                .map(|n| ((n % usize::from(streams)) as u16, false, size))
                .collect(),
            streams,
        )
    }

    fn of(messages: Vec<(u16, bool, usize)>, streams: u16) -> Self {
        Self {
            flow: Flow {
                messages,
                sent: 0,
                refused: 0,
            },
            arrived: BTreeSet::new(),
            last: vec![None; usize::from(streams)],
        }
    }

    /// Sends as much as the endpoint takes. Says whether everything has been taken.
    pub fn send(&mut self, endpoint: &mut Endpoint, handle: AssociationHandle) -> bool {
        let flow = &mut self.flow;
        while let Some(&(stream, unordered, len)) = flow.messages.get(flow.sent) {
            match endpoint.send(
                handle,
                stream,
                content(flow.sent, len),
                !unordered,
                flow.sent as u32,
            ) {
                Ok(()) => flow.sent += 1,
                Err(SendError::Full(_) | SendError::Connecting(_)) => {
                    flow.refused += 1;
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads and checks whatever has arrived.
    ///
    /// # Errors
    /// A message came twice, altered, out of order, or was never sent.
    pub fn recv(
        &mut self,
        endpoint: &mut Endpoint,
        handle: AssociationHandle,
    ) -> Result<(), String> {
        while let Some(message) = endpoint.recv(handle) {
            let number = message.ppid as usize;
            let Some(&(stream, unordered, len)) = self
                .flow
                .messages
                .get(number)
                .filter(|_| number < self.flow.sent)
            else {
                return Err(format!("message {number} was never sent"));
            };
            if (message.stream, message.unordered) != (stream, unordered) {
                return Err(format!("message {number} came on another stream"));
            }
            if message.payload[..] != content(number, len)[..] {
                return Err(format!("message {number} came altered"));
            }
            if !self.arrived.insert(number) {
                return Err(format!("message {number} came twice"));
            }
            if !unordered {
                let last = &mut self.last[usize::from(stream)];
                let expected = next_ordered(&self.flow.messages, stream, *last);
                if expected != Some(number) {
                    return Err(format!(
                        "message {number} of stream {stream} came before {expected:?}"
                    ));
                }
                *last = Some(number);
            }
        }
        Ok(())
    }

    /// Whether every message has arrived.
    pub fn is_complete(&self) -> bool {
        self.arrived.len() == self.flow.messages.len()
    }

    /// How many messages have arrived.
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// How often `send` had to wait.
    pub fn refused(&self) -> usize {
        self.flow.refused
    }
}

fn next_ordered(
    messages: &[(u16, bool, usize)],
    stream: u16,
    after: Option<usize>,
) -> Option<usize> {
    let from = after.map_or(0, |last| last + 1);
    (from..messages.len()).find(|&number| messages[number].0 == stream && !messages[number].1)
}

/// Bytes that depend on the message's number throughout.
fn content(number: usize, len: usize) -> Bytes {
    let mut state = number as u32 ^ 0x5bd1_e995;
    let mut bytes = Vec::with_capacity(len + 4);
    while bytes.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
