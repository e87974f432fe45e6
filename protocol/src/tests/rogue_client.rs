//! What a server does with control messages of clients that keep no rule.

use super::pair::{Host, Pair, client_tls, signed};
use super::rogue::VersusServer;
use crate::channel::LinkChange;
use crate::server::Event;
use crate::wire::control::{ClientMessage, Common, ServerMessage};
use crate::{CloseReason, Limits, ProtocolError, RefusalCode, Request};

/// The server closes for this reason, tells it, and says goodbye.
pub(super) fn assert_fatal(mut all: VersusServer, error: ProtocolError, what: &str) {
    all.run();
    assert_eq!(all.closed(), Some(&CloseReason::Protocol(error)), "{what}");
    assert_eq!(all.rogue.close_code(), Some(error.code().byte()), "{what}");
    assert!(all.rogue.goodbye && all.server.is_closed(), "{what}");
    // Deaf from here on.
    let events = all.events.len();
    all.rogue.send(&Common::Ping.encode());
    all.run();
    assert_eq!(all.events.len(), events, "{what}");
}

#[test]
fn control_messages_out_of_place() {
    let user = || ClientMessage::user("alice");
    let password = || ClientMessage::password("x");
    let request = |id| ClientMessage::request(id, &Request::Whoami);
    let before_hello = [user(), password(), request(0), ClientMessage::key("x")];
    for message in before_hello {
        let mut all = VersusServer::new();
        all.rogue.send(&message);
        assert_fatal(all, ProtocolError::Unexpected, "before hello");
    }
    for message in [
        ClientMessage::hello(64),
        password(),
        request(0),
        ClientMessage::key("x"),
    ] {
        let mut all = VersusServer::greeted();
        all.rogue.send(&message);
        assert_fatal(all, ProtocolError::Unexpected, "instead of the user");
    }
    for message in [ClientMessage::hello(64), user(), request(0)] {
        let mut all = VersusServer::greeted();
        all.rogue.send(&user());
        all.rogue.send(&message);
        assert_fatal(all, ProtocolError::Unexpected, "instead of the credential");
    }
    for message in [ClientMessage::hello(64), user(), password(), request(0)] {
        let mut all = VersusServer::greeted();
        all.rogue.send(&user());
        all.rogue.send(&password());
        all.rogue.send(&message);
        assert_fatal(all, ProtocolError::Unexpected, "before the verdict");
    }
    for message in [
        ClientMessage::hello(64),
        user(),
        password(),
        ClientMessage::key("x"),
    ] {
        let mut all = VersusServer::logged_in();
        all.rogue.send(&message);
        assert_fatal(all, ProtocolError::Unexpected, "after login");
    }
}

#[test]
fn control_messages_out_of_form() {
    let cases: [(u8, &[u8], ProtocolError); 8] = [
        (0x00, &[], ProtocolError::Malformed),
        (0x7F, &[], ProtocolError::Malformed),
        (0x20, &[0], ProtocolError::Malformed),
        (0x22, &[99, 0, 0], ProtocolError::Malformed),
        (0x01, &[0, 2, 0, 64], ProtocolError::Version),
        (0x01, &[0, 2], ProtocolError::Version),
        (0x04, &[1, 0], ProtocolError::Malformed),
        // What only a server says.
        (0x03, &[], ProtocolError::Malformed),
    ];
    for (kind, body, error) in cases {
        let mut all = VersusServer::new();
        all.rogue.say(kind, body);
        assert_fatal(all, error, &format!("type {kind:#x}"));
    }
    let mut all = VersusServer::new();
    all.rogue.session.send(&[0, 0, 0, 0]);
    assert_fatal(all, ProtocolError::Malformed, "no type");
    for (login, announced) in [(false, 2_049_u32), (true, 24_577), (true, u32::MAX)] {
        let mut all = if login {
            VersusServer::logged_in()
        } else {
            VersusServer::greeted()
        };
        all.rogue.session.send(&announced.to_be_bytes());
        assert_fatal(all, ProtocolError::TooLong, "oversize");
    }
    // A goodbye in the middle of a message.
    let mut all = VersusServer::logged_in();
    all.rogue.session.send(&[0, 0, 0, 9, 1]);
    all.run();
    let now = all.now;
    all.rogue.session.flush(now);
    all.run();
    assert_eq!(
        all.closed(),
        Some(&CloseReason::Protocol(ProtocolError::Malformed))
    );
}

