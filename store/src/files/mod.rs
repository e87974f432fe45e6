//! Every file operation of the store and the registry, behind one small trait that tests can make
//! fail.
//!
//! Names are relative to one root directory, `/`-separated, without empty parts, `.` or `..`; `""`
//! is the root itself. No operation follows a symbolic link.

mod local;
#[cfg(test)]
pub(crate) mod memory;
mod operations;

pub(crate) use local::LocalFiles;
#[cfg(test)]
pub(crate) use operations::Space;
pub(crate) use operations::{
    Files, Guard, Kind, Lock, OpenFile, Stat, parent, read_all, read_full,
};
