//! An endpoint over sockets that do what the test says.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::*;

/// What the sockets of a test say and hear.
#[derive(Default)]
struct Script {
    /// Answers of `accept`; would block when there are none.
    accepts: VecDeque<io::Result<()>>,
    /// How often `accept` was called.
    accepted: usize,
    /// What the kernel takes before it is full.
    room: usize,
    sent: Vec<(u16, usize)>,
    inbound: VecDeque<io::Result<Inbound>>,
    unsent: usize,
    send_error: Option<i32>,
    shut: bool,
    aborted: bool,
}

type Shared = Arc<Mutex<Script>>;

struct Fake(OwnedFd, Shared);

impl AsFd for Fake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn would_block() -> io::Error {
    ErrorKind::WouldBlock.into()
}

impl MessageSocket for Fake {
    fn receive(&mut self, _scratch: &mut BytesMut) -> io::Result<Inbound> {
        self.1
            .lock()
            .unwrap()
            .inbound
            .pop_front()
            .unwrap_or_else(|| Err(would_block()))
    }

    fn send(&mut self, stream: u16, payload: &[u8]) -> io::Result<()> {
        let mut script = self.1.lock().unwrap();
        if let Some(error) = script.send_error {
            return Err(io::Error::from_raw_os_error(error));
        }
        script.room = script
            .room
            .checked_sub(payload.len())
            .ok_or_else(would_block)?;
        script.sent.push((stream, payload.len()));
        Ok(())
    }

    fn unsent(&mut self) -> usize {
        self.1.lock().unwrap().unsent
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.1.lock().unwrap().shut = true;
        Ok(())
    }

    fn abort(self) {
        self.1.lock().unwrap().aborted = true;
    }

    fn paths(&self) -> Vec<PathInfo> {
        Vec::new()
    }
}

struct FakeFamily(Shared);

impl FakeFamily {
    fn socket(&self) -> Fake {
        let (socket, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        Fake(socket.into(), self.0.clone())
    }
}

impl SocketFamily for FakeFamily {
    type Socket = Fake;
    type Listener = Fake;
    const KIND: &'static str = "fake";

    fn accept(&self, _listener: &Fake) -> io::Result<(Fake, Vec<SocketAddr>)> {
        let answer = {
            let mut script = self.0.lock().unwrap();
            script.accepted += 1;
            script
                .accepts
                .pop_front()
                .unwrap_or_else(|| Err(would_block()))
        };
        answer.map(|()| (self.socket(), Vec::new()))
    }

    fn connect(&self, _remotes: &[SocketAddr]) -> io::Result<Fake> {
        Ok(self.socket())
    }

