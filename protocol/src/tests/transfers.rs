//! Puts and gets between honest peers, in every interleaving that SCTP allows.

use bytes::BytesMut;
use proptest::prelude::*;

use super::apps::Apps;
use super::pair::{Pair, content, manifest, path, signed};
use crate::channel::{Chunk, LinkChange};
use crate::client::{Event as C, TransferEvent as CT};
use crate::server::{Event as S, TransferEvent as ST};
use crate::signed::{Content, SignedManifest};
use crate::{CloseReason, Limits, Refusal, RefusalCode, TransferId, UsageError, WriteError};

fn cancelled() -> Refusal {
    Refusal::new(RefusalCode::Cancelled, "had enough")
}

#[test]
fn what_is_put_can_be_got() {
    for (seed, len) in [0, 1, 65_535, 65_536, 65_537, 6_000_000]
        .into_iter()
        .enumerate()
    {
        let data = content(len);
        let mut apps = Apps::new(seed as u64);
        let put = apps.put("docs/a.bin", &data);
        apps.run();
        assert_eq!(apps.finished, [put]);
        assert!(
            apps.files[&path("docs/a.bin")].1 == data,
            "{len} bytes came out different"
        );
        let get = apps.get("docs/a.bin");
        assert_eq!(get.stream(), put.stream(), "the stream is free again");
        assert_eq!(get.generation(), put.generation() + 1);
        apps.run();
        assert_eq!(apps.finished, [put, get]);
        assert_eq!(apps.served, [put, get]);
        assert!(
            apps.fetched[&get] == data,
            "{len} bytes came back different"
        );
    }
}

#[test]
fn the_client_ends_only_after_the_server_has() {
    let data = content(3);
    let mut pair = Pair::logged_in(3);
    let id = pair.client.put(path("a"), 3).unwrap();
    pair.run();
    pair.server.accept_put(id, None).unwrap();
    pair.run();
    pair.client.write(id, Chunk::from_slice(&data)).unwrap();
    pair.client.finish_put(id, &signed("a", &data)).unwrap();
    pair.run();
    pair.server.committed(id).unwrap();
    // The carrier takes the reply, and the server's End has to wait.
    let reply = pair.server.poll_transmit().unwrap();
    let reply = (reply.stream, reply.payload);
    pair.client
        .handle_message(reply.0, BytesMut::from(&reply.1[..]), pair.now);
    while let Some(early) = pair.client.poll_transmit() {
        let payload = BytesMut::from(&early.payload[..]);
        pair.server.handle_message(early.stream, payload, pair.now);
    }
    pair.run();
    assert!(
        matches!(pair.server_events.back(), Some(S::Transfer(transfer, ST::Finished)) if *transfer == id)
    );
    assert!(
        matches!(pair.client_events.back(), Some(C::Transfer(transfer, CT::Finished)) if *transfer == id)
    );
}

#[test]
fn a_get_goes_on_where_it_stopped() {
    let data = content(200_000);
    let mut apps = Apps::new(1);
    apps.store("a", &data);
    let hash = apps.files[&path("a")].0.hash();
    for offset in [0, 65_536, 131_072, 199_999, 200_000] {
        let get = apps.get_from("a", offset, Some(hash));
        apps.run();
        assert!(apps.fetched[&get] == data);
    }
    // The file has changed meanwhile: from the beginning.
    let newer = content(70_000);
    apps.store("a", &newer);
    let get = apps.get_from("a", 65_536, Some(hash));
    apps.run();
    assert!(apps.fetched[&get] == newer);
    assert_eq!(apps.finished.len(), 6);
}

