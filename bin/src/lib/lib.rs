//! The client and server sessions behind the `towpath` and `towpathd` binaries.

pub mod client;
mod demo;
pub mod server;
