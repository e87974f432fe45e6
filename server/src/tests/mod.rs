//! The server session against a real client connection, without sockets.

mod rig;

use std::fs;
use std::time::{Duration, Instant};

use rig::{PASSWORD, Server, User, sign};
use towpath_io_mio::Session;
use towpath_protocol::channel::{CHUNK_LEN, Chunk};
use towpath_protocol::client::{Event, TransferEvent};
use towpath_protocol::signed::{
    FilePath, KeyAction, KeyStatement, SignedStatement, SigningKey, UserName,
};
use towpath_protocol::{NewPassword, Refusal, RefusalCode, Reply, Request, Role};
use towpath_store::NewUser;

use super::admission::Network;
use super::limits;
use crate::jobs::AuthenticatedUser;

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> RefusalCode {
    result.expect_err("this is to be refused").code
}

#[test]
fn a_file_goes_in_and_out() {
    let server = Server::new();
    let alice = server.add("alice", Role::Maintainer, 1);
    let mut link = server.login(&alice);
    for (size, name) in [
        (0, "empty"),
        (1, "one"),
        (65_536, "chunk"),
        (3_000_000, "big"),
    ] {
        let data: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
        link.put(&alice, name, &data).unwrap();
        assert_eq!(link.get(name).unwrap(), data);
    }
    let reply = link.ask(Request::List {
        prefix: String::new(),
        after: None,
        limit: 10,
    });
    let Ok(Reply::List { entries, more }) = reply else {
        panic!("not a list: {reply:?}")
    };
    assert_eq!((entries.len(), more), (4, false));
    link.delete(&alice, "one").unwrap();
    assert_eq!(code(link.get("one")), RefusalCode::NotFound);
    assert_eq!(code(link.delete(&alice, "one")), RefusalCode::NotFound);
    link.put(&alice, "one", b"again").unwrap();
}

#[test]
fn every_cell_of_the_role_table_that_a_client_can_reach() {
    let server = Server::new();
    let admin = server.add("root", Role::Admin, 1);
    let maintainer = server.add("mia", Role::Maintainer, 2);
    let guest = server.add("gus", Role::Guest, 3);
    server.login(&admin).put(&admin, "admins", b"a").unwrap();
    for (who, upload, delete_own, delete_others, users) in [
        (&admin, true, true, true, true),
        (&maintainer, true, true, false, false),
        (&guest, false, false, false, false),
    ] {
        let mut link = server.login(who);
        let own = format!("of-{}", who.name);
        let check = |result: Result<(), Refusal>, allowed: bool, what: &str| match allowed {
            true => result.unwrap_or_else(|e| panic!("{} {what}: {e}", who.name)),
            false => assert_eq!(code(result), RefusalCode::Denied, "{} {what}", who.name),
        };
        assert_eq!(link.get("admins").unwrap(), b"a");
        let list = Request::List {
            prefix: String::new(),
            after: None,
            limit: 1,
        };
        link.ask(list).unwrap();
        check(link.put(who, &own, b"x"), upload, "upload");
        check(link.put(who, "admins", b"a"), delete_others, "overwrite");
        check(
            link.delete(who, "admins").map(drop),
            delete_others,
            "delete other's",
        );
        if upload {
            check(link.delete(who, &own).map(drop), delete_own, "delete own");
        }
        check(link.ask(Request::Users).map(drop), users, "list users");
        let add = Request::AddUser {
            name: UserName::parse("new").unwrap(),
            role: Role::Guest,
            password: None,
            key: None,
        };
        check(link.ask(add).map(drop), users, "add a user");
        let user = UserName::parse(if users { "new" } else { "gus" }).unwrap();
        let promote = Request::SetRole {
            user: user.clone(),
            role: Role::Maintainer,
        };
        check(link.ask(promote).map(drop), users, "change a role");
        let remove = Request::RemoveUser { user };
        check(link.ask(remove).map(drop), users, "remove a user");
        server.login(&admin).put(&admin, "admins", b"a").unwrap();
    }
}

