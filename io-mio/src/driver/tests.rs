use std::cell::Cell;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::carrier::{CarrierEvent, Inbound, Readiness, SendError};

/// A carrier whose timer is due until the datagram has been read that stops it.
struct Late {
    socket: UdpSocket,
    due: Option<Instant>,
    readable: bool,
    /// How often the deadline was asked for: the datagram comes when the loop looks a second time,
    /// after it has waited.
    asked: Cell<u32>,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Carrier for Late {
    fn kind(&self) -> &'static str {
        "late"
    }

    fn register(&mut self, registrar: Registrar) -> io::Result<()> {
        registrar.register(self.socket.as_fd(), 0)
    }

    fn handle_ready(&mut self, _: u64, readiness: Readiness) {
        self.readable |= readiness.readable;
    }

    fn drive(&mut self, _: Instant) -> bool {
        let mut buffer = [0; 16];
        if std::mem::take(&mut self.readable) && self.socket.recv(&mut buffer).is_ok() {
            self.log.lock().unwrap().push("read");
            self.due = None;
        }
        false
    }

    fn handle_timeout(&mut self, _: Instant) {
        self.log.lock().unwrap().push("timeout");
        self.due = None;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() == 2 {
            let to = self.socket.local_addr().unwrap();
            self.socket.send_to(b"answer", to).unwrap();
        }
        self.due
    }

    fn poll_event(&mut self) -> Option<(AssociationId, CarrierEvent)> {
        None
    }

    fn connect(&mut self, _: &[SocketAddr], _: Instant) -> io::Result<AssociationId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&mut self, _: AssociationId, _: Instant) -> Option<Inbound> {
        None
    }

    fn send(&mut self, _: AssociationId, _: u16, _: Bytes, _: Instant) -> Result<(), SendError> {
        Err(SendError::Gone)
    }

    fn queued(&mut self, _: AssociationId) -> usize {
        0
    }

    fn close(&mut self, _: AssociationId, _: CloseMode, _: Instant) {}

    fn paths(&self, _: AssociationId) -> Vec<PathInfo> {
        Vec::new()
    }

    fn stop_listening(&mut self) {}

    fn local_addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

/// There are none.
enum Nobody {}

impl Session for Nobody {
    type Job = ();
    type Output = ();

    fn handle_inbound(&mut self, _: Inbound, _: Instant) {}

    fn handle_output(&mut self, _: Ticket, (): (), _: Instant) {}

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        None
    }

    fn poll_job(&mut self) -> Option<(Ticket, ())> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn wants_read(&self) -> bool {
        false
    }

    fn is_closed(&self) -> bool {
        true
    }
}

struct Idle;

impl Execute for Idle {
    type Job = ();
    type Output = ();

    fn execute(&self, (): ()) {}
}

#[test]
fn what_has_arrived_is_read_before_a_timer_runs() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut driver: Driver<Nobody> = Driver::new(LoopConfig::default(), Arc::new(Idle)).unwrap();
    driver
        .add_carrier(Box::new(Late {
            socket,
            due: Some(Instant::now()),
            readable: false,
            asked: Cell::new(0),
            log: log.clone(),
        }))
        .unwrap();
    driver.turn(&mut |_| None, None).unwrap();
    assert_eq!(*log.lock().unwrap(), ["read"]);
}
