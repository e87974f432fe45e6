//! Over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_io_mio::carrier::kernel::{self, KernelConfig};
use towpath_io_mio::limits::MAX_MESSAGE;
use towpath_io_mio::{Carrier, CarrierIndex, Driver, Inbound, LoopConfig, PathState};

use crate::common::{Peer, Role, Server, client_loop, pattern, turn_until, wait_until};

fn addresses(list: &[&str], port: u16) -> Vec<SocketAddr> {
    list.iter()
        .map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
        .collect()
}

const TWO: &[&str] = &["127.0.0.1", "127.0.0.2"];

/// A server on two addresses, and where it listens.
fn serve(role: fn() -> Role) -> (Server, Vec<SocketAddr>) {
    kernel::supported().unwrap();
    let carrier = kernel::listen(&addresses(TWO, 0), &KernelConfig::default()).unwrap();
    let at = carrier.local_addresses();
    assert_eq!(at.len(), 2);
    assert_ne!(at[0].port(), 0);
    (
        Server::start(Box::new(carrier), LoopConfig::default(), role),
        at,
    )
}

fn client(driver: &mut Driver<Peer>) -> CarrierIndex {
    let locals = addresses(&["127.0.0.3", "127.0.0.4"], 0);
    driver
        .add_carrier(Box::new(
            kernel::client(&locals, &KernelConfig::default()).unwrap(),
        ))
        .unwrap()
}