#[test]
fn a_receiver_that_never_consumes_holds_up_nobody() {
    let mut apps = Apps::new(2);
    let big = content(6 << 20);
    apps.store("big", &big);
    apps.store("small", &content(100_000));
    let stuck: Vec<TransferId> = (0..32).map(|_| apps.get("big")).collect();
    apps.stalled.extend(stuck.iter().copied());
    let stuck_put = apps.put("slow", &big);
    apps.stalled.insert(stuck_put);
    apps.run();
    for transfer in &stuck {
        assert_eq!(apps.fetched[transfer].len(), 4 << 20, "exactly the window");
    }
    assert_eq!(apps.uploads[&stuck_put].1.len(), 4 << 20);
    let small = apps.get("small");
    let whoami = apps.pair.client.request(crate::Request::Whoami).unwrap();
    while !apps.finished.contains(&small) {
        assert!(apps.pair.step(), "the small get is stuck");
        if let Some(S::Request(..)) = apps.pair.server_events.front() {
            let Some(S::Request(id, _)) = apps.pair.server_events.pop_front() else {
                unreachable!()
            };
            assert_eq!(id, whoami);
        }
        apps.handle_events();
    }
    // Consumed at last: everything completes.
    for transfer in stuck.iter().chain([&stuck_put]) {
        apps.stalled.remove(transfer);
    }
    for transfer in &stuck {
        apps.pair.client.consumed(*transfer, 4 << 20);
    }
    apps.pair.server.consumed(stuck_put, 4 << 20);
    apps.run();
    assert_eq!(apps.finished.len(), 34);
    assert!(stuck.iter().all(|transfer| apps.fetched[transfer] == big));
}

#[test]
fn streams_run_out_and_come_back() {
    let two = Limits {
        streams: 2,
        ..Limits::default()
    };
    for (client, server) in [(two.clone(), Limits::default()), (Limits::default(), two)] {
        let mut pair = Pair::with_limits(3, client, server);
        pair.login();
        let mut apps = Apps::with(pair);
        apps.put("a", b"a");
        apps.put("b", b"b");
        assert_eq!(
            apps.pair.client.get(path("a"), 0, None),
            Err(UsageError::NoFreeStream)
        );
        apps.run();
        assert_eq!(apps.finished.len(), 2);
        apps.get("a");
        apps.get("b");
        apps.run();
        assert_eq!(apps.finished.len(), 4);
    }
    // A link with fewer streams than either side would take.
    let mut pair = Pair::down(
        4,
        &super::pair::Host::new(),
        Limits::default(),
        Limits::default(),
    );
    pair.link(LinkChange::Up { streams: 2 });
    pair.login();
    pair.client.put(path("a"), 0).unwrap();
    assert_eq!(pair.client.put(path("b"), 0), Err(UsageError::NoFreeStream));
}

#[test]
fn a_conflict_is_signed_again_without_sending_again() {
    let mut apps = Apps::new(5);
    let data = content(300_000);
    let first = apps.put("a", &data);
    // Someone else publishes between acceptance and proof.
    while apps.uploads.is_empty() {
        apps.step();
    }
    apps.store("a", b"theirs");
    apps.run();
    assert_eq!(
        (apps.finished.as_slice(), apps.conflicts),
        ([first].as_slice(), 1)
    );
    let (signed, stored) = &apps.files[&path("a")];
    assert_eq!(signed.manifest().version, 2);
    assert!(stored == &data);
}

#[test]
fn refusals_reach_the_client_and_free_the_stream() {
    let mut apps = Apps::new(6);
    for round in 1..=3 {
        let get = apps.get("missing");
        apps.run();
        assert_eq!((get.stream(), get.generation()), (1, round));
        let (transfer, refusal) = apps.refused.pop().unwrap();
        assert_eq!(transfer, get);
        assert_eq!(refusal, Refusal::new(RefusalCode::NotFound, "no such file"));
    }
    assert!(
        apps.aborted.is_empty(),
        "the server's own abort is no news to it"
    );
    apps.put("a", b"a");
    apps.run();
    assert_eq!(apps.finished.len(), 1);
}

