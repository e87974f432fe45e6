//! The loop with real sockets on any host: AF_UNIX, and SCTP over UDP.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Peer, Role, Server, Worker, client_loop, impatient, pattern, turn_until, wait_until};
use towpath_io_mio::carrier::udp::{self, UdpConfig};
use towpath_io_mio::carrier::unix;
use towpath_io_mio::limits::{MAX_MESSAGE, SEND_QUEUE_HARD};
use towpath_io_mio::{Carrier, CarrierIndex, Driver, Inbound, LoopConfig, LostReason, SessionId};

/// An endpoint that a server listens on, over one of the carriers.
trait Endpoint {
    fn listen(&mut self) -> Box<dyn Carrier>;
    fn client(&self) -> Box<dyn Carrier>;
    fn remotes(&self) -> Vec<SocketAddr>;
    /// Bytes that the two ends take from a sender before a receiver that does not read holds it up.
    fn buffers(&self) -> usize;
}

struct Unix(tempfile::TempDir);

impl Unix {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Endpoint for Unix {
    fn listen(&mut self) -> Box<dyn Carrier> {
        Box::new(unix::listen(&self.0.path().join("socket")).unwrap())
    }

    fn client(&self) -> Box<dyn Carrier> {
        Box::new(unix::client(&self.0.path().join("socket")))
    }

    fn remotes(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    fn buffers(&self) -> usize {
        4 * 1024 * 1024 // both socket buffers, a MiB each, doubled by the kernel
    }
}

struct Udp {
    config: UdpConfig,
}

const SCTP_PORT: u16 = 9260;

impl Udp {
    fn new() -> Self {
        Self {
            config: UdpConfig::default(),
        }
    }
}

impl Endpoint for Udp {
    fn listen(&mut self) -> Box<dyn Carrier> {
        let addresses = ["127.0.0.1:0", "127.0.0.2:0"].map(|at| at.parse().unwrap());
        let carrier = udp::listen(&addresses, SCTP_PORT, &self.config).unwrap();
        self.config.peer_port = carrier.udp_addresses()[0].port();
        Box::new(carrier)
    }

    fn client(&self) -> Box<dyn Carrier> {
        Box::new(udp::client(&[], &self.config).unwrap())
    }

    fn remotes(&self) -> Vec<SocketAddr> {
        ["127.0.0.1", "127.0.0.2"]
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), SCTP_PORT))
            .to_vec()
    }

    fn buffers(&self) -> usize {
        2 * 1024 * 1024 // the receive window and what reassembly may hold beyond it
    }
}

