//! One UDP socket, which sends and receives trains of datagrams.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Once;
use std::time::Instant;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket,
    sockopt,
};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use towpath_sctp::{PathId, Transmit as SctpTransmit};

use super::failures::Failures;
use super::interfaces::{Device, Local};
use crate::limits::{BLOCKED_TIMEOUT, BLOCKED_TRAINS, DATAGRAM_BUFFER, RECEIVE_BATCH, UDP_BUFFER};
use crate::sys;

/// A bound socket of one address family.
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Where it is bound; the IP address may be unspecified.
    pub(super) local: SocketAddr,
    pub(super) device: Option<Device>,
    /// There may be something to read.
    pub(super) readable: bool,
    segmentation: bool,
    flow: Flow,
    failures: Failures,
    #[cfg(test)]
    room: Room,
}

/// Whether the kernel takes datagrams.
enum Flow {
    Open,
    /// It did not; what waits is sent first.
    Blocked {
        since: Instant,
        waiting: VecDeque<Train>,
    },
    /// It has not for too long: what it does not take now is dropped, so that other sockets are not
    /// blocked.
    Stuck,
}

/// A datagram or several of one length, of which the last may be shorter.
struct Train {
    how: How,
    bytes: Vec<u8>,
}

/// How a train goes out.
#[derive(Debug, Clone, Copy)]
struct How {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Bytes of each datagram.
    segment: usize,
    /// IP may fragment them.
    fragment: bool,
}

/// The result of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There may be more.
    Some,
    /// There is nothing left.
    Drained,
    /// The kernel reported an error, perhaps for something sent before; there may be more.
    Failed,
}

/// Room for a batch of received trains, shared by all sockets.
pub(super) struct ReceiveBuffers(Vec<u8>);

impl ReceiveBuffers {
    pub(super) fn new() -> Self {
        Self(vec![0; RECEIVE_BATCH * DATAGRAM_BUFFER])
    }
}

