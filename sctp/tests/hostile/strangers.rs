//! Those who have no association: floods, amplification, addresses that are not theirs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use towpath_sctp::packet::{Cause, Chunk, Data, Init, Packet, kind};
use towpath_sctp::{CloseReason, EndpointConfig, PathId};

use crate::peer::{OUR_TAG, PORT, Peer, address};

const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;

fn init() -> Init<'static> {
    Init::new(OUR_TAG, 100_000, 10, 10, 1_000)
}

#[test]
fn a_flood_of_inits_leaves_no_state() {
    let mut peer = Peer::new();
    for n in 0..50_000u32 {
        peer.path.local = SocketAddr::from(((n % 5_000 + 0x0a01_0000).to_be_bytes(), 9_899));
        peer.port = (n % 60_000) as u16 + 1;
        let packet = peer.packet(0, |writer| assert!(writer.init(&init(), &[], None, 0)));
        let path = PathId::new(peer.path.remote, peer.path.local);
        peer.server.handle_datagram(path, &packet, peer.now);
    }
    assert_eq!(peer.server.associations(), 0);
    assert_eq!(peer.server.poll_timeout(), None, "no timer either");
    peer.collect();
    assert!(
        peer.replies().len() <= 256,
        "answers wait in a bounded queue"
    );
}

#[test]
fn a_source_is_answered_at_a_bounded_rate() {
    let mut peer = Peer::with(EndpointConfig {
        stateless_replies: 20,
        ..EndpointConfig::default()
    });
    for _ in 0..1_000 {
        peer.init(&init());
    }
    assert_eq!(peer.replies().len(), 20);
    peer.path.local = address("10.0.0.77:9899");
    peer.init(&init());
    assert_eq!(peer.replies().len(), 1, "another source is not affected");
}

#[test]
fn no_stranger_gets_more_than_three_times_what_he_sent() {
    for (from, headers) in [
        ("10.0.0.1:9899", HEADERS_V4),
        ("[2001:db8::1]:9899", HEADERS_V6),
    ] {
        let mut peer = Peer::new();
        peer.path = PathId::new(
            address(from),
            address(if headers == 28 {
                "10.0.0.2:9899"
            } else {
                "[2001:db8::2]:9899"
            }),
        );
        let mut value = Vec::new();
        value.extend_from_slice(&[0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7]);
        // From the barest INIT to one full of parameters that ask to be reported.
        for unknown in 0..40u8 {
            let packet = peer.packet(0, |writer| assert!(writer.raw(kind::INIT, 0, &value)));
            peer.deliver(&packet);
            let replies = peer.replies();
            assert_eq!(replies.len(), 1, "the barest INIT is answered");
            let answer = replies[0].1.len();
            assert!(
                answer + headers <= 3 * (packet.len() + headers),
                "{answer} bytes for {}",
                packet.len()
            );
            value.extend_from_slice(&[0xc0, unknown + 100, 0, 4]);
        }
    }
}

#[test]
fn an_init_is_answered_whatever_unknown_parameters_it_has() {
    let mut peer = Peer::new();
    let mut value = vec![0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7];
    for parameter in [
        &[0, 12, 0, 8, 0, 5, 0, 6][..],     // supported address types
        &[0, 9, 0, 8, 0, 0, 1, 0],          // cookie preservative
        &[0x80, 0, 0, 4],                   // ECN
        &[0x80, 8, 0, 6, 0xc0, 0x82, 0, 0], // extensions
        &[0xc0, 0, 0, 4],                   // partial reliability
        &[0x80, 2, 0, 8, 1, 2, 3, 4],       // random
        &[0x40, 77, 0, 4],                  // stop and report
    ] {
        value.extend_from_slice(parameter);
    }
    peer.send_tagged(0, |writer| assert!(writer.raw(kind::INIT, 0, &value)));
    let replies = peer.replies();
    let packet = Packet::parse(&replies[0].1).expect("a packet");
    let Some(Ok(Chunk::InitAck(answer))) = packet.chunks().next() else {
        panic!("an INIT ACK")
    };
    let reported: Vec<&[u8]> = answer
        .parameters()
        .filter(|item| item.kind == 8)
        .map(|item| item.value())
        .collect();
    assert_eq!(reported, [&[0xc0, 0, 0, 4][..], &[0x40, 77, 0, 4]]);
}

