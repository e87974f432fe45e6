//! The loop with real sockets on any host: AF_UNIX.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Peer, Role, Server, client_loop, pattern, turn_until, wait_until};
use towpath_io_mio::limits::{MAX_MESSAGE, SEND_QUEUE_HARD};
use towpath_io_mio::seqpacket::Seqpacket;
use towpath_io_mio::{Driver, LoopConfig, SessionId};
use towpath_protocol::LinkChange;

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

fn serve(path: &std::path::Path, role: fn() -> Role) -> Server {
    Server::start(
        Box::new(Seqpacket::listen(path).unwrap()),
        LoopConfig::default(),
        role,
    )
}

fn connect(driver: &mut Driver<Peer>, path: &std::path::Path, session: Peer) -> SessionId {
    let carrier = driver
        .add_carrier(Box::new(Seqpacket::client(path)))
        .unwrap();
    driver.connect(carrier, &[], session).unwrap()
}

#[test]
fn messages_of_every_length_come_back_on_their_stream() {
    let (_directory, path) = place();
    let server = serve(&path, || Role::Echo { jobs: false });
    let lengths = [1, 2, 16_384, 65_536, MAX_MESSAGE, 3, MAX_MESSAGE];
    let messages: Vec<_> = lengths
        .iter()
        .zip(0u16..)
        .map(|(length, n)| (n * 9, pattern(*length, n.into())))
        .collect();
    let mut driver = client_loop();
    let id = connect(&mut driver, &path, Peer::client(messages.clone()));
    driver
        .run(&mut |_| None, &mut |driver| driver.is_over(id))
        .unwrap();
    let client = driver.take_session(id).unwrap();
    assert!(client.received == messages);
    assert_eq!(client.changes, [LinkChange::Up { streams: 64 }]);
    wait_until("the server's session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    server.stop();
}

#[test]
fn two_hundred_sessions_at_once_through_the_pool() {
    let (_directory, path) = place();
    let server = serve(&path, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = driver
        .add_carrier(Box::new(Seqpacket::client(&path)))
        .unwrap();
    let sent = |n: usize| -> Vec<(u16, Bytes)> {
        (0..20)
            .map(|m| (m as u16, pattern(1 + m * 700, n)))
            .collect()
    };
    let ids: Vec<_> = (0..200)
        .map(|n| driver.connect(carrier, &[], Peer::client(sent(n))).unwrap())
        .collect();
    driver
        .run(&mut |_| None, &mut |driver| driver.active_sessions() == 0)
        .unwrap();
    for (n, id) in ids.into_iter().enumerate() {
        let mut client = driver.take_session(id).unwrap();
        // Jobs finish in any order.
        client.received.sort_by_key(|(stream, _)| *stream);
        assert!(client.received == sent(n), "session {n}");
    }
    let counters = server.stop();
    assert_eq!(counters.accepted.load(Ordering::SeqCst), 200);
    assert_eq!(counters.ended.load(Ordering::SeqCst), 200);
    assert_eq!(counters.messages.load(Ordering::SeqCst), 4_000);
}

#[test]
fn a_reader_that_stops_holds_up_the_writer_within_bounds() {
    let (_directory, path) = place();
    let server = serve(&path, || Role::Sink);
    server.counters.paused.store(true, Ordering::SeqCst);
    let mut driver = client_loop();
    let total = 2_000;
    let source = Role::Source {
        length: 65_536,
        left: total,
        streams: 8,
    };
    let id = connect(&mut driver, &path, Peer::new(source, &Arc::default()));
    for _ in 0..50 {
        driver
            .turn(&mut |_| None, Some(Duration::from_millis(10)))
            .unwrap();
    }
    let left = |driver: &Driver<Peer>| match driver.session(id).unwrap().role {
        Role::Source { left, .. } => left,
        _ => unreachable!(),
    };
    // Both socket buffers (doubled by the kernel, a MiB each) and our own queue, of 125 MiB.
    let taken = (total - left(&driver)) * 65_536;
    assert!(
        taken <= 4 * 1024 * 1024 + SEND_QUEUE_HARD,
        "{taken} bytes were taken"
    );
    assert!(taken >= 65_536, "nothing was sent");
    assert!(
        server.counters.messages.load(Ordering::SeqCst) == 0,
        "the session was made to read"
    );
    // Nothing to do: the loop sleeps.
    let start = Instant::now();
    driver
        .turn(&mut |_| None, Some(Duration::from_millis(100)))
        .unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(90),
        "the loop spins"
    );

    server.counters.paused.store(false, Ordering::SeqCst);
    turn_until(&mut driver, "the source ends", |driver| driver.is_over(id));
    wait_until("all arrive", || {
        server.counters.messages.load(Ordering::SeqCst) == total
    });
    server.stop();
}
