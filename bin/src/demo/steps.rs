//! The steps of the demo, in order.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use towpath_client::ErrorKind;
use towpath_client::exit::Exit;
use towpath_protocol::Role;

use super::error::DemoError;
use super::size::{CUT, LARGE, SMALL_FILES, Size};
use super::stage::{Stage, User};

/// Longest wait of a step for another thread.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs all steps, in order.
pub(super) fn all() -> Result<(), DemoError> {
    let mut stage = Stage::new()?;
    say("1", "An administrator creates a server");
    stage.init()?;
    say(
        "2",
        "…and users, each with a key: users sign files, the server does not",
    );
    let ada = stage.user("ada", Role::Admin)?;
    let mia = stage.user("mia", Role::Maintainer)?;
    let gus = stage.user("gus", Role::Guest)?;
    stage.serve()?;

    say(
        "3",
        &format!(
            "Mia puts a file of {}, and gets it back verified",
            Size(LARGE)
        ),
    );
    stage.file("large.bin", LARGE)?;
    stage.ok(&mia, &["put", "--stats", "large.bin", "URL/large.bin"])?;
    stage.ok(&mia, &["get", "--stats", "URL/large.bin", "large.copy"])?;
    stage.same("large.bin", "large.copy")?;

    say(
        "4",
        &format!("Ada puts a tree of {SMALL_FILES} small files, and Gus gets it"),
    );
    tree(&stage)?;
    let started = Instant::now();
    stage.ok(&ada, &["put", "-q", "-r", "tree", "URL/"])?;
    rate("put", started);
    stage.ok(&gus, &["ls", "URL/large.bin"])?;
    let started = Instant::now();
    stage.ok(&gus, &["get", "-q", "-r", "URL/tree", "tree.copy"])?;
    rate("got, each with its signature verified,", started);
    stage.same_trees("tree", "tree.copy")?;

    say("5", "Export the proof of authorship; ssh-keygen checks it");
    stage.ok(&gus, &["export", "URL/large.bin", "proof"])?;
    stage.check_proof(&mia)?;

    say("6", "Three refusals");
    stage.file("note.txt", 100)?;
    stage.refused(
        &gus,
        &["put", "note.txt", "URL/note.txt"],
        Exit::Failed(ErrorKind::Denied),
    )?;
    stage.refused(
        &mia,
        &["rm", "URL/tree/f000.txt"],
        Exit::Failed(ErrorKind::Denied),
    )?;
    println!("  (one bit of a stored file on the server is flipped)");
    flip(&stage)?;
    stage.refused(
        &gus,
        &["get", "URL/tree/f001.txt", "damaged"],
        Exit::Failed(ErrorKind::Verification),
    )?;
    if stage.path("damaged").exists() {
        return Err(DemoError::Wrong("a damaged file was written".to_owned()));
    }

    say("7", "A network fails during a transfer");
    cut(&stage, &mia)?;
    stage.stop()
}

fn say(number: &str, text: &str) {
    println!("\n{number}. {text}");
}

fn rate(what: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "  {SMALL_FILES} files {what} in {seconds:.1} s: {:.0} files/s",
        SMALL_FILES as f64 / seconds
    );
}

fn tree(stage: &Stage) -> Result<(), DemoError> {
    for index in 0..SMALL_FILES {
        let dir = stage.path("tree").join(format!("d{}", index % 10));
        let dir = if index < 10 { stage.path("tree") } else { dir };
        fs::create_dir_all(&dir).map_err(DemoError::io(&dir))?;
        let path = dir.join(format!("f{index:03}.txt"));
        let text = format!("file {index}\n").repeat(1 + index % 50);
        fs::write(&path, text).map_err(DemoError::io(&path))?;
    }
    Ok(())
}

/// Flips the last bit of a stored file.
fn flip(stage: &Stage) -> Result<(), DemoError> {
    let path = stage.stored("tree/f001.txt");
    let flip = |path: &Path| {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        file.seek(SeekFrom::End(-1))?;
        file.write_all(&[last[0] ^ 1])
    };
    flip(&path).map_err(DemoError::io(path))
}

/// Cuts the address that carries most packets of a running put.
fn cut(stage: &Stage, mia: &User) -> Result<(), DemoError> {
    stage.file("long.bin", CUT)?;
    let link_faults = stage.link_faults()?;
    let partials = stage.stored_partials();
    let watcher = std::thread::spawn(move || -> Option<IpAddr> {
        let started = Instant::now();
        while started.elapsed() < STEP_TIMEOUT {
            if bytes_in(&partials) > CUT / 4 {
                let busiest = link_faults.take_busiest()?;
                link_faults.cut(busiest);
                println!(
                    "  *** {busiest} is cut after {} ***",
                    Size(bytes_in(&partials))
                );
                return Some(busiest);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    stage.ok(mia, &["put", "--stats", "long.bin", "URL/long.bin"])?;
    let cut = watcher.join().ok().flatten();
    let Some(cut) = cut else {
        return Err(DemoError::Wrong(
            "the address was not cut in time".to_owned(),
        ));
    };
    println!("  The put failed over to the other address; the longest pause is the longest stall.");
    stage.ok(mia, &["get", "-q", "URL/long.bin", "long.copy"])?;
    stage.same("long.bin", "long.copy")?;
    stage.link_faults()?.restore(cut);
    Ok(())
}

fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
