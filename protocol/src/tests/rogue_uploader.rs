//! What a server does with records of clients that keep no rule.

use super::pair::{alice, manifest, path, signed};
use super::rogue::VersusServer;
use super::rogue_client::assert_fatal;
use crate::channel::chunk::{CHUNK_LEN, Chunk};
use crate::channel::kind::{RecordKind as Kind, encode_credit};
use crate::channel::streams::Incoming;
use crate::server::{Event, TransferEvent};
use crate::signed::{SignedManifest, StoreId};
use crate::wire::record::{Open, decode_abort, encode_abort, encode_proof};
use crate::{ProtocolError, Refusal, RefusalCode, TransferId};

fn get(window: u32) -> Chunk {
    Open::Get {
        path: path("a"),
        offset: 0,
        manifest: None,
        window,
    }
    .encode()
}

fn put() -> Chunk {
    Open::Put {
        path: path("a"),
        size_hint: 0,
        replace_damaged: false,
    }
    .encode()
}

#[test]
fn records_before_login_or_on_no_stream() {
    for mut all in [VersusServer::new(), VersusServer::greeted()] {
        all.server
            .handle_message(1, vec![1; 40][..].into(), all.now);
        assert_fatal(all, ProtocolError::BeforeLogin, "garbage before login");
    }
    let mut all = VersusServer::greeted();
    all.rogue.open(Kind::Open, &put());
    assert_fatal(
        all,
        ProtocolError::BeforeLogin,
        "a good record before login",
    );
    for stream in [65, 1_000, u16::MAX] {
        let mut all = VersusServer::logged_in();
        all.server
            .handle_message(stream, vec![1; 40][..].into(), all.now);
        assert_fatal(all, ProtocolError::Stream, "no such stream");
    }
}

#[test]
fn records_out_of_form() {
    for len in [0, 1, 16, 65_554, 100_000] {
        let mut all = VersusServer::logged_in();
        all.server
            .handle_message(1, vec![1; len][..].into(), all.now);
        assert_fatal(all, ProtocolError::Malformed, "length");
    }
    let mut all = VersusServer::logged_in();
    all.server
        .handle_message(1, vec![9; 40][..].into(), all.now);
    assert_fatal(all, ProtocolError::Malformed, "kind");
    let mut all = VersusServer::logged_in();
    all.server
        .handle_message(1, vec![1; 40][..].into(), all.now);
    assert_fatal(all, ProtocolError::Record, "not sealed");
    let bodies = [
        &b""[..],
        &[3],
        &[1, 0],
        &[&put()[..], &[0]].concat(),
        &put()[..put().len() - 1],
    ];
    for body in bodies {
        let mut all = VersusServer::logged_in();
        all.rogue.open(Kind::Open, body);
        assert_fatal(all, ProtocolError::Malformed, "open");
    }
}

#[test]
fn a_transfer_begins_with_open() {
    for kind in [
        Kind::Reply,
        Kind::Data,
        Kind::Credit,
        Kind::Proof,
        Kind::End,
        Kind::Abort,
    ] {
        let mut all = VersusServer::logged_in();
        all.rogue.open(kind, b"x");
        assert_fatal(all, ProtocolError::UnexpectedRecord, "first record");
    }
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &put());
    all.rogue.record(id, Kind::Open, &put());
    assert_fatal(all, ProtocolError::UnexpectedRecord, "twice");
}

#[test]
fn an_open_that_names_no_path_is_aborted() {
    let mut all = VersusServer::logged_in();
    let mut body = put().to_vec();
    *body.iter_mut().find(|byte| **byte == b'a').unwrap() = b'\\';
    let id = all.rogue.open(Kind::Open, &body);
    all.run();
    assert!(all.events.is_empty());
    assert!(matches!(
        &all.rogue.records[..],
        [(aborted, Incoming::Abort(body))]
            if *aborted == id && decode_abort(body).unwrap().code == RefusalCode::BadRequest
    ));
    // The stream is free again.
    let again = all.rogue.open(Kind::Open, &put());
    assert_eq!((again.stream(), again.generation()), (1, 2));
    all.run();
    assert!(matches!(
        all.events[..],
        [Event::Transfer(_, TransferEvent::Put { .. })]
    ));
}

fn accepted_put() -> (VersusServer, TransferId) {
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &put());
    all.run();
    all.server.accept_put(id, None).unwrap();
    all.run();
    all.events.clear();
    (all, id)
}

