//! A network fails during a transfer, which continues without a new command.

use std::thread;
use std::time::Duration;

use crate::kernel::hosts::{self, Carriers, Site, User};
use crate::kernel::net::{Cut, Link, Network};
use crate::kernel::process::{self, Ended, Running};
use crate::kernel::report::Report;
use crate::kernel::stats::{self, Stats};
use crate::kernel::{CaseError, Programs, demand, limits};

/// Fraction of the file that is transferred when the network fails.
const CUT_AT: f64 = 0.4;
/// Fraction at which the network is restored, in the case where it is.
const MEND_AT: f64 = 0.5;

/// A pace at which one processor has time for both ends, the kernel and the cut: 25 MB/s.
const PACE: &[&str] = &["rate", "200mbit"];

/// What is transferred over which networks, and how one of them is lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// Transport.
    pub(super) carriers: Carriers,
    /// Bytes of the file.
    pub(super) size: u64,
    /// How the network in use fails.
    pub(super) cut: Cut,
    /// Conditions of both networks.
    pub(super) netem: &'static [&'static str],
    /// The longest stall that passes.
    pub(super) stall: Duration,
}

impl Trial {
    /// The file of the failover cases, over what the programs choose by themselves.
    pub(super) const BIG: Self = Self {
        carriers: Carriers::DEFAULT,
        size: limits::BIG_FILE,
        cut: Cut::BlackHole,
        netem: PACE,
        stall: limits::STALL,
    };
}

/// A link that goes down, each direction.
pub(super) fn down(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let cut = Cut::Down;
    both_directions(programs, report, &Trial { cut, ..Trial::BIG })
}

/// A network that drops all packets, each direction.
pub(super) fn black_hole(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    both_directions(programs, report, &Trial::BIG)
}

/// A link that goes down while both networks lose 1 % of the packets and delay each by 1 ms.
pub(super) fn lossy(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let trial = Trial {
        cut: Cut::Down,
        netem: &["loss", "1%", "delay", "1ms"],
        ..Trial::BIG
    };
    both_directions(programs, report, &trial)
}

/// Puts a file and gets it; the network in use fails during each transfer.
pub(super) fn both_directions(
    programs: &Programs,
    report: &mut Report,
    trial: &Trial,
) -> Result<(), CaseError> {
    let cut = trial.cut;
    let network = Network::new(1500)?;
    let users = [("alice", "maintainer")];
    let (mut site, users) = Site::with(programs, network, trial.carriers, &users)?;
    let alice = &users[0];
    shape(&mut site, report, trial.netem)?;
    let source = site.path("source");
    let hash = hosts::make_file(&source, trial.size, 1)?;
    let remote = site.remote(alice, "big");

    let put = site.start(alice, "put", &["--stats", hosts::text(&source)?, &remote])?;
    let lost = transfer(&site, report, trial, "put", put)?;
    let logged = stats::last_logged_stall(&site.server_log());
    let logged =
        logged.ok_or_else(|| CaseError::Wrong("server.log has no longest_stall_ms".to_owned()))?;
    report.say(format!("  put: the server saw a stall of {logged} ms"));
    let stored = site.stored_hash("big")?;
    demand!(stored == hash, "stored with BLAKE3 {stored}, sent {hash}");
    report.say(format!("  put: age opens the stored file, BLAKE3 {hash}"));
    hosts::remove(&source)?;

    site.network.mend(lost, cut)?;
    let fetched = site.path("fetched");
    let get = site.start(alice, "get", &["--stats", &remote, hosts::text(&fetched)?])?;
    transfer(&site, report, trial, "get", get)?;
    let received = hosts::hash_file(&fetched)?;
    demand!(
        received == hash,
        "received BLAKE3 {received}, stored {hash}"
    );
    report.say(format!("  get: BLAKE3 {hash}"));
    site.stop()
}

/// The link comes back in mid-transfer and carries data again.
pub(super) fn link_returns(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let (mut site, users) = Site::new(programs, 1500, &[("alice", "maintainer")])?;
    let alice: &User = &users[0];
    shape(&mut site, report, PACE)?;
    let source = site.path("source");
    let hash = hosts::make_file(&source, limits::BIG_FILE, 2)?;
    let remote = site.remote(alice, "big");
    let put = site.start(alice, "put", &["--stats", hosts::text(&source)?, &remote])?;
    let changes = [
        (CUT_AT / 2.0, Change::Cut(Cut::BlackHole)),
        (MEND_AT, Change::Mend(Cut::BlackHole)),
    ];
    let (changed, stats) = transfer_of(&site, report, &Trial::BIG, "put", put, &changes)?;
    demand_short(&stats, &Trial::BIG)?;
    let after = site.network.bytes(changed.link)? - changed.carried;
    report.say(format!(
        "  the {} network carried {} MiB more after its return",
        changed.link,
        after >> 20
    ));
    // Heartbeats alone are a few kilobytes.
    demand!(
        after > limits::BIG_FILE / 20,
        "the link came back and was hardly used: {after} bytes"
    );
    hosts::remove(&source)?;
    let stored = site.stored_hash("big")?;
    demand!(stored == hash, "stored with BLAKE3 {stored}, sent {hash}");
    site.stop()
}