#[test]
fn a_long_refusal_is_cut_between_characters() {
    let mut pair = Pair::logged_in(7);
    let get = pair.client.get(path("a"), 0, None).unwrap();
    pair.run();
    pair.server
        .abort(get, Refusal::new(RefusalCode::Internal, "é".repeat(400)));
    pair.run();
    let C::Transfer(_, CT::Aborted(refusal)) = pair.client_event() else {
        panic!("no refusal");
    };
    assert_eq!(refusal.message, "é".repeat(256));
}

#[test]
fn a_proof_of_something_else_is_refused_but_not_fatal() {
    let other_store = {
        let mut manifest = manifest("a", b"data");
        manifest.store = crate::signed::StoreId::from_bytes([9; 16]);
        SignedManifest::sign(manifest, &super::pair::alice()).unwrap()
    };
    let tombstone = {
        let mut manifest = manifest("a", b"data");
        manifest.content = Content::Deleted;
        manifest.version = 2;
        manifest.previous = Some(signed("a", b"old").hash());
        SignedManifest::sign(manifest, &super::pair::alice()).unwrap()
    };
    let mut pair = Pair::logged_in(8);
    let put = pair.client.put(path("a"), 4).unwrap();
    assert_eq!(
        pair.client.finish_put(put, &signed("a", b"data")),
        Err(UsageError::WrongState)
    );
    pair.run();
    assert!(matches!(
        pair.server_event(),
        S::Transfer(_, ST::Put { .. })
    ));
    pair.server.accept_put(put, None).unwrap();
    assert_eq!(
        pair.server.accept_put(put, None),
        Err(UsageError::WrongState)
    );
    pair.run();
    pair.client.write(put, Chunk::from_slice(b"data")).unwrap();
    for wrong in [
        signed("a", b"other size"),
        signed("b", b"data"),
        other_store,
        tombstone,
    ] {
        assert_eq!(
            pair.client.finish_put(put, &wrong),
            Err(UsageError::WrongManifest)
        );
    }
    pair.client.finish_put(put, &signed("a", b"data")).unwrap();
    assert!(matches!(
        pair.client.write(put, Chunk::from_slice(b"more")),
        Err(WriteError::Unknown(chunk)) if &chunk[..] == b"more"
    ));
    assert_eq!(
        pair.server.committed(put),
        Err(UsageError::WrongState),
        "nothing is proved yet"
    );
    pair.run();
    pair.server.committed(put).unwrap();
    assert_eq!(pair.server.conflict(put, None), Err(UsageError::WrongState));
}

#[test]
fn a_get_is_accepted_only_with_what_was_asked_for() {
    let mut pair = Pair::logged_in(9);
    let get = pair
        .client
        .get(path("a"), 3, Some(signed("a", b"data").hash()))
        .unwrap();
    pair.run();
    let server = &mut pair.server;
    assert_eq!(
        server.accept_get(get, &signed("b", b"data"), 0),
        Err(UsageError::WrongManifest)
    );
    assert_eq!(
        server.accept_get(get, &signed("a", b"data"), 2),
        Err(UsageError::WrongManifest)
    );
    assert_eq!(
        server.accept_get(get, &signed("a", b"else"), 3),
        Err(UsageError::WrongManifest)
    );
    assert_eq!(server.finish_get(get), Err(UsageError::WrongState));
    server.accept_get(get, &signed("a", b"data"), 3).unwrap();
    assert_eq!(
        server.finish_get(get),
        Err(UsageError::WrongState),
        "a byte is missing"
    );
    server.write(get, Chunk::from_slice(b"a")).unwrap();
    server.finish_get(get).unwrap();
    pair.run();
    assert!(
        pair.client_events
            .iter()
            .any(|event| matches!(event, C::Transfer(_, CT::Finished)))
    );
}

