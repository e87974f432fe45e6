//! Peers with an association that abuse it: acknowledgements, windows, fragments, floods.

use std::time::Duration;

use towpath_sctp::packet::{Chunk, Data, Packet, kind};
use towpath_sctp::{CloseReason, Config, EndpointConfig, Event, Message, SendError};

use crate::peer::Peer;

/// A peer to which the server has sent `packets` packets' worth, up to its congestion window.
fn with_data(bytes: usize) -> Peer {
    let mut peer = Peer::connected();
    let handle = peer.handle.expect("up");
    peer.server
        .send(handle, Message::new(0, vec![7; bytes]))
        .expect("taken");
    peer.collect();
    assert!(!peer.words().is_empty());
    peer
}

#[test]
fn acknowledging_what_was_never_sent_ends_the_association() {
    for (ahead, blocks) in [
        (4, &[][..]),
        (u32::MAX >> 2, &[]),
        (0, &[(2, 9)]),
        (0, &[(1, 65_535)]),
    ] {
        let mut peer = with_data(4_000);
        peer.sack(ahead, 100_000, blocks);
        assert_eq!(peer.words(), ["ABORT [13]"]);
        assert!(
            matches!(peer.closed, Some(CloseReason::Violation(_))),
            "{ahead} {blocks:?}: {:?}",
            peer.closed
        );
    }
}

#[test]
fn absurd_gap_blocks_end_the_association() {
    for blocks in [&[(3, 2)][..], &[(0, 0)], &[(3, 3), (2, 2)]] {
        let mut peer = with_data(4_000);
        peer.sack(u32::MAX, 100_000, blocks);
        assert!(
            matches!(peer.closed, Some(CloseReason::Violation(_))),
            "{blocks:?}: {:?}",
            peer.closed
        );
    }
}

#[test]
fn old_acknowledgements_are_ignored() {
    let mut peer = with_data(4_000);
    peer.sack(1, 100_000, &[]);
    peer.sack(u32::MAX, 0, &[]);
    peer.sack(u32::MAX - 1_000, 0, &[]);
    assert!(peer.is_up());
}

#[test]
fn taking_back_acknowledgements_without_end_is_not_borne() {
    let mut peer = with_data(4_000);
    for n in 0..200_000 {
        peer.sack(u32::MAX, 100_000, if n % 2 == 0 { &[(2, 4)] } else { &[] });
        if peer.closed.is_some() {
            break;
        }
        peer.replies();
    }
    assert!(
        matches!(peer.closed, Some(CloseReason::Violation(_))),
        "{:?}",
        peer.closed
    );
}

