//! Local state of the client: configuration directory, keys, pins, and the files that it sends and
//! receives.

pub(crate) mod config_dir;
pub(crate) mod download;
pub(crate) mod identity;
pub(crate) mod known_servers;
pub(crate) mod pins;
#[cfg(feature = "cli")]
pub(crate) mod proof;
pub(crate) mod secret;
#[cfg(feature = "cli")]
pub(crate) mod tree;
pub(crate) mod trust;
pub(crate) mod upload;
