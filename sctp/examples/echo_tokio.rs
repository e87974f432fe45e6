//! A multi-homed echo on tokio: server and client with two addresses each, in one process.
//!
//! ```sh
//! cargo run -p towpath-sctp --example echo_tokio
//! ```
//! Half-way the client closes the socket of its first address, as if that network had failed.
#![expect(clippy::disallowed_methods, reason = "an event loop supplies the time")]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};
use towpath_sctp::{
    AssociationHandle, Config, Endpoint, EndpointConfig, Event, Message, PathId, SendError,
};

const PORT: u16 = 9_260;
const MESSAGES: u32 = 2_000;
const MESSAGE: usize = 16_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Host::bind(["127.0.0.1:0", "127.0.0.2:0"], Some(PORT)).await?;
    let client = Host::bind(["127.0.0.3:0", "127.0.0.4:0"], None).await?;
    let remotes: Vec<SocketAddr> = server.sockets.keys().copied().collect();
    tokio::select! {
        never = serve(server) => never,
        done = timeout(Duration::from_secs(60), call(client, &remotes)) => done?,
    }
}

/// An endpoint and a socket for each of its addresses.
struct Host {
    endpoint: Endpoint,
    sockets: BTreeMap<SocketAddr, UdpSocket>,
}

impl Host {
    async fn bind(addresses: [&str; 2], listen: Option<u16>) -> Result<Self, Box<dyn Error>> {
        let mut sockets = BTreeMap::new();
        for address in addresses {
            let socket = UdpSocket::bind(address).await?;
            sockets.insert(socket.local_addr()?, socket);
        }
        let config = EndpointConfig {
            listen,
            addresses: sockets.keys().copied().collect(),
            // Without segmentation offload the packets of a train are sent one by one; long trains
            // of large packets would overflow the receiver's socket buffer.
            association: Config {
                max_burst: 8,
                max_mtu: 1_472,
                ..Config::default()
            },
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(config, seed(), Instant::now());
        Ok(Self { endpoint, sockets })
    }

    /// Sends what is to be sent; then waits for datagrams or the next deadline, and handles them.
    async fn turn(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(Instant::now(), &mut buffer) {
            let Some(socket) = self.sockets.get(&transmit.path.local) else {
                continue; // lost; the endpoint sends it again on another path
            };
            for packet in buffer.chunks(transmit.segment_size) {
                if let Err(error) = socket.send_to(packet, transmit.path.remote).await {
                    eprintln!("{}: {error}", transmit.path); // lost likewise
                }
            }
        }
        let mut datagram = vec![0; 65_536];
        let receive = poll_fn(|cx| {
            for (local, socket) in &self.sockets {
                let mut into = ReadBuf::new(&mut datagram);
                if let Poll::Ready(Ok(remote)) = socket.poll_recv_from(cx, &mut into) {
                    return Poll::Ready((PathId::new(*local, remote), into.filled().len()));
                }
            }
            Poll::Pending
        });
        let deadline = self.endpoint.poll_timeout();
        tokio::select! {
            (path, len) = receive => {
                self.endpoint.handle_datagram(path, &datagram[..len], Instant::now());
            }
            () = async { sleep_until(deadline.unwrap_or_else(Instant::now).into()).await },
                if deadline.is_some() => {}
        }
        self.endpoint.handle_timeout(Instant::now());
    }
}

/// Returns every message on its stream. What has no room is kept, and nothing more is read, until
/// the endpoint is writable again: so a slow receiver slows its sender.
async fn serve(mut host: Host) -> Result<(), Box<dyn Error>> {
    let mut refused: BTreeMap<AssociationHandle, Message> = BTreeMap::new();
    loop {
        host.turn().await;
        while let Some((handle, event)) = host.endpoint.poll_event() {
            if let Event::Readable | Event::Writable = event {
                while let Some(message) = refused
                    .remove(&handle)
                    .or_else(|| host.endpoint.recv(handle))
                {
                    if let Err(SendError::Full(message)) = host.endpoint.send(handle, message) {
                        refused.insert(handle, message);
                        break;
                    }
                }
            }
        }
    }
}

/// Sends messages over all streams, checks the echoes, and shuts the association down.
async fn call(mut host: Host, remotes: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let handle = host.endpoint.connect(remotes, PORT, start)?;
    let (mut streams, mut sent, mut echoed) = (0, 0, 0);
    loop {
        host.turn().await;
        while let Some((_, event)) = host.endpoint.poll_event() {
            match event {
                Event::Connected { outbound, .. } => streams = u32::from(outbound),
                Event::PathChanged { path, state } => {
                    println!("{:>9.3?} {path} {state:?}", start.elapsed());
                }
                Event::Closed(reason) => {
                    println!("{:>9.3?} {echoed} echoes: {reason}", start.elapsed());
                    return if echoed == MESSAGES {
                        Ok(())
                    } else {
                        Err(reason.into())
                    };
                }
                _ => {}
            }
        }
        while streams > 0 && sent < MESSAGES {
            let message = Message {
                ppid: sent,
                ..Message::new((sent % streams) as u16, vec![sent as u8; MESSAGE])
            };
            match host.endpoint.send(handle, message) {
                Ok(()) => sent += 1,
                Err(SendError::Full(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(message) = host.endpoint.recv(handle) {
            if message.payload != vec![message.ppid as u8; MESSAGE] {
                return Err("an echo differs from its message".into());
            }
            echoed += 1;
            if echoed == MESSAGES / 2 {
                let (address, _) = host.sockets.pop_first().ok_or("no socket")?;
                println!("{:>9.3?} {address} closed", start.elapsed());
            }
            if echoed == MESSAGES {
                for path in host.endpoint.paths(handle) {
                    println!(
                        "{}: {} bytes sent, {:?}",
                        path.path, path.bytes_sent, path.state
                    );
                }
                host.endpoint.shutdown(handle, Instant::now())?;
            }
        }
    }
}

/// Randomness from the standard library: good for an example, not for tags that an attacker must
/// not guess.
fn seed() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    std::array::from_fn(|at| RandomState::new().hash_one(at) as u8)
}
