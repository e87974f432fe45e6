//! Who may log in and what the refusal shows; roles.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::harness::{Site, run, text, write_private};

#[test]
fn key_and_password_log_in() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let url = site.url(&alice, "");
    let by_key = site.towpath(&alice, &["whoami", &url]).succeeds().text();
    assert!(
        by_key.contains("user   alice\nrole   maintainer\n") && by_key.contains("login  key\n"),
        "{by_key}"
    );
    let by_password = site
        .by_password(&alice, &["whoami", &url])
        .succeeds()
        .text();
    assert!(by_password.contains("login  password\n"), "{by_password}");
    let password = fs::read(&alice.password_file).unwrap();
    let by_input = site
        .towpath_with_input(&alice, &["whoami", "--password-file", "-", &url], &password)
        .succeeds()
        .text();
    assert!(by_input.contains("login  password\n"), "{by_input}");
}

#[test]
fn wrong_password_and_unknown_user_look_the_same() {
    let site = Site::new();
    let alice = site.user_without_key("alice", "guest");
    let mallory = site.stranger("mallory");
    fs::write(&alice.password_file, "wrong\n").unwrap();
    let wrong = site
        .by_password(&alice, &["ls", &site.url(&alice, "")])
        .exits(4);
    let unknown = site
        .by_password(&mallory, &["ls", &site.url(&mallory, "")])
        .exits(4);
    assert_eq!(wrong.errors, unknown.errors.replace("mallory", "alice"));
}

#[test]
fn an_unregistered_key_is_refused_and_a_password_registers_it() {
    let site = Site::new();
    let alice = site.user_without_key("alice", "maintainer");
    let url = site.url(&alice, "");
    site.towpath(&alice, &["ls", &url]).exits(4);
    let source = site.path("source");
    fs::write(&source, "x").unwrap();
    let file = site.url(&alice, "f");
    site.by_password(&alice, &["put", text(&source), &file])
        .exits(9)
        .says("towpath keys new")
        .says("keys add");

    alice.make_key();
    site.towpath(&alice, &["ls", &url]).exits(4);
    site.by_password(&alice, &["put", text(&source), &file]);
    site.by_password(&alice, &["ls", &file]).exits(7);
    site.by_password(&alice, &["keys", "add", &url]).succeeds();
    site.by_password(&alice, &["keys", "add", &url]).succeeds();
    site.towpath(&alice, &["put", text(&source), &file])
        .succeeds();
    let keys = site
        .towpath(&alice, &["keys", "list", &url])
        .succeeds()
        .text();
    assert!(
        keys.contains(&alice.key()) && keys.contains("proved") && keys.contains(" pinned"),
        "{keys}"
    );
}

#[test]
fn a_second_key_is_added_with_the_first() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let url = site.url(&alice, "");
    let second = site.path("second");
    site.plain(
        &alice,
        &[
            "keys",
            "new",
            "--no-passphrase",
            "--identity",
            text(&second),
        ],
    )
    .succeeds();
    site.towpath(&alice, &["keys", "add", &url, "--key", text(&second)])
        .succeeds();
    assert_eq!(
        site.towpath(&alice, &["keys", "list", &url])
            .succeeds()
            .text()
            .lines()
            .count(),
        2
    );
    site.towpath(&alice, &["whoami", "--identity", text(&second), &url])
        .succeeds();
}

#[test]
fn a_key_with_a_passphrase() {
    let site = Site::new();
    let alice = site.stranger("alice");
    let passphrase = site.path("passphrase");
    write_private(&passphrase, b"open sesame\n");
    site.plain(&alice, &["keys", "new"])
        .exits(2)
        .says("--passphrase-file");
    site.plain(
        &alice,
        &["keys", "new", "--passphrase-file", text(&passphrase)],
    )
    .succeeds();
    let key = alice.config_dir.join("id_ed25519");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    site.plain(&alice, &["keys", "new", "--no-passphrase"])
        .exits(9)
        .says("exists already");
    // OpenSSH opens it too.
    let opened = run(
        Command::new("ssh-keygen").args(["-y", "-P", "open sesame", "-f", text(&key)]),
        None,
    )
    .succeeds()
    .text();
    assert!(
        fs::read_to_string(alice.config_dir.join("id_ed25519.pub"))
            .unwrap()
            .starts_with(
                opened
                    .trim_end()
                    .rsplit_once(' ')
                    .map_or(opened.trim_end(), |(key, _)| key)
            )
    );

    let mut add = Command::new(super::harness::towpathd());
    add.args(["user", "add"])
        .arg(site.server_path(""))
        .args(["alice", "--role", "guest", "--key"])
        .arg(alice.config_dir.join("id_ed25519.pub"));
    run(&mut add, None).succeeds();
    let url = site.url(&alice, "");
    site.towpath(&alice, &["ls", &url])
        .exits(9)
        .says("passphrase");
    site.towpath(
        &alice,
        &["ls", "--passphrase-file", text(&passphrase), &url],
    )
    .succeeds();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    site.towpath(
        &alice,
        &["ls", "--passphrase-file", text(&passphrase), &url],
    )
    .exits(9)
    .says("chmod 600");
}

