//! SCTP in UDP: the kernel's and ours on either side, and our stall when a path fails.

use super::failover::{self, Change, Trial};
use crate::kernel::hosts::{self, Carrier, Carriers, Site};
use crate::kernel::net::{Cut, Network};
use crate::kernel::report::Report;
use crate::kernel::{CaseError, Programs, demand, limits};

/// Ours at both ends.
const OURS: Carriers = Carriers {
    server: Carrier::Ours,
    client: Carrier::Ours,
};

/// Fractions of the file at which the network in use fails, and is restored.
const LOST: (f64, f64) = (0.2, 0.4);

/// The kernel at both ends.
pub(super) fn kernel_kernel(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    cell(programs, report, Carrier::KernelInUdp, Carrier::KernelInUdp)
}

/// The kernel serves ours.
pub(super) fn kernel_ours(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    cell(programs, report, Carrier::KernelInUdp, Carrier::Ours)
}

/// Ours serves the kernel.
pub(super) fn ours_kernel(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    cell(programs, report, Carrier::Ours, Carrier::KernelInUdp)
}

/// Ours at both ends.
pub(super) fn ours_ours(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    cell(programs, report, Carrier::Ours, Carrier::Ours)
}

fn cell(
    programs: &Programs,
    report: &mut Report,
    server: Carrier,
    client: Carrier,
) -> Result<(), CaseError> {
    let trial = Trial {
        carriers: Carriers { server, client },
        size: limits::CELL_FILE,
        stall: limits::CELL_STALL,
        ..Trial::BIG
    };
    failover::both_directions(programs, report, &trial)
}

/// Two addresses at each end, 10 ms from one to the other and back.
pub(super) fn stall(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    lost_and_found(programs, report, Network::new(1500)?)
}

/// Two interfaces at the client, one address at the server.
pub(super) fn one_address(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    lost_and_found(programs, report, Network::with_one_server_address(1500)?)
}

/// A file is received while the network in use drops all packets and is restored: the wait is
/// short, and the network is used again.
fn lost_and_found(
    programs: &Programs,
    report: &mut Report,
    network: Network,
) -> Result<(), CaseError> {
    let trial = Trial {
        carriers: OURS,
        size: limits::STALL_FILE,
        netem: &["delay", "5ms", "rate", "200mbit"],
        stall: limits::OUR_STALL,
        ..Trial::BIG
    };
    let users = [("alice", "maintainer")];
    let (mut site, users) = Site::with(programs, network, trial.carriers, &users)?;
    let alice = &users[0];
    failover::shape(&mut site, report, trial.netem)?;
    let source = site.path("source");
    let hash = hosts::make_file(&source, trial.size, 3)?;
    let remote = site.remote(alice, "big");
    site.towpath(alice, "put", &[hosts::text(&source)?, &remote])?
        .expect_code(0)
        .map_err(|error| site.with_log(error))?;
    hosts::remove(&source)?;

    let changes = [
        (LOST.0, Change::Cut(Cut::BlackHole)),
        (LOST.1, Change::Mend(Cut::BlackHole)),
    ];
    let mut stalls = Vec::new();
    // One processor runs both ends and the emulator: a wait that is too long may be its own.
    for attempt in 1..=limits::STALL_ATTEMPTS {
        let fetched = site.path("fetched");
        let get = site.start(alice, "get", &["--stats", &remote, hosts::text(&fetched)?])?;
        let name = format!("get {attempt}");
        let (changed, stats) = failover::transfer_of(&site, report, &trial, &name, get, &changes)?;
        let received = hosts::hash_file(&fetched)?;
        demand!(received == hash, "received BLAKE3 {received}, sent {hash}");
        hosts::remove(&fetched)?;
        let after = site.network.bytes(changed.link)? - changed.carried;
        report.say(format!(
            "  the {} network carried {} MiB after its return",
            changed.link,
            after >> 20
        ));
        // Heartbeats alone are a few kilobytes.
        demand!(
            after > trial.size / 20,
            "the {} network came back and was hardly used: {after} bytes",
            changed.link
        );
        stalls.push(stats.longest_stall_ms);
        if u128::from(stats.longest_stall_ms) <= trial.stall.as_millis() {
            return site.stop();
        }
    }
    Err(CaseError::Wrong(format!(
        "stalls of {stalls:?} ms, none within {} ms",
        trial.stall.as_millis()
    )))
}