/// Each test over each carrier.
macro_rules! over_all_carriers {
    ($($test:ident),* $(,)?) => {
        mod over_unix {
            $(#[test] fn $test() { super::$test(&mut super::Unix::new()); })*
        }
        mod over_udp {
            $(#[test] fn $test() { super::$test(&mut super::Udp::new()); })*
        }
    };
}

over_all_carriers!(
    a_job_that_panics_ends_its_session_alone,
    a_session_that_is_revoked_is_aborted_alone,
    jobs_run_at_once_as_far_as_there_are_workers_and_room,
    stopping_lets_sessions_finish_and_ends_those_that_do_not,
    a_session_that_will_not_end_is_aborted_when_the_time_is_up,
    peers_beyond_the_limit_are_turned_away,
    deadlines_run_when_they_are_due,
    a_message_that_is_too_long_or_empty_ends_the_association,
    messages_of_every_length_come_back_on_their_stream,
    two_hundred_sessions_at_once_through_the_pool,
    a_reader_that_stops_holds_up_the_writer_within_bounds,
    a_closed_session_does_not_wait_for_ever_for_a_peer_that_does_not_read,
);

fn serve(place: &mut dyn Endpoint, role: fn() -> Role) -> Server {
    Server::start(place.listen(), impatient(), role)
}

fn client(driver: &mut Driver<Peer>, place: &dyn Endpoint) -> CarrierIndex {
    driver.add_carrier(place.client()).unwrap()
}

fn connect(driver: &mut Driver<Peer>, place: &dyn Endpoint, session: Peer) -> SessionId {
    let carrier = client(driver, place);
    driver.connect(carrier, &place.remotes(), session).unwrap()
}

fn messages_of_every_length_come_back_on_their_stream(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Echo { jobs: false });
    let lengths = [1, 2, 16_384, 65_536, MAX_MESSAGE, 3, MAX_MESSAGE];
    let messages: Vec<_> = lengths
        .iter()
        .zip(0u16..)
        .map(|(length, n)| (n * 9, pattern(*length, n.into())))
        .collect();
    let mut driver = client_loop();
    let id = connect(&mut driver, place, Peer::client(messages.clone()));
    driver
        .run(&mut |_| None, &mut |driver| driver.is_over(id))
        .unwrap();
    let client = driver.take_session(id).unwrap();
    assert!(client.received == messages);
    assert_eq!(client.changes[0], Inbound::Up { streams: 64 });
    let later = &client.changes[1..];
    assert!(
        later
            .iter()
            .all(|change| matches!(change, Inbound::PathChanged(_))),
        "{later:?}"
    );
    wait_until("the server's session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    server.stop();
}

fn two_hundred_sessions_at_once_through_the_pool(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    let sent = |n: usize| -> Vec<(u16, Bytes)> {
        (0..20)
            .map(|m| (m as u16, pattern(1 + m * 700, n)))
            .collect()
    };
    let ids: Vec<_> = (0..200)
        .map(|n| {
            driver
                .connect(carrier, &remotes, Peer::client(sent(n)))
                .unwrap()
        })
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

fn a_reader_that_stops_holds_up_the_writer_within_bounds(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Sink);
    server.counters.paused.store(true, Ordering::SeqCst);
    let mut driver = client_loop();
    let total = 2_000;
    let source = Role::Source {
        length: 65_536,
        left: total,
        streams: 8,
    };
    let id = connect(&mut driver, place, Peer::new(source, &Arc::default()));
    for _ in 0..50 {
        driver
            .turn(&mut |_| None, Some(Duration::from_millis(10)))
            .unwrap();
    }
    let left = |driver: &Driver<Peer>| match driver.session(id).unwrap().role {
        Role::Source { left, .. } => left,
        _ => unreachable!(),
    };
    // Of 125 MiB.
    let taken = (total - left(&driver)) * 65_536;
    assert!(
        taken <= place.buffers() + SEND_QUEUE_HARD,
        "{taken} bytes were taken"
    );
    assert!(taken >= 65_536, "nothing was sent");
    assert!(
        server.counters.messages.load(Ordering::SeqCst) == 0,
        "the session was made to read"
    );
    // Nothing to do: the loop sleeps, but for a look at those that wait to send now and then, and
    // the probes and heartbeats of SCTP.
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < Duration::from_millis(600) {
        driver
            .turn(&mut |_| None, Some(Duration::from_millis(600)))
            .unwrap();
        turns += 1;
    }
    assert!(turns <= 40, "the loop spins: {turns} turns");

    server.counters.paused.store(false, Ordering::SeqCst);
    turn_until(&mut driver, "the source ends", |driver| driver.is_over(id));
    turn_until(&mut driver, "all arrive", |_| {
        server.counters.messages.load(Ordering::SeqCst) == total
    });
    server.stop();
}

fn a_closed_session_does_not_wait_for_ever_for_a_peer_that_does_not_read(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Sink);
    server.counters.paused.store(true, Ordering::SeqCst);
    let config = LoopConfig {
        close: Duration::from_millis(300),
        ..impatient()
    };
    let mut driver = Driver::new(config, Arc::new(Worker::default())).unwrap();
    let source = Role::Source {
        length: 65_536,
        left: 2_000,
        streams: 8,
    };
    let mut source = Peer::new(source, &Arc::default());
    // At its deadline it is closed, with the carrier full.
    source.deadline = Some(Instant::now() + Duration::from_secs(1));
    let id = connect(&mut driver, place, source);
    let start = Instant::now();
    turn_until(&mut driver, "the session ends", |driver| driver.is_over(id));
    assert!((Duration::from_millis(1_300)..Duration::from_secs(5)).contains(&start.elapsed()));
    assert_eq!(driver.active_sessions(), 0);
    server.counters.paused.store(false, Ordering::SeqCst);
    server.stop();
}

fn a_job_that_panics_ends_its_session_alone(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    let message = |text: &'static str| Peer::client(vec![(1, Bytes::from_static(text.as_bytes()))]);
    let unlucky = driver.connect(carrier, &remotes, message("panic")).unwrap();
    let slow = driver.connect(carrier, &remotes, message("slow")).unwrap();
    turn_until(&mut driver, "both end", |driver| {
        driver.active_sessions() == 0
    });
    let unlucky = driver.take_session(unlucky).unwrap();
    assert_eq!(unlucky.changes.first(), Some(&Inbound::Up { streams: 64 }));
    assert!(unlucky.is_lost());
    assert!(unlucky.received.is_empty());
    assert_eq!(driver.take_session(slow).unwrap().received.len(), 1);
    server.stop();
}

fn a_session_that_is_revoked_is_aborted_alone(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    let message = |text: &'static str| Peer::client(vec![(1, Bytes::from_static(text.as_bytes()))]);
    let revoked = driver
        .connect(carrier, &remotes, message("revoke"))
        .unwrap();
    let slow = driver.connect(carrier, &remotes, message("slow")).unwrap();
    turn_until(&mut driver, "both end", |driver| {
        driver.active_sessions() == 0
    });
    let revoked = driver.take_session(revoked).unwrap();
    assert_eq!(
        revoked.changes.last(),
        Some(&Inbound::Lost(LostReason::Aborted))
    );
    assert!(revoked.received.is_empty());
    assert_eq!(driver.take_session(slow).unwrap().received.len(), 1);
    server.stop();
}

fn jobs_run_at_once_as_far_as_there_are_workers_and_room(place: &mut dyn Endpoint) {
    let config = LoopConfig {
        workers: 3,
        jobs: 5,
        ..impatient()
    };
    let server = Server::start(place.listen(), config, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    for _ in 0..6 {
        let messages = (0..8)
            .map(|stream| (stream, Bytes::from_static(b"slow")))
            .collect();
        driver
            .connect(carrier, &remotes, Peer::client(messages))
            .unwrap();
    }
    turn_until(&mut driver, "all end", |driver| {
        driver.active_sessions() == 0
    });
    assert_eq!(server.stop().most_running.load(Ordering::SeqCst), 3);
}

fn stopping_lets_sessions_finish_and_ends_those_that_do_not(place: &mut dyn Endpoint) {
    let config = LoopConfig {
        drain: Duration::from_millis(300),
        ..impatient()
    };
    let server = Server::start(place.listen(), config, || Role::Echo { jobs: true });
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    let slow = (0..40)
        .map(|stream| (stream, Bytes::from_static(b"slow")))
        .collect();
    let finishing = driver
        .connect(carrier, &remotes, Peer::client(slow))
        .unwrap();
    turn_until(&mut driver, "the first answer", |driver| {
        !driver.session(finishing).unwrap().received.is_empty()
    });
    let counters = server.counters.clone();
    let start = Instant::now();
    let stopped = std::thread::spawn(move || server.stop());
    turn_until(&mut driver, "the session ends", |driver| {
        driver.is_over(finishing)
    });
    stopped.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(counters.ended.load(Ordering::SeqCst), 1);
    // Nobody listens any more: that shows at once, or as silence.
    if let Ok(late) = driver.connect(carrier, &remotes, Peer::client(vec![])) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            driver
                .turn(&mut |_| None, Some(Duration::from_millis(50)))
                .unwrap();
        }
        let late = driver.take_session(late).unwrap();
        assert!(!late.changes.contains(&Inbound::Up { streams: 64 }));
    }
}

