//! Clients behind one address: which packets belong to which association.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use towpath_sctp::packet::{Cause, Header, Packet, Writer};
use towpath_sctp::simulator::World;
use towpath_sctp::{AssociationHandle, CloseReason, EndpointConfig, Event, Message, PathId};

const PORT: u16 = 9_260;
const SERVER: &str = "192.0.2.2:9899";
/// The address of the NAT.
const NAT: [u8; 4] = [192, 0, 2, 1];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn host(addresses: &[SocketAddr], listen: Option<u16>) -> EndpointConfig {
    EndpointConfig {
        listen,
        addresses: addresses.to_vec(),
        ..EndpointConfig::default()
    }
}

/// A world whose node 0 is the server.
fn world() -> World {
    let mut world = World::new(5, Instant::now());
    world.add(host(&[address(SERVER)], Some(PORT)));
    world
}

/// A client behind the NAT, whose packets leave from `outer`.
fn client(world: &mut World, inner: [u8; 4], outer: u16) -> usize {
    let inner = SocketAddr::from((inner, 9_899));
    let node = world.add(host(&[inner], None));
    world.translate(node, inner, SocketAddr::from((NAT, outer)));
    node
}

fn connect(world: &mut World, node: usize, port: Option<u16>) -> AssociationHandle {
    let (remote, now) = (address(SERVER), world.now);
    let endpoint = &mut world.nodes[node].endpoint;
    match port {
        Some(port) => endpoint.connect_from(port, &[remote], PORT, now),
        None => endpoint.connect(&[remote], PORT, now),
    }
    .expect("begins")
}

/// What has become of the associations of the clients: how many are up, and why the others ended.
fn outcome(world: &mut World) -> (usize, Vec<CloseReason>) {
    let (mut up, mut closed) = (0, Vec::new());
    for node in 1..world.nodes.len() {
        while let Some((_, event)) = world.nodes[node].events.pop_front() {
            match event {
                Event::Connected { .. } => up += 1,
                Event::Closed(reason) => closed.push(reason),
                _ => {}
            }
        }
    }
    (up, closed)
}

#[test]
fn a_thousand_clients_behind_one_nat_get_in() {
    const CLIENTS: u16 = 1_000;
    let mut world = world();
    for number in 0..CLIENTS {
        let [high, low] = number.to_be_bytes();
        let node = client(&mut world, [10, 0, high, low], 20_000 + number);
        connect(&mut world, node, None);
        world.pass(Duration::from_millis(3));
    }
    world.pass(Duration::from_secs(2));
    let (up, closed) = outcome(&mut world);
    println!("{up} of {CLIENTS} clients behind one NAT are connected");
    assert_eq!((up, closed), (usize::from(CLIENTS), Vec::new()));
    assert_eq!(world.nodes[0].endpoint.associations(), usize::from(CLIENTS));
}

#[test]
fn two_clients_behind_one_nat_may_use_one_sctp_port() {
    let mut world = world();
    for number in 0..2u8 {
        let node = client(&mut world, [10, 0, 0, number], 20_000 + u16::from(number));
        connect(&mut world, node, Some(5_000));
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(outcome(&mut world), (2, Vec::new()));
}

#[test]
fn an_address_that_an_init_lists_refuses_nobody() {
    // The first client to connect lists the second one's address, and the third lists the first
    // one's. What has an address of two hosts arrives at the one that was added first.
    let mut world = world();
    let nodes = [
        ["192.0.2.12:9899", "192.0.2.12:9899"],
        ["192.0.2.11:9899", "192.0.2.12:9899"],
        ["192.0.2.13:9899", "192.0.2.11:9899"],
    ]
    .map(|list| world.add(host(&list.map(address), None)));
    for node in [nodes[1], nodes[0], nodes[2]] {
        connect(&mut world, node, Some(5_000));
        world.pass(Duration::from_millis(100));
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(outcome(&mut world), (3, Vec::new()));
    assert_eq!(world.nodes[0].endpoint.associations(), 3);
}

#[test]
fn a_nat_that_changes_the_port_keeps_the_association() {
    let mut world = world();
    let first = client(&mut world, [10, 0, 0, 1], 20_001);
    let handle = connect(&mut world, first, Some(5_000));
    world.pass(Duration::from_secs(1));
    world.translate(
        first,
        address("10.0.0.1:9899"),
        SocketAddr::from((NAT, 30_001)),
    );
    world.nodes[first]
        .endpoint
        .send(handle, Message::new(0, "from another port"))
        .expect("taken");
    world.pass(Duration::from_secs(2));
    let server = world
        .event(0, |handle, event| {
            matches!(event, Event::Readable).then_some(handle)
        })
        .expect("a message");
    let paths = world.nodes[0].endpoint.paths(server);
    let primary = paths.iter().find(|path| path.primary).expect("one");
    assert_eq!(primary.path.remote, SocketAddr::from((NAT, 30_001)));
    assert!(world.nodes[0].endpoint.recv(server).is_some());

    // Another client gets another port of the NAT and has the same SCTP port.
    let second = client(&mut world, [10, 0, 0, 2], 20_002);
    connect(&mut world, second, Some(5_000));
    world.pass(Duration::from_secs(1));
    assert_eq!(outcome(&mut world), (2, Vec::new()));
    assert_eq!(world.nodes[0].endpoint.associations(), 2);
}

/// What a client sends, as source port, tag and chunks.
fn sent(world: &mut World) -> Vec<(PathId, u16, Vec<u8>)> {
    let mut buffer = Vec::new();
    let mut out = Vec::new();
    while let Some(transmit) = world.nodes[1]
        .endpoint
        .poll_transmit(world.now, &mut buffer)
    {
        let packet = Packet::parse(&buffer).expect("a packet");
        out.push((transmit.path, packet.header.source_port, buffer.clone()));
    }
    out
}

#[test]
fn a_client_whose_port_is_taken_for_another_association_draws_another() {
    let mut world = world();
    let node = world.add(host(&[address("192.0.2.9:9899")], None));
    connect(&mut world, node, None);
    let mut ports = Vec::new();
    let mut list = Vec::new();
    let new: IpAddr = address(SERVER).ip();
    list.extend_from_slice(&[0, 5, 0, 8]);
    list.extend(
        new.to_string()
            .split('.')
            .map(|part| part.parse::<u8>().expect("a byte")),
    );
    for refusals in 0..5 {
        let packets = sent(&mut world);
        assert_eq!(packets.len(), 1, "an INIT after {refusals} refusals");
        let (path, port, packet) = &packets[0];
        let parsed = Packet::parse(packet).expect("a packet");
        let Some(Ok(towpath_sctp::packet::Chunk::Init(init))) = parsed.chunks().next() else {
            panic!("an INIT")
        };
        assert!(
            *port >= 1_024 && !ports.contains(port),
            "{port} after {ports:?}"
        );
        ports.push(*port);
        let header = Header {
            source_port: PORT,
            destination_port: *port,
            tag: init.tag,
        };
        let mut answer = Vec::new();
        let mut writer = Writer::new(&mut answer, header, 1_200);
        assert!(writer.abort(false, Some(Cause::RestartWithNewAddresses(&list))));
        writer.finish();
        let now = world.now;
        world.nodes[node]
            .endpoint
            .handle_datagram(*path, &answer, now);
    }
    world.drain();
    let (_, closed) = outcome(&mut world);
    assert_eq!(
        closed,
        [CloseReason::AbortedByPeer {
            cause: Some(11),
            reason: Vec::new()
        }],
        "after a bounded number of ports"
    );
}
