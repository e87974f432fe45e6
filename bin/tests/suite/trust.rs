//! Which servers are trusted.

use std::fs;

use super::harness::{ADDRESSES, ELSEWHERE, Site, text};

#[test]
fn an_unknown_server_is_refused_without_a_person_and_known_afterwards() {
    let site = Site::new();
    let alice = site.user("alice", "guest");
    let url = site.url(&alice, "");
    site.plain(&alice, &["ls", &url])
        .exits(5)
        .says(&site.fingerprint)
        .says("--fingerprint");
    assert!(
        !site.log().contains("alice"),
        "the user's name left before the server was trusted"
    );
    let wrong = format!("SHA256:{}", "A".repeat(43));
    site.plain(&alice, &["ls", "--fingerprint", &wrong, &url])
        .exits(5)
        .says(&site.fingerprint);
    site.plain(&alice, &["ls", "--fingerprint", "nonsense", &url])
        .exits(2);
    site.plain(&alice, &["ls", "--trust-first-use", &url])
        .succeeds()
        .says(&site.fingerprint);
    site.plain(&alice, &["ls", &url]).succeeds();
}

#[test]
fn a_fingerprint_trusts_the_first_time() {
    let site = Site::new();
    let alice = site.user("alice", "guest");
    let url = site.url(&alice, "");
    site.towpath(&alice, &["ls", &url]).succeeds();
    site.plain(&alice, &["ls", &url]).succeeds();
}

#[test]
fn a_changed_key_is_a_hard_failure() {
    let mut site = Site::new();
    let alice = site.user("alice", "guest");
    let url = site.url(&alice, "");
    site.towpath(&alice, &["ls", &url]).succeeds();
    let before = site.fingerprint.clone();

    // The same store with another certificate.
    let other = Site::new();
    site.stop();
    for file in ["cert.pem", "key.pem"] {
        fs::copy(other.server_path(file), site.server_path(file)).unwrap();
    }
    site.start();
    assert_ne!(site.fingerprint, before);
    let known = alice.config_dir.join("known_servers");
    for options in [
        &["ls"][..],
        &["ls", "--trust-first-use"],
        &["ls", "--fingerprint", &site.fingerprint],
    ] {
        let mut arguments = options.to_vec();
        arguments.push(&url);
        site.plain(&alice, &arguments)
            .exits(5)
            .says("KEY CHANGED")
            .says(&before)
            .says(text(&known))
            .says("line 1");
    }
    fs::write(&known, "").unwrap();
    site.towpath(&alice, &["ls", &url]).succeeds();
}

#[test]
fn another_store_at_a_known_address_is_a_hard_failure() {
    let site = Site::new();
    let other = Site::new();
    let alice = site.user("alice", "guest");
    site.towpath(&alice, &["ls", &site.url(&alice, "")])
        .succeeds();
    // The other server answers at the address; Alice's configuration directory is the same.
    let only_one = format!("towpath://{}@{}/", alice.name, ADDRESSES[1]);
    other
        .towpath(&alice, &["ls", &only_one])
        .exits(5)
        .says("ANOTHER SERVER")
        .says(&format!("{}:9260", ADDRESSES[1]));
    // At an address of its own it is simply new.
    let elsewhere = format!("towpath://{}@{ELSEWHERE}/", alice.name);
    other
        .plain(&alice, &["ls", &elsewhere])
        .exits(5)
        .says("not known yet");
}

#[test]
fn damaged_records_are_not_taken_for_none() {
    let site = Site::new();
    let alice = site.user("alice", "guest");
    let url = site.url(&alice, "");
    site.towpath(&alice, &["ls", &url]).succeeds();
    let known = alice.config_dir.join("known_servers");
    let text = fs::read_to_string(&known).unwrap();
    fs::write(&known, &text[..text.len() / 3]).unwrap();
    site.plain(&alice, &["ls", "--trust-first-use", &url])
        .exits(5)
        .says("line 1");
}

#[test]
fn nobody_there() {
    let mut site = Site::new();
    let alice = site.user("alice", "guest");
    site.kill();
    site.towpath(&alice, &["ls", &site.url(&alice, "")])
        .exits(8)
        .says(site.place());
}
