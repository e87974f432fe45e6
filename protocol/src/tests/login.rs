//! From the handshake to the verdict.

use std::time::Duration;

use zeroize::Zeroizing;

use super::pair::{Host, PASSWORD, Pair, STORE, UID, accepted, alice};
use super::rogue::VersusClient;
use crate::channel::LinkChange;
use crate::client::Event as C;
use crate::connection::Side;
use crate::server::{ClaimedUser, Credential, Event as S, Verdict};
use crate::signed::{FilePath, SigningKey, UserName};
use crate::wire::control::{ClientMessage, ServerMessage};
use crate::{
    CloseCode, CloseReason, Deadline, Limits, ProtocolError, Reply, Request, Role, UsageError,
};

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

#[test]
fn the_server_is_identified_before_anything_else() {
    let host = Host::new();
    let mut pair = Pair::down(1, &host, Limits::default(), Limits::default());
    assert!(
        pair.client.poll_transmit().is_none(),
        "there is no link yet"
    );
    assert_eq!(pair.client.trust(), Err(UsageError::WrongState));
    pair.link(LinkChange::Up { streams: 65 });
    pair.run();
    let C::Identified { store, fingerprint } = pair.client_event() else {
        panic!("not identified");
    };
    assert_eq!((store, fingerprint), (STORE, host.key));
    assert_eq!(pair.client.server_fingerprint(), Some(host.key));
    // The server has asked for the user by now, but has not confirmed the trust in the server.
    let alice = UserName::parse("alice").unwrap();
    assert!(pair.client_events.is_empty());
    assert_eq!(pair.client.login_user(&alice), Err(UsageError::WrongState));
    assert_eq!(
        pair.client.request(Request::Whoami),
        Err(UsageError::WrongState)
    );
    pair.client.trust().unwrap();
    assert_eq!(pair.client.trust(), Err(UsageError::WrongState));
    pair.run();
    assert!(matches!(pair.client_event(), C::UserWanted));
    assert_eq!(
        pair.client.login_password(&password("x")),
        Err(UsageError::WrongState)
    );
    pair.client.login_user(&alice).unwrap();
    assert_eq!(pair.client.login_user(&alice), Err(UsageError::WrongState));
}

#[test]
fn trust_may_come_before_the_prompt() {
    // Seeds differ in what overtakes what on other streams, and stream 0 is in order: deliver by
    // hand until identified.
    let mut pair = Pair::new(2);
    while pair.client_events.is_empty() {
        assert!(pair.step());
    }
    assert!(matches!(pair.client_event(), C::Identified { .. }));
    pair.client.trust().unwrap();
    pair.run();
    assert!(matches!(pair.client_event(), C::UserWanted));
}

#[test]
fn another_certificate_is_another_fingerprint() {
    let keys: Vec<_> = (0..2)
        .map(|_| {
            let mut pair = Pair::new(1);
            pair.run();
            let C::Identified { fingerprint, .. } = pair.client_event() else {
                panic!("not identified");
            };
            fingerprint
        })
        .collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn the_client_hears_how_long_to_wait_after_too_many_attempts() {
    let mut pair = Pair::new(3);
    pair.greet("alice");
    for (wait, told) in [(1, 1), (12_345, 13), (u64::MAX, 65_535)] {
        pair.client.login_password(&password("right")).unwrap();
        pair.run();
        let S::Login { ticket, .. } = pair.server_event() else {
            panic!("no login");
        };
        let verdict = Verdict::TooManyAttempts {
            retry_after: Duration::from_millis(wait),
        };
        pair.server.login(ticket, verdict, pair.now);
        pair.run();
        let C::LoginRefused { retry_after, .. } = pair.client_event() else {
            panic!("not refused");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(told)));
        let _wanted = pair.client_event();
    }
}

#[test]
fn wrong_passwords_use_up_the_attempts() {
    let mut pair = Pair::new(3);
    pair.greet("alice");
    for left in [2, 1, 0] {
        pair.client.login_password(&password("wrong")).unwrap();
        pair.run();
        let S::Login { ticket, .. } = pair.server_event() else {
            panic!("no login");
        };
        pair.server.login(ticket, Verdict::Refused, pair.now);
        // Decided already: not counted twice, and not turned round.
        pair.server.login(ticket, Verdict::Refused, pair.now);
        pair.server.login(ticket, accepted(), pair.now);
        pair.run();
        assert!(
            matches!(pair.client_event(), C::LoginRefused { attempts_left, retry_after: None } if attempts_left == left)
        );
        if left > 0 {
            assert!(
                matches!(pair.client_event(), C::CredentialWanted { attempts_left } if attempts_left == left)
            );
        }
    }
    assert!(matches!(
        pair.client_event(),
        C::Closed(CloseReason::PeerError {
            code: CloseCode::LoginFailed,
            ..
        })
    ));
    assert!(matches!(
        pair.server_event(),
        S::Closed(CloseReason::LoginFailed)
    ));
    assert!(pair.client.is_closed() && pair.server.is_closed());
    assert!(!pair.server.side.is_ready());
}