#[test]
fn data_without_credit() {
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &put());
    all.rogue.record(id, Kind::Data, b"too early");
    assert_fatal(all, ProtocolError::Credit, "before the server's reply");

    let (mut all, id) = accepted_put();
    for _ in 0..64 {
        all.rogue.record(id, Kind::Data, &[0; CHUNK_LEN]);
    }
    all.run();
    assert_eq!(all.closed(), None, "the window is 4 MiB");
    all.rogue.record(id, Kind::Data, b"x");
    assert_fatal(all, ProtocolError::Credit, "a byte more");

    // What has been consumed may come again, but no more than that.
    let (mut all, id) = accepted_put();
    for _ in 0..64 {
        all.rogue.record(id, Kind::Data, &[0; CHUNK_LEN]);
    }
    all.run();
    all.server.consumed(id, (1 << 20) - 1);
    all.run();
    assert!(
        !all.rogue
            .records
            .iter()
            .any(|(_, record)| matches!(record, Incoming::Writable))
    );
    all.server.consumed(id, 1);
    all.server.consumed(id, 1 << 20);
    all.server.consumed(id, usize::MAX);
    all.run();
    for _ in 0..64 {
        all.rogue.record(id, Kind::Data, &[0; CHUNK_LEN]);
    }
    all.run();
    assert_eq!(all.closed(), None);
    all.rogue.record(id, Kind::Data, b"x");
    assert_fatal(all, ProtocolError::Credit, "a byte more than consumed");

    // Not even when the server has given the transfer up.
    let (mut all, id) = accepted_put();
    all.server.abort(id, Refusal::new(RefusalCode::NoSpace, ""));
    for _ in 0..65 {
        all.rogue.record(id, Kind::Data, &[0; CHUNK_LEN]);
    }
    assert_fatal(all, ProtocolError::Credit, "after the abort");
}

#[test]
fn data_out_of_place() {
    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::Data, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "empty");

    let (mut all, id) = accepted_put();
    all.rogue
        .record(id, Kind::Proof, &encode_proof(&signed("a", b"")));
    all.rogue.record(id, Kind::Data, b"late");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "after the proof");

    let (mut all, id) = accepted_put();
    all.rogue
        .record(id, Kind::Proof, &encode_proof(&signed("a", b"")));
    all.run();
    all.server.conflict(id, None).unwrap();
    all.rogue.record(id, Kind::Data, b"late");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "after a conflict");

    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &get(1 << 20));
    all.rogue.record(id, Kind::Data, b"x");
    assert_fatal(all, ProtocolError::Credit, "in a get");
}

#[test]
fn proofs_out_of_place() {
    let proof = encode_proof(&signed("a", b""));
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &put());
    all.rogue.record(id, Kind::Proof, &proof);
    assert_fatal(
        all,
        ProtocolError::UnexpectedRecord,
        "before the server's reply",
    );

    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::Proof, &proof);
    all.rogue.record(id, Kind::Proof, &proof);
    assert_fatal(all, ProtocolError::UnexpectedRecord, "twice");

    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::Proof, &proof[1..]);
    assert_fatal(all, ProtocolError::Malformed, "garbage");

    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &get(1 << 20));
    all.rogue.record(id, Kind::Proof, &proof);
    assert_fatal(all, ProtocolError::UnexpectedRecord, "in a get");
}

/// A proof that is not good enough costs the transfer, not the connection.
#[test]
fn proofs_of_something_else() {
    let of = |change: &dyn Fn(&mut crate::signed::Manifest)| {
        let mut manifest = manifest("a", b"data");
        change(&mut manifest);
        encode_proof(&SignedManifest::sign(manifest, &alice()).unwrap()).to_vec()
    };
    let forged = {
        let good = signed("a", b"data");
        let text = good.text().replace("size 4", "size 5");
        let string = |text: &str| {
            [
                &u16::try_from(text.len()).unwrap().to_be_bytes()[..],
                text.as_bytes(),
            ]
            .concat()
        };
        [string(&text), string(good.signature())].concat()
    };
    let cases = [
        (
            of(&|manifest| manifest.store = StoreId::from_bytes([1; 16])),
            RefusalCode::BadManifest,
        ),
        (
            of(&|manifest| manifest.path = path("b")),
            RefusalCode::BadManifest,
        ),
        (
            encode_proof(&signed("a", b"other")).to_vec(),
            RefusalCode::BadManifest,
        ),
        (
            of(&|manifest| {
                manifest.content = crate::signed::Content::Deleted;
                manifest.version = 2;
                manifest.previous = Some(signed("a", b"x").hash());
            }),
            RefusalCode::BadManifest,
        ),
        (forged, RefusalCode::BadSignature),
    ];
    for (proof, code) in cases {
        let (mut all, id) = accepted_put();
        all.rogue.record(id, Kind::Data, b"data");
        all.rogue.record(id, Kind::Proof, &proof);
        all.run();
        assert!(
            matches!(
                &all.events[..],
                [
                    Event::Transfer(_, TransferEvent::Data(_)),
                    Event::Transfer(_, TransferEvent::Aborted(refusal))
                ] if refusal.code == code
            ),
            "{:?}",
            all.events
        );
        assert!(matches!(
            all.rogue.records.last(),
            Some((_, Incoming::Abort(body))) if decode_abort(body).unwrap().code == code
        ));
        assert_eq!(all.server.committed(id), Ok(()), "too late, ignored");
    }
}

