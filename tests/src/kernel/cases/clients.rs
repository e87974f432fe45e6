//! Two clients at once.

use std::thread;

use crate::kernel::hosts::{self, Site};
use crate::kernel::report::Report;
use crate::kernel::stats::Stats;
use crate::kernel::{CaseError, Programs, demand, limits};

const SIZE: u64 = 64 << 20;

/// Two users put a file each at the same time, then get each other's.
pub(super) fn run(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let users = [("alice", "maintainer"), ("bob", "admin")];
    let (mut site, users) = Site::new(programs, 1500, &users)?;
    let mut hashes = Vec::new();
    let mut running = Vec::new();
    for (index, user) in users.iter().enumerate() {
        let source = site.path(&format!("source-{}", user.name));
        hashes.push(hosts::make_file(&source, SIZE, 10 + index as u8)?);
    }
    for user in &users {
        let source = site.path(&format!("source-{}", user.name));
        let remote = site.remote(user, &format!("from-{}", user.name));
        running.push(site.start(user, "put", &["--stats", hosts::text(&source)?, &remote])?);
    }
    finish(report, "put", running)?;

    let mut running = Vec::new();
    for (user, other) in [(&users[0], &users[1]), (&users[1], &users[0])] {
        let target = site.path(&format!("target-{}", user.name));
        let remote = site.remote(user, &format!("from-{}", other.name));
        running.push(site.start(user, "get", &["--stats", &remote, hosts::text(&target)?])?);
    }
    finish(report, "get", running)?;
    for (user, hash) in [(&users[0], hashes[1]), (&users[1], hashes[0])] {
        let received = hosts::hash_file(&site.path(&format!("target-{}", user.name)))?;
        demand!(
            received == hash,
            "{}: received BLAKE3 {received}, sent {hash}",
            user.name
        );
    }
    report.say("  each has the other's file, hashes equal");
    site.stop()
}

/// Waits for both and shows that neither waited for the other.
fn finish(
    report: &mut Report,
    name: &str,
    mut running: Vec<crate::kernel::process::Running>,
) -> Result<(), CaseError> {
    // Both are collected as they end: a file's time is its own, not that of the wait.
    loop {
        let mut all_ended = true;
        for one in &mut running {
            all_ended &= one.ended()?.is_some() || one.elapsed() > limits::COMMAND;
        }
        if all_ended {
            break;
        }
        thread::sleep(limits::POLL);
    }
    let mut seconds = Vec::new();
    for one in running {
        let ended = one.wait(limits::COMMAND)?.expect_code(0)?;
        let stats = Stats::all_in(&format!("{}\n{}", ended.output, ended.errors));
        let stats = stats
            .first()
            .ok_or_else(|| CaseError::Wrong(format!("{}: no stats line", ended.line)))?;
        seconds.push(stats.seconds);
    }
    let (short, long) = (seconds[0].min(seconds[1]), seconds[0].max(seconds[1]));
    report.say(format!(
        "  {name}: {} MiB each at once, in {short:.1} s and {long:.1} s",
        SIZE >> 20
    ));
    // One after the other, the second would take no longer than the first; sharing, both
    // take about as long, and neither much less than half of the other.
    demand!(short > long / 3.0, "{name}: one client starved the other");
    Ok(())
}