#[test]
fn a_second_attempt_may_succeed_with_another_kind_of_credential() {
    let mut pair = Pair::new(4);
    pair.greet("alice");
    pair.client.login_password(&password("wrong")).unwrap();
    pair.run();
    let S::Login { ticket: first, .. } = pair.server_event() else {
        panic!("no login");
    };
    pair.server.login(first, Verdict::Refused, pair.now);
    pair.run();
    pair.client.login_key(&alice()).unwrap();
    pair.run();
    let S::Login {
        ticket,
        user,
        credential,
    } = pair.server_event()
    else {
        panic!("no login");
    };
    assert_eq!(user.valid().map(UserName::as_str), Some("alice"));
    assert!(matches!(credential, Credential::Key(key) if key == alice().public()));
    pair.server.login(first, accepted(), pair.now);
    assert!(!pair.server.side.is_ready(), "a stale ticket is ignored");
    pair.server.login(ticket, accepted(), pair.now);
    pair.run();
    assert!(pair.server.side.is_ready());
    assert!(matches!(
        pair.client_events.back(),
        Some(C::LoggedIn { .. })
    ));
}

/// The dialogue is the same for users that exist, that do not, and that cannot, down to the length
/// of every message.
#[test]
fn the_dialogue_does_not_depend_on_the_user() {
    let trace = |name: &str, secret: &str| {
        let mut pair = Pair::new(5);
        pair.room = usize::MAX;
        pair.run();
        pair.client.trust().unwrap();
        pair.run();
        // No client of ours sends a name that is not valid.
        pair.client.send_raw_user(name);
        pair.run();
        pair.client.login_password(&password(secret)).unwrap();
        pair.collect();
        let sent: Vec<usize> = pair.to_server.streams[&0].iter().map(|m| m.len()).collect();
        pair.run();
        let Some(S::Login { ticket, user, .. }) = pair.server_events.pop_front() else {
            panic!("no login for {name:?}");
        };
        assert_eq!(user.as_str(), name);
        pair.server.login(ticket, Verdict::Refused, pair.now);
        pair.collect();
        let answer: Vec<usize> = pair.to_client.streams[&0].iter().map(|m| m.len()).collect();
        pair.run();
        assert!(matches!(
            pair.client_events.back(),
            Some(C::CredentialWanted { attempts_left: 2 })
        ));
        (sent, answer)
    };
    let expected = trace("alice", "short");
    for name in [
        "bobby",
        "No Good",
        "*",
        "",
        "a\nb",
        "\u{1b}[2J",
        "ünï",
        &"x".repeat(255),
    ] {
        assert_eq!(trace(name, "short"), expected, "{name:?}");
        assert_eq!(
            trace(name, "a rather longer password, but not by far the longest"),
            expected
        );
    }
}

#[test]
fn claimed_names_are_sorted_and_safe_to_print() {
    assert!(matches!(ClaimedUser::new("alice"), ClaimedUser::Valid(_)));
    let odd = ClaimedUser::new("a\u{1b}[2J\n");
    assert_eq!(odd.valid(), None);
    assert_eq!(odd.to_string(), "a\\u{1b}[2J\\n");
}

#[test]
fn passwords_longer_than_the_protocol_takes_are_refused_here() {
    let mut pair = Pair::new(6);
    pair.greet("alice");
    assert_eq!(
        pair.client.login_password(&password(&"x".repeat(1_001))),
        Err(UsageError::TooLong)
    );
    let longest = password(&"x".repeat(1_000));
    pair.client.login_password(&longest).unwrap();
    pair.run();
    assert!(matches!(
        pair.server_event(),
        S::Login { credential: Credential::Password(given), .. } if given == longest
    ));
}