#[test]
fn more_than_the_capacity_is_given_back() {
    let mut pair = Pair::logged_in(10);
    let put = pair.client.put(path("a"), 0).unwrap();
    assert_eq!(pair.client.capacity(put), 0);
    assert!(matches!(
        pair.client.write(put, Chunk::from_slice(b"early")),
        Err(WriteError::Unknown(_))
    ));
    pair.run();
    pair.server.accept_put(put, None).unwrap();
    pair.run();
    let full = || Chunk::from_slice(&[1; crate::channel::CHUNK_LEN]);
    let mut longer = full();
    longer.resize(crate::channel::CHUNK_LEN + 1);
    assert!(matches!(
        pair.client.write(put, longer),
        Err(WriteError::TooLong(_))
    ));
    pair.client.write(put, Chunk::new()).unwrap();
    for written in 0..16 {
        assert_eq!(
            pair.client.capacity(put),
            (16 - written) << 16,
            "the queue holds 1 MiB"
        );
        pair.client.write(put, full()).unwrap();
    }
    assert!(
        matches!(pair.client.write(put, full()), Err(WriteError::Blocked(chunk)) if chunk.len() == 65_536)
    );
    pair.client_events.clear();
    pair.run();
    let writable = pair
        .client_events
        .iter()
        .filter(|event| matches!(event, C::Transfer(_, CT::Writable)));
    assert_eq!(writable.count(), 1, "once for each time it was blocked");
    assert_eq!(pair.client.capacity(put), 1 << 20);
}

/// The number of messages that a whole put and get of a few records take.
const STAGES: usize = 24;

#[test]
fn an_abort_of_either_side_at_any_stage_frees_the_stream() {
    for stage in 0..STAGES {
        for (by_server, put) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut apps = Apps::new(stage as u64);
            let data = content(300_000);
            apps.store("got", &data);
            let transfer = if put {
                apps.put("new", &data)
            } else {
                apps.get("got")
            };
            for _ in 0..stage {
                apps.step();
            }
            if by_server {
                apps.pair.server.abort(transfer, cancelled());
            } else {
                apps.pair.client.abort(transfer, cancelled());
            }
            apps.run();
            assert_eq!(apps.closed, [None, None], "stage {stage}");
            let again = apps.get("got");
            apps.run();
            assert!(apps.fetched[&again] == data, "stage {stage}");
            assert_eq!(
                again.stream(),
                transfer.stream(),
                "stage {stage}: the stream is not free"
            );
        }
    }
}

#[test]
fn an_abort_overtakes_the_data_that_waits() {
    let mut pair = Pair::logged_in(11);
    let put = pair.client.put(path("a"), 0).unwrap();
    pair.run();
    pair.server.accept_put(put, None).unwrap();
    pair.run();
    for _ in 0..16 {
        pair.client
            .write(put, Chunk::from_slice(&[1; crate::channel::CHUNK_LEN]))
            .unwrap();
    }
    pair.client.abort(put, cancelled());
    pair.server_events.clear();
    pair.run();
    assert!(matches!(
        pair.server_event(),
        S::Transfer(_, ST::Aborted(refusal)) if refusal == cancelled()
    ));
}

#[test]
fn a_lost_link_truncates_at_any_stage() {
    for stage in 0..STAGES {
        for put in [false, true] {
            let mut apps = Apps::new(stage as u64);
            let data = content(300_000);
            apps.store("got", &data);
            let transfer = if put {
                apps.put("new", &data)
            } else {
                apps.get("got")
            };
            for _ in 0..stage {
                apps.step();
            }
            let finished = apps.finished.contains(&transfer);
            let served = apps.served.contains(&transfer);
            let begun = apps.uploads.contains_key(&transfer);
            apps.lose();
            assert_eq!(
                apps.closed,
                [Some(CloseReason::Lost), Some(CloseReason::Lost)]
            );
            assert_eq!(
                apps.finished.len() + apps.truncated.len(),
                1,
                "stage {stage}"
            );
            assert!(!finished || apps.truncated.is_empty());
            if begun {
                assert_eq!(apps.aborted, [(transfer, None)], "stage {stage}");
            }
            assert!(apps.served.len() + apps.aborted.len() <= 1);
            assert!(!served || apps.aborted.is_empty());
            if put && apps.finished.contains(&transfer) {
                assert!(
                    apps.files[&path("new")].1 == data,
                    "finished, so it is there"
                );
            }
            assert!(apps.pair.client.is_closed() && apps.pair.server.is_closed());
            assert_eq!(apps.pair.client.put(path("a"), 0), Err(UsageError::Closed));
        }
    }
}

