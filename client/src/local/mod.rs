//! What the client keeps and touches on this machine: its configuration directory, keys, pins, and
//! the files that it sends and receives.

pub mod config_dir;
pub mod download;
pub mod identity;
pub mod known_servers;
pub mod pins;
pub mod proof;
pub mod trust;
pub mod upload;
