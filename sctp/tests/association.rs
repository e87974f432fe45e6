//! Set-up, transfer and shutdown, packet by packet.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::packet::{Chunk, Packet};
use towpath_sctp::simulator::World;
use towpath_sctp::{
    AssociationHandle, CloseReason, Config, EndpointConfig, Event, Message, PathId, PathState,
    Shard,
};

const PORT: u16 = 9_260;

/// No probing of the MTU: its heartbeats would appear in the traces.
fn quiet() -> Config {
    Config {
        initial_mtu: 1_452,
        max_mtu: 1_452,
        ..Config::default()
    }
}

fn host(address: &str, listen: Option<u16>) -> EndpointConfig {
    EndpointConfig {
        listen,
        addresses: vec![address.parse().expect("an address")],
        association: quiet(),
        ..EndpointConfig::default()
    }
}

fn pair() -> (World, AssociationHandle) {
    let mut world = World::new(1, Instant::now());
    world.trace = Some(Vec::new());
    world.add(host("10.0.0.1:9899", None));
    world.add(host("10.0.0.2:9899", Some(PORT)));
    let remote: SocketAddr = "10.0.0.2:9899".parse().expect("an address");
    let now = world.now;
    let handle = world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("an association begins");
    (world, handle)
}

fn connected(world: &mut World, node: usize) -> AssociationHandle {
    let mut found = None;
    assert!(world.run(Duration::from_secs(5), |world| {
        found = found.or(world.event(node, |handle, event| {
            matches!(event, Event::Connected { .. }).then_some(handle)
        }));
        found.is_some()
    }));
    found.expect("connected")
}

fn trace(world: &mut World) -> Vec<String> {
    world.trace.replace(Vec::new()).expect("recorded")
}

#[test]
fn four_packets_set_an_association_up() {
    let (mut world, _) = pair();
    connected(&mut world, 0);
    assert_eq!(
        trace(&mut world),
        ["A INIT", "B INIT ACK", "A COOKIE ECHO", "B COOKIE ACK"]
    );
    assert_eq!(
        world.elapsed(),
        Duration::from_millis(20),
        "two round trips"
    );
}

#[test]
fn a_message_is_acknowledged_and_shutdown_takes_three_packets() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    let b = connected(&mut world, 1);
    trace(&mut world);
    world.nodes[0]
        .endpoint
        .send(
            a,
            Message {
                ppid: 7,
                ..Message::new(3, "hello")
            },
        )
        .expect("taken");
    let now = world.now;
    world.nodes[0].endpoint.shutdown(a, now).expect("known");
    world.pass(Duration::from_secs(1));
    assert_eq!(
        trace(&mut world),
        [
            "A DATA 3/0 B5E I",
            "B SACK",
            "A SHUTDOWN",
            "B SHUTDOWN ACK",
            "A SHUTDOWN COMPLETE"
        ]
    );
    let reason = |event: &Event| match event {
        Event::Closed(reason) => Some(reason.clone()),
        _ => None,
    };
    assert_eq!(
        world.event(0, |_, event| reason(event)),
        Some(CloseReason::Shutdown)
    );
    assert_eq!(
        world.event(1, |_, event| reason(event)),
        None,
        "what has arrived is read first"
    );
    let message = world.nodes[1].endpoint.recv(b).expect("a message");
    assert_eq!(
        (message.stream, message.ppid, &message.payload[..]),
        (3, 7, &b"hello"[..])
    );
    world.drain();
    assert_eq!(
        world.event(1, |_, event| reason(event)),
        Some(CloseReason::Shutdown)
    );
    assert_eq!(world.nodes[1].endpoint.associations(), 0);
    assert_eq!(world.nodes[1].endpoint.recv(b), None);
}

