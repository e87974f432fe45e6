//! On loopback addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use towpath_io_mio::carrier::udp::{self, LinkFaults, UdpConfig};
use towpath_io_mio::limits::MAX_MESSAGE;
use towpath_io_mio::{CloseMode, Driver, Inbound, LostReason, PathState, SessionId};
use towpath_sctp::CloseReason;

use crate::common::{Peer, Role, Server, client_loop, impatient, pattern, turn_until, wait_until};
use crate::raw::Raw;

const PORT: u16 = 9260;

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Listens at these addresses, on a free UDP port; says where.
fn serve(addresses: &[IpAddr], config: &UdpConfig, role: fn() -> Role) -> (Server, u16) {
    let at: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    let carrier = udp::listen(&at, PORT, config).unwrap();
    let port = carrier.udp_addresses()[0].port();
    (Server::start(Box::new(carrier), impatient(), role), port)
}

fn connect(
    config: UdpConfig,
    locals: &[IpAddr],
    remotes: &[IpAddr],
    session: Peer,
) -> (Driver<Peer>, SessionId) {
    let locals: Vec<_> = locals.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
    let remotes: Vec<_> = remotes
        .iter()
        .map(|ip| SocketAddr::new(*ip, PORT))
        .collect();
    let mut driver = client_loop();
    let carrier = udp::client(&locals, &config).unwrap();
    let carrier = driver.add_carrier(Box::new(carrier)).unwrap();
    let id = driver.connect(carrier, &remotes, session).unwrap();
    (driver, id)
}

fn to(port: u16) -> UdpConfig {
    UdpConfig {
        peer_port: port,
        ..UdpConfig::default()
    }
}

/// Sends messages there and back, and compares.
fn echo(
    config: UdpConfig,
    locals: &[IpAddr],
    remotes: &[IpAddr],
    count: u16,
    length: usize,
) -> Peer {
    let messages: Vec<_> = (0..count)
        .map(|n| (n % 64, pattern(length, n.into())))
        .collect();
    let (mut driver, id) = connect(config, locals, remotes, Peer::client(messages.clone()));
    driver
        .run(&mut |_| None, &mut |driver| driver.is_over(id))
        .unwrap();
    let mut client = driver.take_session(id).unwrap();
    // The order holds within a stream.
    client.received.sort_by_key(|(stream, _)| *stream);
    let mut sent = messages;
    sent.sort_by_key(|(stream, _)| *stream);
    assert!(
        client.received == sent,
        "{} of {} came back",
        client.received.len(),
        sent.len()
    );
    client
}

#[test]
fn the_longest_messages_on_all_streams_come_back() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Echo {
        jobs: false,
    });
    echo(to(port), &[], &[ip(1)], 256, MAX_MESSAGE);
    server.stop();
}

#[test]
fn trains_are_cut_by_the_process_where_the_kernel_may_not() {
    let plain = UdpConfig {
        segmentation: false,
        max_packet: 1_452,
        ..UdpConfig::default()
    };
    let (server, port) = serve(&[ip(1)], &plain, || Role::Echo { jobs: false });
    let config = UdpConfig {
        peer_port: port,
        ..plain
    };
    echo(config, &[], &[ip(1)], 64, MAX_MESSAGE);
    server.stop();
}

#[test]
fn small_packets_go_in_trains() {
    let small = UdpConfig {
        max_packet: 1_452,
        ..UdpConfig::default()
    };
    let (server, port) = serve(&[ip(1)], &small, || Role::Echo { jobs: false });
    let config = UdpConfig {
        peer_port: port,
        ..small
    };
    echo(config, &[], &[ip(1)], 256, MAX_MESSAGE);
    server.stop();
}