#[test]
fn a_shut_window_is_probed_ever_more_rarely_and_holds_a_bounded_amount() {
    let mut peer = with_data(1_000);
    let handle = peer.handle.expect("up");
    peer.sack(0, 0, &[]);
    let mut taken = 0;
    loop {
        match peer.server.send(handle, Message::new(0, vec![1; 10_000])) {
            Ok(()) => taken += 10_000,
            Err(SendError::Full(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken <= 1 << 20, "{taken} bytes queued");
    peer.collect();
    assert_eq!(peer.words(), [""; 0], "nothing is sent into a shut window");
    let mut probes = 0;
    for _ in 0..600 {
        peer.wait(Duration::from_secs(1));
        for word in peer.words() {
            if word.starts_with("DATA") {
                probes += 1;
                // The peer still answers, without taking anything.
                peer.sack(0, 0, &[]);
            } else {
                assert_eq!(word, "HEARTBEAT");
            }
        }
        answer_heartbeats(&mut peer);
    }
    assert!((5..100).contains(&probes), "{probes} probes in ten minutes");
    assert!(peer.is_up(), "slow is not gone: {:?}", peer.closed);
    peer.sack(0, 1_000_000, &[]);
    peer.wait(Duration::from_secs(60));
    assert!(
        peer.words().iter().any(|word| word.starts_with("DATA")),
        "it goes on when the window opens"
    );
}

fn answer_heartbeats(peer: &mut Peer) {
    for (_, packet) in peer.replies() {
        let packet = Packet::parse(&packet).expect("a packet");
        for chunk in packet.chunks().flatten() {
            if let Chunk::Heartbeat(content) = chunk {
                peer.send(|writer| assert!(writer.heartbeat_ack(content)));
            }
        }
    }
}

#[test]
fn a_silly_window_gets_no_tiny_segments() {
    let mut peer = with_data(1_000);
    let handle = peer.handle.expect("up");
    peer.server
        .send(handle, Message::new(0, vec![1; 100_000]))
        .expect("taken");
    peer.sack(0, 10, &[]);
    peer.replies();
    for _ in 0..100 {
        peer.sack(0, 10, &[]);
    }
    assert_eq!(peer.words(), [""; 0]);
}

#[test]
fn data_without_data_ends_the_association() {
    let mut peer = Peer::connected();
    let data = peer.data(0, 0, b"");
    peer.send(|writer| assert!(writer.data(&data).is_some()));
    assert_eq!(peer.words(), ["ABORT [9]"]);
}

#[test]
fn tiny_fragments_fill_the_window_before_they_fill_memory() {
    let mut peer = Peer::connected();
    // The first fragment never comes; what follows cannot be delivered.
    let mut accepted = 0u32;
    for n in 1..60_000 {
        let data = Data {
            begin: false,
            end: false,
            tsn: peer.tsn + n,
            ..peer.data(0, 0, b"x")
        };
        peer.send(|writer| assert!(writer.data(&data).is_some()));
        if let Some((_, packet)) = peer.replies().pop() {
            let packet = Packet::parse(&packet).expect("a packet");
            if let Some(Ok(Chunk::Sack(sack))) = packet.chunks().next() {
                accepted = sack
                    .blocks()
                    .map(|block| u32::from(block.end))
                    .max()
                    .unwrap_or(0);
            }
        }
    }
    let window = Config::default().receive_window;
    // The first offset that can be reported is 2.
    let held = accepted.saturating_sub(1);
    assert!(
        held > 0 && held * 65 <= window,
        "{held} fragments of one byte"
    );
    assert!(peer.is_up());
}

#[test]
fn a_message_without_end_is_cut_off() {
    let mut peer = Peer::connected();
    for n in 0..5_000 {
        let data = Data {
            begin: n == 0,
            end: false,
            ..peer.data(0, 0, &[7; 1_000])
        };
        peer.tsn += 1;
        peer.send(|writer| assert!(writer.data(&data).is_some()));
        if peer.closed.is_some() {
            assert!(
                n * 1_000 <= Config::default().max_message,
                "after {n} fragments"
            );
            return;
        }
    }
    panic!("five megabytes in one message were borne");
}

#[test]
fn isolated_chunks_are_bounded_in_number_and_distance() {
    let mut peer = Peer::connected();
    let mut most = 0;
    for n in 1..20_000u32 {
        let data = Data {
            tsn: peer.tsn.wrapping_add(2 * n),
            unordered: true,
            ..peer.data(0, 0, b"x")
        };
        peer.send(|writer| assert!(writer.data(&data).is_some()));
        for (_, packet) in peer.replies() {
            let packet = Packet::parse(&packet).expect("a packet");
            assert!(packet.chunks().count() > 0);
            if let Some(Ok(Chunk::Sack(sack))) = packet.chunks().next() {
                most = most.max(sack.blocks().len());
            }
        }
        let handle = peer.handle.expect("up");
        while peer.server.recv(handle).is_some() {}
    }
    assert!((200..=1_024).contains(&most), "{most} ranges");
    let data = Data {
        tsn: peer.tsn.wrapping_add(1 << 30),
        ..peer.data(0, 0, b"far")
    };
    peer.send(|writer| assert!(writer.data(&data).is_some()));
    assert!(peer.is_up());
}

#[test]
fn streams_that_do_not_exist_are_reported_and_cost_nothing() {
    let mut peer = Peer::with(EndpointConfig {
        association: Config {
            max_inbound_streams: 8,
            ..Config::default()
        },
        ..EndpointConfig::default()
    })
    .set_up();
    peer.message(8, 0, b"x");
    assert_eq!(peer.words(), ["ERROR [1]", "SACK"]);
    for stream in 8..5_000 {
        peer.message(stream, 0, b"x");
    }
    assert!(peer.is_up());
    let handle = peer.handle.expect("up");
    assert_eq!(peer.server.recv(handle), None);
    peer.message(7, 0, b"the last that exists");
    assert!(peer.server.recv(handle).is_some());
}

#[test]
fn tsns_wrap() {
    let mut peer = Peer::new();
    peer.tsn = u32::MAX - 50;
    let mut peer = peer.set_up();
    let handle = peer.handle.expect("up");
    for n in 0..200u16 {
        peer.message(0, n, &n.to_be_bytes());
        let message = peer.server.recv(handle).expect("in order");
        assert_eq!(message.payload[..], n.to_be_bytes());
    }
    assert_eq!(peer.tsn, 149);
}

#[test]
fn unknown_chunks_are_treated_as_their_types_ask() {
    let cases = [
        (0x20, &[][..], false),
        (0x60, &["ERROR [6]"], false),
        (0xa0, &["SACK"], true),
        (0xe0, &["ERROR [6]", "SACK"], true),
    ];
    for (kind, expected, delivered) in cases {
        let mut peer = Peer::connected();
        let data = peer.data(0, 0, b"behind it");
        peer.send(|writer| assert!(writer.raw(kind, 0, b"what?") && writer.data(&data).is_some()));
        assert_eq!(peer.words(), expected, "type {kind:#x}");
        let handle = peer.handle.expect("up");
        assert_eq!(
            peer.server.recv(handle).is_some(),
            delivered,
            "type {kind:#x}"
        );
    }
}

#[test]
fn heartbeats_are_answered_as_they_came_but_carry_no_payload() {
    let mut peer = Peer::connected();
    peer.send(|writer| assert!(writer.heartbeat(b"any information at all")));
    let replies = peer.replies();
    let packet = Packet::parse(&replies[0].1).expect("a packet");
    let Some(Ok(Chunk::HeartbeatAck(content))) = packet.chunks().next() else {
        panic!("a HEARTBEAT ACK")
    };
    assert_eq!(&content[4..26], b"any information at all");
    peer.send(|writer| assert!(writer.heartbeat(&[0; 1_300])));
    assert_eq!(peer.words(), [""; 0]);
    for _ in 0..1_000 {
        let packet = peer.packet(peer.tag, |writer| assert!(writer.heartbeat(b"flood")));
        let path = towpath_sctp::PathId::new(peer.path.remote, peer.path.local);
        peer.server.handle_datagram(path, &packet, peer.now);
    }
    peer.collect();
    assert!(
        peer.replies().len() <= 32,
        "answers wait in a bounded queue"
    );
}

#[test]
fn guessed_heartbeat_nonces_prove_nothing() {
    let mut peer = Peer::connected();
    peer.path.local = "10.0.0.1:1234".parse().expect("an address");
    peer.send(|writer| assert!(writer.heartbeat(b"")));
    let handle = peer.handle.expect("up");
    for nonce in 0..1_000u64 {
        let mut info = [0; 12];
        info[3] = 1;
        info[4..].copy_from_slice(&nonce.to_be_bytes());
        let mut content = vec![0, 1, 0, 16];
        content.extend_from_slice(&info);
        peer.send(|writer| assert!(writer.raw(kind::HEARTBEAT_ACK, 0, &content)));
    }
    let paths = peer.server.paths(handle);
    assert_eq!(
        paths
            .iter()
            .filter(|path| path.state != towpath_sctp::PathState::Unconfirmed)
            .count(),
        1
    );
}

#[test]
fn a_peer_that_never_reads_stops_us_and_nobody_else() {
    let mut peer = Peer::connected();
    let handle = peer.handle.expect("up");
    // It sends and we do not read: our window shuts, and what lies beyond it is not taken.
    for ssn in 0..1_000 {
        peer.message(0, ssn, &[7; 1_000]);
    }
    let mut read = 0;
    while let Some(message) = peer.server.recv(handle) {
        read += message.payload.len();
    }
    assert!(
        read <= Config::default().receive_window as usize,
        "{read} bytes were held"
    );
    let readable =
        std::iter::from_fn(|| peer.server.poll_event()).any(|(_, event)| event == Event::Readable);
    assert!(!readable, "said once, and everything has been read");
}

#[test]
fn what_is_taken_back_is_sent_again() {
    let mut peer = with_data(4_000);
    peer.sack(u32::MAX, 100_000, &[(2, 4)]);
    peer.sack(u32::MAX, 100_000, &[]);
    peer.replies();
    let mut again = std::collections::BTreeSet::new();
    for _ in 0..50 {
        peer.wait(Duration::from_millis(200));
        for (_, packet) in peer.replies() {
            for chunk in Packet::parse(&packet).expect("a packet").chunks().flatten() {
                if let Chunk::Data(data) = chunk {
                    let ahead = data.tsn.wrapping_sub(peer.server_tsn);
                    again.insert(ahead);
                    // As far as it has come in sequence.
                    if again.iter().copied().eq(0..again.len() as u32) {
                        peer.sack(again.len() as u32 - 1, 100_000, &[]);
                    }
                }
            }
        }
    }
    assert!(again.iter().copied().eq(0..4), "{again:?}");
    assert_eq!(peer.server.buffered(peer.handle.expect("up")), 0);
}

#[test]
fn one_acknowledgement_answers_a_batch() {
    let mut peer = Peer::connected();
    for n in 0..40 {
        let data = peer.data(0, n, &[7; 1_000]);
        let packet = peer.packet(peer.tag, |writer| assert!(writer.data(&data).is_some()));
        peer.tsn += 1;
        let path = towpath_sctp::PathId::new(peer.path.remote, peer.path.local);
        peer.server.handle_datagram(path, &packet, peer.now);
    }
    peer.collect();
    assert_eq!(peer.words(), ["SACK"]);
}

#[test]
fn a_shut_window_is_probed_with_one_small_fragment() {
    let mut peer = Peer::connected();
    let handle = peer.handle.expect("up");
    let now = peer.now;
    peer.sack(u32::MAX, 0, &[]);
    peer.server
        .send(handle, Message::new(0, vec![7; 5_000]))
        .expect("taken");
    peer.collect();
    assert_eq!(peer.words(), [""; 0]);
    while peer.now < now + Duration::from_secs(3) {
        peer.wait(Duration::from_millis(100));
        let words = peer.words();
        if let Some(data) = words.iter().find(|words| words.contains("DATA")) {
            assert_eq!(data, "DATA 0/0 B64 I");
            return;
        }
    }
    panic!("the window is not probed");
}

#[test]
fn an_acknowledgement_is_asked_for_where_the_peers_window_ends() {
    let mut peer = Peer::connected();
    let handle = peer.handle.expect("up");
    peer.sack(u32::MAX, 3_000, &[]);
    peer.server
        .send(handle, Message::new(0, vec![7; 10_000]))
        .expect("taken");
    peer.collect();
    let words = peer.words();
    assert!(
        words.last().is_some_and(|last| last.ends_with(" I")),
        "{words:?}"
    );
}

#[test]
fn data_acknowledged_by_shutdowns_alone_keeps_flowing() {
    let mut peer = Peer::connected();
    let handle = peer.handle.expect("up");
    for _ in 0..300 {
        peer.server
            .send(handle, Message::new(0, vec![1; 1_000]))
            .expect("taken");
    }
    // Three times the peer's window. Each SHUTDOWN acknowledges all that has arrived so far; a
    // round trip takes 10 ms.
    let (mut next, mut rounds) = (peer.server_tsn, 0);
    while peer.server.buffered(handle) > 0 && rounds < 60 {
        peer.collect();
        for (_, packet) in peer.replies() {
            let packet = Packet::parse(&packet).expect("a packet");
            for chunk in packet.chunks().flatten() {
                if let Chunk::Data(data) = chunk
                    && data.tsn == next
                {
                    next = next.wrapping_add(1);
                }
            }
        }
        peer.wait(Duration::from_millis(10));
        peer.send(|writer| assert!(writer.shutdown(next.wrapping_sub(1))));
        rounds += 1;
    }
    let left = peer.server.buffered(handle);
    println!("{left} bytes of 300,000 are left after {rounds} round trips");
    assert!(left == 0 && rounds < 20);
}