#[test]
fn requests_too_many_or_twice() {
    let mut all = VersusServer::logged_in();
    for id in 0..16 {
        all.rogue.send(&ClientMessage::request(id, &Request::Users));
    }
    all.run();
    assert_eq!(all.closed(), None);
    all.rogue.send(&ClientMessage::request(16, &Request::Users));
    assert_fatal(all, ProtocolError::Requests, "one too many");

    let mut all = VersusServer::logged_in();
    all.rogue.send(&ClientMessage::request(7, &Request::Users));
    all.rogue.send(&ClientMessage::request(7, &Request::Users));
    assert_fatal(all, ProtocolError::Unexpected, "the same twice");
}

/// Well formed, but naming what cannot be: refused in words, and life goes on.
#[test]
fn requests_that_name_nonsense() {
    let string = |text: &str| {
        [
            &u16::try_from(text.len()).unwrap().to_be_bytes()[..],
            text.as_bytes(),
        ]
        .concat()
    };
    let good = signed("a", b"data");
    let tampered = good.text().replace("size 4", "size 5");
    let cases = [
        (vec![3], string("../etc/passwd"), RefusalCode::BadRequest),
        (vec![3], string("a//b"), RefusalCode::BadRequest),
        (
            vec![3],
            string(&"x/".repeat(2_000)),
            RefusalCode::BadRequest,
        ),
        (vec![6], string("No Such User"), RefusalCode::BadRequest),
        (
            vec![4],
            [string("no manifest"), string(good.signature())].concat(),
            RefusalCode::BadManifest,
        ),
        (
            vec![4],
            [string(&tampered), string(good.signature())].concat(),
            RefusalCode::BadSignature,
        ),
        (
            vec![7],
            [string("no statement"), string(good.signature())].concat(),
            RefusalCode::BadRequest,
        ),
    ];
    for (kind, fields, code) in cases {
        let mut all = VersusServer::logged_in();
        all.rogue
            .say(0x10, &[&[0, 0, 0, 9][..], &kind, &fields].concat());
        all.run();
        assert!(all.events.is_empty(), "{kind:?} {:?}", all.events);
        let answer = ServerMessage::decode(all.rogue.heard.last().unwrap()).unwrap();
        let ServerMessage::Reply {
            id: 9,
            result: Err(refusal),
        } = answer
        else {
            panic!("{kind:?}: {answer:?}");
        };
        assert_eq!(refusal.code, code, "{refusal}");
    }
}

#[test]
fn a_list_is_never_longer_than_the_limit() {
    let mut all = VersusServer::logged_in();
    let request = Request::List {
        prefix: String::new(),
        after: None,
        limit: u32::MAX,
    };
    all.rogue.send(&ClientMessage::request(1, &request));
    all.run();
    assert!(matches!(
        all.events[..],
        [Event::Request(_, Request::List { limit: 128, .. })]
    ));
}

#[test]
fn a_flood_of_pings_gets_few_answers() {
    let mut all = VersusServer::logged_in();
    let before = all.rogue.heard.len();
    all.rogue.session.send(&Common::Ping.encode().repeat(3_000));
    all.run();
    assert!((1..10).contains(&(all.rogue.heard.len() - before)));
    assert_eq!(all.closed(), None);
}

/// TLS of our kind, but without the application protocol.
#[test]
fn a_tls_client_without_alpn_is_refused() {
    let mut tls = (*client_tls()).clone();
    tls.alpn_protocols.clear();
    let host = Host::new();
    let mut pair = Pair::with_tls(1, tls.into(), host.tls, Limits::default());
    pair.link(LinkChange::Up { streams: 65 });
    pair.run();
    assert!(matches!(
        pair.server_event(),
        Event::Closed(CloseReason::Protocol(ProtocolError::Alpn))
    ));
}