/// Sets the conditions of both networks, and reports them.
pub(super) fn shape(
    site: &mut Site,
    report: &mut Report,
    netem: &'static [&'static str],
) -> Result<(), CaseError> {
    site.network.shape(netem)?;
    report.say(format!("  both networks: {}", netem.join(" ")));
    Ok(())
}

/// A change of the network in use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// It fails.
    Cut(Cut),
    /// It is restored.
    Mend(Cut),
}

/// A network that was changed, and what both had carried at the last change.
pub(super) struct Changed {
    /// The network in use at the first change.
    pub(super) link: Link,
    /// Bytes that it had carried at the last change.
    pub(super) carried: u64,
    other_carried: u64,
    /// Both together since the transfer began.
    carried_since_start: u64,
}

/// Runs a transfer of the big file that loses the network in use, and shows that it did.
fn transfer(
    site: &Site,
    report: &mut Report,
    trial: &Trial,
    name: &str,
    running: Running,
) -> Result<Link, CaseError> {
    let changes = [(CUT_AT, Change::Cut(trial.cut))];
    let (changed, stats) = transfer_of(site, report, trial, name, running, &changes)?;
    demand_short(&stats, trial)?;
    let other = site.network.bytes(changed.link.other())? - changed.other_carried;
    let rest = trial.size.saturating_sub(changed.carried_since_start);
    // What was in flight, or was counted with its headers, is far below a fifth of the rest.
    demand!(
        rest > 0 && other > rest / 5 * 4,
        "{name}: only {other} bytes of {rest} went over the other network after the cut"
    );
    Ok(changed.link)
}

/// Runs a transfer with changes at parts of its way to the network that was in use at the first.
pub(super) fn transfer_of(
    site: &Site,
    report: &mut Report,
    trial: &Trial,
    name: &str,
    running: Running,
    changes: &[(f64, Change)],
) -> Result<(Changed, Stats), CaseError> {
    let (ended, changed) = watch(site, report, trial, name, running, changes)?;
    let ended = ended.expect_code(0).map_err(|error| site.with_log(error))?;
    let mut all = Stats::all_in(&format!("{}\n{}", ended.output, ended.errors));
    let (Some(stats), true) = (all.pop(), all.is_empty()) else {
        return Err(CaseError::Wrong(format!(
            "{name}: not one line of stats:\n{}",
            ended.output
        )));
    };
    demand!(
        stats.bytes == trial.size,
        "{name}: {} bytes transferred of {}",
        stats.bytes,
        trial.size
    );
    report.say(format!(
        "  {name}: exit 0, {} MiB in {:.1} s ({:.1} MB/s), longest stall {} ms",
        stats.bytes >> 20,
        stats.seconds,
        stats.bytes as f64 / 1e6 / stats.seconds,
        stats.longest_stall_ms
    ));
    Ok((changed, stats))
}

fn demand_short(stats: &Stats, trial: &Trial) -> Result<(), CaseError> {
    demand!(
        u128::from(stats.longest_stall_ms) <= trial.stall.as_millis(),
        "a stall of {} ms is longer than {} ms",
        stats.longest_stall_ms,
        trial.stall.as_millis()
    );
    Ok(())
}

fn watch(
    site: &Site,
    report: &mut Report,
    trial: &Trial,
    name: &str,
    mut running: Running,
    changes: &[(f64, Change)],
) -> Result<(Ended, Changed), CaseError> {
    let carried = |link: Link| site.network.bytes(link);
    let start = [carried(Link::First)?, carried(Link::Second)?];
    let mut changed = Changed {
        link: Link::First,
        carried: 0,
        other_carried: 0,
        carried_since_start: 0,
    };
    let mut made = 0;
    while let Some((part, change)) = changes.get(made) {
        if running.ended()?.is_some() {
            let ended = running
                .wait(limits::COMMAND)?
                .expect_code(0)
                .map_err(|error| site.with_log(error))?;
            return Err(CaseError::Wrong(format!(
                "{}: ended before the link was changed",
                ended.line
            )));
        }
        demand!(
            running.elapsed() < limits::COMMAND,
            "{name}: no progress; {}",
            process::tail(&site.server_log())
        );
        let now = [
            carried(Link::First)? - start[0],
            carried(Link::Second)? - start[1],
        ];
        if now[0] + now[1] >= part_of(trial.size, *part) {
            if made == 0 && now[1] > now[0] {
                changed.link = Link::Second;
            }
            let link = changed.link;
            let what = match change {
                Change::Cut(cut) => {
                    site.network.cut(link, *cut)?;
                    format!("cut ({cut:?})")
                }
                Change::Mend(cut) => {
                    site.network.mend(link, *cut)?;
                    "back".to_owned()
                }
            };
            report.say(format!(
                "  {name}: {link} network {what} after {} MiB on the first and {} MiB on the second",
                now[0] >> 20,
                now[1] >> 20
            ));
            changed.carried = carried(link)?;
            changed.other_carried = carried(link.other())?;
            changed.carried_since_start = now[0] + now[1];
            made += 1;
        }
        thread::sleep(limits::POLL);
    }
    Ok((running.wait(limits::COMMAND)?, changed))
}

fn part_of(size: u64, part: f64) -> u64 {
    (size as f64 * part) as u64
}
