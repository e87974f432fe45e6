//! SCTP sockets and an event loop for them.
//!
//! A [`Carrier`] is an endpoint that transports whole messages on numbered streams for many
//! associations: the kernel's SCTP ([`carrier::kernel`]), SCTP in user space over UDP
//! ([`carrier::udp`]), or an `AF_UNIX` socket for tests ([`carrier::unix`]). A [`Driver`] is the
//! mio loop that moves messages between carriers and [`Session`]s, keeps their deadlines, and hands
//! their slow work to a bounded pool of worker threads ([`Execute`]).
//!
//! The clock is read here and nowhere else: the state machines get the time as an argument.

pub mod carrier;
mod driver;
pub mod limits;
mod pool;
mod ready;
mod session;
mod sys;

pub use carrier::{
    AssociationId, Carrier, CarrierEvent, CloseMode, Inbound, LostReason, PathInfo, PathState,
    Peer, Readiness, Registrar, SendError,
};
pub use driver::{CarrierIndex, Driver, LoopConfig, SessionId, Stopper};
pub use session::{Execute, Session, Ticket, Transmit};

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
