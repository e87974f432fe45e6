//! Trains over loopback, with a kernel that takes no more than the test says.

use std::time::Duration;

use super::*;

struct Pair {
    socket: Socket,
    peer: UdpSocket,
    path: PathId,
    now: Instant,
}

impl Pair {
    fn new(segmentation: bool) -> Self {
        let loopback = Local::at("127.0.0.1:0".parse().unwrap());
        let socket = Socket::bind(&loopback, segmentation).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        Self {
            path: PathId::new(socket.local, peer.local_addr().unwrap()),
            socket,
            peer,
            now: Instant::now(),
        }
    }

    fn room(&self, datagrams: usize) {
        self.socket.room.0.set(datagrams);
    }

    fn send(&mut self, text: &str, segment_size: usize) {
        let transmit = SctpTransmit {
            path: self.path,
            size: text.len(),
            segment_size,
            fragment: false,
        };
        self.socket.send(&transmit, text.as_bytes(), self.now);
    }

    /// What has arrived.
    fn arrived(&self) -> Vec<String> {
        let mut buffer = [0; 100];
        let next = || {
            self.peer
                .recv(&mut buffer)
                .ok()
                .map(|length| buffer[..length].to_vec())
        };
        std::iter::from_fn(next)
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }
}

#[test]
fn trains_arrive_as_datagrams_whoever_cuts_them() {
    for segmentation in [true, false] {
        let mut pair = Pair::new(segmentation);
        pair.send("aabbccd", 2);
        pair.send("whole", 5);
        assert_eq!(pair.arrived(), ["aa", "bb", "cc", "d", "whole"]);
    }
}

#[test]
fn what_the_kernel_does_not_take_waits_in_order_for_its_room() {
    let mut pair = Pair::new(false);
    pair.room(2);
    pair.send("aabbcc", 2);
    pair.send("later", 5);
    assert!(pair.socket.deadline().is_some());
    pair.room(1);
    pair.socket.resume(pair.now);
    assert_eq!(pair.arrived(), ["aa", "bb", "cc"]);
    assert!(pair.socket.deadline().is_some());
    pair.room(usize::MAX);
    pair.socket.resume(pair.now);
    assert_eq!(pair.arrived(), ["later"]);
    assert_eq!(pair.socket.deadline(), None);
}

#[test]
fn a_socket_that_is_blocked_for_too_long_loses_what_waits_and_recovers() {
    let mut pair = Pair::new(true);
    pair.room(0);
    for _ in 0..BLOCKED_TRAINS {
        assert!(!pair.socket.is_full());
        pair.send("lost", 4);
    }
    assert!(pair.socket.is_full(), "nothing more is to be produced");
    pair.socket.give_up(pair.now);
    assert!(pair.socket.is_full(), "not yet");
    pair.socket.give_up(pair.now + BLOCKED_TIMEOUT);
    assert!(!pair.socket.is_full());
    pair.send("lost too", 8);
    assert_eq!(pair.socket.deadline(), None, "nothing waits any more");
    pair.room(usize::MAX);
    pair.send("heard", 5);
    assert_eq!(pair.arrived(), ["heard"]);
    pair.room(0);
    pair.send("waits", 5);
    assert!(pair.socket.deadline().is_some());
}
