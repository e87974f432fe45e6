//! The Towpath server, as a library for `towpathd`.
//!
//! [`admin`] creates a server directory, [`run`] serves it. A session (`session/`) joins one
//! protocol connection to the store and the user registry. It has no threads and no clock: slow
//! work (bcrypt, files) is queued as a job, which the driver of the session runs on the services
//! that all sessions share.

#![forbid(unsafe_code)]

pub mod admin;
mod admission;
mod authorization;
pub mod cli;
pub mod config;
pub mod directory;
mod entries;
mod jobs;
mod limits;
mod refusals;
pub mod run;
mod services;
mod session;
mod throttle;
pub mod tls_identity;

#[cfg(test)]
mod tests;
