//! Sans-IO state machines of the Towpath secure file transfer protocol.

mod link;

pub use link::{LinkChange, Transmit};
