//! Set-up, transfer and shutdown, packet by packet.

use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use towpath_sctp::{AssociationHandle, CloseReason, Config, EndpointConfig, Event};
use towpath_tests::sctp::World;

const PORT: u16 = 9_260;

/// No probing of the MTU: its heartbeats would stand between the arrows.
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
    let mut world = World::new(1);
    world.arrows = Some(Vec::new());
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

fn arrows(world: &mut World) -> Vec<String> {
    world.arrows.replace(Vec::new()).expect("recorded")
}

#[test]
fn four_packets_set_an_association_up() {
    let (mut world, _) = pair();
    connected(&mut world, 0);
    assert_eq!(
        arrows(&mut world),
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
    arrows(&mut world);
    world.nodes[0]
        .endpoint
        .send(a, 3, Bytes::from_static(b"hello"), true, 7)
        .expect("taken");
    let now = world.now;
    world.nodes[0].endpoint.shutdown(a, now).expect("known");
    world.pass(Duration::from_secs(1));
    assert_eq!(
        arrows(&mut world),
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
    arrows(&mut world);
    let now = world.now;
    world.nodes[0]
        .endpoint
        .abort(a, b"enough", now)
        .expect("known");
    world.pass(Duration::from_secs(1));
    assert_eq!(arrows(&mut world), ["A ABORT [12]"]);
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
fn nobody_listening_is_said_at_once() {
    let mut world = World::new(1);
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
    let mut world = World::new(1);
    world.add(host("10.0.0.1:9899", None));
    let remote = "10.0.0.9:9899".parse().expect("an address");
    let now = world.now;
    world.nodes[0]
        .endpoint
        .connect(&[remote], PORT, now)
        .expect("begins");
    world.arrows = Some(Vec::new());
    world.pass(Duration::from_secs(600));
    assert_eq!(arrows(&mut world), ["A INIT"; 9], "Max.Init.Retransmits");
    let closed = world.event(0, |_, event| {
        matches!(event, Event::Closed(CloseReason::SetupTimeout)).then_some(())
    });
    assert!(closed.is_some());
}

#[test]
fn both_ends_may_begin_at_once() {
    let mut world = World::new(1);
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
    arrows(&mut world);
    for _ in 0..3 {
        world.nodes[0]
            .endpoint
            .send(a, 0, Bytes::from(vec![1; 2_000]), true, 0)
            .expect("taken");
    }
    world.drain();
    assert_eq!(
        arrows(&mut world),
        [
            "A DATA 0/0 B1424",
            "A DATA 0/0 576E + DATA 0/1 B832",
            "A DATA 0/1 1168E + DATA 0/2 B240",
            "A DATA 0/2 1424 I",
        ],
        "the initial window is 4,404 bytes and may be overrun by one packet"
    );
}
