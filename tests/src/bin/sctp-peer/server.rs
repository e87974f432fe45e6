//! The echo server.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Instant;

use towpath_sctp::{AssociationHandle, Event, Message};

use crate::cli::Cli;
use crate::wire::{Wire, say};

/// Echoes each message on its stream.
pub(crate) struct Server {
    wire: Wire,
    abort_after: Option<u64>,
    shutdown_after: Option<u64>,
    /// Echoes that wait for room, and how many have gone.
    associations: BTreeMap<AssociationHandle, (VecDeque<Message>, u64)>,
}

impl Server {
    pub(crate) fn new(wire: Wire, cli: &Cli) -> Self {
        Self {
            wire,
            abort_after: cli.abort_after,
            shutdown_after: cli.shutdown_after,
            associations: BTreeMap::new(),
        }
    }

    pub(crate) fn run(mut self) -> io::Result<bool> {
        println!("ready");
        loop {
            self.wire.turn()?;
            while let Some((handle, event)) = self.wire.endpoint.poll_event() {
                say(&event);
                match event {
                    Event::Connected { .. } => {
                        self.associations.insert(handle, (VecDeque::new(), 0));
                    }
                    Event::Closed(_) => {
                        if let Some((_, echoed)) = self.associations.remove(&handle) {
                            println!("end after {echoed} messages");
                        }
                    }
                    _ => {}
                }
            }
            let handles: Vec<_> = self.associations.keys().copied().collect();
            for handle in handles {
                self.echo(handle)?;
            }
        }
    }

    fn echo(&mut self, handle: AssociationHandle) -> io::Result<()> {
        let Some((waiting, echoed)) = self.associations.get_mut(&handle) else {
            return Ok(());
        };
        loop {
            let next = waiting
                .pop_front()
                .or_else(|| self.wire.endpoint.recv(handle));
            let Some(message) = next else {
                return Ok(());
            };
            // It ends at its own wish or the peer's while messages are still on their way here.
            if self.shutdown_after.is_some_and(|after| *echoed >= after) {
                continue;
            }
            if let Some(message) = self.wire.send(handle, message)? {
                waiting.push_front(message);
                return Ok(());
            }
            *echoed += 1;
            let now = Instant::now();
            let ended = if Some(*echoed) == self.abort_after {
                self.wire.endpoint.abort(handle, b"enough", now)
            } else if Some(*echoed) == self.shutdown_after {
                self.wire.endpoint.shutdown(handle, now)
            } else {
                continue;
            };
            ended.map_err(io::Error::other)?;
            if self.abort_after.is_some() {
                return Ok(());
            }
        }
    }
}
