//! The server's side of a connection.

mod event;

pub use event::{ClaimedUser, Credential, Event, Ticket, Verdict};
