//! Changes from the owner of the sockets: new addresses, paths in order, the end of listening.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use towpath_sctp::simulator::World;
use towpath_sctp::{
    AssociationHandle, CloseReason, ConnectError, EndpointConfig, Event, Message, PathId, PathState,
};

const PORT: u16 = 9_260;

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A client with two addresses, of which its endpoint knows the first, and a server with one.
fn world() -> World {
    let mut world = World::new(3, Instant::now());
    for (addresses, listen) in [
        (vec!["10.0.0.1:4000", "10.1.0.1:4001"], None),
        (vec!["10.0.0.2:9899"], Some(PORT)),
    ] {
        world.add(EndpointConfig {
            listen,
            addresses: addresses.into_iter().map(at).collect(),
            ..EndpointConfig::default()
        });
    }
    world.nodes[0]
        .endpoint
        .set_addresses(vec![at("10.0.0.1:4000")]);
    world
}

fn connect(world: &mut World) -> AssociationHandle {
    let now = world.now;
    world.nodes[0]
        .endpoint
        .connect(&[at("10.0.0.2:9899")], PORT, now)
        .expect("an association begins")
}

fn outcome(world: &mut World) -> Option<Event> {
    let mut found = None;
    world.run(Duration::from_secs(60), |world| {
        found = world.event(0, |_, event| {
            let decisive = matches!(event, Event::Connected { .. } | Event::Closed(_));
            decisive.then(|| event.clone())
        });
        found.is_some()
    });
    found
}

fn path_from(world: &World, handle: AssociationHandle, ip: &str) -> Option<PathState> {
    let ip: IpAddr = ip.parse().expect("an address");
    let paths = world.nodes[0].endpoint.paths(handle);
    paths
        .iter()
        .find(|path| path.path.local.ip() == ip)
        .map(|path| path.state)
}

#[test]
fn an_interface_that_comes_up_later_takes_over_when_the_first_one_fails() {
    let mut world = world();
    let handle = connect(&mut world);
    assert!(matches!(outcome(&mut world), Some(Event::Connected { .. })));
    assert_eq!(path_from(&world, handle, "10.1.0.1"), None);

    let now = world.now;
    let endpoint = &mut world.nodes[0].endpoint;
    endpoint
        .add_local(handle, at("10.1.0.1:4001"), now)
        .expect("it exists");
    // Said again it changes nothing.
    endpoint
        .add_local(handle, at("10.1.0.1:4001"), now)
        .expect("it exists");
    assert_eq!(
        path_from(&world, handle, "10.1.0.1"),
        Some(PathState::Unconfirmed)
    );
    world.pass(Duration::from_secs(1));
    assert_eq!(
        path_from(&world, handle, "10.1.0.1"),
        Some(PathState::Active)
    );
    assert_eq!(world.nodes[0].endpoint.paths(handle).len(), 2);

    let [first, server] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
    world.network.cut(first, server, true);
    world.nodes[0]
        .endpoint
        .send(handle, Message::new(1, "still here"))
        .expect("room");
    let mut received = None;
    world.run(Duration::from_secs(5), |world| {
        let readable = |handle, event: &Event| matches!(event, Event::Readable).then_some(handle);
        if let Some(handle) = world.event(1, readable) {
            received = world.nodes[1].endpoint.recv(handle);
        }
        received.is_some()
    });
    assert_eq!(
        received.map(|message| message.payload),
        Some(b"still here"[..].into())
    );
}

#[test]
fn the_first_path_named_is_the_first_one_tried_and_becomes_the_primary() {
    let mut world = world();
    let (near, far) = (at("10.0.0.1:4000"), at("10.1.0.1:4001"));
    let remote = at("10.0.0.2:9899");
    world.nodes[0].endpoint.set_addresses(vec![near, far]);
    let now = world.now;
    let endpoint = &mut world.nodes[0].endpoint;
    let nowhere = [
        PathId::new(near, at("255.255.255.255:9899")),
        PathId::new(near, at("10.0.0.2:0")),
    ];
    assert_eq!(
        endpoint.connect_over(&nowhere, PORT, now),
        Err(ConnectError::NoPath)
    );
    let paths = [far, near, far].map(|local| PathId::new(local, remote));
    let handle = endpoint
        .connect_over(&paths, PORT, now)
        .expect("an association begins");
    assert!(matches!(outcome(&mut world), Some(Event::Connected { .. })));
    let paths = world.nodes[0].endpoint.paths(handle);
    assert_eq!(paths.len(), 2, "each once");
    let primary: Vec<_> = paths
        .iter()
        .filter(|path| path.primary)
        .map(|path| path.path.local)
        .collect();
    assert_eq!(primary, [far]);
}

#[test]
fn what_waits_is_counted_until_it_has_gone_out() {
    let mut world = world();
    let handle = connect(&mut world);
    assert!(matches!(outcome(&mut world), Some(Event::Connected { .. })));
    let endpoint = &mut world.nodes[0].endpoint;
    assert_eq!(endpoint.unsent(handle), 0);
    endpoint
        .send(handle, Message::new(0, vec![1; 100_000]))
        .expect("room");
    assert_eq!(
        (endpoint.unsent(handle), endpoint.buffered(handle)),
        (100_000, 100_000)
    );
    world.drain();
    let endpoint = &world.nodes[0].endpoint;
    let waiting = endpoint.unsent(handle);
    assert!((1..100_000).contains(&waiting), "{waiting}");
    assert_eq!(
        endpoint.buffered(handle),
        100_000,
        "nothing is acknowledged yet"
    );
    world.pass(Duration::from_secs(5));
    assert_eq!(world.nodes[0].endpoint.unsent(handle), 0);
}

#[test]
fn who_has_stopped_listening_refuses_newcomers_and_keeps_friends() {
    let mut world = world();
    let friend = connect(&mut world);
    assert!(matches!(outcome(&mut world), Some(Event::Connected { .. })));
    world.nodes[1].endpoint.stop_listening();
    connect(&mut world);
    assert!(matches!(
        outcome(&mut world),
        Some(Event::Closed(CloseReason::AbortedByPeer { .. }))
    ));
    world.pass(Duration::from_secs(30));
    assert_eq!(
        path_from(&world, friend, "10.0.0.1"),
        Some(PathState::Active)
    );
}
