//! One association: messages, notifications, paths.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use nix::sys::socket::{Shutdown, getsockopt, setsockopt, shutdown, sockopt};

use super::layout::{self, Notification};
use crate::carrier::per_socket::{MessageSocket, take_message};
use crate::carrier::{Inbound, LostReason, PathInfo, PathState};
use crate::limits::{MAX_ADDRESSES, MAX_MESSAGE, SEND_QUEUE};
use crate::sys;

/// Room for the addresses of the peer, which may have more than [`MAX_ADDRESSES`].
const GET_ADDRESSES_LEN: usize = 8 + 4 * MAX_ADDRESSES * 28;

/// A one-to-one socket.
pub(super) struct KernelSocket {
    socket: OwnedFd,
    phase: Phase,
    /// The received pieces of an incomplete message, and their stream.
    partial: Option<(u16, BytesMut)>,
    sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Up,
}

/// Counts what the kernel has not sent yet.
///
/// `SIOCOUTQ` does not support SCTP, and the bytes queued in the socket include what is in flight.
/// The kernel reports how many DATA chunks it has sent for the first time; how many each message
/// needs is known here.
#[derive(Default)]
struct Sent {
    /// Chunks passed to the kernel.
    chunks: u64,
    /// Payload of a full chunk; 0 before it is known.
    chunk_len: usize,
    /// Upper bound of the unsent bytes, as of the last message.
    at_most: usize,
}

impl KernelSocket {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            phase: Phase::Starting,
            partial: None,
            sent: Sent::default(),
        }
    }

    fn notified(&mut self, bytes: &[u8]) -> Option<Inbound> {
        match layout::notification(bytes)? {
            Notification::Up { streams } => {
                self.phase = Phase::Up;
                Some(Inbound::Up { streams })
            }
            Notification::Lost => Some(Inbound::Lost(self.lost())),
            Notification::Restarted => Some(Inbound::Lost(LostReason::Restarted)),
            // All that the peer sent has been read; what was sent to it, the kernel still delivers.
            Notification::PeerShutdown | Notification::ShutdownComplete => {
                Some(Inbound::PeerClosed)
            }
            Notification::CannotStart => Some(Inbound::Lost(self.unreachable())),
            Notification::Path { remote, state } => {
                let path = path(self.socket.as_fd(), &remote, self.primary());
                Some(Inbound::PathChanged(path.unwrap_or(unknown(remote, state))))
            }
            Notification::Other => None,
            Notification::PartialDeliveryAborted => {
                Some(Inbound::Lost(LostReason::Protocol("a message was cut off")))
            }
        }
    }

    /// Why the association is gone.
    fn lost(&self) -> LostReason {
        match self.take_error() {
            Some(libc::ETIMEDOUT) => LostReason::TimedOut,
            Some(libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE) | None => LostReason::Aborted,
            Some(error) => LostReason::Socket(io::Error::from_raw_os_error(error).to_string()),
        }
    }

    fn unreachable(&self) -> LostReason {
        let error = self.take_error().unwrap_or(libc::ETIMEDOUT);
        LostReason::Unreachable(io::Error::from_raw_os_error(error).to_string())
    }

    fn take_error(&self) -> Option<i32> {
        getsockopt(&self.socket, sockopt::SocketError)
            .ok()
            .filter(|error| *error != 0)
    }

    fn primary(&self) -> Option<SocketAddr> {
        let mut status = [0; layout::STATUS_LEN];
        sys::option(
            self.socket.as_fd(),
            libc::IPPROTO_SCTP,
            libc::SCTP_STATUS,
            &mut status,
        )
        .ok()?;
        layout::primary_address(&status)
    }

    /// The meaning of the socket's end in each phase.
    fn end(&self) -> Inbound {
        match self.phase {
            Phase::Starting => Inbound::Lost(self.unreachable()),
            Phase::Up => Inbound::PeerClosed,
        }
    }
}