#[test]
fn roles_are_enforced_with_their_exit_code() {
    let site = Site::new();
    let owner = site.user("owner", "maintainer");
    let source = site.path("source");
    fs::write(&source, "x").unwrap();
    for (role, upload, delete_others, manage) in [
        ("admin", 0, 0, 0),
        ("maintainer", 0, 3, 3),
        ("guest", 3, 3, 3),
    ] {
        let who = site.user(role, role);
        site.put(&owner, "others", b"of the owner");
        site.get(&who, "others", &[]).0.succeeds();
        site.towpath(&who, &["ls", &site.url(&who, "others")])
            .succeeds();
        site.towpath(&who, &["put", text(&source), &site.url(&who, role)])
            .exits(upload);
        site.towpath(&who, &["ls", &site.url(&who, role)])
            .exits(if upload == 0 { 0 } else { 7 });
        // Overwriting is deleting and uploading.
        site.towpath(&who, &["put", text(&source), &site.url(&who, "others")])
            .exits(delete_others);
        site.put(&owner, "theirs", b"of the owner");
        site.towpath(&who, &["rm", &site.url(&who, "theirs")])
            .exits(delete_others);
        if upload == 0 {
            site.towpath(&who, &["rm", &site.url(&who, role)])
                .succeeds();
        }
        if delete_others == 0 {
            site.towpath(&who, &["rm", &site.url(&who, "others")])
                .succeeds();
        }
        // Managing users and changing roles.
        let url = site.url(&who, "");
        let new = format!("new-of-{role}");
        let password = site.path("new.password");
        write_private(&password, b"a first password\n");
        let add = ["users", "add", &url, &new, "--new-password-file"];
        site.towpath(&who, &[&add[..], &[text(&password)]].concat())
            .exits(manage);
        site.towpath(&who, &["users", "list", &url]).exits(manage);
        let victim = if manage == 0 { &new } else { "owner" };
        site.towpath(&who, &["users", "role", &url, victim, "maintainer"])
            .exits(manage);
        site.towpath(&who, &["users", "remove", &url, victim])
            .exits(manage);
    }
}

#[test]
fn users_are_managed_from_the_client() {
    let site = Site::new();
    let root = site.user("root", "admin");
    let url = site.url(&root, "");
    let bob = site.stranger("bob");
    bob.make_key();
    let key = bob.config_dir.join("id_ed25519.pub");
    site.towpath(&root, &["users", "add", &url, "bob", "--key", text(&key)])
        .succeeds();
    let listing = site
        .towpath(&root, &["users", "list", &url])
        .succeeds()
        .text();
    assert!(
        listing.contains("bob") && listing.contains("guest"),
        "{listing}"
    );
    let whoami = |user| site.towpath(user, &["whoami", &site.url(user, "")]);
    assert!(whoami(&bob).succeeds().text().contains("guest"));
    site.towpath(&root, &["users", "add", &url, "bob", "--key", text(&key)])
        .exits(11)
        .says("bob already");
    site.towpath(&root, &["users", "role", &url, "bob", "maintainer"])
        .succeeds();
    assert!(whoami(&bob).succeeds().text().contains("maintainer"));
    site.towpath(&root, &["users", "role", &url, "root", "guest"])
        .exits(11)
        .says("last admin");
    site.towpath(&root, &["users", "remove", &url, "bob"])
        .succeeds();
    whoami(&bob).exits(4);
    site.towpath(&root, &["users", "remove", &url, "bob"])
        .exits(7);
    // Neither a key nor a password: nobody could log in.
    site.towpath(&root, &["users", "add", &url, "eve"]).exits(2);
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let site = Site::new();
    let alice = site.user_without_key("alice", "guest");
    let command = site.command(&alice, &["whoami", &site.url(&alice, "")]);
    let script = format!(
        "set timeout 60\nspawn {}\nexpect -exact \"{}\"\nexpect \"(yes/no)\"\nsend \"maybe\\r\"\nexpect \"(yes/no)\"\nsend \"yes\\r\"\nexpect \"Password of alice:\"\nsend \"wrong\\r\"\nexpect \"try again\"\nexpect \"Password of alice:\"\nsend \"correct horse alice\\r\"\nexpect \"user   alice\"\nexpect eof\ncatch wait result\nexit [lindex $result 3]\n",
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("{{{}}}", word.to_str().unwrap()))
            .collect::<Vec<_>>()
            .join(" "),
        site.fingerprint,
    );
    let ran = run(Command::new("expect").arg("-c").arg(script), None).succeeds();
    assert!(
        !ran.text().contains("correct horse"),
        "the password was shown"
    );
    assert!(
        fs::read_to_string(alice.config_dir.join("known_servers"))
            .unwrap()
            .contains(&site.fingerprint)
    );
}

#[test]
fn an_interrupt_at_a_question_gives_the_terminal_back() {
    let site = Site::new();
    let alice = site.user_without_key("alice", "guest");
    let command = site.trusting(&alice, &["get", &site.url(&alice, "f"), "."]);
    let script = format!(
        // Ctrl-C may come before the prompt has taken it over; then the shell gets it too.
        "set timeout 60\nspawn sh -c {{trap : INT; {}; echo code $?; stty -a}}\nexpect \"Password of alice:\"\nsend \"\\003\"\nexpect \"interrupted\"\nexpect \"code 130\"\nexpect -re {{ echo }}\nexpect eof\n",
        words(&command, "'"),
    );
    let ran = run(Command::new("expect").arg("-c").arg(script), None).succeeds();
    let text = ran.text();
    assert!(
        text.contains("code 130") && text.contains(" echo "),
        "{text}"
    );
}

#[test]
fn a_listing_that_is_cut_short_is_no_fault() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "f", b"x");
    let command = site.trusting(&alice, &["ls", &site.url(&alice, "")]);
    let line = format!("{} | true", words(&command, "'"));
    let ran = run(Command::new("sh").arg("-c").arg(line), None).succeeds();
    assert_eq!(ran.errors, "");
}

/// A command as words for a shell or for Tcl.
fn words(command: &Command, quote: &str) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| format!("{quote}{}{quote}", word.to_str().unwrap()))
        .collect::<Vec<_>>()
        .join(" ")
}
