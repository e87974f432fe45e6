//! Sessions and an executor for the tests of the loop, over any carrier.
#![allow(
    clippy::allow_attributes,
    reason = "each test binary uses another part, and one may use all"
)]
#![allow(dead_code, reason = "each test binary uses another part")]

pub(crate) mod hosts;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use towpath_io_mio::{
    Carrier, Driver, Execute, Inbound, LoopConfig, PathInfo, PathState, Session, Stopper, Ticket,
    Transmit,
};

/// How often a sink looks whether it may read again.
const LOOK: Duration = Duration::from_millis(20);

/// What all servers of a test share and count.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    pub(crate) messages: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    /// When the last message came, and the longest time between two.
    pub(crate) gap: Mutex<Option<(Instant, Duration)>>,
    /// Servers take no messages while this is set.
    pub(crate) paused: AtomicBool,
}

/// A message to be sent back by way of a worker.
pub(crate) struct Work(pub(crate) u16, pub(crate) BytesMut);

/// The worker: a message that begins with `panic` panics, one that begins with `slow` takes 20 ms.
#[derive(Default)]
pub(crate) struct Worker(pub(crate) Arc<Counters>);

impl Execute for Worker {
    type Job = Work;
    type Output = (u16, Bytes);

    fn execute(&self, Work(stream, payload): Work) -> (u16, Bytes) {
        let running = self.0.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_running.fetch_max(running, Ordering::SeqCst);
        if payload.starts_with(b"slow") {
            thread::sleep(Duration::from_millis(20));
        }
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        assert!(!payload.starts_with(b"panic"), "asked to panic");
        (stream, payload.freeze())
    }
}

/// Either end of a connection in the tests.
pub(crate) struct Peer {
    pub(crate) role: Role,
    pub(crate) outgoing: VecDeque<(u16, Bytes)>,
    pub(crate) received: Vec<(u16, Bytes)>,
    /// All but messages.
    pub(crate) changes: Vec<Inbound>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) timeouts: usize,
    jobs: VecDeque<Work>,
    pending: usize,
    ticket: u64,
    closed: bool,
    stopping: bool,
    revoked: bool,
    counters: Arc<Counters>,
}

pub(crate) enum Role {
    /// Sends back what it gets; `jobs`: by way of a worker.
    Echo { jobs: bool },
    /// Counts what it gets and keeps nothing.
    Sink,
    /// Sends what it has, and is closed after as many answers.
    Client { expected: usize },
    /// Sends messages of this length on streams in turn until it has sent as many, then closes.
    Source {
        length: usize,
        left: usize,
        streams: u16,
    },
}

impl Peer {
    pub(crate) fn new(role: Role, counters: &Arc<Counters>) -> Self {
        Self {
            role,
            outgoing: VecDeque::new(),
            received: Vec::new(),
            changes: Vec::new(),
            deadline: None,
            timeouts: 0,
            jobs: VecDeque::new(),
            pending: 0,
            ticket: 0,
            closed: false,
            stopping: false,
            revoked: false,
            counters: counters.clone(),
        }
    }

    pub(crate) fn client(messages: Vec<(u16, Bytes)>) -> Self {
        let mut client = Self::new(
            Role::Client {
                expected: messages.len(),
            },
            &Arc::default(),
        );
        client.outgoing = messages.into();
        client
    }

    fn handle_message(&mut self, stream: u16, payload: BytesMut, now: Instant) {
        let mut gap = self.counters.gap.lock().unwrap();
        let longest = gap.map_or(Duration::ZERO, |(last, longest)| longest.max(now - last));
        *gap = Some((now, longest));
        drop(gap);
        assert!(
            matches!(self.changes.first(), Some(Inbound::Up { .. })),
            "a message came before Up"
        );
        self.counters.messages.fetch_add(1, Ordering::SeqCst);
        self.counters
            .bytes
            .fetch_add(payload.len(), Ordering::SeqCst);
        match &mut self.role {
            Role::Echo { jobs: true } => self.jobs.push_back(Work(stream, payload)),
            Role::Echo { jobs: false } => self.outgoing.push_back((stream, payload.freeze())),
            Role::Sink => {}
            Role::Client { expected } => {
                self.received.push((stream, payload.freeze()));
                self.closed = self.received.len() == *expected;
            }
            Role::Source { .. } => panic!("a source gets no messages"),
        }
    }

    fn handle_change(&mut self, change: Inbound, now: Instant) {
        if matches!(self.role, Role::Sink) {
            self.deadline = Some(now + LOOK);
        }
        self.closed |= matches!(change, Inbound::PeerClosed | Inbound::Lost(_));
        self.changes.push(change);
    }

    /// The state of a path as last reported.
    pub(crate) fn last_state(&self, of: &PathInfo) -> Option<PathState> {
        self.changes.iter().rev().find_map(|change| match change {
            Inbound::PathChanged(path) if (path.local, path.remote) == (of.local, of.remote) => {
                Some(path.state)
            }
            _ => None,
        })
    }

