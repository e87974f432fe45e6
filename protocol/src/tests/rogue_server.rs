//! What a client does with servers that keep no rule.

use super::pair::{STORE, UID, alice, manifest, path, signed};
use super::rogue::VersusClient;
use crate::channel::chunk::CHUNK_LEN;
use crate::channel::kind::{RecordKind as Kind, encode_credit};
use crate::client::{Event, TransferEvent};
use crate::signed::{Content, SignedManifest, StoreId};
use crate::wire::control::ServerMessage;
use crate::wire::record::TransferReply;
use crate::{CloseReason, ProtocolError, Refusal, RefusalCode, Reply, Request, Role, TransferId};

/// The client closes for this reason, tells it, and says goodbye.
fn assert_fatal(mut all: VersusClient, error: ProtocolError, what: &str) {
    all.run();
    assert_eq!(all.closed(), Some(&CloseReason::Protocol(error)), "{what}");
    assert_eq!(all.rogue.close_code(), Some(error.code().byte()), "{what}");
    assert!(all.rogue.goodbye && all.client.is_closed(), "{what}");
}

fn other_store() -> SignedManifest {
    let mut manifest = manifest("a", b"data");
    manifest.store = StoreId::from_bytes([1; 16]);
    SignedManifest::sign(manifest, &alice()).unwrap()
}

fn tombstone() -> SignedManifest {
    let mut manifest = manifest("a", b"data");
    manifest.content = Content::Deleted;
    manifest.version = 2;
    manifest.previous = Some(signed("a", b"x").hash());
    SignedManifest::sign(manifest, &alice()).unwrap()
}

#[test]
fn control_messages_out_of_place() {
    let messages = [
        ServerMessage::ask_user(),
        ServerMessage::ask_credential(3),
        ServerMessage::logged_in(UID, Role::Admin),
        ServerMessage::login_refused(2, 0),
        ServerMessage::reply(0, Ok(&Reply::Deleted)),
    ];
    for message in &messages {
        let mut all = VersusClient::new();
        all.rogue.send(message);
        assert_fatal(all, ProtocolError::Unexpected, "before hello");
    }
    // A server that claims success does not skip the user's trust decision.
    for message in &messages[1..] {
        let mut all = VersusClient::new();
        all.rogue.send(&ServerMessage::hello(64, STORE));
        all.rogue.send(message);
        assert_fatal(all, ProtocolError::Unexpected, "before trust");
    }
    for message in messages.iter().chain([&ServerMessage::hello(64, STORE)]) {
        let mut all = VersusClient::logged_in();
        all.rogue.send(message);
        assert_fatal(all, ProtocolError::Unexpected, "after login");
    }
    let mut all = VersusClient::new();
    all.rogue.say(0x02, &[0, 9]);
    assert_fatal(all, ProtocolError::Version, "another version");
    let mut all = VersusClient::new();
    all.rogue.say(0x04, &[0, 0]);
    assert_fatal(all, ProtocolError::Malformed, "what only a client says");
    let mut all = VersusClient::logged_in();
    all.rogue.session.send(&((1_u32 << 20) + 1).to_be_bytes());
    assert_fatal(all, ProtocolError::TooLong, "oversize");
}

#[test]
fn replies_that_do_not_fit() {
    let stat = |signed| Reply::Stat {
        current: Some(signed),
    };
    let cases = [
        (Reply::Users(Vec::new()), ProtocolError::Unexpected),
        (stat(other_store()), ProtocolError::Manifest),
        (stat(signed("b", b"data")), ProtocolError::Manifest),
    ];
    for (reply, error) in cases {
        let mut all = VersusClient::logged_in();
        all.client
            .request(Request::Stat { path: path("a") })
            .unwrap();
        all.rogue.send(&ServerMessage::reply(0, Ok(&reply)));
        assert_fatal(all, error, "stat");
    }
    let mut all = VersusClient::logged_in();
    all.client
        .request(Request::Stat { path: path("a") })
        .unwrap();
    let good = ServerMessage::reply(0, Ok(&stat(tombstone())));
    all.rogue.send(&good);
    all.run();
    assert!(matches!(
        all.events[..],
        [Event::Reply(_, Ok(Reply::Stat { .. }))]
    ));
    all.rogue.send(&good);
    assert_fatal(all, ProtocolError::Unexpected, "answered twice");
    // A manifest that does not verify.
    let mut all = VersusClient::logged_in();
    all.client
        .request(Request::Stat { path: path("a") })
        .unwrap();
    let mut forged = ServerMessage::reply(0, Ok(&stat(signed("a", b"data"))));
    let size = forged
        .windows(6)
        .position(|window| window == b"size 4")
        .unwrap();
    forged[size + 5] = b'5';
    all.rogue.send(&forged);
    assert_fatal(all, ProtocolError::Manifest, "forged");
}