#[test]
fn a_demotion_takes_effect_in_the_middle_of_an_upload() {
    let server = Server::new();
    server.add("root", Role::Admin, 9);
    let mia = server.add("mia", Role::Maintainer, 1);
    let mut link = server.login(&mia);
    let (transfer, _) = link.send("file", b"data").unwrap();
    server
        .services
        .registry
        .set_role(mia.uid, Role::Guest)
        .unwrap();
    let signed = sign(&mia, server.store(), "file", Some(b"data"), None);
    link.client.finish_put(transfer, &signed).unwrap();
    assert_eq!(code(link.outcome()), RefusalCode::Denied);
    assert_eq!(code(link.send("other", b"")), RefusalCode::Denied);
    let (idle, other) = (server.login(&mia), server.login(&mia));
    server.services.registry.remove(mia.uid).unwrap();
    assert!(!other.server.is_revoked());
    assert_eq!(code(link.ask(Request::Whoami)), RefusalCode::Denied);
    assert!(matches!(link.event(), Event::Closed(_)));
    // As soon as one session has met the removal, the loop ends the others.
    assert!(idle.server.is_revoked() && other.server.is_revoked());
}

/// Every batch of an open transfer is for a user who may still do it.
#[test]
fn the_transfers_of_a_removed_or_demoted_user_end() {
    let server = Server::new();
    let root = server.add("root", Role::Admin, 9);
    let mia = server.add("mia", Role::Maintainer, 1);
    let big = vec![7; 12 << 20];
    server.login(&root).put(&root, "big", &big).unwrap();
    let (mut upload, mut download) = (server.login(&mia), server.login(&mia));
    let path = |text| FilePath::parse(text).unwrap();
    let transfer = upload
        .client
        .put(path("file"), 2 * CHUNK_LEN as u64)
        .unwrap();
    let accepted = upload.event();
    assert!(
        matches!(
            accepted,
            Event::Transfer(_, TransferEvent::PutAccepted { .. })
        ),
        "{accepted:?}"
    );
    upload
        .client
        .write(transfer, Chunk::from_slice(&[1; CHUNK_LEN]))
        .unwrap();
    while upload.poll().is_some() {}
    let get = download.client.get(path("big"), 0, None).unwrap();
    let mut unread = 0;
    while let Some(event) = download.poll() {
        if let Event::Transfer(_, TransferEvent::Data(chunk)) = event {
            unread += chunk.len();
        }
    }
    assert!(unread > 0 && unread < big.len(), "{unread}");

    let registry = &server.services.registry;
    registry.set_role(mia.uid, Role::Guest).unwrap();
    upload
        .client
        .write(transfer, Chunk::from_slice(&[2; CHUNK_LEN]))
        .unwrap();
    assert_eq!(code(upload.outcome()), RefusalCode::Denied);

    registry.remove(mia.uid).unwrap();
    download.client.consumed(get, unread);
    let mut more = 0;
    let refusal = loop {
        match download.event() {
            Event::Transfer(_, TransferEvent::Data(chunk)) => {
                more += chunk.len();
                download.client.consumed(get, chunk.len());
            }
            Event::Transfer(_, TransferEvent::Aborted(refusal)) => break refusal,
            other => panic!("not refused after {more} more bytes: {other:?}"),
        }
    };
    assert_eq!(refusal.code, RefusalCode::Denied);
    // What was read ahead may still come, and nothing more.
    assert!(more <= 2 * limits::BATCH_CHUNKS * CHUNK_LEN, "{more}");
}

