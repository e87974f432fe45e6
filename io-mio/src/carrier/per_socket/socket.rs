//! What a kind of socket has to do to become a carrier.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::BytesMut;

use crate::carrier::{Inbound, PathInfo};
use crate::limits::COPY_BELOW;

/// One association's socket: message boundaries kept, never blocking.
pub(crate) trait MessageSocket: AsFd + Send {
    /// The next message or change; `WouldBlock` when there is none. `scratch` serves all sockets in
    /// turn: between two calls it holds nothing of anyone's.
    fn receive(&mut self, scratch: &mut BytesMut) -> io::Result<Inbound>;
    /// Hands a whole message to the kernel, or none of it with `WouldBlock`.
    fn send(&mut self, stream: u16, payload: &[u8]) -> io::Result<()>;
    /// Bytes that the kernel has taken and not sent yet; may be asked often.
    fn unsent(&mut self) -> usize;
    /// Sends the end of the association after all that was sent.
    fn shutdown(&mut self) -> io::Result<()>;
    /// Tells the peer that the association is gone, as far as that can be done now.
    fn abort(self);
    fn paths(&self) -> Vec<PathInfo>;
}

/// Where sockets come from.
pub(crate) trait SocketFamily: Send {
    type Socket: MessageSocket;
    type Listener: AsFd + Send;
    const KIND: &'static str;

    fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Socket, Vec<SocketAddr>)>;
    fn connect(&self, remotes: &[SocketAddr]) -> io::Result<Self::Socket>;
    fn local_addresses(&self, listener: &Self::Listener) -> Vec<SocketAddr>;
}

/// Takes a whole message out of the scratch buffer: a short one by copying, a long one with the
/// buffer.
pub(crate) fn take_message(scratch: &mut BytesMut) -> BytesMut {
    if scratch.len() <= COPY_BELOW {
        BytesMut::from(&scratch[..])
    } else {
        std::mem::take(scratch)
    }
}