#[test]
fn a_server_on_all_addresses_answers_from_the_one_that_was_spoken_to() {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (server, port) = serve(&[any], &UdpConfig::default(), || Role::Sink);
    for last in [1, 77] {
        let source = Role::Source {
            length: 100,
            left: 1_000_000_000,
            streams: 1,
        };
        let (mut driver, id) = connect(
            to(port),
            &[],
            &[ip(last)],
            Peer::new(source, &Arc::default()),
        );
        turn_until(&mut driver, "the association", |driver| {
            !driver.session(id).unwrap().changes.is_empty()
        });
        let paths = driver.paths(id);
        let primary = paths.iter().find(|path| path.primary).unwrap();
        assert_eq!(primary.remote, SocketAddr::new(ip(last), port));
        assert_eq!(primary.state, PathState::Active);
    }
    server.stop();
}

#[test]
fn a_session_learns_the_state_of_each_path_after_up_and_each_change() {
    let (server, port) = serve(&[ip(1), ip(2)], &UdpConfig::default(), || Role::Sink);
    let source = Role::Source {
        length: 100,
        left: 1_000_000_000,
        streams: 1,
    };
    let session = Peer::new(source, &Arc::default());
    let (mut driver, id) = connect(to(port), &[ip(3)], &[ip(1), ip(2)], session);
    turn_until(&mut driver, "all paths", |driver| {
        let paths = driver.paths(id);
        paths.len() == 2 && paths.iter().all(|path| path.state == PathState::Active)
    });
    // What the last turn of the carrier has found reaches the session in the next one.
    turn_until(&mut driver, "the reports", |driver| {
        let session = driver.session(id).unwrap();
        assert!(matches!(
            session.changes[..3],
            [
                Inbound::Up { .. },
                Inbound::PathChanged(_),
                Inbound::PathChanged(_)
            ]
        ));
        driver
            .paths(id)
            .iter()
            .all(|path| session.last_state(path) == Some(path.state))
    });
    server.stop();
}

#[test]
fn both_families_are_served_by_all_addresses_of_ipv6() {
    let any: IpAddr = "::".parse().unwrap();
    let (server, port) = serve(&[any], &UdpConfig::default(), || Role::Echo { jobs: false });
    for remote in ["::1", "127.0.0.1"] {
        echo(to(port), &[], &[remote.parse().unwrap()], 10, 5_000);
    }
    echo(to(port), &[], &["::1".parse().unwrap(), ip(1)], 10, 5_000);
    server.stop();
}

/// Cuts one end's address that carries the data when a quarter has arrived; says how long nothing
/// came.
fn cut(
    what: &str,
    server: (Server, u16),
    client: UdpConfig,
    locals: &[IpAddr],
    remotes: &[IpAddr],
    link_faults: &LinkFaults,
) {
    let (server, port) = server;
    let total = 4_000;
    let source = Role::Source {
        length: 65_536,
        left: total,
        streams: 16,
    };
    let client = UdpConfig {
        peer_port: port,
        ..client
    };
    let (mut driver, id) = connect(client, locals, remotes, Peer::new(source, &Arc::default()));
    turn_until(&mut driver, "all paths", |driver| {
        let paths = driver.paths(id);
        paths.len() == locals.len().max(1) * remotes.len()
            && paths.iter().all(|path| path.state == PathState::Active)
    });
    let messages = &server.counters.messages;
    turn_until(&mut driver, "a quarter", |_| {
        messages.load(Ordering::SeqCst) > total / 4
    });
    let busiest = link_faults.take_busiest().unwrap();
    link_faults.cut(busiest);
    assert!(
        messages.load(Ordering::SeqCst) < total,
        "all arrived before the cut"
    );
    turn_until(&mut driver, "all arrive", |_| {
        messages.load(Ordering::SeqCst) == total
    });
    let (_, stall) = server.counters.gap.lock().unwrap().unwrap();
    println!("{what}: stalled for {stall:?}");
    // Half a second is the aim; the rest is for a busy machine.
    assert!(stall < Duration::from_secs(1), "{stall:?}");
    server.stop();
}