fn a_session_that_will_not_end_is_aborted_when_the_time_is_up(place: &mut dyn Endpoint) {
    let config = LoopConfig {
        drain: Duration::from_millis(200),
        ..impatient()
    };
    // A client waits for an answer that never comes, stop or not.
    let server = Server::start(place.listen(), config, || Role::Client { expected: 1 });
    let mut driver = client_loop();
    let id = connect(
        &mut driver,
        place,
        Peer::new(Role::Client { expected: 1 }, &Arc::default()),
    );
    turn_until(&mut driver, "the connection", |driver| {
        !driver.session(id).unwrap().changes.is_empty()
    });
    wait_until("the server has accepted", || {
        server.counters.accepted.load(Ordering::SeqCst) == 1
    });
    let start = Instant::now();
    server.stop();
    assert!((Duration::from_millis(200)..Duration::from_secs(3)).contains(&start.elapsed()));
    turn_until(&mut driver, "the loss", |driver| driver.is_over(id));
    assert!(driver.session(id).unwrap().is_lost());
}

fn peers_beyond_the_limit_are_turned_away(place: &mut dyn Endpoint) {
    let config = LoopConfig {
        max_sessions: 3,
        ..impatient()
    };
    let server = Server::start(place.listen(), config, || Role::Sink);
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    let patient = || Peer::new(Role::Client { expected: 1 }, &Arc::default());
    let ids: Vec<_> = (0..5)
        .map(|_| driver.connect(carrier, &remotes, patient()).unwrap())
        .collect();
    turn_until(&mut driver, "two are turned away", |driver| {
        driver.active_sessions() == 3
    });
    assert_eq!(ids.iter().filter(|id| driver.is_over(**id)).count(), 2);
    // A slot that becomes free is reused.
    let free = ids.iter().find(|id| !driver.is_over(**id)).unwrap();
    drop(driver.take_session(*free));
    wait_until("a session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    let next = driver.connect(carrier, &remotes, patient()).unwrap();
    wait_until_turning(&mut driver, || {
        server.counters.accepted.load(Ordering::SeqCst) == 4
    });
    assert!(!driver.is_over(next));
    server.stop();
}

fn wait_until_turning(driver: &mut Driver<Peer>, mut done: impl FnMut() -> bool) {
    turn_until(driver, "another thread", |_| done());
}

fn deadlines_run_when_they_are_due(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Sink);
    let mut driver = client_loop();
    let mut session = Peer::new(Role::Client { expected: 1 }, &Arc::default());
    let start = Instant::now();
    session.deadline = Some(start + Duration::from_millis(80));
    let id = connect(&mut driver, place, session);
    driver
        .run(&mut |_| None, &mut |driver| driver.is_over(id))
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(driver.take_session(id).unwrap().timeouts, 1);
    server.stop();
}

fn a_message_that_is_too_long_or_empty_ends_the_association(place: &mut dyn Endpoint) {
    let server = serve(place, || Role::Sink);
    let mut driver = client_loop();
    let carrier = client(&mut driver, place);
    let remotes = place.remotes();
    for wrong in [pattern(MAX_MESSAGE + 1, 0), Bytes::new()] {
        let id = driver
            .connect(carrier, &remotes, Peer::client(vec![(5, wrong)]))
            .unwrap();
        turn_until(&mut driver, "the abort", |driver| driver.is_over(id));
        assert!(driver.take_session(id).unwrap().is_lost());
    }
    assert_eq!(server.counters.messages.load(Ordering::SeqCst), 0);
    server.stop();
}

#[test]
fn a_socket_file_is_replaced_only_if_nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // What a listener that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let carrier = Box::new(unix::listen(&path).unwrap());
    let server = Server::start(carrier, LoopConfig::default(), || Role::Sink);
    let error = unix::listen(&path).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    server.stop();
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let error = unix::listen(&path).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
