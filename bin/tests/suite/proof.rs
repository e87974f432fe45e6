//! Signatures, pins and damage: what the client refuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::{Site, bytes, names, run, text};

#[test]
fn a_flipped_bit_is_found_and_nothing_is_written() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "f", &bytes(200_000, 1));
    let stored = site.stored("f");
    let whole = fs::read(&stored).unwrap();
    site.stop();
    for at in [
        whole.len() - 1,
        whole.len() - 100_000,
        whole.len() - 199_000,
        200,
        40,
    ] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&stored, &flipped).unwrap();
        site.start();
        let (ran, target) = site.get(&alice, "f", &[]);
        // A damaged header may make the file unreadable to the index: then it is not there at all.
        assert!(matches!(ran.code, 6 | 7), "byte {at}: {ran:?}");
        assert!(
            names(target.parent().unwrap()).is_empty(),
            "byte {at}: {:?}",
            names(target.parent().unwrap())
        );
        // Standard output stays empty too.
        let piped = site.towpath(&alice, &["get", &site.url(&alice, "f"), "-"]);
        assert_ne!(piped.code, 0);
        assert!(piped.output.is_empty());
        site.stop();
    }
    fs::write(&stored, &whole).unwrap();
    site.start();
    site.get(&alice, "f", &[]).0.succeeds();
}

#[test]
fn an_older_version_is_refused_by_who_saw_the_newer() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    let bob = site.user("bob", "guest");
    let carol = site.user("carol", "guest");
    site.put(&alice, "f", b"one");
    let old = fs::read(site.stored("f")).unwrap();
    site.put(&alice, "f", b"two");
    site.get(&bob, "f", &[]).0.succeeds().says("first use");
    site.stop();
    fs::write(site.stored("f"), old).unwrap();
    site.start();
    let (ran, target) = site.get(&bob, "f", &[]);
    ran.exits(6)
        .says("version 1")
        .says("version 2")
        .says("--accept-rollback");
    assert!(!target.exists());
    // The author must not sign on top of the past either.
    let source = site.path("source");
    fs::write(&source, "three").unwrap();
    site.towpath(&alice, &["put", text(&source), &site.url(&alice, "f")])
        .exits(6)
        .says("--accept-rollback");
    // Who never saw the newer cannot know.
    site.get(&carol, "f", &[]).0.succeeds();
    let (ran, target) = site.get(&bob, "f", &["--accept-rollback"]);
    ran.succeeds();
    assert_eq!(fs::read(target).unwrap(), b"one");
    site.get(&bob, "f", &[]).0.succeeds();
}

#[test]
fn a_file_that_vanished_is_not_put_anew_by_who_knew_it() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "f", b"one");
    site.stop();
    fs::remove_file(site.stored("f")).unwrap();
    site.start();
    let source = site.path("source");
    fs::write(&source, "two").unwrap();
    let url = site.url(&alice, "f");
    for command in [&["rm", &url][..], &["put", text(&source), &url]] {
        site.towpath(&alice, command)
            .exits(6)
            .says("there never was one");
    }
    site.towpath(&alice, &["put", "--accept-rollback", text(&source), &url])
        .succeeds();
}

#[test]
fn a_new_signer_is_refused_until_accepted() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let root = site.user("root", "admin");
    let reader = site.user("reader", "guest");
    site.put(&alice, "f", b"by alice");
    site.get(&reader, "f", &[]).0.succeeds().says("first use");
    site.get(&reader, "f", &[]).0.succeeds();
    site.put(&root, "f", b"by root");
    let (ran, target) = site.get(&reader, "f", &[]);
    ran.exits(6).says("root").says("--accept-signer");
    assert!(!target.exists());
    site.get(&reader, "f", &["--accept-signer"]).0.succeeds();
    site.get(&reader, "f", &[]).0.succeeds();
}

#[test]
fn two_put_the_same_path_at_once_and_both_are_counted() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let source = site.path("source");
    fs::write(&source, bytes(3 << 20, 1)).unwrap();
    let url = site.url(&alice, "contested");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                site.towpath(&alice, &["put", text(&source), &url])
                    .succeeds()
            });
        }
    });
    let listing = site.towpath(&alice, &["ls", &url]).succeeds().text();
    assert!(listing.contains(" v4 "), "{listing}");
}

/// Runs the command that `towpath export` printed, from its directory.
fn check(directory: &Path, line: &str, input_changed: bool) -> bool {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).current_dir(directory);
    let ran = run(&mut shell, None);
    assert!(input_changed || ran.code == 0, "{line}: {ran:?}");
    ran.code == 0
}

#[test]
fn other_tools_check_the_proof() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let bob = site.user("bob", "guest");
    let content = bytes(100_000, 3);
    site.put(&alice, "d/report 1.pdf", &content);
    let directory = site.fresh_directory();
    let ran = site
        .towpath(
            &bob,
            &[
                "export",
                &site.url(&bob, "d/report 1.pdf"),
                text(&directory),
            ],
        )
        .succeeds();
    assert_eq!(
        names(&directory),
        [
            "allowed_signers",
            "report 1.pdf.b3",
            "report 1.pdf.manifest",
            "report 1.pdf.sig"
        ]
    );
    site.towpath(
        &bob,
        &["get", &site.url(&bob, "d/report 1.pdf"), text(&directory)],
    )
    .succeeds();
    let printed = ran.text();
    let lines: Vec<&str> = printed.lines().collect();
    check(&directory, lines[0], false);
    check(&directory, lines[1], false);

    let manifest = directory.join("report 1.pdf.manifest");
    let whole = fs::read(&manifest).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&manifest, &changed).unwrap();
        assert!(!check(&directory, lines[0], true), "byte {at}");
    }
    fs::write(&manifest, &whole).unwrap();
    check(&directory, lines[0], false);
}

#[test]
fn age_opens_what_is_stored() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    for size in [0, 1, 65_536, 200_000] {
        let content = bytes(size, 4);
        site.put(&alice, "f", &content);
        let mut age = Command::new("age");
        age.args(["-d", "-i"])
            .arg(site.server_path("storage.key"))
            .arg(site.stored("f"));
        assert!(run(&mut age, None).succeeds().output == content, "{size}");
    }
}