#[test]
fn the_server_loses_one_of_two_addresses_in_mid_transfer() {
    let link_faults = LinkFaults::default();
    let config = UdpConfig {
        link_faults: Some(link_faults.clone()),
        ..UdpConfig::default()
    };
    let server = serve(&[ip(1), ip(2)], &config, || Role::Sink);
    cut(
        "the server loses an address",
        server,
        UdpConfig::default(),
        &[],
        &[ip(1), ip(2)],
        &link_faults,
    );
}

#[test]
fn the_client_loses_one_of_two_addresses_in_mid_transfer() {
    let link_faults = LinkFaults::default();
    let config = UdpConfig {
        link_faults: Some(link_faults.clone()),
        ..UdpConfig::default()
    };
    let server = serve(&[ip(1)], &UdpConfig::default(), || Role::Sink);
    cut(
        "the client loses an address",
        server,
        config,
        &[ip(3), ip(4)],
        &[ip(1)],
        &link_faults,
    );
}

#[test]
fn an_unordered_message_ends_its_association_alone() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Echo {
        jobs: false,
    });
    let at = SocketAddr::new(ip(1), port);
    let mut raw = Raw::new(SocketAddr::new(ip(1), 0), 1);
    let good = raw.connect(5_000, at, PORT);
    let bad = raw.connect(5_001, at, PORT);
    raw.send(bad, 1, b"out of turn", false);
    assert!(matches!(raw.end(bad), CloseReason::AbortedByPeer { .. }));
    raw.send(good, 1, b"in turn", true);
    assert_eq!(&raw.receive(good).payload[..], b"in turn");
    server.stop();
}

#[test]
fn a_restart_is_a_loss() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Echo {
        jobs: false,
    });
    let at = SocketAddr::new(ip(1), port);
    let mut first = Raw::new(SocketAddr::new(ip(1), 0), 1);
    let handle = first.connect(5_000, at, PORT);
    first.send(handle, 1, b"hello", true);
    first.receive(handle);
    let local = first.local();
    // The peer ended without an ABORT.
    drop(first);
    assert_eq!(server.counters.ended.load(Ordering::SeqCst), 0);
    let mut second = Raw::new(local, 2);
    let handle = second.connect(5_000, at, PORT);
    second.send(handle, 1, b"hello again", true);
    assert_eq!(&second.receive(handle).payload[..], b"hello again");
    wait_until("the old session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    assert_eq!(server.counters.accepted.load(Ordering::SeqCst), 2);
    server.stop();
}

#[test]
fn what_was_sent_arrives_before_the_orderly_end() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Sink);
    let at = SocketAddr::new(ip(1), port);
    server.counters.paused.store(true, Ordering::SeqCst);
    let mut raw = Raw::new(SocketAddr::new(ip(1), 0), 1);
    let handle = raw.connect(5_000, at, PORT);
    for _ in 0..100 {
        raw.send(handle, 3, b"read me", true);
    }
    raw.endpoint.shutdown(handle, Instant::now()).unwrap();
    assert_eq!(raw.end(handle), CloseReason::Shutdown);
    assert_eq!(
        server.counters.messages.load(Ordering::SeqCst),
        0,
        "nothing is read yet"
    );
    server.counters.paused.store(false, Ordering::SeqCst);
    wait_until("all is read", || {
        server.counters.messages.load(Ordering::SeqCst) == 100
    });
    wait_until("the session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    server.stop();
}

#[test]
fn a_server_that_is_stopped_shuts_its_associations_down() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Echo {
        jobs: false,
    });
    let mut raw = Raw::new(SocketAddr::new(ip(1), 0), 1);
    let handle = raw.connect(5_000, SocketAddr::new(ip(1), port), PORT);
    raw.send(handle, 1, b"hello", true);
    raw.receive(handle);
    let stopping = thread::spawn(move || server.stop());
    assert_eq!(raw.end(handle), CloseReason::Shutdown);
    let counters = stopping.join().unwrap();
    assert_eq!(counters.ended.load(Ordering::SeqCst), 1);
}