#[test]
fn an_abort_carries_its_reason() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    connected(&mut world, 1);
    trace(&mut world);
    let now = world.now;
    world.nodes[0]
        .endpoint
        .abort(a, b"enough", now)
        .expect("known");
    world.pass(Duration::from_secs(1));
    assert_eq!(trace(&mut world), ["A ABORT [12]"]);
    let reason = world.event(1, |_, event| match event {
        Event::Closed(reason) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(
        reason,
        Some(CloseReason::AbortedByPeer {
            cause: Some(12),
            reason: b"enough".to_vec()
        })
    );
}

#[test]
fn a_refused_association_is_reported_at_once() {
    let mut world = World::new(1, Instant::now());
    world.add(host("10.0.0.1:9899", None));
    world.add(host("10.0.0.2:9899", None));
    let remote = "10.0.0.2:9899".parse().expect("an address");
    let now = world.now;
    world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("begins");
    world.pass(Duration::from_millis(100));
    let closed = world.event(0, |_, event| {
        matches!(event, Event::Closed(CloseReason::AbortedByPeer { .. })).then_some(())
    });
    assert!(closed.is_some());
}

#[test]
fn silence_ends_the_attempt() {
    let mut world = World::new(1, Instant::now());
    world.add(host("10.0.0.1:9899", None));
    let remote = "10.0.0.9:9899".parse().expect("an address");
    let now = world.now;
    world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("begins");
    world.trace = Some(Vec::new());
    world.pass(Duration::from_secs(600));
    assert_eq!(trace(&mut world), ["A INIT"; 9], "Max.Init.Retransmits");
    let closed = world.event(0, |_, event| {
        matches!(event, Event::Closed(CloseReason::SetupTimeout)).then_some(())
    });
    assert!(closed.is_some());
}

#[test]
fn both_ends_may_begin_at_once() {
    let mut world = World::new(1, Instant::now());
    // Both from and to the same SCTP port, so that they mean one association (RFC 9260 §5.2.1).
    world.add(host("10.0.0.1:9899", Some(PORT)));
    world.add(host("10.0.0.2:9899", Some(PORT)));
    let now = world.now;
    for (node, remote) in [(0, "10.0.0.2:9899"), (1, "10.0.0.1:9899")] {
        let remote = remote.parse().expect("an address");
        world.nodes[node]
            .endpoint
            .connect_from(PORT, &[remote], PORT, now)
            .expect("begins");
    }
    world.pass(Duration::from_secs(3));
    for node in 0..2 {
        assert_eq!(world.nodes[node].endpoint.associations(), 1);
        let mut seen = 0;
        while world
            .event(node, |_, event| {
                matches!(event, Event::Connected { .. }).then_some(())
            })
            .is_some()
        {
            seen += 1;
        }
        assert_eq!(seen, 1, "host {node}");
    }
}

#[test]
fn trains_fill_packets_across_messages() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    trace(&mut world);
    for _ in 0..3 {
        world.nodes[0]
            .endpoint
            .send(a, Message::new(0, vec![1; 2_000]))
            .expect("taken");
    }
    world.drain();
    assert_eq!(
        trace(&mut world),
        [
            "A DATA 0/0 B1424",
            "A DATA 0/0 576E + DATA 0/1 B832",
            "A DATA 0/1 1168E + DATA 0/2 B240",
            "A DATA 0/2 1424 I",
        ],
        "the initial window is 4,404 bytes and may be overrun by one packet"
    );
}

#[test]
fn three_later_packets_prove_a_loss_and_one_packet_goes_out_at_once() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    connected(&mut world, 1);
    trace(&mut world);
    world.network.lose(0);
    for _ in 0..4 {
        world.nodes[0]
            .endpoint
            .send(a, Message::new(0, vec![1; 1_424]))
            .expect("taken");
    }
    world.pass(Duration::from_millis(90));
    assert_eq!(
        trace(&mut world),
        [
            "A DATA 0/0 B1424E",
            "A DATA 0/1 B1424E",
            "A DATA 0/2 B1424E",
            "A DATA 0/3 B1424E I",
            "B SACK +1 gaps",
            "A DATA 0/0 B1424E I",
            "B SACK",
        ],
        "well before the timer of 100 ms"
    );
}