#[test]
fn closing_lets_out_what_is_queued_and_says_goodbye() {
    for by_server in [false, true] {
        let mut apps = Apps::new(12);
        let data = content(300_000);
        apps.store("got", &data);
        let get = apps.get("got");
        let put = apps.put("new", &data);
        for _ in 0..8 {
            apps.step();
        }
        let now = apps.pair.now;
        if by_server {
            apps.pair.server.close(now);
        } else {
            apps.pair.client.close(now);
        }
        apps.run();
        let reasons = [CloseReason::Local, CloseReason::Peer].map(Some);
        let [first, second] = reasons;
        assert_eq!(
            apps.closed,
            if by_server {
                [second, first]
            } else {
                [first, second]
            }
        );
        assert!(apps.pair.client.is_closed() && apps.pair.server.is_closed());
        assert!(
            apps.pair.client.poll_timeout().is_none() && apps.pair.server.poll_timeout().is_none()
        );
        for transfer in [get, put] {
            let ends = apps.truncated.iter().filter(|id| **id == transfer).count()
                + apps
                    .refused
                    .iter()
                    .filter(|(id, _)| *id == transfer)
                    .count();
            assert_eq!(ends, 1, "each transfer ends once");
        }
    }
}

#[test]
fn closing_before_anything_began() {
    let mut pair = Pair::down(
        1,
        &super::pair::Host::new(),
        Limits::default(),
        Limits::default(),
    );
    pair.client.close(pair.now);
    assert!(matches!(
        pair.client.poll_event(),
        Some(C::Closed(CloseReason::Local))
    ));
    assert!(pair.client.poll_transmit().is_none() && pair.client.is_closed());
    pair.link(LinkChange::Up { streams: 65 });
    pair.server.close(pair.now);
    pair.run();
    assert!(matches!(pair.server_event(), S::Closed(CloseReason::Local)));
    assert!(pair.server.is_closed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the order in which the streams' messages arrive, every transfer ends once and with
    /// the right bytes.
    #[test]
    fn any_interleaving_comes_to_the_same(
        seed in any::<u64>(),
        sizes in prop::collection::vec(0_usize..400_000, 1..8),
        aborts in prop::collection::vec((0_usize..200, any::<bool>(), 0_usize..16), 0..6),
    ) {
        let mut apps = Apps::new(seed);
        let mut all = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let data = content(*size);
            apps.store(&format!("there/{i}"), &data);
            all.push((apps.get(&format!("there/{i}")), data.clone(), None));
            let name = format!("new/{i}");
            all.push((apps.put(&name, &data), data, Some(name)));
        }
        let mut given_up = std::collections::BTreeSet::new();
        let mut step = 0;
        while apps.step() {
            for (when, by_server, which) in &aborts {
                let transfer = all[which % all.len()].0;
                if *when != step {
                    continue;
                }
                if *by_server {
                    apps.pair.server.abort(transfer, cancelled());
                } else {
                    apps.pair.client.abort(transfer, cancelled());
                }
                given_up.insert(transfer);
            }
            step += 1;
        }
        prop_assert_eq!(&apps.closed, &[None, None]);
        for (transfer, data, name) in all {
            let finished = apps.finished.iter().filter(|id| **id == transfer).count();
            if !given_up.contains(&transfer) {
                prop_assert_eq!(finished, 1);
            }
            if finished == 1 {
                match name {
                    None => prop_assert!(apps.fetched[&transfer] == data),
                    Some(name) => prop_assert!(apps.files[&path(&name)].1 == data),
                }
            }
        }
        // Every stream is free again.
        for _ in 0..64 {
            apps.pair.client.put(path("last"), 0).unwrap();
        }
    }
}