    fn local_addresses(&self, _listener: &Fake) -> Vec<SocketAddr> {
        Vec::new()
    }
}

fn endpoint() -> (PerSocket<FakeFamily>, Shared, mio::Poll) {
    let script = Shared::default();
    let family = FakeFamily(script.clone());
    let listener = family.socket();
    let mut endpoint = PerSocket::new(family, vec![listener]);
    let poll = mio::Poll::new().unwrap();
    endpoint
        .register(Registrar::new(poll.registry().try_clone().unwrap(), 0))
        .unwrap();
    (endpoint, script, poll)
}

/// An endpoint with one association, whose first `Ready` has been taken.
fn connected() -> (PerSocket<FakeFamily>, AssociationId, Shared, mio::Poll) {
    let (mut endpoint, script, poll) = endpoint();
    let id = endpoint.connect(&[], Instant::now()).unwrap();
    assert_eq!(endpoint.poll_event(), Some((id, CarrierEvent::Ready)));
    assert_eq!(endpoint.receive(id, Instant::now()), None);
    (endpoint, id, script, poll)
}

const WRITABLE: Readiness = Readiness {
    readable: false,
    writable: true,
};
const READABLE: Readiness = Readiness {
    readable: true,
    writable: false,
};

#[test]
fn a_process_without_descriptors_waits_before_it_accepts_again() {
    let (mut endpoint, script, _poll) = endpoint();
    let now = Instant::now();
    script
        .lock()
        .unwrap()
        .accepts
        .push_back(Err(io::Error::from_raw_os_error(libc::EMFILE)));
    script.lock().unwrap().accepts.push_back(Ok(()));
    assert!(!endpoint.drive(now), "there is nothing to do at once");
    assert_eq!(endpoint.poll_timeout(), Some(now + ACCEPT_BACKOFF));
    // Another peer makes another edge, but no descriptor.
    endpoint.handle_ready(0, READABLE);
    assert!(!endpoint.drive(now));
    endpoint.handle_timeout(now + ACCEPT_BACKOFF / 2);
    assert!(!endpoint.drive(now));
    assert_eq!(script.lock().unwrap().accepted, 1);
    endpoint.handle_timeout(now + ACCEPT_BACKOFF);
    assert!(!endpoint.drive(now + ACCEPT_BACKOFF));
    assert!(matches!(
        endpoint.poll_event(),
        Some((_, CarrierEvent::Accepted { .. }))
    ));
    assert_eq!(endpoint.poll_timeout(), None);
}

#[test]
fn accepting_has_a_budget_and_goes_on() {
    let (mut endpoint, script, _poll) = endpoint();
    let peers = ACCEPT_BATCH + 3;
    script
        .lock()
        .unwrap()
        .accepts
        .extend((0..peers).map(|_| Ok(())));
    assert!(endpoint.drive(Instant::now()), "there is more to do");
    assert!(!endpoint.drive(Instant::now()));
    let events = std::iter::from_fn(|| endpoint.poll_event());
    let accepted = events
        .filter(|(_, event)| matches!(event, CarrierEvent::Accepted { .. }))
        .count();
    assert_eq!(accepted, peers);
}

#[test]
fn a_full_kernel_fills_the_queue_and_room_empties_it() {
    let (mut endpoint, id, script, _poll) = connected();
    let now = Instant::now();
    let message = Bytes::from(vec![7; 65_536]);
    script.lock().unwrap().room = 65_536;
    let mut taken = 0;
    while endpoint.queued(id) < SEND_QUEUE {
        endpoint.send(id, 3, message.clone(), now).unwrap();
        taken += 1;
    }
    assert_eq!((taken, script.lock().unwrap().sent.len()), (5, 1));
    // One more fits for a caller that does not ask first, and then no more.
    endpoint.send(id, 3, message.clone(), now).unwrap();
    assert!(
        matches!(endpoint.send(id, 3, message.clone(), now), Err(SendError::Full(back)) if back == message)
    );
    assert_eq!(endpoint.poll_event(), None);
    script.lock().unwrap().room = usize::MAX;
    endpoint.handle_ready(id.0, WRITABLE);
    assert_eq!(endpoint.poll_event(), Some((id, CarrierEvent::Ready)));
    assert_eq!(
        (endpoint.queued(id), script.lock().unwrap().sent.len()),
        (0, 6)
    );
}

#[test]
fn room_is_found_without_a_wake_up_too() {
    let (mut endpoint, id, script, _poll) = connected();
    let now = Instant::now();
    script.lock().unwrap().send_error = Some(libc::ENOBUFS);
    endpoint.send(id, 1, Bytes::from_static(b"x"), now).unwrap();
    assert_eq!(endpoint.queued(id), 1);
    let due = endpoint.poll_timeout().unwrap();
    assert_eq!(due, now + SEND_RETRY);
    endpoint.handle_timeout(due);
    assert_eq!(
        endpoint.poll_timeout(),
        Some(due + SEND_RETRY),
        "still waiting"
    );
    script.lock().unwrap().send_error = None;
    script.lock().unwrap().room = 10;
    endpoint.handle_timeout(due + SEND_RETRY);
    assert_eq!((endpoint.queued(id), endpoint.poll_timeout()), (0, None));
}

#[test]
fn what_the_kernel_has_not_sent_counts() {
    let (mut endpoint, id, script, _poll) = connected();
    script.lock().unwrap().unsent = SEND_QUEUE;
    assert_eq!(endpoint.queued(id), SEND_QUEUE);
    endpoint.handle_ready(id.0, WRITABLE);
    assert_eq!(endpoint.poll_event(), None, "there is still no room");
    script.lock().unwrap().unsent = SEND_QUEUE - 1;
    endpoint.handle_ready(id.0, WRITABLE);
    assert_eq!(endpoint.poll_event(), Some((id, CarrierEvent::Ready)));
}

#[test]
fn what_the_peer_said_before_comes_before_the_failure_to_send() {
    let (mut endpoint, id, script, _poll) = connected();
    let now = Instant::now();
    let last = Inbound::Message {
        stream: 1,
        payload: BytesMut::from(&b"bye"[..]),
    };
    script.lock().unwrap().inbound.push_back(Ok(last.clone()));
    script.lock().unwrap().send_error = Some(libc::EPIPE);
    endpoint.send(id, 1, Bytes::from_static(b"x"), now).unwrap();
    assert_eq!(endpoint.poll_event(), Some((id, CarrierEvent::Ready)));
    assert_eq!(endpoint.receive(id, now), Some(last));
    assert!(matches!(
        endpoint.receive(id, now),
        Some(Inbound::Lost(LostReason::Socket(_)))
    ));
    assert_eq!(endpoint.receive(id, now), None);
    assert!(matches!(
        endpoint.send(id, 1, Bytes::from_static(b"x"), now),
        Err(SendError::Gone)
    ));
}

#[test]
fn closing_in_order_sends_the_queue_first_and_waits_for_the_peer() {
    let (mut endpoint, id, script, _poll) = connected();
    let now = Instant::now();
    endpoint
        .send(id, 1, Bytes::from_static(b"last message"), now)
        .unwrap();
    endpoint.close(id, CloseMode::Graceful, now);
    assert!(!script.lock().unwrap().shut, "the queue is not empty");
    script.lock().unwrap().room = 100;
    endpoint.handle_ready(id.0, WRITABLE);
    assert!(!endpoint.drive(Instant::now()));
    assert_eq!(endpoint.poll_event(), None);
    assert!(script.lock().unwrap().shut);
    // What the peer still says is discarded, its end is not.
    let chatter = Inbound::Message {
        stream: 1,
        payload: BytesMut::from(&b"?"[..]),
    };
    script
        .lock()
        .unwrap()
        .inbound
        .extend([Ok(chatter), Ok(Inbound::PeerClosed)]);
    endpoint.handle_ready(id.0, READABLE);
    assert!(!endpoint.drive(Instant::now()));
    assert_eq!(endpoint.poll_event(), Some((id, CarrierEvent::Closed)));
    assert!(!script.lock().unwrap().aborted);
    assert_eq!(endpoint.queued(id), 0);
}

#[test]
fn a_peer_that_floods_a_closing_association_is_read_up_to_a_budget() {
    let (mut endpoint, id, script, _poll) = connected();
    let message = |_| {
        Ok(Inbound::Message {
            stream: 1,
            payload: BytesMut::from(&b"?"[..]),
        })
    };
    script.lock().unwrap().inbound = (0..2 * VISIT_MESSAGES).map(message).collect();
    endpoint.handle_ready(id.0, READABLE);
    endpoint.close(id, CloseMode::Graceful, Instant::now());
    assert_eq!(script.lock().unwrap().inbound.len(), VISIT_MESSAGES);
    assert_eq!(endpoint.poll_event(), None, "not even what was announced");
    assert!(endpoint.drive(Instant::now()), "there is more to do");
    assert_eq!(script.lock().unwrap().inbound.len(), 0);
    assert!(!endpoint.drive(Instant::now()));
}

#[test]
fn an_abort_is_at_once() {
    let (mut endpoint, id, script, _poll) = connected();
    endpoint
        .send(id, 1, Bytes::from_static(b"never sent"), Instant::now())
        .unwrap();
    endpoint.close(id, CloseMode::Abort, Instant::now());
    assert!(script.lock().unwrap().aborted);
    assert_eq!(endpoint.poll_event(), None);
    assert!(matches!(
        endpoint.send(id, 1, Bytes::from_static(b"x"), Instant::now()),
        Err(SendError::Gone)
    ));
}