#[test]
fn a_relayed_key_login_is_refused() {
    // The user trusts a server in the middle, which passes on to the real server what it hears.
    let mut front = VersusClient::new();
    front.rogue.send(&ServerMessage::hello(64, STORE));
    front.rogue.agree();
    front.rogue.send(&ServerMessage::ask_user());
    front.run();
    front.client.trust().unwrap();
    let name = UserName::parse("alice").unwrap();
    front.client.login_user(&name).unwrap();
    front.rogue.send(&ServerMessage::ask_credential(3));
    front.run();
    front.client.login_key(&alice()).unwrap();
    front.run();
    let heard = front.rogue.heard.last().unwrap();
    let Ok(ClientMessage::Key(signature)) = ClientMessage::decode(heard) else {
        panic!("no key login");
    };
    let mut back = Pair::new(8);
    back.greet("alice");
    back.client.send_raw_key(&signature);
    back.run();
    assert!(matches!(
        back.server_event(),
        S::Closed(CloseReason::Protocol(ProtocolError::LoginSignature))
    ));
    assert!(matches!(
        back.client_event(),
        C::Closed(CloseReason::PeerError {
            code: CloseCode::LoginSignature,
            ..
        })
    ));
    // The same client's signature is good on a connection of its own.
    let mut direct = Pair::new(9);
    direct.greet("alice");
    direct.client.login_key(&alice()).unwrap();
    direct.run();
    assert!(matches!(
        direct.server_event(),
        S::Login {
            credential: Credential::Key(_),
            ..
        }
    ));
}

#[test]
fn a_key_login_is_for_one_user_one_store_and_one_purpose() {
    let mallory = SigningKey::from_seed(&[66; 32]);
    let cases: [&dyn Fn(&mut Pair) -> String; 4] = [
        // For another user.
        &|pair| {
            pair.client
                .signature_for(STORE, "bob", crate::signed::Namespace::Login, &alice())
        },
        // For another store.
        &|pair| {
            let other = crate::signed::StoreId::from_bytes([1; 16]);
            pair.client
                .signature_for(other, "alice", crate::signed::Namespace::Login, &alice())
        },
        // For another purpose.
        &|pair| {
            pair.client
                .signature_for(STORE, "alice", crate::signed::Namespace::File, &alice())
        },
        // Of nothing at all.
        &|_| "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_owned(),
    ];
    for make in cases {
        let mut pair = Pair::new(9);
        pair.greet("alice");
        let signature = make(&mut pair);
        pair.client.send_raw_key(&signature);
        pair.run();
        assert!(matches!(
            pair.server_event(),
            S::Closed(CloseReason::Protocol(ProtocolError::LoginSignature))
        ));
    }
    // A stranger's key signs well; whether it is registered is for the application.
    let mut pair = Pair::new(9);
    pair.greet("alice");
    pair.client.login_key(&mallory).unwrap();
    pair.run();
    assert!(matches!(
        pair.server_event(),
        S::Login { credential: Credential::Key(key), .. } if key == mallory.public()
    ));
}

#[test]
fn deadlines_of_both_sides() {
    let host = Host::new();
    // No association.
    let mut pair = Pair::down(10, &host, Limits::default(), Limits::default());
    assert!(pair.jump());
    assert!(matches!(
        pair.client_event(),
        C::Closed(CloseReason::Timeout(Deadline::Link))
    ));
    assert!(matches!(
        pair.server_event(),
        S::Closed(CloseReason::Timeout(Deadline::Link))
    ));
    // No handshake.
    let mut pair = Pair::new(11);
    let start = pair.now;
    assert!(pair.jump());
    assert_eq!(pair.now - start, Duration::from_secs(20));
    assert!(matches!(
        pair.client_event(),
        C::Closed(CloseReason::Timeout(Deadline::Handshake))
    ));
    assert!(matches!(
        pair.server_event(),
        S::Closed(CloseReason::Timeout(Deadline::Handshake))
    ));
    // No login: the client's keepalives do not put it off.
    let mut pair = Pair::new(12);
    let start = pair.now;
    pair.greet("alice");
    while pair.server_events.is_empty() {
        assert!(pair.jump());
        pair.run();
    }
    assert_eq!(pair.now - start, Duration::from_secs(180));
    assert!(matches!(
        pair.server_event(),
        S::Closed(CloseReason::Timeout(Deadline::Login))
    ));
    assert!(matches!(
        pair.client_event(),
        C::Closed(CloseReason::PeerError {
            code: CloseCode::Timeout,
            ..
        })
    ));
    assert!(!pair.jump(), "nothing is due after the end");
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut pair = Pair::logged_in(13);
    let start = pair.now;
    // Both alive: pings and pongs for ever.
    for _ in 0..20 {
        assert!(pair.jump());
        pair.run();
    }
    assert!(pair.client_events.is_empty() && pair.server_events.is_empty());
    assert!(pair.now - start >= Duration::from_secs(500));
    // The network swallows everything.
    let silent = pair.now;
    while pair.client_events.is_empty() || pair.server_events.is_empty() {
        assert!(pair.jump());
        pair.to_client.streams.clear();
        pair.to_server.streams.clear();
    }
    assert!(pair.now - silent <= Duration::from_secs(95));
    assert!(matches!(
        pair.client_event(),
        C::Closed(CloseReason::Timeout(Deadline::Keepalive))
    ));
    assert!(matches!(
        pair.server_event(),
        S::Closed(CloseReason::Timeout(Deadline::Keepalive))
    ));
}

