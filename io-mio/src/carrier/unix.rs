//! A carrier over `AF_UNIX` `SOCK_SEQPACKET` sockets, for tests on hosts without SCTP.
//!
//! It keeps message boundaries and order like SCTP, but has neither paths nor independent streams.
//! A frame is the stream number (u16, big-endian) and the message. The frame `FF FF` alone aborts
//! the association.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, bind, connect,
    listen as listen_on, recvmsg, sendmsg, setsockopt, shutdown, socket, sockopt,
};

use crate::carrier::per_socket::{MessageSocket, PerSocket, SocketFamily, take_message};
use crate::carrier::{Carrier, Inbound, LostReason, PathInfo};
use crate::limits::{BACKLOG, MAX_MESSAGE, SEQPACKET_BUFFER, STREAMS};

/// The stream number of the frame that aborts.
const ABORT: u16 = u16::MAX;

/// Listens at `path`. A socket file without a listener is replaced; one in use is not.
///
/// # Errors
/// `AddrInUse` when another process listens there or the file is not a socket, and those of the
/// file system.
pub fn listen(path: &Path) -> io::Result<impl Carrier + use<>> {
    remove_stale(path)?;
    let socket = new_socket()?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen_on(&socket, Backlog::new(BACKLOG)?)?;
    let path = path.to_owned();
    let listener = Listener {
        socket: socket.into(),
        path: path.clone(),
    };
    Ok(PerSocket::new(Unix { path }, vec![listener]))
}

/// A carrier that connects to the socket at `path`; the addresses given to
/// [`connect`](Carrier::connect) do not matter.
#[must_use]
pub fn client(path: &Path) -> impl Carrier + use<> {
    let path = path.to_owned();
    PerSocket::new(Unix { path }, Vec::new())
}

/// Removes the socket file of a process that has ended.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let in_use = |why| {
        Err(io::Error::new(
            ErrorKind::AddrInUse,
            format!("{}: {why}", path.display()),
        ))
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return in_use("is not a socket"),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = new_socket()?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(Errno::ENOENT) => Ok(()),
        Ok(()) | Err(Errno::EAGAIN) => in_use("another process listens there"),
        Err(error) => Err(error.into()),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    set_buffers(&socket)?;
    Ok(socket)
}

fn set_buffers(socket: &OwnedFd) -> io::Result<()> {
    setsockopt(socket, sockopt::SndBuf, &SEQPACKET_BUFFER)?;
    setsockopt(socket, sockopt::RcvBuf, &SEQPACKET_BUFFER)?;
    Ok(())
}

struct Unix {
    path: PathBuf,
}

struct Listener {
    /// `accept` is the same for packets.
    socket: UnixListener,
    path: PathBuf,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket file");
        }
    }
}

impl SocketFamily for Unix {
    type Socket = UnixSocket;
    type Listener = Listener;
    const KIND: &'static str = "unix";

    fn accept(&self, listener: &Listener) -> io::Result<(UnixSocket, Vec<SocketAddr>)> {
        let (accepted, _) = listener.socket.accept()?;
        accepted.set_nonblocking(true)?;
        let accepted = OwnedFd::from(accepted);
        set_buffers(&accepted)?;
        Ok((UnixSocket::new(accepted), Vec::new()))
    }

    fn connect(&self, _remotes: &[SocketAddr]) -> io::Result<UnixSocket> {
        let socket = new_socket()?;
        // Completes at once, or fails with EAGAIN when the listener's backlog is full.
        connect(socket.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        Ok(UnixSocket::new(socket))
    }

    fn local_addresses(&self, _listener: &Listener) -> Vec<SocketAddr> {
        Vec::new()
    }
}

struct UnixSocket {
    socket: OwnedFd,
    up: bool,
}

impl UnixSocket {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, up: false }
    }
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl MessageSocket for UnixSocket {
    fn receive(&mut self, scratch: &mut BytesMut) -> io::Result<Inbound> {
        if !self.up {
            self.up = true;
            return Ok(Inbound::Up { streams: STREAMS });
        }
        let mut stream = [0; 2];
        // One byte more than the longest message, to detect a longer one.
        scratch.resize(MAX_MESSAGE + 1, 0);
        let received = {
            let mut parts = [IoSliceMut::new(&mut stream), IoSliceMut::new(scratch)];
            recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                None,
                MsgFlags::MSG_DONTWAIT,
            )?
            .bytes
        };
        let stream = u16::from_be_bytes(stream);
        Ok(match received.checked_sub(2) {
            None if received == 0 => Inbound::PeerClosed,
            None => Inbound::Lost(LostReason::Protocol("a frame without a stream number")),
            Some(0) if stream == ABORT => Inbound::Lost(LostReason::Aborted),
            Some(0) => Inbound::Lost(LostReason::Protocol("an empty message")),
            Some(length) if length > MAX_MESSAGE => Inbound::Lost(LostReason::TooLong),
            Some(_) if stream >= STREAMS => {
                Inbound::Lost(LostReason::Protocol("a stream that does not exist"))
            }
            Some(length) => {
                scratch.truncate(length);
                Inbound::Message {
                    stream,
                    payload: take_message(scratch),
                }
            }
        })
    }

    fn send(&mut self, stream: u16, payload: &[u8]) -> io::Result<()> {
        let stream = stream.to_be_bytes();
        let parts = [IoSlice::new(&stream), IoSlice::new(payload)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        // A packet is sent whole or not at all.
        sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], flags, None)?;
        Ok(())
    }

    fn unsent(&mut self) -> usize {
        0 // what the kernel took is in the peer's socket
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(shutdown(self.socket.as_raw_fd(), Shutdown::Write)?)
    }

    fn abort(mut self) {
        // A peer that does not read sees the end of the socket instead.
        if let Err(error) = self.send(ABORT, &[]) {
            tracing::debug!(%error, "cannot tell the peer of the abort");
        }
    }

    fn paths(&self) -> Vec<PathInfo> {
        Vec::new()
    }
}
