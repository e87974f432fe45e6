//! What a kind of socket implements to become a carrier.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::BytesMut;

use crate::carrier::{Inbound, PathInfo};
use crate::limits::COPY_BELOW;

/// One association's socket, non-blocking, which preserves message boundaries.
pub(crate) trait MessageSocket: AsFd + Send {
    /// The next message or change; `WouldBlock` when there is none. `scratch` is shared by all
    /// sockets; its content does not survive the call.
    fn receive(&mut self, scratch: &mut BytesMut) -> io::Result<Inbound>;
    /// Sends a whole message, or nothing of it with `WouldBlock`.
    fn send(&mut self, stream: u16, payload: &[u8]) -> io::Result<()>;
    /// Bytes that the kernel has taken and not sent yet. Called often.
    fn unsent(&mut self) -> usize;
    /// Begins the shutdown, behind all that was sent.
    fn shutdown(&mut self) -> io::Result<()>;
    /// Ends the association at once; tells the peer if that is possible without blocking.
    fn abort(self);
    fn paths(&self) -> Vec<PathInfo>;
}

/// A kind of socket: how to accept and to connect.
pub(crate) trait SocketFamily: Send {
    type Socket: MessageSocket;
    type Listener: AsFd + Send;
    const KIND: &'static str;

    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Socket, Vec<SocketAddr>)>;
    fn connect(&self, remotes: &[SocketAddr]) -> io::Result<Self::Socket>;
    fn local_addresses(&self, listener: &Self::Listener) -> Vec<SocketAddr>;
}

/// Takes a message out of the scratch buffer: a short one is copied, a long one keeps the buffer.
pub(crate) fn take_message(scratch: &mut BytesMut) -> BytesMut {
    if scratch.len() <= COPY_BELOW {
        BytesMut::from(&scratch[..])
    } else {
        std::mem::take(scratch)
    }
}
