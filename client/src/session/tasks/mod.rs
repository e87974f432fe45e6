//! Tasks of the commands, one for each file or request.

pub(crate) mod answered;
pub(crate) mod get;
#[cfg(feature = "cli")]
pub(crate) mod get_tree;
#[cfg(feature = "cli")]
pub(crate) mod keys;
#[cfg(feature = "cli")]
pub(crate) mod list;
pub(crate) mod pages;
pub(crate) mod put;
#[cfg(feature = "cli")]
pub(crate) mod put_tree;
#[cfg(feature = "cli")]
pub(crate) mod remove;
#[cfg(feature = "cli")]
pub(crate) mod users;