#[test]
fn peers_beyond_the_endpoints_limit_are_refused() {
    let config = UdpConfig {
        max_associations: 2,
        ..UdpConfig::default()
    };
    let (server, port) = serve(&[ip(1)], &config, || Role::Sink);
    let at = SocketAddr::new(ip(1), port);
    let mut raw = Raw::new(SocketAddr::new(ip(1), 0), 1);
    raw.connect(5_000, at, PORT);
    raw.connect(5_001, at, PORT);
    raw.run("both", |raw| raw.endpoint.associations() == 2);
    let third = raw
        .endpoint
        .connect_from(5_002, &[at], PORT, Instant::now())
        .unwrap();
    assert!(matches!(raw.end(third), CloseReason::AbortedByPeer { .. }));
    assert_eq!(server.counters.accepted.load(Ordering::SeqCst), 2);
    server.stop();
}

#[test]
fn nonsense_disturbs_nobody() {
    let (server, port) = serve(&[ip(1)], &UdpConfig::default(), || Role::Echo {
        jobs: false,
    });
    let at = SocketAddr::new(ip(1), port);
    let stranger = std::net::UdpSocket::bind((ip(1), 0)).unwrap();
    for length in [0, 1, 11, 12, 13, 16, 300, 1_500, 9_000, 65_507] {
        stranger.send_to(&pattern(length, length), at).unwrap();
    }
    echo(to(port), &[], &[ip(1)], 20, 20_000);
    server.stop();
}

#[test]
fn nobody_answers_and_that_is_said_in_the_end() {
    let silent = std::net::UdpSocket::bind((ip(1), 0)).unwrap();
    let config = UdpConfig {
        rto_initial: Duration::from_millis(20),
        rto_max: Duration::from_millis(50),
        rto_min: Duration::from_millis(10),
        ..to(silent.local_addr().unwrap().port())
    };
    let (mut driver, id) = connect(config, &[], &[ip(1)], Peer::client(Vec::new()));
    turn_until(&mut driver, "the loss", |driver| driver.is_over(id));
    assert_eq!(
        driver.session(id).unwrap().changes,
        [Inbound::Lost(LostReason::Unreachable(
            "the peer does not answer".to_owned()
        ))]
    );
}

#[test]
fn wrong_addresses_are_errors_at_once() {
    use towpath_io_mio::Carrier;
    let config = UdpConfig::default();
    assert!(udp::listen(&[], PORT, &config).is_err());
    assert!(udp::listen(&["127.0.0.1:0".parse().unwrap()], 0, &config).is_err());
    assert!(udp::listen(&["203.0.113.1:0".parse().unwrap()], PORT, &config).is_err());
    assert!(udp::client(&["127.0.0.1:0".parse().unwrap(); 9], &config).is_err());
    let now = Instant::now();
    let mut client = udp::client(&[], &config).unwrap();
    for wrong in [
        &[][..],
        &["127.0.0.1:0"],
        &["127.0.0.1:9", "127.0.0.2:10"],
        &["0.0.0.0:9"],
        &["224.0.0.1:9"],
        &["127.0.0.1:9"; 9],
    ] {
        let remotes: Vec<SocketAddr> = wrong.iter().map(|text| text.parse().unwrap()).collect();
        assert!(client.connect(&remotes, now).is_err(), "{wrong:?}");
    }
    let remote = ["127.0.0.1:9260".parse().unwrap()];
    let mut bound = udp::client(&["203.0.113.1:0".parse().unwrap()], &config).unwrap();
    assert!(bound.connect(&remote, now).is_err());
    let mut server = udp::listen(&["127.0.0.1:0".parse().unwrap()], PORT, &config).unwrap();
    assert!(server.connect(&remote, now).is_err());
    // A close of what does not exist does nothing.
    let id = client.connect(&remote, now).unwrap();
    client.close(id, CloseMode::Abort, now);
    client.close(id, CloseMode::Abort, now);
    assert!(client.paths(id).is_empty());
}