impl AsFd for KernelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl MessageSocket for KernelSocket {
    fn receive(&mut self, scratch: &mut BytesMut) -> io::Result<Inbound> {
        loop {
            // One byte more than the longest message, to detect a longer one.
            let (buffer, before) = match &mut self.partial {
                Some((_, partial)) => {
                    let before = partial.len();
                    (partial, before)
                }
                None => {
                    scratch.clear();
                    (&mut *scratch, 0)
                }
            };
            buffer.reserve(MAX_MESSAGE + 1 - before);
            let received = match sys::receive(self.socket.as_fd(), buffer) {
                Ok(received) => received,
                // Not connected yet, or not any more.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOTCONN)
                        && self.phase == Phase::Starting =>
                {
                    return match self.take_error() {
                        None => Err(ErrorKind::WouldBlock.into()),
                        Some(error) => {
                            let error = io::Error::from_raw_os_error(error);
                            Ok(Inbound::Lost(LostReason::Unreachable(error.to_string())))
                        }
                    };
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    return Ok(match (self.phase, error.kind()) {
                        (Phase::Starting, _) => {
                            Inbound::Lost(LostReason::Unreachable(error.to_string()))
                        }
                        (_, ErrorKind::TimedOut) => Inbound::Lost(LostReason::TimedOut),
                        (_, ErrorKind::ConnectionReset) => Inbound::Lost(LostReason::Aborted),
                        _ => Inbound::Lost(LostReason::Socket(error.to_string())),
                    });
                }
            };
            if received.flags & libc::MSG_NOTIFICATION != 0 {
                let notice = buffer.split_off(before);
                if let Some(inbound) = self.notified(&notice) {
                    return Ok(inbound);
                }
                continue;
            }
            if received.length == 0 {
                return Ok(self.end());
            }
            if let Some(inbound) = self.piece(&received, scratch) {
                return Ok(inbound);
            }
        }
    }

    fn send(&mut self, stream: u16, payload: &[u8]) -> io::Result<()> {
        sys::send(self.socket.as_fd(), payload, &layout::sndinfo(stream))?;
        if self.sent.chunk_len == 0 {
            self.sent.learn_chunk_len(self.socket.as_fd());
        }
        self.sent.chunks += payload.len().div_ceil(self.sent.chunk_len.max(1)) as u64;
        self.sent.at_most += payload.len();
        Ok(())
    }

    fn unsent(&mut self) -> usize {
        if self.sent.at_most >= SEND_QUEUE {
            self.sent.measure(self.socket.as_fd());
        }
        self.sent.at_most
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(shutdown(self.socket.as_raw_fd(), Shutdown::Write)?)
    }

    fn abort(self) {
        // A close without linger time sends ABORT (RFC 6458 §8.1.4).
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        if let Err(error) = setsockopt(&self.socket, sockopt::Linger, &linger) {
            tracing::debug!(%error, "cannot abort the association: it is shut down instead");
        }
    }

    fn paths(&self) -> Vec<PathInfo> {
        let socket = self.socket.as_fd();
        let primary = self.primary();
        peers_of(socket)
            .iter()
            .filter_map(|remote| path(socket, remote, primary))
            .collect()
    }
}

impl KernelSocket {
    /// Takes a piece of a message, which `receive` has put into `partial` or else into `scratch`.
    fn piece(&mut self, received: &sys::Received, scratch: &mut BytesMut) -> Option<Inbound> {
        let lost = |why| Some(Inbound::Lost(why));
        let Some(info) = layout::rcvinfo(&received.control.bytes[..received.control.length]) else {
            return lost(LostReason::Protocol("the kernel did not give the stream"));
        };
        if info.unordered {
            return lost(LostReason::Protocol("an unordered message"));
        }
        let length = match &self.partial {
            Some((stream, _)) if *stream != info.stream => {
                return lost(LostReason::Protocol("pieces of two messages are mixed"));
            }
            Some((_, partial)) => partial.len(),
            None => scratch.len(),
        };
        if length > MAX_MESSAGE {
            return lost(LostReason::TooLong);
        }
        let whole = received.flags & libc::MSG_EOR != 0;
        match (self.partial.take(), whole) {
            (Some((stream, payload)), true) => Some(Inbound::Message { stream, payload }),
            (None, true) => Some(Inbound::Message {
                stream: info.stream,
                payload: take_message(scratch),
            }),
            (Some(partial), false) => {
                self.partial = Some(partial);
                None
            }
            (None, false) => {
                self.partial = Some((info.stream, std::mem::take(scratch)));
                None
            }
        }
    }
}

