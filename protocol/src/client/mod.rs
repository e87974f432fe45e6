//! The client's side of a connection.

mod event;

pub use event::Event;
