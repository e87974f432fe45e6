//! Messages whose content shows that each arrived once, unaltered and in order.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::network::Network;
use crate::endpoint::Endpoint;
use crate::event::{AssociationHandle, Message, SendError};

/// A message that is to be sent; its content follows from its number.
#[derive(Debug, Clone, Copy)]
struct Planned {
    stream: u16,
    unordered: bool,
    len: usize,
}

/// One direction of an association: what is to be sent, and what has arrived.
#[derive(Debug)]
pub struct Traffic {
    messages: Vec<Planned>,
    /// How many of them `send` has taken.
    sent: usize,
    /// How often `send` had no room.
    refused: usize,
    /// Numbers of the messages that have arrived.
    arrived: BTreeSet<usize>,
    /// Number of the last ordered message that has arrived on each stream.
    last: Vec<Option<usize>>,
}

impl Traffic {
    /// `count` messages of 1 to `largest` bytes on `streams` streams, one in eight unordered.
    pub fn new(network: &mut Network, count: usize, streams: u16, largest: usize) -> Self {
        let messages = (0..count)
            .map(|_| {
                let stream = network.below(u64::from(streams)) as u16;
                let unordered = network.below(8) == 0;
                // Three in four are short.
                let bound = if network.below(4) == 0 {
                    largest
                } else {
                    largest.min(400)
                };
                Planned {
                    stream,
                    unordered,
                    len: 1 + network.below(bound as u64) as usize,
                }
            })
            .collect();
        Self::of(messages, streams)
    }

    /// `count` ordered messages of one size, spread over the streams.
    pub fn uniform(count: usize, streams: u16, size: usize) -> Self {
        let messages = (0..count)
            .map(|number| Planned {
                stream: (number % usize::from(streams)) as u16,
                unordered: false,
                len: size,
            })
            .collect();
        Self::of(messages, streams)
    }

    fn of(messages: Vec<Planned>, streams: u16) -> Self {
        Self {
            messages,
            sent: 0,
            refused: 0,
            arrived: BTreeSet::new(),
            last: vec![None; usize::from(streams)],
        }
    }

    /// Sends as much as the endpoint takes. True if nothing is left to be sent.
    pub fn send(&mut self, endpoint: &mut Endpoint, handle: AssociationHandle) -> bool {
        while let Some(planned) = self.messages.get(self.sent) {
            let message = Message {
                stream: planned.stream,
                ppid: self.sent as u32,
                unordered: planned.unordered,
                payload: content(self.sent, planned.len),
            };
            match endpoint.send(handle, message) {
                Ok(()) => self.sent += 1,
                Err(SendError::Full(_) | SendError::Connecting(_)) => {
                    self.refused += 1;
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
            let Some(&Planned {
                stream,
                unordered,
                len,
            }) = self.messages[..self.sent].get(number)
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
                let expected = next_ordered(&self.messages, stream, *last);
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
        self.arrived.len() == self.messages.len()
    }

    /// How many messages have arrived.
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// How often `send` stopped because the endpoint had no room.
    pub fn refused(&self) -> usize {
        self.refused
    }
}

fn next_ordered(messages: &[Planned], stream: u16, after: Option<usize>) -> Option<usize> {
    let from = after.map_or(0, |last| last + 1);
    (from..messages.len())
        .find(|&number| messages[number].stream == stream && !messages[number].unordered)
}

/// Pseudo-random bytes that follow from the message's number.
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
