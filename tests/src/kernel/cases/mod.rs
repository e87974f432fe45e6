//! What the suite shows, one function for each case.

mod carrier;
mod clients;
mod failover;
mod interop;
mod roles;
mod streams;
mod usrsctp;

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
pub const ALL: &[Case] = &[
    Case {
        name: "carrier",
        about: "the kernel carrier's own tests, on a host with loopback only",
        run: carrier::run,
    },
    Case {
        name: "roles",
        about: "each cell of the role table that a client can try, from a real client",
        run: roles::run,
    },
    Case {
        name: "cut-link-down",
        about: "put and get 200 MiB, the first network's link taken down during the transfer",
        run: failover::down,
    },
    Case {
        name: "cut-black-hole",
        about: "put and get 200 MiB, the first network losing everything in mid-transfer",
        run: failover::black_hole,
    },
    Case {
        name: "cut-lossy",
        about: "put and get 200 MiB at 1 % loss and 1 ms delay, the first network's link taken down",
        run: failover::lossy,
    },
    Case {
        name: "link-returns",
        about: "a black hole that heals in mid-transfer is used again",
        run: failover::link_returns,
    },
    Case {
        name: "streams",
        about: "32 transfers at once, and a small get that does not wait for them",
        run: streams::run,
    },
    Case {
        name: "two-clients",
        about: "two clients transfer at once, neither waits for the other",
        run: clients::run,
    },
    Case {
        name: "usrsctp-transfer",
        about: "our SCTP and usrsctp, each as the server: set-up, echoes of all sizes, shutdown",
        run: usrsctp::transfer,
    },
    Case {
        name: "usrsctp-ends",
        about: "our SCTP and usrsctp: aborts from both sides, a shutdown by the server",
        run: usrsctp::ends,
    },
    Case {
        name: "usrsctp-cut",
        about: "our SCTP and usrsctp: the path in use becomes a black hole in mid-transfer",
        run: usrsctp::cut,
    },
    Case {
        name: "interop-kernel-kernel",
        about: "the kernel's SCTP in UDP at both ends: put and get, a black hole in mid-transfer",
        run: interop::kernel_kernel,
    },
    Case {
        name: "interop-kernel-ours",
        about: "the kernel's SCTP in UDP serves ours: put and get, a black hole in mid-transfer",
        run: interop::kernel_ours,
    },
    Case {
        name: "interop-ours-kernel",
        about: "our SCTP serves the kernel's in UDP: put and get, a black hole in mid-transfer",
        run: interop::ours_kernel,
    },
    Case {
        name: "interop-ours-ours",
        about: "our SCTP at both ends: put and get, a black hole in mid-transfer",
        run: interop::ours_ours,
    },
    Case {
        name: "stall",
        about: "our SCTP: a path of 10 ms is lost for a while; short stall, used again",
        run: interop::stall,
    },
    Case {
        name: "stall-one-address",
        about: "the same from two interfaces to a server with one address",
        run: interop::one_address,
    },
];
