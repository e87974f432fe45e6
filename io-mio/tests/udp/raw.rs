//! A peer made of the bare endpoint and a socket, which can do what no carrier does.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use towpath_sctp::{AssociationHandle, Endpoint, EndpointConfig, Event, Message, PathId};

pub(crate) struct Raw {
    socket: UdpSocket,
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Vec<(AssociationHandle, Event)>,
    local: SocketAddr,
    buffer: Vec<u8>,
}

impl Raw {
    /// Bound to `local`; `seed` makes its tags.
    pub(crate) fn new(local: SocketAddr, seed: u8) -> Self {
        let socket = UdpSocket::bind(local).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let local = socket.local_addr().unwrap();
        let config = EndpointConfig {
            addresses: vec![local],
            ..EndpointConfig::default()
        };
        Self {
            socket,
            endpoint: Endpoint::new(config, [seed; 32], Instant::now()),
            events: Vec::new(),
            local,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Begins an association from the SCTP port `from`, and waits until it is up.
    pub(crate) fn connect(&mut self, from: u16, to: SocketAddr, port: u16) -> AssociationHandle {
        let handle = self
            .endpoint
            .connect_from(from, &[to], port, Instant::now())
            .unwrap();
        let up = |(of, event): &(AssociationHandle, Event)| {
            *of == handle && matches!(event, Event::Connected { .. })
        };
        self.run("the association", |raw| raw.events.iter().any(up));
        handle
    }

    pub(crate) fn send(
        &mut self,
        handle: AssociationHandle,
        stream: u16,
        text: &'static [u8],
        ordered: bool,
    ) {
        self.endpoint
            .send(
                handle,
                Message {
                    unordered: !ordered,
                    ..Message::new(stream, text)
                },
            )
            .unwrap();
    }

    pub(crate) fn receive(&mut self, handle: AssociationHandle) -> Message {
        let mut message = None;
        self.run("a message", |raw| {
            message = raw.endpoint.recv(handle);
            message.is_some()
        });
        message.unwrap()
    }

    /// Waits for the end of an association and says why it came.
    pub(crate) fn end(&mut self, handle: AssociationHandle) -> towpath_sctp::CloseReason {
        let mut end = None;
        self.run("the end", |raw| {
            end = raw.events.iter().find_map(|(of, event)| match event {
                Event::Closed(reason) if *of == handle => Some(reason.clone()),
                _ => None,
            });
            end.is_some()
        });
        end.unwrap()
    }

    /// Moves datagrams until `done`; fails after ten seconds.
    pub(crate) fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        let mut datagram = vec![0; 65_536];
        loop {
            let now = Instant::now();
            self.endpoint.handle_timeout(now);
            while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.buffer) {
                for packet in self.buffer.chunks(transmit.segment_size) {
                    // Too long for this socket is as good as lost.
                    if let Err(error) = self.socket.send_to(packet, transmit.path.remote) {
                        println!("{what}: {error}");
                    }
                }
            }
            self.events
                .extend(std::iter::from_fn(|| self.endpoint.poll_event()));
            if done(self) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "timed out: {what}"
            );
            if let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
                let path = PathId::new(self.local, from);
                self.endpoint
                    .handle_datagram(path, &datagram[..length], Instant::now());
            }
        }
    }
}