/// Whose file it is may change between the opening of an upload and its commit.
#[test]
fn ownership_is_checked_again_at_commit() {
    let server = Server::new();
    let root = server.add("root", Role::Admin, 9);
    let mia = server.add("mia", Role::Maintainer, 1);
    let (mut link, mut other) = (server.login(&mia), server.login(&root));
    let (transfer, current) = link.send("file", b"mia's").unwrap();
    assert_eq!(current, None, "the path is free when the upload begins");
    other.put(&root, "file", b"root's").unwrap();
    // On top of the administrator's version, as a client does that was told of it.
    let path = FilePath::parse("file").unwrap();
    let Ok(Reply::Stat { current }) = link.ask(Request::Stat { path }) else {
        panic!("no manifest")
    };
    let signed = sign(
        &mia,
        server.store(),
        "file",
        Some(b"mia's"),
        current.as_ref(),
    );
    link.client.finish_put(transfer, &signed).unwrap();
    assert_eq!(code(link.outcome()), RefusalCode::Denied);
    assert_eq!(other.get("file").unwrap(), b"root's");
}

#[test]
fn nobody_signs_for_another_or_with_a_stranger_s_key() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let bob = server.add("bob", Role::Admin, 2);
    let mut link = server.login(&alice);
    // Bob's manifest over Alice's connection.
    let (transfer, _) = link.send("a", b"x").unwrap();
    let signed = sign(&bob, server.store(), "a", Some(b"x"), None);
    link.client.finish_put(transfer, &signed).unwrap();
    assert_eq!(code(link.outcome()), RefusalCode::BadManifest);
    // Alice's name under a key that is not hers.
    let forged = User {
        name: alice.name.clone(),
        uid: alice.uid,
        key: SigningKey::from_seed(&[77; 32]),
    };
    assert_eq!(
        code(link.put(&forged, "a", b"x")),
        RefusalCode::BadSignature
    );
    // Bob's registered key under Alice's name.
    let forged = User {
        name: alice.name.clone(),
        uid: alice.uid,
        key: SigningKey::from_seed(&[2; 32]),
    };
    assert_eq!(
        code(link.put(&forged, "a", b"x")),
        RefusalCode::BadSignature
    );
    assert_eq!(code(link.get("a")), RefusalCode::NotFound);
}

#[test]
fn a_manifest_of_other_content_is_not_published() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.login(&alice);
    let (transfer, _) = link.send("a", b"what was sent").unwrap();
    let signed = sign(&alice, server.store(), "a", Some(b"what was said"), None);
    link.client.finish_put(transfer, &signed).unwrap();
    assert_eq!(code(link.outcome()), RefusalCode::BadManifest);
    assert_eq!(code(link.get("a")), RefusalCode::NotFound);
}

#[test]
fn of_two_uploads_one_signs_again() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let (mut one, mut two) = (server.login(&alice), server.login(&alice));
    let (transfer, _) = one.send("a", b"first").unwrap();
    two.put(&alice, "a", b"second").unwrap();
    let stale = sign(&alice, server.store(), "a", Some(b"first"), None);
    one.client.finish_put(transfer, &stale).unwrap();
    let Event::Transfer(_, TransferEvent::ProofWanted { current }) = one.event() else {
        panic!("no conflict")
    };
    let fresh = sign(
        &alice,
        server.store(),
        "a",
        Some(b"first"),
        current.as_ref(),
    );
    one.client.finish_put(transfer, &fresh).unwrap();
    one.outcome().unwrap();
    assert_eq!(two.get("a").unwrap(), b"first");
}

#[test]
fn a_damaged_file_is_refused_and_named() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.login(&alice);
    link.put(&alice, "a", &[7; 200_000]).unwrap();
    let stored = server.directory.files().join("a.age");
    let mut bytes = fs::read(&stored).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&stored, bytes).unwrap();
    let refusal = link.get("a").unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Corrupt);
    assert!(refusal.message.contains('a'));
}

