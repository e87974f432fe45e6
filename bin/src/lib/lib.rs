//! The client and server sessions behind the `towpath` and `towpathd` binaries.

pub mod client;
pub mod server;
