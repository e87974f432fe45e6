//! What the suite shows, one function for each case.

mod carrier;

use super::report::Report;
use super::{CaseError, Programs};

/// One thing to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Short and unique; chooses the case on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Shows it or says why not.
    pub run: fn(&Programs, &mut Report) -> Result<(), CaseError>,
}

/// Every case, in the order they run.
pub const ALL: &[Case] = &[Case {
    name: "carrier",
    about: "the kernel carrier's own tests, on a host with loopback only",
    run: carrier::run,
}];
