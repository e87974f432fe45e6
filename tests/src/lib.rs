//! Test harness of Towpath.
//!
//! [`kernel`] is the suite that runs client and server on a real Linux kernel with two networks
//! between them; `cargo xtask kernel` starts it.
#![forbid(unsafe_code)]

pub mod kernel;