#[test]
fn the_timer_repeats_what_nothing_else_reveals() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    connected(&mut world, 1);
    trace(&mut world);
    world.network.lose(0);
    world.network.lose(1);
    world.nodes[0]
        .endpoint
        .send(a, Message::new(0, "hello"))
        .expect("taken");
    let start = world.now;
    assert!(world.run(Duration::from_secs(5), |world| {
        world.trace.as_ref().is_some_and(|list| list.len() == 3)
    }));
    assert_eq!(world.now - start, Duration::from_millis(100), "RTO.Min");
    assert_eq!(
        trace(&mut world),
        ["A DATA 0/0 B5E I", "A DATA 0/0 B5E I", "A HEARTBEAT"]
    );
    world.pass(Duration::from_millis(250));
    assert_eq!(
        trace(&mut world),
        [
            "B HEARTBEAT ACK",
            "A DATA 0/0 B5E I",
            "A HEARTBEAT",
            "B HEARTBEAT ACK",
            "B SACK"
        ],
        "twice as long the second time"
    );
}

#[test]
fn a_lost_cookie_ack_is_repeated() {
    let (mut world, _) = pair();
    world.network.lose(3);
    connected(&mut world, 0);
    assert_eq!(
        trace(&mut world),
        [
            "A INIT",
            "B INIT ACK",
            "A COOKIE ECHO",
            "B COOKIE ACK",
            "A COOKIE ECHO",
            "B COOKIE ACK"
        ]
    );
}

#[test]
fn a_lost_shutdown_complete_is_asked_for_again() {
    let (mut world, a) = pair();
    connected(&mut world, 0);
    connected(&mut world, 1);
    trace(&mut world);
    world.network.lose(2);
    let now = world.now;
    world.nodes[0].endpoint.shutdown(a, now).expect("known");
    world.pass(Duration::from_secs(3));
    assert_eq!(
        trace(&mut world),
        [
            "A SHUTDOWN",
            "B SHUTDOWN ACK",
            "A SHUTDOWN COMPLETE",
            "B SHUTDOWN ACK",
            "A SHUTDOWN COMPLETE"
        ],
        "the second by the rules for packets out of the blue"
    );
    assert_eq!(world.nodes[1].endpoint.associations(), 0);
}

#[test]
fn a_wildcard_address_becomes_a_real_one_when_packets_tell() {
    let mut world = World::new(1, Instant::now());
    world.add(host("0.0.0.0:9899", None));
    world.add(host("10.0.0.2:9899", Some(PORT)));
    let now = world.now;
    let remote = "10.0.0.2:9899".parse().expect("an address");
    let handle = world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("begins");
    world.wildcard(0, "10.0.0.1:9899".parse().expect("an address"));
    world.pass(Duration::from_secs(20));
    let paths = world.nodes[0].endpoint.paths(handle);
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(paths[0].path.to_string(), "10.0.0.1:9899 → 10.0.0.2:9899");
}

#[test]
fn a_packet_size_that_the_link_carries_is_found() {
    for (mtu, found) in [
        (1_400, 1_372),
        (1_472, 1_472),
        (9_000, 8_972),
        (65_507, 65_504),
    ] {
        let mut world = World::new(1, Instant::now());
        world.network.link.mtu = mtu;
        for (address, listen) in [("10.0.0.1:9899", None), ("10.0.0.2:9899", Some(PORT))] {
            world.add(EndpointConfig {
                association: Config::default(),
                ..host(address, listen)
            });
        }
        let remote: SocketAddr = "10.0.0.2:9899".parse().expect("an address");
        let now = world.now;
        let handle = world.nodes[0]
            .endpoint
            .connect(&[remote], PORT, now)
            .expect("begins");
        world.pass(Duration::from_secs(2));
        assert_eq!(world.nodes[0].endpoint.paths(handle)[0].mtu, found);
    }
}

