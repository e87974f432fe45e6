//! The server: what `towpathd` does.
//!
//! A [`session::ServerSession`] joins one protocol connection to the store and the user registry.
//! It has no threads and no clock: slow work (bcrypt, files) leaves it as [`jobs::Job`]s, and
//! whoever drives the session runs them on [`jobs::Services`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod cli;
pub mod config;
pub mod directory;
mod download;
pub mod jobs;
pub mod limits;
mod refusals;
pub mod run;
pub mod session;
pub mod throttle;
pub mod tls_identity;
mod upload;

#[cfg(test)]
mod tests;