#[test]
fn messages_of_every_length_come_back_on_their_stream() {
    let (server, at) = serve(|| Role::Echo { jobs: false });
    let lengths = [
        1,
        2,
        17,
        1_452,
        1_453,
        16_384,
        16_385,
        65_536,
        MAX_MESSAGE,
        3,
        MAX_MESSAGE,
    ];
    let messages: Vec<_> = lengths
        .iter()
        .zip(0u16..)
        .map(|(length, n)| (n * 6, pattern(*length, n.into())))
        .collect();
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let id = driver
        .connect(carrier, &at, Peer::client(messages.clone()))
        .unwrap();
    turn_until(&mut driver, "the connection", |driver| {
        !driver.session(id).unwrap().changes.is_empty()
    });
    let paths = driver.paths(id);
    assert_eq!(paths.len(), 2);
    assert_eq!(paths.iter().filter(|path| path.primary).count(), 1);
    assert!(
        paths
            .iter()
            .any(|path| path.state == PathState::Active && path.mtu > 1_000 && path.cwnd > 0)
    );
    turn_until(&mut driver, "the echo", |driver| driver.is_over(id));
    let client = driver.take_session(id).unwrap();
    assert_eq!(client.changes[0], Inbound::Up { streams: 64 });
    assert!(
        client.changes[1..]
            .iter()
            .all(|change| matches!(change, Inbound::PathChanged(_))),
        "{:?}",
        client.changes
    );
    assert!(matches!(client.changes[1], Inbound::PathChanged(_)));
    let (sent, got) = (by_stream(&messages), by_stream(&client.received));
    assert!(sent == got);
    driver.run(&mut |_| None, &mut |_| true).unwrap();
    wait_until("the server's session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    server.stop();
}

/// Order holds within a stream only.
fn by_stream(messages: &[(u16, Bytes)]) -> BTreeMap<u16, Vec<Bytes>> {
    let mut streams = BTreeMap::<u16, Vec<Bytes>>::new();
    for (stream, payload) in messages {
        streams.entry(*stream).or_default().push(payload.clone());
    }
    streams
}

#[test]
fn the_longest_messages_on_all_streams_keep_their_order() {
    let (server, at) = serve(|| Role::Echo { jobs: false });
    let messages: Vec<_> = (0..640)
        .map(|n| ((n % 64) as u16, pattern(MAX_MESSAGE - n % 5 * 13_000, n)))
        .collect();
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let id = driver
        .connect(carrier, &at, Peer::client(messages.clone()))
        .unwrap();
    turn_until(&mut driver, "the echo", |driver| driver.is_over(id));
    let client = driver.take_session(id).unwrap();
    assert!(by_stream(&client.received) == by_stream(&messages));
    server.stop();
}

#[test]
fn two_hundred_connections_at_once() {
    let (server, at) = serve(|| Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let sent = |n: usize| -> Vec<(u16, Bytes)> {
        (0..8)
            .map(|m| (m as u16, pattern(1 + m * 2_000, n)))
            .collect()
    };
    let ids: Vec<_> = (0..200)
        .map(|n| driver.connect(carrier, &at, Peer::client(sent(n))).unwrap())
        .collect();
    turn_until(&mut driver, "all are over", |driver| {
        driver.active_sessions() == 0
    });
    for (n, id) in ids.into_iter().enumerate() {
        assert!(
            by_stream(&driver.take_session(id).unwrap().received) == by_stream(&sent(n)),
            "session {n}"
        );
    }
    let counters = server.stop();
    assert_eq!(counters.accepted.load(Ordering::SeqCst), 200);
    assert_eq!(counters.ended.load(Ordering::SeqCst), 200);
}

#[test]
fn throughput_with_bounded_queues() {
    let (server, at) = serve(|| Role::Sink);
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let total = 2_000;
    let source = Role::Source {
        length: 65_553,
        left: total,
        streams: 32,
    };
    let start = Instant::now();
    let id = driver
        .connect(carrier, &at, Peer::new(source, &Arc::default()))
        .unwrap();
    driver
        .run(&mut |_| None, &mut |driver| driver.is_over(id))
        .unwrap();
    turn_until(&mut driver, "all arrive", |_| {
        server.counters.messages.load(Ordering::SeqCst) == total
    });
    let rate = (total * 65_553) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("loopback: {rate:.0} MB/s");
    assert!(rate > 5.0, "{rate} MB/s");
    server.stop();
}

#[test]
fn a_reader_that_stops_holds_up_the_writer() {
    let (server, at) = serve(|| Role::Sink);
    server.counters.paused.store(true, Ordering::SeqCst);
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let total = 1_000;
    let source = Role::Source {
        length: 65_536,
        left: total,
        streams: 8,
    };
    let id = driver
        .connect(carrier, &at, Peer::new(source, &Arc::default()))
        .unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        driver
            .turn(&mut |_| None, Some(Duration::from_millis(10)))
            .unwrap();
    }
    let Role::Source { left, .. } = driver.session(id).unwrap().role else {
        unreachable!()
    };
    let taken = (total - left) * 65_536;
    println!("a reader that stops: {taken} bytes were taken");
    // The peer's window, what is in flight, and our queue.
    assert!(taken < 16 * 1024 * 1024, "{taken} bytes were taken");
    assert_eq!(server.counters.messages.load(Ordering::SeqCst), 0);
    server.counters.paused.store(false, Ordering::SeqCst);
    turn_until(&mut driver, "the source ends", |driver| driver.is_over(id));
    turn_until(&mut driver, "all arrive", |_| {
        server.counters.messages.load(Ordering::SeqCst) == total
    });
    server.stop();
}

#[test]
fn nobody_listens() {
    kernel::supported().unwrap();
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let start = Instant::now();
    let id = driver
        .connect(
            carrier,
            &addresses(TWO, 9),
            Peer::client(vec![(0, pattern(9, 9))]),
        )
        .unwrap();
    turn_until(&mut driver, "the refusal", |driver| driver.is_over(id));
    assert!(matches!(
        driver.take_session(id).unwrap().changes[..],
        [Inbound::Lost(_)]
    ));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_message_that_is_too_long_ends_the_association() {
    let (server, at) = serve(|| Role::Sink);
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    let id = driver
        .connect(
            carrier,
            &at,
            Peer::client(vec![(5, pattern(MAX_MESSAGE + 1, 0))]),
        )
        .unwrap();
    turn_until(&mut driver, "the abort", |driver| driver.is_over(id));
    assert!(driver.take_session(id).unwrap().is_lost());
    assert_eq!(server.counters.messages.load(Ordering::SeqCst), 0);
    server.stop();
}

#[test]
fn an_abort_is_a_loss_and_a_shutdown_is_not() {
    let (server, at) = serve(|| Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver);
    // The worker panics: the server aborts.
    let id = driver
        .connect(
            carrier,
            &at,
            Peer::client(vec![(1, Bytes::from_static(b"panic"))]),
        )
        .unwrap();
    turn_until(&mut driver, "the abort", |driver| driver.is_over(id));
    assert!(driver.take_session(id).unwrap().is_lost());
    // The server stops: it shuts down.
    let mut patient = Peer::client(vec![(1, pattern(100, 1))]);
    patient.role = Role::Client { expected: 2 };
    let id = driver.connect(carrier, &at, patient).unwrap();
    turn_until(&mut driver, "the echo", |driver| {
        driver.session(id).unwrap().received.len() == 1
    });
    let stopping = std::thread::spawn(move || server.stop());
    turn_until(&mut driver, "the shutdown", |driver| driver.is_over(id));
    assert_eq!(
        driver.take_session(id).unwrap().changes.last(),
        Some(&Inbound::PeerClosed)
    );
    stopping.join().unwrap();
}

#[test]
fn ipv6_and_ipv4_together() {
    kernel::supported().unwrap();
    let mixed = ["::1", "127.0.0.1"];
    for listen in [&mixed[..], &["0.0.0.0", "::"]] {
        let carrier = kernel::listen(&addresses(listen, 0), &KernelConfig::default()).unwrap();
        let port = carrier.local_addresses()[0].port();
        let server = Server::start(Box::new(carrier), LoopConfig::default(), || Role::Echo {
            jobs: false,
        });
        for remotes in [&mixed[..], &["127.0.0.1"], &["::1"]] {
            let mut driver = client_loop();
            let carrier = kernel::client(&[], &KernelConfig::default()).unwrap();
            let carrier = driver.add_carrier(Box::new(carrier)).unwrap();
            let client = Peer::client(vec![(3, pattern(40_000, 3))]);
            let id = driver
                .connect(carrier, &addresses(remotes, port), client)
                .unwrap();
            turn_until(&mut driver, "the echo", |driver| driver.is_over(id));
            assert_eq!(
                driver.take_session(id).unwrap().received.len(),
                1,
                "{listen:?} {remotes:?}"
            );
        }
        server.stop();
    }
}
