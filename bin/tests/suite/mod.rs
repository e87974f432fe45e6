//! The commands as users run them: `towpath` against `towpathd`.

mod damaged;
mod files;
pub(crate) mod harness;
mod login;
mod proof;
mod resume;
mod trust;