fn getting(offset: u64) -> (VersusClient, TransferId) {
    let mut all = VersusClient::logged_in();
    let hash = signed("a", b"data").hash();
    let id = all.client.get(path("a"), offset, Some(hash)).unwrap();
    all.run();
    (all, id)
}

fn putting() -> (VersusClient, TransferId) {
    let mut all = VersusClient::logged_in();
    let id = all.client.put(path("a"), 4).unwrap();
    all.run();
    (all, id)
}

fn reply(all: &mut VersusClient, id: TransferId, reply: &TransferReply) {
    all.rogue.record(id, Kind::Reply, &reply.encode());
}

fn accept(signed: SignedManifest, offset: u64) -> TransferReply {
    TransferReply::GetAccepted { signed, offset }
}

#[test]
fn gets_of_something_else() {
    let cases = [
        (accept(signed("b", b"data"), 0), ProtocolError::Manifest),
        (accept(other_store(), 0), ProtocolError::Manifest),
        (accept(tombstone(), 0), ProtocolError::Manifest),
        (accept(signed("a", b"data"), 1), ProtocolError::Manifest),
        (accept(signed("a", b"else"), 2), ProtocolError::Manifest),
        (accept(signed("a", b"x"), 2), ProtocolError::Size),
        (TransferReply::Committed, ProtocolError::UnexpectedRecord),
        (
            TransferReply::Conflict { current: None },
            ProtocolError::UnexpectedRecord,
        ),
        (
            TransferReply::PutAccepted {
                current: None,
                window: 1 << 20,
            },
            ProtocolError::UnexpectedRecord,
        ),
    ];
    for (wrong, error) in cases {
        let (mut all, id) = getting(2);
        reply(&mut all, id, &wrong);
        assert_fatal(all, error, &format!("{wrong:?}"));
    }
    for good in [
        accept(signed("a", b"data"), 2),
        accept(signed("a", b"else"), 0),
    ] {
        let (mut all, id) = getting(2);
        reply(&mut all, id, &good);
        all.run();
        assert!(matches!(
            all.events[..],
            [Event::Transfer(_, TransferEvent::GetAccepted { .. })]
        ));
    }
}

#[test]
fn data_that_does_not_fit_the_manifest() {
    let (mut all, id) = getting(0);
    all.rogue.record(id, Kind::Data, b"data");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "before the reply");

    for (data, error) in [
        (&b"too long"[..], ProtocolError::Size),
        (b"", ProtocolError::UnexpectedRecord),
    ] {
        let (mut all, id) = getting(0);
        reply(&mut all, id, &accept(signed("a", b"data"), 0));
        all.rogue.record(id, Kind::Data, data);
        assert_fatal(all, error, "data");
    }
    let (mut all, id) = getting(0);
    reply(&mut all, id, &accept(signed("a", b"data"), 0));
    all.rogue.record(id, Kind::Data, b"dat");
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::Size, "end too early");

    let (mut all, id) = getting(0);
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "end at once");

    let (mut all, id) = getting(0);
    reply(&mut all, id, &accept(signed("a", &[0; 5 << 20]), 0));
    for _ in 0..65 {
        all.rogue.record(id, Kind::Data, &[0; CHUNK_LEN]);
    }
    assert_fatal(all, ProtocolError::Credit, "more than the window");

    let (mut all, id) = putting();
    all.rogue.record(id, Kind::Data, b"x");
    assert_fatal(all, ProtocolError::Credit, "in a put");
}