/// A wrong password for `name`, and what the client hears of it, when it hears it.
fn guess(link: &mut rig::Link) -> (u32, Option<Duration>, Duration) {
    link.password("wrong");
    let mut waited = Duration::ZERO;
    loop {
        match link.poll() {
            Some(Event::LoginRefused {
                attempts_left,
                retry_after,
            }) => return (attempts_left, retry_after, waited),
            Some(other) => panic!("not refused: {other:?}"),
            None => {
                link.pass(limits::THROTTLE_FIRST);
                waited += limits::THROTTLE_FIRST;
            }
        }
    }
}

#[test]
fn a_damaged_file_without_an_owner_is_for_administrators() {
    let server = Server::with_files(|directory| {
        for name in ["a.age", "b.age"] {
            fs::write(directory.files().join(name), "garbage").unwrap();
        }
    });
    let root = server.add("root", Role::Admin, 1);
    server.add("other", Role::Admin, 3);
    let mia = server.add("mia", Role::Maintainer, 2);
    let (mut admin, mut link) = (server.login(&root), server.login(&mia));
    assert_eq!(code(link.get("a")), RefusalCode::Corrupt);
    assert_eq!(code(link.delete(&mia, "a")), RefusalCode::Corrupt);
    assert_eq!(code(link.send("a", b"x")), RefusalCode::Corrupt);
    let refused = link.send_replacing_damaged("a", b"x");
    assert_eq!(code(refused), RefusalCode::Denied);
    assert_eq!(code(admin.send("a", b"x")), RefusalCode::Corrupt);
    let (transfer, current) = admin.send_replacing_damaged("a", b"x").unwrap();
    assert_eq!(current, None);
    let signed = sign(&root, server.store(), "a", Some(b"x"), None);
    admin.client.finish_put(transfer, &signed).unwrap();
    admin.outcome().unwrap();
    assert_eq!(link.get("a").unwrap(), b"x");
    // The role is looked at again at commit.
    let (transfer, _) = admin.send_replacing_damaged("b", b"x").unwrap();
    let registry = &server.services.registry;
    registry.set_role(root.uid, Role::Maintainer).unwrap();
    let signed = sign(&root, server.store(), "b", Some(b"x"), None);
    admin.client.finish_put(transfer, &signed).unwrap();
    assert_eq!(code(admin.outcome()), RefusalCode::Denied);
    let stored = fs::read(server.directory.files().join("b.age")).unwrap();
    assert_eq!(stored, b"garbage");
}