impl Sent {
    fn learn_chunk_len(&mut self, socket: BorrowedFd<'_>) {
        let mut status = [0; layout::STATUS_LEN];
        let asked = sys::option(socket, libc::IPPROTO_SCTP, libc::SCTP_STATUS, &mut status);
        if let (Ok(_), Some(found)) = (asked, layout::fragmentation_point(&status)) {
            self.chunk_len = found as usize;
        }
    }

    /// Asks the kernel. The estimate cannot get stuck: it never exceeds what the socket holds, and
    /// is reset when the socket is empty.
    fn measure(&mut self, socket: BorrowedFd<'_>) {
        let mut meminfo = [0; layout::MEMINFO_LEN];
        let held = sys::option(socket, libc::SOL_SOCKET, layout::MEMINFO, &mut meminfo)
            .ok()
            .and_then(|_| layout::bytes_queued(&meminfo));
        let mut stats = [0; layout::STATS_LEN];
        let sent = sys::option(
            socket,
            libc::IPPROTO_SCTP,
            layout::GET_ASSOC_STATS,
            &mut stats,
        )
        .ok()
        .and_then(|_| layout::chunks_sent(&stats));
        let (Some(held), Some(sent)) = (held, sent) else {
            // An association that is gone has nothing queued.
            self.at_most = 0;
            return;
        };
        if held == 0 || sent > self.chunks {
            self.chunks = sent;
        }
        self.learn_chunk_len(socket);
        let unsent = usize::try_from(self.chunks - sent).unwrap_or(usize::MAX);
        self.at_most = unsent.saturating_mul(self.chunk_len).min(held as usize);
    }
}

/// The peer's addresses, the primary one first.
pub(super) fn peers_of(socket: BorrowedFd<'_>) -> Vec<SocketAddr> {
    addresses_of(socket, layout::GET_PEER_ADDRS)
}

/// The addresses that a socket is bound to.
pub(super) fn locals_of(socket: BorrowedFd<'_>) -> Vec<SocketAddr> {
    addresses_of(socket, layout::GET_LOCAL_ADDRS)
}

fn addresses_of(socket: BorrowedFd<'_>, which: i32) -> Vec<SocketAddr> {
    let mut answer = [0; GET_ADDRESSES_LEN];
    match sys::option(socket, libc::IPPROTO_SCTP, which, &mut answer) {
        Ok(length) => layout::read_addresses(&answer[..length]),
        Err(_) => Vec::new(),
    }
}

fn path(
    socket: BorrowedFd<'_>,
    remote: &SocketAddr,
    primary: Option<SocketAddr>,
) -> Option<PathInfo> {
    let mut answer = layout::paddrinfo_of(remote);
    sys::option(
        socket,
        libc::IPPROTO_SCTP,
        libc::SCTP_GET_PEER_ADDR_INFO,
        &mut answer,
    )
    .ok()?;
    layout::paddrinfo(&answer, primary)
}

/// A path that changed and has been removed since.
fn unknown(remote: SocketAddr, state: PathState) -> PathInfo {
    let zero = std::time::Duration::ZERO;
    PathInfo {
        remote,
        local: None,
        state,
        primary: false,
        srtt: zero,
        rto: zero,
        cwnd: 0,
        mtu: 0,
    }
}