impl Socket {
    /// Binds a socket; port 0 lets the kernel choose. An IPv6 socket takes no IPv4.
    pub(super) fn bind(local: &Local, segmentation: bool) -> io::Result<Self> {
        let family = if local.address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Datagram, flags, None)?;
        if local.address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        if let Some(device) = &local.device {
            bind_to_device(&socket, device);
        }
        set_buffers(&socket)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(local.address))?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            state,
            device: local.device.clone(),
            readable: true,
            segmentation,
            flow: Flow::Open,
            failures: Failures::default(),
            #[cfg(test)]
            room: Room::default(),
        })
    }

    /// Reads a batch and passes on each datagram with its path.
    pub(super) fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut take: impl FnMut(PathId, &[u8]),
    ) -> Received {
        let mut meta = [RecvMeta::default(); RECEIVE_BATCH];
        let received = {
            let mut chunks = buffers.0.chunks_exact_mut(DATAGRAM_BUFFER);
            let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            self.state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut meta)
        };
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Received::Drained;
            }
            Err(error) => {
                tracing::debug!(%error, local = %self.local, "cannot receive");
                return Received::Failed;
            }
        };
        for (meta, buffer) in meta
            .iter()
            .zip(buffers.0.chunks_exact(DATAGRAM_BUFFER))
            .take(count)
        {
            let path = PathId::new(self.spoken_to(meta), meta.addr);
            let train = &buffer[..meta.len.min(buffer.len())];
            for datagram in train.chunks(meta.stride.max(1)) {
                take(path, datagram);
            }
        }
        Received::Some
    }

    /// The local address to which a datagram was sent.
    fn spoken_to(&self, meta: &RecvMeta) -> SocketAddr {
        let mut local = self.local;
        if local.ip().is_unspecified()
            && let Some(ip) = meta.dst_ip
        {
            local.set_ip(ip);
            if let (SocketAddr::V6(local), SocketAddr::V6(remote)) = (&mut local, meta.addr)
                && local.ip().is_unicast_link_local()
            {
                local.set_scope_id(remote.scope_id());
            }
        }
        local
    }

    /// Sends a train from its path's local address, or keeps it until the kernel has room.
    pub(super) fn send(&mut self, transmit: &SctpTransmit, bytes: &[u8], now: Instant) {
        let SctpTransmit {
            path,
            segment_size: segment,
            fragment,
            ..
        } = *transmit;
        let from = self.local.ip().is_unspecified().then(|| path.local.ip());
        let how = How {
            to: path.remote,
            from,
            segment,
            fragment,
        };
        let waits = |bytes: &[u8]| Train {
            how,
            bytes: bytes.to_vec(),
        };
        if let Flow::Blocked { waiting, .. } = &mut self.flow {
            waiting.push_back(waits(bytes));
            return;
        }
        let sent = self.write(how, bytes, now);
        if sent == bytes.len() {
            self.flow = Flow::Open;
        } else if matches!(self.flow, Flow::Open) {
            self.flow = Flow::Blocked {
                since: now,
                waiting: VecDeque::from([waits(&bytes[sent..])]),
            };
        }
    }

    /// Whether so much waits that no more packets should be produced.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.flow, Flow::Blocked { waiting, .. } if waiting.len() >= BLOCKED_TRAINS)
    }

    /// The kernel has room again: sends what waits.
    pub(super) fn resume(&mut self, now: Instant) {
        let Flow::Blocked { mut waiting, .. } = std::mem::replace(&mut self.flow, Flow::Open)
        else {
            return;
        };
        while let Some(train) = waiting.front_mut() {
            let sent = self.write(train.how, &train.bytes, now);
            if sent < train.bytes.len() {
                train.bytes.drain(..sent);
                self.flow = Flow::Blocked {
                    since: now,
                    waiting,
                };
                return;
            }
            waiting.pop_front();
        }
    }

    /// When [`give_up`](Self::give_up) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.flow {
            Flow::Blocked { since, .. } => Some(*since + BLOCKED_TIMEOUT),
            Flow::Open | Flow::Stuck => None,
        }
    }

    /// Drops what waits when the kernel has taken nothing for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            tracing::debug!(local = %self.local, "the kernel takes no datagrams: they are dropped");
            self.flow = Flow::Stuck;
        }
    }

    /// Passes a train to the kernel. Returns the length that is done: all, unless the kernel has no
    /// room. What cannot be sent counts as lost in the network.
    fn write(&mut self, how: How, bytes: &[u8], now: Instant) -> usize {
        if how.fragment {
            self.allow_fragments(true);
            let (done, _) = self.write_singly(how, bytes, now);
            self.allow_fragments(false);
            return done;
        }
        if bytes.len() <= how.segment || self.state.max_gso_segments() == 1 || !self.segmentation {
            return self.write_singly(how, bytes, now).0;
        }
        match self.write_once(how, bytes) {
            Ok(()) => {
                self.worked(how.to, now);
                bytes.len()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // The device cannot cut trains, or only not into pieces that are too long for it now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                let (done, too_long) = self.write_singly(how, bytes, now);
                if too_long {
                    self.cut_again();
                }
                done
            }
            Err(error) => {
                self.failed(how.to, &error, now);
                bytes.len()
            }
        }
    }

    /// The same, one datagram at a time. Also returns whether one was too long for the interface.
    fn write_singly(&mut self, how: How, bytes: &[u8], now: Instant) -> (usize, bool) {
        let (mut done, mut too_long) = (0, false);
        for datagram in bytes.chunks(how.segment.max(1)) {
            match self.write_once(how, datagram) {
                Ok(()) => self.worked(how.to, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    too_long |= error.raw_os_error() == Some(libc::EMSGSIZE);
                    self.failed(how.to, &error, now);
                }
            }
            done += datagram.len();
        }
        (done, too_long)
    }

    fn write_once(&self, how: How, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.room.take_one()?;
        let transmit = Transmit {
            destination: how.to,
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > how.segment).then_some(how.segment),
            src_ip: how.from,
        };
        self.state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// Restores segmentation: the state has noted that the device cannot segment, which was not the
    /// reason.
    fn cut_again(&mut self) {
        match UdpSocketState::new(UdpSockRef::from(&self.socket)) {
            Ok(state) => self.state = state,
            Err(error) => tracing::debug!(%error, "trains are cut by the process from now on"),
        }
    }

    fn allow_fragments(&self, allow: bool) {
        let v6 = self.local.is_ipv6();
        if let Err(error) = sys::allow_fragments(self.socket.as_fd(), v6, allow) {
            tracing::debug!(%error, allow, "cannot set whether IP fragments");
        }
    }

    fn worked(&mut self, to: SocketAddr, now: Instant) {
        if self.failures.worked(to, now) {
            tracing::info!(local = %self.local, remote = %to, "datagrams can be sent again");
        }
    }

    fn failed(&mut self, to: SocketAddr, error: &io::Error, now: Instant) {
        // A probe for a larger packet size; too large is an answer.
        if error.raw_os_error() != Some(libc::EMSGSIZE) && self.failures.failed(to, now) {
            tracing::info!(local = %self.local, remote = %to, %error, "datagrams cannot be sent");
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds the socket to its interface, so that each interface is a path of its own.
fn bind_to_device(socket: &OwnedFd, device: &Device) {
    match setsockopt(socket, sockopt::BindToDevice, &device.name.clone().into()) {
        Ok(()) => {}
        // Older kernels want privilege; the routing table then decides.
        Err(error) => tracing::debug!(%error, device = device.name, "cannot bind to the device"),
    }
}

/// Bursts need room, because UDP has no flow control.
fn set_buffers(socket: &OwnedFd) -> io::Result<()> {
    static CLAMPED: Once = Once::new();
    // The administrator's limit does not apply to root.
    if setsockopt(socket, sockopt::SndBufForce, &UDP_BUFFER).is_err() {
        setsockopt(socket, sockopt::SndBuf, &UDP_BUFFER)?;
    }
    if setsockopt(socket, sockopt::RcvBufForce, &UDP_BUFFER).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &UDP_BUFFER)?;
    }
    // The kernel doubles the requested size, for its overhead.
    let got = getsockopt(socket, sockopt::SndBuf)?.min(getsockopt(socket, sockopt::RcvBuf)?) / 2;
    if got < UDP_BUFFER {
        CLAMPED.call_once(|| {
            tracing::warn!(
                wanted = UDP_BUFFER,
                got,
                "the kernel clamps UDP buffers: raise net.core.rmem_max and net.core.wmem_max for throughput"
            );
        });
    }
    Ok(())
}

/// How many more datagrams or trains the kernel takes; no end by default.
#[cfg(test)]
struct Room(std::cell::Cell<usize>);

#[cfg(test)]
impl Default for Room {
    fn default() -> Self {
        Self(std::cell::Cell::new(usize::MAX))
    }
}

#[cfg(test)]
impl Room {
    fn take_one(&self) -> io::Result<()> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or(ErrorKind::WouldBlock)?);
        Ok(())
    }
}