#[test]
fn wrong_passwords_and_unknown_users_look_alike_and_wait_alike() {
    let server = Server::new();
    server.add("alice", Role::Admin, 1);
    let answers = |host, name| {
        let name = UserName::parse(name).unwrap();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let mut link = server.connect(host);
            link.offer(&name);
            loop {
                answers.push(guess(&mut link));
                match link.event() {
                    Event::CredentialWanted { .. } => {}
                    Event::Closed(_) => break,
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
        answers
    };
    let known = answers(1, "alice");
    let seen = known.iter().filter(|answer| answer.1.is_none()).count();
    assert_eq!((seen, known.len()), (3, 9), "{known:?}");
    assert_eq!(known, answers(2, "nobody"));
}

#[test]
fn guessing_pauses_and_says_for_how_long_and_a_key_is_not_delayed() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.connect(1);
    link.offer(&alice.name);
    for _ in 0..3 {
        assert_eq!(guess(&mut link).1, None);
        let _next = link.event();
    }
    let mut link = server.connect(1);
    link.offer(&alice.name);
    link.password(PASSWORD);
    // The right password is not looked at either, and the answer does not say that it is wrong.
    let Event::LoginRefused { retry_after, .. } = link.event() else {
        panic!("not refused")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    // Neither a key from the same place nor a password from another one has to wait.
    server.login(&alice);
    let mut other = server.connect(2);
    other.offer(&alice.name);
    other.password(PASSWORD);
    assert!(matches!(other.event(), Event::LoggedIn { .. }));
}

/// What others do behind the same address delays a login, by a time that has a bound.
#[test]
fn a_right_password_behind_a_network_that_guesses_waits_no_longer_than_the_bound() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let now = Instant::now();
    for i in 0..2_001 {
        let network = Network::from(Some([10, 0, 0, 1].into()));
        let mut throttle = server.services.throttle();
        if throttle.begin(&format!("user{i}"), network, now).is_ok() {
            throttle.failed(&format!("user{i}"), network, now);
        }
    }
    let mut link = server.connect(1);
    link.offer(&alice.name);
    link.password(PASSWORD);
    assert!(link.poll().is_none(), "the right password waits too");
    assert!(link.server.poll_timeout().is_some());
    link.pass(limits::THROTTLE_LONGEST);
    assert!(matches!(link.event(), Event::LoggedIn { .. }));
}

#[test]
fn a_first_key_takes_a_password_and_a_second_one_a_key() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let statement = |key: &SigningKey, store| {
        let statement = KeyStatement {
            store,
            uid: alice.uid,
            name: alice.name.clone(),
            sequence: 1,
            previous: None,
            action: KeyAction::Add,
            key: key.public(),
        };
        let statement = SignedStatement::sign(statement, key).unwrap();
        Request::AddKey { statement }
    };
    let second = SigningKey::from_seed(&[50; 32]);
    let mut link = server.connect(1);
    link.offer(&alice.name);
    link.password(PASSWORD);
    assert!(matches!(link.event(), Event::LoggedIn { .. }));
    let by_key = link
        .server
        .user()
        .map(|user: &AuthenticatedUser| user.by_key);
    assert_eq!(by_key, Some(false));
    let refused = link.ask(statement(&second, server.store()));
    assert_eq!(code(refused), RefusalCode::Denied);
    let mut link = server.login(&alice);
    let elsewhere = towpath_protocol::signed::StoreId::from_bytes([9; 16]);
    let refused = link.ask(statement(&second, elsewhere));
    assert_eq!(code(refused), RefusalCode::BadManifest);
    link.ask(statement(&second, server.store())).unwrap();
    let reply = link.ask(Request::Keys {
        user: alice.name.clone(),
    });
    assert!(matches!(reply, Ok(Reply::Keys(keys)) if keys.len() == 2));
}

/// Two sessions of one password add a first key at once: what each saw before is no longer so when
/// its turn comes.
#[test]
fn the_rule_for_adding_keys_holds_when_the_key_is_added() {
    let server = Server::new();
    let name = UserName::parse("eve").unwrap();
    let user = NewUser {
        name: name.clone(),
        role: Role::Guest,
        password: Some(PASSWORD.as_bytes()),
        keys: Vec::new(),
    };
    let before = server.services.registry.add(user).unwrap();
    let add = |seed: u8, sequence, previous, by_key| {
        let key = SigningKey::from_seed(&[seed; 32]);
        let statement = KeyStatement {
            store: server.store(),
            uid: before.uid,
            name: name.clone(),
            sequence,
            previous,
            action: KeyAction::Add,
            key: key.public(),
        };
        let statement = SignedStatement::sign(statement, &key).unwrap();
        let caller = AuthenticatedUser {
            name: name.clone(),
            uid: before.uid,
            by_key,
        };
        let hash = statement.hash();
        let added = server.services.add_key(&caller, &before, statement);
        added.map(|_| hash)
    };
    let first = add(60, 1, None, false).unwrap();
    let late = add(61, 2, Some(first), false).unwrap_err();
    assert_eq!(late.code, RefusalCode::Denied);
    add(61, 2, Some(first), true).unwrap();
}

