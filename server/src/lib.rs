//! The server: what `towpathd` does.
//!
//! A [`session::ServerSession`] joins one protocol connection to the store and the user registry.
//! It has no threads and no clock: slow work (bcrypt, files) leaves it as [`jobs::Job`]s, and
//! whoever drives the session runs them on [`services::Services`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
mod authorization;
pub mod cli;
pub mod config;
pub mod directory;
mod entries;
pub mod jobs;
pub mod limits;
mod refusals;
pub mod run;
pub mod services;
pub mod session;
pub mod throttle;
pub mod tls_identity;

#[cfg(test)]
mod tests;