#[test]
fn a_link_that_stops_carrying_large_packets_falls_back() {
    let mut world = World::new(1, Instant::now());
    for (address, listen) in [("10.0.0.1:9899", None), ("10.0.0.2:9899", Some(PORT))] {
        world.add(EndpointConfig {
            association: Config::default(),
            ..host(address, listen)
        });
    }
    let remote: SocketAddr = "10.0.0.2:9899".parse().expect("an address");
    let now = world.now;
    let a = world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("begins");
    world.pass(Duration::from_secs(2));
    let b = connected(&mut world, 1);
    world.network.link.mtu = 1_300;
    // What is cut already cannot be cut again (RFC 9260 §6.9): IP must fragment it.
    world.nodes[0]
        .endpoint
        .send(a, Message::new(0, vec![1; 1_444]))
        .expect("taken");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.nodes[0].endpoint.paths(a)[0].mtu, 1_232);
    let message = world.nodes[1].endpoint.recv(b);
    assert_eq!(message.map(|message| message.payload.len()), Some(1_444));
}

#[test]
fn both_families_at_once_are_two_paths() {
    let mut world = World::new(1, Instant::now());
    let hosts = [
        ["10.0.0.1:9899", "[fd00::1]:9899"],
        ["10.0.0.2:9899", "[fd00::2]:9899"],
    ]
    .map(|list| {
        list.map(|address| address.parse::<SocketAddr>().expect("an address"))
            .to_vec()
    });
    for (addresses, listen) in hosts.iter().zip([None, Some(PORT)]) {
        let addresses = addresses.clone();
        world.add(EndpointConfig {
            listen,
            addresses,
            association: quiet(),
            ..EndpointConfig::default()
        });
    }
    let now = world.now;
    let a = world.nodes[0]
        .endpoint
        .connect(&hosts[1], PORT, now)
        .expect("begins");
    world.pass(Duration::from_secs(1));
    let b = connected(&mut world, 1);
    for (node, handle) in [(0, a), (1, b)] {
        let paths = world.nodes[node].endpoint.paths(handle);
        assert_eq!(paths.len(), 2, "{paths:?}");
        assert!(
            paths.iter().all(|path| path.state == PathState::Active),
            "{paths:?}"
        );
    }
}

#[test]
fn tags_name_their_shard() {
    let shard = Shard { number: 5, bits: 3 };
    for seed in 0..20 {
        let mut world = World::new(seed, Instant::now());
        world.add(EndpointConfig {
            shard,
            ..host("10.0.0.1:9899", None)
        });
        world.add(EndpointConfig {
            shard,
            ..host("10.0.0.2:9899", Some(PORT))
        });
        let now = world.now;
        let remote = "10.0.0.2:9899".parse().expect("an address");
        world.nodes[0]
            .endpoint
            .connect(&[remote], PORT, now)
            .expect("begins");
        let mut tags = Vec::new();
        let mut buffer = Vec::new();
        while world.nodes[0]
            .endpoint
            .poll_transmit(now, &mut buffer)
            .is_some()
        {
            let init = buffer.clone();
            tags.push(tag_of(&init));
            let path = PathId::new(remote, "10.0.0.1:9899".parse().expect("an address"));
            world.nodes[1].endpoint.handle_datagram(path, &init, now);
        }
        while world.nodes[1]
            .endpoint
            .poll_transmit(now, &mut buffer)
            .is_some()
        {
            tags.push(tag_of(&buffer));
        }
        assert_eq!(tags.iter().map(|tag| tag & 7).collect::<Vec<_>>(), [5, 5]);
    }
}

fn tag_of(packet: &[u8]) -> u32 {
    match Packet::parse(packet).expect("a packet").chunks().next() {
        Some(Ok(Chunk::Init(init) | Chunk::InitAck(init))) => init.tag,
        other => panic!("{other:?}"),
    }
}
