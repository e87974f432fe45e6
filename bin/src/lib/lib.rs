//! The client and server sessions behind the `towpath` and `towpathd` binaries.

#![forbid(unsafe_code)]

pub mod client;
mod demo;
pub mod server;