    /// The association was lost, and nothing came after that.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.changes.last(), Some(Inbound::Lost(_)))
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Echo { .. } | Role::Sink)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.is_server() {
            self.counters.ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Session for Peer {
    type Job = Work;
    type Output = (u16, Bytes);

    fn handle_inbound(&mut self, inbound: Inbound, now: Instant) {
        match inbound {
            Inbound::Message { stream, payload } => self.handle_message(stream, payload, now),
            change => self.handle_change(change, now),
        }
    }

    fn handle_output(&mut self, ticket: Ticket, (stream, payload): (u16, Bytes), _now: Instant) {
        assert!(ticket.0 < self.ticket);
        self.pending -= 1;
        self.revoked |= &*payload == b"revoke";
        self.outgoing.push_back((stream, payload));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.role, Role::Sink) {
            self.deadline = Some(now + LOOK);
            return;
        }
        self.deadline = None;
        self.timeouts += 1;
        self.closed = true;
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        if let Role::Source {
            length,
            left,
            streams,
        } = &mut self.role
        {
            if *left == 0 {
                self.closed = true;
                return None;
            }
            *left -= 1;
            let stream = (*left % usize::from(*streams)) as u16;
            return Some(Transmit {
                stream,
                payload: Bytes::from(vec![stream as u8; *length]),
            });
        }
        let (stream, payload) = self.outgoing.pop_front()?;
        Some(Transmit { stream, payload })
    }

    fn poll_job(&mut self) -> Option<(Ticket, Work)> {
        let job = self.jobs.pop_front()?;
        self.pending += 1;
        self.ticket += 1;
        Some((Ticket(self.ticket - 1), job))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn wants_read(&self) -> bool {
        // A server that cannot send takes nothing more either.
        !self.is_server()
            || !self.counters.paused.load(Ordering::SeqCst)
                && self.outgoing.len() < 16
                && self.jobs.len() + self.pending < 16
    }

    fn is_closed(&self) -> bool {
        let idle = self.outgoing.is_empty() && self.jobs.is_empty() && self.pending == 0;
        self.closed || self.is_server() && self.stopping && idle
    }

    fn is_revoked(&self) -> bool {
        self.revoked && self.is_server()
    }

    fn handle_stop(&mut self, _now: Instant) {
        self.stopping = true;
    }
}

/// A loop in a thread, with a server session for each peer.
pub(crate) struct Server {
    pub(crate) stopper: Stopper,
    pub(crate) counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(carrier: Box<dyn Carrier>, config: LoopConfig, role: fn() -> Role) -> Self {
        let counters = Arc::<Counters>::default();
        let mut driver = Driver::new(config, Arc::new(Worker(counters.clone()))).unwrap();
        driver.add_carrier(carrier).unwrap();
        let stopper = driver.stopper();
        let shared = counters.clone();
        let thread = thread::spawn(move || {
            let mut accept = |_peer| {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                Some(Peer::new(role(), &shared))
            };
            driver.run(&mut accept, &mut |_| false).unwrap();
            assert_eq!(driver.active_sessions(), 0);
        });
        Self {
            stopper,
            counters,
            thread: Some(thread),
        }
    }

    /// Stops the loop and fails with it.
    pub(crate) fn stop(mut self) -> Arc<Counters> {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
        self.counters.clone()
    }
}

/// Clients of tests stop turning their loops when they have what they want: there may be no peer to
/// answer a shutdown.
pub(crate) fn impatient() -> LoopConfig {
    LoopConfig {
        close: Duration::from_millis(500),
        ..LoopConfig::default()
    }
}

pub(crate) fn client_loop() -> Driver<Peer> {
    Driver::new(
        LoopConfig {
            workers: 1,
            ..LoopConfig::default()
        },
        Arc::new(Worker::default()),
    )
    .unwrap()
}

/// Time after which a test that waits has failed: no machine is so busy.
const HANG: Duration = Duration::from_secs(60);

/// Turns the loop until the condition holds; fails after [`HANG`].
pub(crate) fn turn_until(
    driver: &mut Driver<Peer>,
    what: &str,
    mut done: impl FnMut(&mut Driver<Peer>) -> bool,
) {
    let start = Instant::now();
    while !done(driver) {
        assert!(start.elapsed() < HANG, "timed out: {what}");
        driver
            .turn(&mut |_| None, Some(Duration::from_millis(20)))
            .unwrap();
    }
}

/// Waits for something another thread does; fails after [`HANG`].
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < HANG, "timed out: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes that tell their place.
pub(crate) fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length)
        .map(|index| (index.wrapping_mul(31) ^ seed ^ (index >> 8)) as u8)
        .collect()
}