#[test]
fn ends_out_of_place() {
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &put());
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "before the reply");

    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "instead of the proof");

    let (mut all, id) = accepted_put();
    all.rogue
        .record(id, Kind::Proof, &encode_proof(&signed("a", b"")));
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "before the verdict");

    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::End, b"x");
    assert_fatal(all, ProtocolError::Malformed, "with a body");

    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &get(1 << 20));
    all.run();
    all.server.accept_get(id, &signed("a", b"data"), 0).unwrap();
    all.rogue.record(id, Kind::End, b"");
    assert_fatal(all, ProtocolError::UnexpectedRecord, "before the server's");

    // Nothing follows an Abort, while the server has not yet answered it.
    for kind in [Kind::End, Kind::Abort, Kind::Open, Kind::Data, Kind::Credit] {
        let (mut all, id) = accepted_put();
        let abort = encode_abort(&Refusal::new(RefusalCode::Cancelled, ""));
        all.rogue.record(id, Kind::Abort, &abort);
        all.rogue.record(id, kind, &[0; 8]);
        assert_fatal(all, ProtocolError::UnexpectedRecord, "after the abort");
    }
}

#[test]
fn credit_out_of_place() {
    let credit = |total| encode_credit(total);
    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::Credit, &credit(1 << 30));
    assert_fatal(all, ProtocolError::UnexpectedRecord, "in a put");

    for (window, error) in [(131_071, ProtocolError::Credit), (0, ProtocolError::Credit)] {
        let mut all = VersusServer::logged_in();
        all.rogue.open(Kind::Open, &get(window));
        assert_fatal(all, error, "window too small");
    }
    for total in [0, 131_071, 131_072] {
        let mut all = VersusServer::logged_in();
        let id = all.rogue.open(Kind::Open, &get(131_072));
        all.run();
        all.server.accept_get(id, &signed("a", b"data"), 0).unwrap();
        all.rogue.record(id, Kind::Credit, &credit(total));
        assert_fatal(all, ProtocolError::Credit, "not more than before");
    }
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &get(131_072));
    all.run();
    all.server.accept_get(id, &signed("a", b"data"), 0).unwrap();
    all.rogue.record(id, Kind::Credit, b"1234567");
    assert_fatal(all, ProtocolError::Malformed, "not eight bytes");
    // As much as there can be.
    let mut all = VersusServer::logged_in();
    let id = all.rogue.open(Kind::Open, &get(131_072));
    all.run();
    all.server.accept_get(id, &signed("a", b"data"), 0).unwrap();
    all.rogue.record(id, Kind::Credit, &credit(u64::MAX));
    all.run();
    assert_eq!(all.closed(), None);
    assert_eq!(all.server.capacity(id), 1 << 20);
}

#[test]
fn a_reply_is_not_for_clients_to_send() {
    let (mut all, id) = accepted_put();
    all.rogue.record(id, Kind::Reply, &[3]);
    assert_fatal(all, ProtocolError::UnexpectedRecord, "reply");
}

#[test]
fn an_abort_after_the_commit_does_not_undo_it() {
    let (mut all, id) = accepted_put();
    all.rogue
        .record(id, Kind::Proof, &encode_proof(&signed("a", b"")));
    all.run();
    all.server.committed(id).unwrap();
    all.server
        .abort(id, Refusal::new(RefusalCode::Internal, "too late"));
    let abort = encode_abort(&Refusal::new(RefusalCode::Cancelled, ""));
    all.rogue.record(id, Kind::Abort, &abort);
    all.run();
    assert!(matches!(
        &all.events[..],
        [
            Event::Transfer(_, TransferEvent::Proof(_)),
            Event::Transfer(_, TransferEvent::Finished)
        ]
    ));
}