#[test]
fn last_words_that_nobody_takes_are_dropped_in_time() {
    // Closed by the application, and because the peer is silent: the carrier never asks for a
    // message.
    for orderly in [true, false] {
        let mut pair = Pair::logged_in(18);
        let path = FilePath::parse("a").unwrap();
        pair.client.get(path, 0, None).unwrap();
        let mut now = pair.now;
        if orderly {
            pair.client.close(now);
        }
        for _ in 0..4 {
            if pair.client.is_closed() {
                break;
            }
            now = pair.client.poll_timeout().expect("it would wait for ever");
            pair.client.handle_timeout(now);
        }
        assert!(pair.client.is_closed());
        assert_eq!(pair.client.poll_timeout(), None);
        let longest = if orderly { 10 } else { 30 + 60 + 10 };
        assert_eq!(now - pair.now, Duration::from_secs(longest));
    }
}

#[test]
fn a_sleeping_application_does_not_blame_the_peer() {
    let mut pair = Pair::logged_in(14);
    pair.now += Duration::from_secs(3_600);
    pair.client.handle_timeout(pair.now);
    pair.server.handle_timeout(pair.now);
    pair.run();
    assert!(pair.client_events.is_empty() && pair.server_events.is_empty());
}

#[test]
fn the_link_ends_without_goodbye() {
    for change in [
        LinkChange::PeerClosed,
        LinkChange::Lost,
        LinkChange::Up { streams: 65 },
    ] {
        let mut pair = Pair::logged_in(15);
        pair.link(LinkChange::PathChanged);
        assert!(!pair.client.is_closed());
        pair.link(change);
        pair.collect();
        assert!(matches!(pair.client_event(), C::Closed(CloseReason::Lost)));
        assert!(matches!(pair.server_event(), S::Closed(CloseReason::Lost)));
        assert!(pair.client.is_closed() && pair.server.is_closed());
        pair.link(LinkChange::Lost);
        pair.collect();
        assert!(
            pair.client_events.is_empty() && pair.server_events.is_empty(),
            "said once"
        );
    }
}

#[test]
fn requests_are_answered_in_any_order() {
    let mut pair = Pair::logged_in(16);
    let path = FilePath::parse("docs/a.txt").unwrap();
    let ids: Vec<_> = (0..16)
        .map(|i| {
            let request = if i % 2 == 0 {
                Request::Whoami
            } else {
                Request::Stat { path: path.clone() }
            };
            pair.client.request(request).unwrap()
        })
        .collect();
    assert_eq!(
        pair.client.request(Request::Users),
        Err(UsageError::TooManyRequests)
    );
    pair.run();
    let mut asked = Vec::new();
    while let Some(S::Request(id, request)) = pair.server_events.pop_front() {
        asked.push((id, request));
    }
    assert_eq!(asked.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    for (id, request) in asked.into_iter().rev() {
        assert_eq!(
            pair.server.reply(id, Ok(Reply::Deleted)),
            Err(UsageError::WrongReply)
        );
        let reply = match request {
            Request::Whoami => Reply::Whoami {
                name: UserName::parse("alice").unwrap(),
                uid: UID,
                role: Role::Maintainer,
                by_key: false,
            },
            _ => Reply::Stat {
                current: Some(super::pair::signed("docs/a.txt", PASSWORD.as_bytes())),
            },
        };
        pair.server.reply(id, Ok(reply)).unwrap();
        pair.server.reply(id, Ok(Reply::Deleted)).unwrap();
    }
    pair.run();
    let answered: Vec<_> = std::mem::take(&mut pair.client_events)
        .into_iter()
        .map(|event| match event {
            C::Reply(id, Ok(Reply::Whoami { .. } | Reply::Stat { .. })) => id,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert!(answered.iter().eq(ids.iter().rev()));
    pair.client.request(Request::Users).unwrap();
}

#[test]
fn an_answer_that_no_message_holds_is_refused_as_too_large() {
    let mut pair = Pair::logged_in(17);
    let id = pair.client.request(Request::Users).unwrap();
    pair.run();
    pair.server_events.clear();
    let user = crate::UserEntry {
        name: UserName::parse("a-user-with-a-name-of-32-letters").unwrap(),
        uid: super::pair::UID,
        role: crate::Role::Guest,
        keys: 1,
    };
    pair.server
        .reply(id, Ok(Reply::Users(vec![user; 20_000])))
        .unwrap();
    pair.run();
    assert!(matches!(
        pair.client_event(),
        C::Reply(_, Err(refusal)) if refusal.code == crate::RefusalCode::TooLarge
    ));
}
