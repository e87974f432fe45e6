//! Sans-IO SCTP (RFC 9260) with multi-homing, over UDP (RFC 6951).
//!
//! An [`Endpoint`] takes datagrams and time in and hands datagrams, events and messages out. It has
//! no socket, clock, thread or source of randomness of its own, so it runs in any event loop, in a
//! simulator and in a fuzzer.
//!
//! ```
//! use std::time::Instant;
//! use towpath_sctp::{Endpoint, EndpointConfig, Event, Message, PathId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Instant::now();
//! let host = |address: &str| EndpointConfig {
//!     addresses: vec![address.parse().unwrap()],
//!     ..EndpointConfig::default()
//! };
//! let listener = EndpointConfig { listen: Some(9260), ..host("10.0.0.2:9899") };
//! let mut server = Endpoint::new(listener, [2; 32], now);
//! let mut client = Endpoint::new(host("10.0.0.1:9899"), [1; 32], now);
//! let handle = client.connect(&["10.0.0.2:9899".parse()?], 9260, now)?;
//!
//! // In the place of sockets and an event loop.
//! let mut buffer = Vec::new();
//! let mut carry = |from: &mut Endpoint, to: &mut Endpoint| {
//!     while let Some(transmit) = from.poll_transmit(now, &mut buffer) {
//!         let path = PathId::new(transmit.path.remote, transmit.path.local);
//!         for packet in buffer.chunks(transmit.segment_size) {
//!             to.handle_datagram(path, packet, now);
//!         }
//!     }
//! };
//! for _ in 0..2 {
//!     carry(&mut client, &mut server);
//!     carry(&mut server, &mut client);
//! }
//! assert!(matches!(client.poll_event(), Some((_, Event::PathChanged { .. }))));
//! assert!(matches!(client.poll_event(), Some((_, Event::Connected { accepted: false, .. }))));
//!
//! client.send(handle, Message::new(0, "hello"))?;
//! carry(&mut client, &mut server);
//! let Some((accepted, Event::Connected { .. })) = server.poll_event() else {
//!     panic!("not connected")
//! };
//! assert_eq!(&server.recv(accepted).unwrap().payload[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//! - [`Endpoint`]: the state machine that an event loop drives.
//! - [`Config`] and [`EndpointConfig`]: parameters. [`limits`]: fixed bounds, with reasons.
//! - [`packet`]: the wire format by itself, for tools and tests.
//! - `simulator`, with the feature of that name: endpoints in virtual time on a faulty network.
#![forbid(unsafe_code)]

mod address;
mod association;
mod config;
mod cookie;
mod endpoint;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod limits;
pub mod packet;
mod path;
mod rng;
mod rx;
mod seq;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
#[cfg(test)]
mod testing;
mod tx;

pub use config::{Config, EndpointConfig, Shard, UDP_PORT};
pub use endpoint::Endpoint;
pub use event::{
    AssociationHandle, CloseReason, ConnectError, Event, Message, PathId, PathState,
    PathStatistics, SendError, Transmit, UnknownAssociation,
};
