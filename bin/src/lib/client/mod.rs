//! The client: what `towpath` does.

pub mod destination;
pub mod escape;
pub mod exit;
pub mod home;
pub mod identity;
pub mod known_servers;
pub mod limits;
pub mod meter;
pub mod pins;
pub mod progress;
pub mod proof;
pub mod sink;
pub mod source;
pub mod terminal;
pub mod trust;
