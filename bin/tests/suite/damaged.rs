//! Stored files that are damaged when the server starts.

use std::fs;

use super::harness::{Site, bytes, names, text};

/// Cuts a stored file: its header with the proof still opens.
fn cut(site: &Site, path: &str) -> Vec<u8> {
    let stored = fs::read(site.stored(path)).unwrap();
    fs::write(site.stored(path), &stored[..stored.len() - 1]).unwrap();
    stored
}

#[test]
fn a_damaged_file_is_listed_and_named_after_a_restart() {
    let mut site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "dir/whole", &bytes(1_000, 1));
    site.put(&alice, "dir/cut", &bytes(1_000, 2));
    site.put(&alice, "dir/garbage", &bytes(1_000, 3));
    site.stop();
    let stored = cut(&site, "dir/cut");
    fs::write(site.stored("dir/garbage"), "garbage").unwrap();
    site.start();

    for path in ["dir/cut", "dir/garbage"] {
        let (ran, target) = site.get(&alice, path, &[]);
        ran.exits(6).says("damaged");
        assert!(!target.exists());
    }
    let directory = site.fresh_directory();
    let arguments = ["get", "-r", &site.url(&alice, "dir/"), text(&directory)];
    let ran = site.towpath(&alice, &arguments).exits(6);
    let ran = ran.says("dir/cut").says("dir/garbage");
    assert!(ran.errors.contains("damaged"), "{}", ran.errors);
    assert_eq!(names(&directory), ["whole"]);

    let list = |arguments: &[&str]| {
        let url = site.url(&alice, "dir/");
        site.towpath(&alice, &[&["ls"], arguments, &[&url]].concat())
            .succeeds()
            .text()
    };
    let plain = list(&[]);
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines.len(), 3, "{plain}");
    for (line, name, owner, damaged) in [
        (lines[0], "dir/cut", "alice", true),
        (lines[1], "dir/garbage", "-", true),
        (lines[2], "dir/whole", "alice", false),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3..], [owner, name], "{plain}");
        assert_eq!(words[0] == "damaged", damaged, "{plain}");
    }
    let json = list(&["--json"]);
    let marked: Vec<bool> = json
        .lines()
        .map(|line| line.contains("\"damaged\":true"))
        .collect();
    assert_eq!(marked, [true, true, false], "{json}");

    // Restored from a backup, while the server runs.
    fs::write(site.stored("dir/cut"), stored).unwrap();
    let (ran, target) = site.get(&alice, "dir/cut", &[]);
    ran.succeeds();
    assert_eq!(fs::read(target).unwrap(), bytes(1_000, 2));
}

#[test]
fn a_damaged_file_is_replaced_by_its_owner_or_by_an_administrator() {
    let mut site = Site::new();
    let root = site.user("root", "admin");
    let (alice, bob) = (
        site.user("alice", "maintainer"),
        site.user("bob", "maintainer"),
    );
    for path in ["cut", "garbage", "unknown"] {
        site.put(&alice, path, b"old");
    }
    // The administrator has seen one of the two whose proof will be lost.
    site.get(&root, "garbage", &[]).0.succeeds();
    site.stop();
    cut(&site, "cut");
    for path in ["garbage", "unknown"] {
        fs::write(site.stored(path), "garbage").unwrap();
    }
    site.start();
    let new = site.path("new");
    fs::write(&new, "new").unwrap();
    let put = |who, path: &str, options: &[&str]| {
        let url = site.url(who, path);
        site.towpath(who, &[&["put"], options, &[text(&new), &url]].concat())
    };
    put(&bob, "cut", &[]).exits(3);
    put(&alice, "cut", &[]).succeeds();
    let (ran, target) = site.get(&alice, "cut", &[]);
    ran.succeeds();
    assert_eq!(fs::read(target).unwrap(), b"new");

    for path in ["garbage", "unknown"] {
        put(&alice, path, &[]).exits(6).says("administrator");
        put(&alice, path, &["--replace-damaged"]).exits(3);
        put(&root, path, &[]).exits(6).says("--replace-damaged");
        put(&root, path, &["--replace-damaged"]).succeeds();
        // Clients that pinned the lost version are told that something else is there now.
        site.get(&alice, path, &[]).0.exits(6).says("seen before");
    }
    let options = ["--accept-signer"];
    site.get(&alice, "garbage", &options).0.succeeds();
    let options = ["--accept-signer", "--accept-rollback"];
    site.get(&alice, "unknown", &options).0.succeeds();
    assert!(
        !site
            .towpath(&alice, &["ls", &site.url(&alice, "")])
            .text()
            .contains("damaged")
    );
}