#[test]
fn puts_accepted_wrongly() {
    let cases = [
        (
            TransferReply::PutAccepted {
                current: None,
                window: 131_071,
            },
            ProtocolError::Credit,
        ),
        (
            TransferReply::PutAccepted {
                current: Some(other_store()),
                window: 1 << 20,
            },
            ProtocolError::Manifest,
        ),
        (
            TransferReply::PutAccepted {
                current: Some(signed("b", b"x")),
                window: 1 << 20,
            },
            ProtocolError::Manifest,
        ),
        (TransferReply::Committed, ProtocolError::UnexpectedRecord),
        (
            TransferReply::Conflict { current: None },
            ProtocolError::UnexpectedRecord,
        ),
        (
            accept(signed("a", b"data"), 0),
            ProtocolError::UnexpectedRecord,
        ),
    ];
    for (wrong, error) in cases {
        let (mut all, id) = putting();
        reply(&mut all, id, &wrong);
        assert_fatal(all, error, &format!("{wrong:?}"));
    }
    let (mut all, id) = putting();
    reply(
        &mut all,
        id,
        &TransferReply::PutAccepted {
            current: Some(tombstone()),
            window: 1 << 20,
        },
    );
    all.run();
    assert!(matches!(
        all.events[..],
        [
            Event::Transfer(_, TransferEvent::PutAccepted { .. }),
            Event::Transfer(_, TransferEvent::Writable)
        ]
    ));
    for wrong in [
        TransferReply::Committed,
        TransferReply::Conflict { current: None },
    ] {
        let (mut all, id) = putting();
        reply(
            &mut all,
            id,
            &TransferReply::PutAccepted {
                current: None,
                window: 1 << 20,
            },
        );
        reply(&mut all, id, &wrong);
        assert_fatal(all, ProtocolError::UnexpectedRecord, "before the proof");
    }
}

#[test]
fn commits_taken_back() {
    let committed = || {
        let (mut all, id) = putting();
        reply(
            &mut all,
            id,
            &TransferReply::PutAccepted {
                current: None,
                window: 1 << 20,
            },
        );
        all.run();
        all.client
            .write(id, crate::channel::Chunk::from_slice(b"data"))
            .unwrap();
        all.client.finish_put(id, &signed("a", b"data")).unwrap();
        all.run();
        reply(&mut all, id, &TransferReply::Committed);
        (all, id)
    };
    let abort = crate::wire::record::encode_abort(&Refusal::new(RefusalCode::Internal, "oops"));
    let (mut all, id) = committed();
    all.rogue.record(id, Kind::Abort, &abort);
    assert_fatal(
        all,
        ProtocolError::UnexpectedRecord,
        "abort after the commit",
    );
    // The link goes before the server's End: what is committed is finished.
    let (mut all, id) = committed();
    all.run();
    all.client
        .abort(id, Refusal::new(RefusalCode::Cancelled, "too late"));
    all.client
        .handle_link(crate::channel::LinkChange::Lost, all.now);
    all.run();
    assert!(matches!(
        all.events[..],
        [
            ..,
            Event::Transfer(transfer, TransferEvent::Finished),
            Event::Closed(CloseReason::Lost)
        ] if transfer == id
    ));
}

#[test]
fn records_out_of_place() {
    let (mut all, id) = getting(0);
    all.rogue.record(id, Kind::Proof, b"x");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "proof");
    let (mut all, id) = getting(0);
    all.rogue.record(id, Kind::Open, b"x");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "open");
    let (mut all, id) = getting(0);
    all.rogue.record(id, Kind::Credit, &encode_credit(1));
    assert_fatal(all, ProtocolError::UnexpectedRecord, "credit in a get");
    // On a stream that carries no transfer.
    let mut all = VersusClient::logged_in();
    all.client
        .handle_message(5, vec![3; 40][..].into(), all.now);
    assert_fatal(all, ProtocolError::UnexpectedRecord, "no transfer");
    let mut all = VersusClient::logged_in();
    all.client
        .handle_message(65, vec![3; 40][..].into(), all.now);
    assert_fatal(all, ProtocolError::Stream, "no stream");
    let mut all = VersusClient::new();
    all.client
        .handle_message(1, vec![3; 40][..].into(), all.now);
    assert_fatal(all, ProtocolError::BeforeLogin, "before login");
}