#[test]
fn users_are_managed_from_afar_but_never_the_last_admin() {
    let server = Server::new();
    let root = server.add("root", Role::Admin, 1);
    let mut link = server.login(&root);
    let name = UserName::parse("bob").unwrap();
    let add = |password: &str| Request::AddUser {
        name: UserName::parse("bob").unwrap(),
        role: Role::Maintainer,
        password: Some(NewPassword::new(password.to_owned().into())),
        key: None,
    };
    let long = "x".repeat(72);
    assert_eq!(code(link.ask(add(&long))), RefusalCode::BadRequest);
    link.ask(add("bob's password")).unwrap();
    assert_eq!(code(link.ask(add("again"))), RefusalCode::BadRequest);
    let mut bob = server.connect(2);
    bob.offer(&name);
    bob.password("bob's password");
    assert!(matches!(
        bob.event(),
        Event::LoggedIn {
            role: Role::Maintainer,
            ..
        }
    ));
    let demote = Request::SetRole {
        user: root.name.clone(),
        role: Role::Guest,
    };
    assert_eq!(code(link.ask(demote)), RefusalCode::BadRequest);
    let remove = |user: &UserName| Request::RemoveUser { user: user.clone() };
    assert_eq!(code(link.ask(remove(&root.name))), RefusalCode::BadRequest);
    link.ask(remove(&name)).unwrap();
    assert_eq!(code(link.ask(remove(&name))), RefusalCode::NotFound);
    assert_eq!(code(bob.ask(Request::Whoami)), RefusalCode::Denied);
}

#[test]
fn a_stop_waits_for_transfers_and_takes_no_new_ones() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.login(&alice);
    let (transfer, _) = link.send("a", b"data").unwrap();
    link.server.handle_stop(link.now);
    assert!(!link.server.is_closed());
    assert_eq!(code(link.send("b", b"")), RefusalCode::Busy);
    let signed = sign(&alice, server.store(), "a", Some(b"data"), None);
    link.client.finish_put(transfer, &signed).unwrap();
    link.outcome().unwrap();
    link.run();
    assert!(link.server.is_closed());
    assert!(matches!(link.event(), Event::Closed(_)));
}

#[test]
fn a_client_that_does_nothing_is_let_go_although_it_answers() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    // Idle, and in the middle of an upload.
    for (upload, timeout) in [(false, limits::IDLE), (true, limits::STALLED)] {
        let mut link = server.login(&alice);
        link.ask(Request::Whoami).unwrap();
        if upload {
            link.send("a", b"data").unwrap();
        }
        let start = link.now;
        while link.client.poll_event().is_none() {
            let due = [link.server.poll_timeout(), link.client.poll_timeout()];
            let due = due.into_iter().flatten().min().unwrap();
            assert!(due > link.now, "it spins");
            link.pass(due - link.now);
        }
        assert_eq!(link.now - start, timeout);
        assert!(link.server.is_closed() && link.server.poll_timeout().is_none());
    }
    let partials = fs::read_dir(server.directory.files().join(".towpath/partial")).unwrap();
    assert_eq!(partials.count(), 0);
}

#[test]
fn a_client_that_waits_for_a_worker_is_not_idle() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.login(&alice);
    link.hold_jobs = true;
    link.client.request(Request::Whoami).unwrap();
    link.run();
    link.pass(limits::IDLE * 2);
    link.release();
    assert!(matches!(link.event(), Event::Reply(_, Ok(_))));
    link.pass(limits::IDLE / 2);
    link.ask(Request::Whoami).unwrap();
}

#[test]
fn an_aborted_upload_leaves_nothing_even_while_a_worker_has_it() {
    let server = Server::new();
    let alice = server.add("alice", Role::Admin, 1);
    let mut link = server.login(&alice);
    let path = FilePath::parse("a").unwrap();
    let transfer = link.client.put(path, 10).unwrap();
    link.hold_jobs = true;
    link.run();
    let cancelled = Refusal::new(RefusalCode::Cancelled, "changed my mind");
    link.client.abort(transfer, cancelled);
    link.release();
    let partials = fs::read_dir(server.directory.files().join(".towpath/partial")).unwrap();
    assert_eq!(partials.count(), 0);
    link.put(&alice, "a", b"the stream is free again").unwrap();
}
