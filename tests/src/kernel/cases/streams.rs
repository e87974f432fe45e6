//! Many transfers on the streams of one connection.

use std::fs;

use crate::kernel::hosts::{self, Site};
use crate::kernel::report::Report;
use crate::kernel::stats::Stats;
use crate::kernel::{CaseError, Programs, demand, limits};

/// Size of each of the large files.
const LARGE: u64 = 4 << 20;
/// Size of the small one.
const SMALL: u64 = 1000;

/// Puts a directory of large files at once, then gets it with a small one beside them.
pub(super) fn run(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let (mut site, users) = Site::new(programs, 1500, &[("alice", "maintainer")])?;
    let alice = &users[0];
    let source = site.path("many");
    fs::create_dir(&source).map_err(|source| CaseError::File {
        what: "many".to_owned(),
        source,
    })?;
    let mut hashes = Vec::new();
    for index in 0..limits::MANY {
        let name = format!("large-{index:02}");
        let hash = hosts::make_file(&source.join(&name), LARGE, 1 + index as u8)?;
        hashes.push((name, hash));
    }
    // The last by name, so that nothing but its size lets it end first.
    let small = "small".to_owned();
    hashes.push((
        small.clone(),
        hosts::make_file(&source.join(&small), SMALL, 0)?,
    ));

    let parallel = (limits::MANY + 1).to_string();
    let remote = site.remote(alice, "");
    let put = [
        "--stats",
        "-r",
        "-j",
        &parallel,
        hosts::text(&source)?,
        &remote,
    ];
    let put = site.towpath(alice, "put", &put)?.expect_code(0)?;
    show(report, "put", &put.output, &put.errors, &small)?;

    let fetched = site.path("fetched");
    let remote = site.remote(alice, "many");
    let get = [
        "--stats",
        "-r",
        "-j",
        &parallel,
        &remote,
        hosts::text(&fetched)?,
    ];
    let get = site.towpath(alice, "get", &get)?.expect_code(0)?;
    show(report, "get", &get.output, &get.errors, &small)?;
    for (name, hash) in &hashes {
        let received = hosts::hash_file(&fetched.join(name))?;
        demand!(
            received == *hash,
            "{name}: received BLAKE3 {received}, sent {hash}"
        );
    }
    report.say(format!(
        "  {} files came back with equal hashes",
        hashes.len()
    ));
    site.stop()
}

/// All transfers of one connection ran at once, and the small one did not wait.
fn show(
    report: &mut Report,
    name: &str,
    output: &str,
    errors: &str,
    small: &str,
) -> Result<(), CaseError> {
    let all = Stats::all_in(&format!("{output}\n{errors}"));
    demand!(
        all.len() == limits::MANY + 1,
        "{name}: {} stats lines, expected {}",
        all.len(),
        limits::MANY + 1
    );
    let (little, large): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|stats| stats.transfer.ends_with(small));
    let [little] = little.as_slice() else {
        return Err(CaseError::Wrong(format!(
            "{name}: {} transfers called {small}",
            little.len()
        )));
    };
    let shortest = large
        .iter()
        .map(|stats| stats.seconds)
        .fold(f64::INFINITY, f64::min);
    let longest = large.iter().map(|stats| stats.seconds).fold(0.0, f64::max);
    report.say(format!(
        "  {name}: {} large in {shortest:.2} to {longest:.2} s each, the small one in {:.2} s",
        large.len(),
        little.seconds
    ));
    // One after the other, the shortest would take a 32nd of the longest's wait.
    demand!(
        shortest > longest / 4.0,
        "{name}: the large transfers did not run at once"
    );
    demand!(
        little.seconds < longest / 2.0,
        "{name}: the small transfer waited for the large ones"
    );
    Ok(())
}