#[test]
fn impossible_inits_are_refused_or_ignored() {
    let cases: [(Init<'_>, &[&str]); 4] = [
        (Init::new(0, 100_000, 10, 10, 1), &[]),
        (Init::new(OUR_TAG, 1_499, 10, 10, 1), &["ABORT [7]"]),
        (Init::new(OUR_TAG, 100_000, 0, 10, 1), &["ABORT [7]"]),
        (Init::new(OUR_TAG, 100_000, 10, 0, 1), &["ABORT [7]"]),
    ];
    for (init, expected) in cases {
        let mut peer = Peer::new();
        peer.init(&init);
        assert_eq!(peer.words(), expected, "{init:?}");
    }
    let mut peer = Peer::new();
    let mut value = vec![0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 7];
    value.extend_from_slice(&[0, 11, 0, 9, b'h', b'o', b's', b't', 0, 0, 0, 0]);
    peer.send_tagged(0, |writer| assert!(writer.raw(kind::INIT, 0, &value)));
    assert_eq!(peer.words(), ["ABORT [5]"], "host names are not resolved");
    peer.send_tagged(5, |writer| assert!(writer.init(&init(), &[], None, 0)));
    assert_eq!(peer.words(), [""; 0], "an INIT has no tag");
    peer.send_tagged(0, |writer| {
        assert!(writer.init(&init(), &[], None, 0) && writer.cookie_ack())
    });
    assert_eq!(peer.words(), [""; 0], "an INIT comes alone");
}

#[test]
fn more_associations_than_allowed_are_refused() {
    let peer = Peer::with(EndpointConfig {
        max_associations: 1,
        ..EndpointConfig::default()
    });
    let mut peer = peer.set_up();
    peer.port += 1;
    peer.init(&init());
    assert_eq!(peer.words(), ["ABORT [4]"]);
}

#[test]
fn only_usable_addresses_are_spoken_to_and_only_with_heartbeats() {
    let mut peer = Peer::new();
    let bad = [
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "127.0.0.1",
        "169.254.1.1",
        "ff02::1",
        "::",
        "::1",
        "fe80::1",
    ];
    let named: Vec<IpAddr> = bad
        .iter()
        .map(|address| address.parse().expect("an address"))
        .collect();
    // More than are ever taken: the good ones come last and still fit.
    for (list, expected) in [
        (&named[..], vec![]),
        (
            &[address("10.7.7.7:1").ip()][..],
            vec![address("10.7.7.7:9899")],
        ),
    ] {
        peer.port += 1;
        peer.send_tagged(0, |writer| assert!(writer.init(&init(), list, None, 0)));
        peer.learn();
        peer.echo();
        for n in 0..5 {
            peer.message(0, n, b"answer me");
        }
        let home = peer.path.local;
        peer.wait(Duration::from_secs(120));
        let replies = peer.replies();
        let mut elsewhere: Vec<SocketAddr> = Vec::new();
        for (path, packet) in replies.iter().filter(|(path, _)| path.remote != home) {
            assert_eq!(crate::peer::text(packet), "HEARTBEAT", "to {path}");
            elsewhere.push(path.remote);
        }
        assert!(
            elsewhere.len() < 40,
            "{} heartbeats in two minutes",
            elsewhere.len()
        );
        elsewhere.dedup();
        assert_eq!(elsewhere, expected);
        peer.tsn = 1_000;
    }
}

#[test]
fn out_of_the_blue_packets_are_answered_as_section_8_4_says() {
    let mut peer = Peer::new();
    let data = Data {
        tsn: 1,
        stream: 0,
        ssn: 0,
        ppid: 0,
        unordered: false,
        begin: true,
        end: true,
        immediate: false,
        payload: b"x",
    };
    peer.send_tagged(5, |writer| assert!(writer.data(&data).is_some()));
    let replies = peer.replies();
    let packet = Packet::parse(&replies[0].1).expect("a packet");
    assert_eq!(packet.header.tag, 5, "reflected");
    assert!(matches!(
        packet.chunks().next(),
        Some(Ok(Chunk::Abort {
            reflected: true,
            ..
        }))
    ));
    peer.send_tagged(5, |writer| assert!(writer.shutdown_ack()));
    assert_eq!(peer.words(), ["SHUTDOWN COMPLETE"]);
    peer.send_tagged(5, |writer| assert!(writer.cookie_ack()));
    peer.send_tagged(5, |writer| assert!(writer.shutdown_complete(false)));
    peer.send_tagged(5, |writer| assert!(writer.abort(false, None)));
    peer.send_tagged(5, |writer| {
        assert!(writer.error(&[towpath_sctp::packet::Cause::StaleCookie(1)]))
    });
    peer.send_tagged(5, |writer| assert!(writer.cookie_echo(&[7; 60])));
    peer.path.local = address("224.0.0.1:9899");
    peer.send_tagged(5, |writer| assert!(writer.shutdown_ack()));
    assert_eq!(peer.words(), [""; 0]);
}

#[test]
fn a_listener_elsewhere_is_not_reached() {
    let mut peer = Peer::new();
    let mut packet = peer.packet(0, |writer| assert!(writer.init(&init(), &[], None, 0)));
    packet[2..4].copy_from_slice(&(PORT + 1).to_be_bytes());
    // The checksum no longer matches, and is put right.
    packet[8..12].copy_from_slice(&[0; 4]);
    let sum = crc32c::crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    peer.deliver(&packet);
    assert_eq!(peer.words(), ["ABORT []"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a peer sends within an association, nothing panics, nothing spins, and memory stays
    /// bounded.
    #[test]
    fn any_chunks_do_no_harm(packets in prop::collection::vec(
        prop::collection::vec((0u8..16, any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 1..6), 1..20))
    {
        let mut peer = Peer::connected();
        for chunks in packets {
            peer.send(|writer| for (kind, flags, value) in &chunks {
                writer.raw(*kind, *flags, value);
            });
            peer.wait(Duration::from_millis(50));
            prop_assert!(peer.server.poll_timeout().is_none_or(|deadline| deadline > peer.now));
            prop_assert!(peer.server.associations() <= 1);
        }
        if let Some(reason) = &peer.closed {
            prop_assert!(!matches!(reason, CloseReason::Aborted), "{:?}", reason);
        }
    }
}

#[test]
fn an_unknown_chunk_is_reported_whole_and_only_to_a_confirmed_address() {
    let mut peer = Peer::connected();
    let home = peer.path.local;
    peer.path.local = address("10.0.0.66:9899");
    let value = [7; 600];
    // Type 0x7f: stop and report (§3.2).
    peer.send(|writer| assert!(writer.raw(0x7f, 0, &value)));
    let replies = peer.replies();
    let errors: Vec<_> = replies
        .iter()
        .filter(|(_, packet)| crate::peer::text(packet).starts_with("ERROR"))
        .collect();
    let [(path, packet)] = &errors[..] else {
        panic!("one ERROR: {errors:?}")
    };
    assert_eq!(path.remote, home);
    let parsed = Packet::parse(packet).expect("a packet");
    let Some(Ok(Chunk::Error(causes))) = parsed.chunks().next() else {
        panic!("an ERROR")
    };
    let Some(Cause::UnrecognizedChunk(raw)) = causes.iter().next() else {
        panic!("an unrecognized chunk")
    };
    assert_eq!((raw.len(), &raw[4..]), (604, &value[..]));
}
