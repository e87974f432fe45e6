//! A get that was cut continues; a user's interrupt is clean.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::harness::{Site, bytes, names, signal, text, wait_until};

const SIZE: usize = 64 << 20;

/// Begins a get and ends it in the middle with `end`; gives the directory with the partial.
fn cut(
    site: &mut Site,
    content_at: &str,
    user: &super::harness::User,
    end: impl FnOnce(&mut Site, u32),
) -> (std::path::PathBuf, i32) {
    let directory = site.fresh_directory();
    let target = directory.join("f");
    let mut command = site.trusting(user, &["get", &site.url(user, content_at), text(&target)]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = directory.join(".f.towpath-partial");
    wait_until("a partial file", || {
        fs::metadata(&partial).is_ok_and(|meta| meta.len() > 300_000)
    });
    end(site, child.id());
    let code = child.wait().unwrap().code().unwrap();
    assert_eq!(
        names(&directory),
        [".f.towpath-partial", ".f.towpath-partial.of"]
    );
    (directory, code)
}

#[test]
fn a_cut_get_continues_where_it_ended() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    let content = bytes(SIZE, 1);
    site.put(&alice, "f", &content);
    let (directory, code) = cut(&mut site, "f", &alice, |site, _| {
        site.kill();
        // The new server does not know the association and says so; over UDP nobody else does.
        site.start();
    });
    assert_eq!(code, 8);
    let kept = fs::metadata(directory.join(".f.towpath-partial"))
        .unwrap()
        .len();
    let url = site.url(&alice, "f");
    let ran = site
        .towpath(&alice, &["get", "--stats", &url, text(&directory)])
        .succeeds();
    let came: u64 = ran
        .text()
        .split_whitespace()
        .find_map(|word| word.strip_prefix("bytes=")?.parse().ok())
        .unwrap();
    assert_eq!(came, SIZE as u64 - kept / 65_536 * 65_536);
    assert!(fs::read(directory.join("f")).unwrap() == content);
    assert_eq!(names(&directory), ["f"]);
}

#[test]
fn an_interrupt_leaves_what_came() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    let content = bytes(SIZE, 2);
    site.put(&alice, "f", &content);
    let (directory, code) = cut(&mut site, "f", &alice, |_, pid| signal(pid, Signal::SIGINT));
    assert_eq!(code, 130);
    site.towpath(&alice, &["get", &site.url(&alice, "f"), text(&directory)])
        .succeeds();
    assert!(fs::read(directory.join("f")).unwrap() == content);
}

#[test]
fn a_partial_that_was_changed_is_found() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    let content = bytes(SIZE, 3);
    site.put(&alice, "f", &content);
    let (directory, _) = cut(&mut site, "f", &alice, |_, pid| {
        signal(pid, Signal::SIGTERM)
    });
    let partial = directory.join(".f.towpath-partial");
    let mut there = fs::read(&partial).unwrap();
    there[100] ^= 1;
    fs::write(&partial, &there).unwrap();
    let url = site.url(&alice, "f");
    site.towpath(&alice, &["get", &url, text(&directory)])
        .exits(6);
    // The damaged start is gone, so the next attempt is whole.
    assert!(names(&directory).is_empty());
    site.towpath(&alice, &["get", &url, text(&directory)])
        .succeeds();
    assert!(fs::read(directory.join("f")).unwrap() == content);
}

#[test]
fn a_new_version_starts_over() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "f", &bytes(SIZE, 4));
    let (directory, _) = cut(&mut site, "f", &alice, |_, pid| {
        signal(pid, Signal::SIGTERM)
    });
    let content = bytes(500_000, 5);
    site.put(&alice, "f", &content);
    site.towpath(&alice, &["get", &site.url(&alice, "f"), text(&directory)])
        .succeeds();
    assert!(fs::read(directory.join("f")).unwrap() == content);
    assert_eq!(fs::metadata(directory.join("f")).unwrap().size(), 500_000);
}
