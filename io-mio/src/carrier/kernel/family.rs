//! Creates sockets: options, binding, listening, accepting, connecting.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Once;

use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};

use super::config::KernelConfig;
use super::layout;
use super::socket::{KernelSocket, locals_of, peers_of};
use crate::carrier::per_socket::SocketFamily;
use crate::limits::{
    BACKLOG, INIT_ATTEMPTS, INIT_MAX_TIMEOUT, MAX_ADDRESSES, POTENTIALLY_FAILED_RETRANS,
};
use crate::sys;

/// Creates sockets with one configuration.
pub(super) struct Kernel {
    config: KernelConfig,
    locals: Vec<SocketAddr>,
}

/// A listening socket; `accept` is the same as for TCP.
pub(super) struct Listener(TcpListener);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Kernel {
    pub(super) fn new(locals: Vec<SocketAddr>, config: &KernelConfig) -> Self {
        Self {
            config: config.clone(),
            locals,
        }
    }

    pub(super) fn listen(&self, addresses: &[SocketAddr]) -> io::Result<Listener> {
        let addresses = bindable(addresses)?;
        let socket = self.socket(&addresses)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind(socket.as_fd(), &addresses)?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Listener(socket.into()))
    }

    /// A socket for addresses of these families, with all options. Accepted sockets inherit them.
    fn socket(&self, addresses: &[SocketAddr]) -> io::Result<OwnedFd> {
        let v6 = addresses.iter().any(SocketAddr::is_ipv6);
        let socket = sys::socket(if v6 { libc::AF_INET6 } else { libc::AF_INET })?;
        self.set_options(socket.as_fd(), v6)?;
        self.set_buffers(&socket)?;
        Ok(socket)
    }

    fn set_options(&self, socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
        let config = &self.config;
        let initmsg = layout::initmsg(config.streams, INIT_ATTEMPTS, INIT_MAX_TIMEOUT);
        sys::set_option(socket, libc::SCTP_INITMSG, &initmsg)?;
        sys::set_option(socket, libc::SCTP_NODELAY, &layout::int(1))?;
        sys::set_option(socket, libc::SCTP_RECVRCVINFO, &layout::int(1))?;
        // The pieces of one message are delivered without those of another between them: no
        // reassembly for each stream.
        sys::set_option(socket, libc::SCTP_FRAGMENT_INTERLEAVE, &layout::int(0))?;
        let rtoinfo = layout::rtoinfo(config.rto_initial, config.rto_max, config.rto_min);
        sys::set_option(socket, libc::SCTP_RTOINFO, &rtoinfo)?;
        let assocparams = layout::assocparams(config.association_max_retransmissions);
        sys::set_option(socket, libc::SCTP_ASSOCINFO, &assocparams)?;
        let paths = layout::paddrparams(config.heartbeat, config.path_max_retransmissions);
        sys::set_option(socket, libc::SCTP_PEER_ADDR_PARAMS, &paths)?;
        sys::set_option(
            socket,
            libc::SCTP_DELAYED_ACK_TIME,
            &layout::sack_info(config.sack_delay),
        )?;
        if v6 {
            // IPv4 peers are shown with IPv4 addresses.
            sys::set_option(socket, libc::SCTP_I_WANT_MAPPED_V4_ADDR, &layout::int(0))?;
        }
        for kind in [
            layout::ASSOC_CHANGE,
            layout::PEER_ADDR_CHANGE,
            layout::SHUTDOWN_EVENT,
            layout::PARTIAL_DELIVERY_EVENT,
        ] {
            sys::set_option(socket, layout::EVENT, &layout::event(kind))?;
        }
        // Newer or optional in the kernel: useful, but not required.
        let thresholds =
            layout::paddrthlds(config.path_max_retransmissions, POTENTIALLY_FAILED_RETRANS);
        let optional = [
            (
                layout::STREAM_SCHEDULER,
                layout::assoc_value(layout::SCHEDULER_ROUND_ROBIN),
                "scheduler",
            ),
            (
                layout::EXPOSE_PF_STATE,
                layout::assoc_value(layout::PF_EXPOSE),
                "potentially failed paths",
            ),
            (libc::SCTP_PEER_ADDR_THLDS, thresholds, "path thresholds"),
        ];
        for (option, value, what) in optional {
            if let Err(error) = sys::set_option(socket, option, &value) {
                tracing::debug!(%error, what, "the kernel does not support an SCTP option");
            }
        }
        Ok(())
    }

    /// The buffers limit the window, and so the throughput on long paths.
    fn set_buffers(&self, socket: &OwnedFd) -> io::Result<()> {
        static CLAMPED: Once = Once::new();
        let wanted = self.config.buffer;
        // The administrator's limit does not apply to root.
        if setsockopt(socket, sockopt::SndBufForce, &wanted).is_err() {
            setsockopt(socket, sockopt::SndBuf, &wanted)?;
        }
        if setsockopt(socket, sockopt::RcvBufForce, &wanted).is_err() {
            setsockopt(socket, sockopt::RcvBuf, &wanted)?;
        }
        // The kernel doubles the requested size, for its overhead.
        let got = nix::sys::socket::getsockopt(socket, sockopt::SndBuf)?
            .min(nix::sys::socket::getsockopt(socket, sockopt::RcvBuf)?);
        if got / 2 < wanted {
            CLAMPED.call_once(|| {
                tracing::warn!(
                    wanted,
                    got = got / 2,
                    "the kernel clamps the socket buffers: raise net.core.rmem_max and net.core.wmem_max for \
                     throughput on long paths"
                );
            });
        }
        Ok(())
    }
}

impl SocketFamily for Kernel {
    type Socket = KernelSocket;
    type Listener = Listener;
    const KIND: &'static str = "sctp";

    fn accept(&self, listener: &Listener) -> io::Result<(KernelSocket, Vec<SocketAddr>)> {
        let (accepted, from) = listener.0.accept()?;
        accepted.set_nonblocking(true)?;
        let socket = OwnedFd::from(accepted);
        let mut addresses = peers_of(socket.as_fd());
        if addresses.is_empty() {
            addresses.push(from); // already disconnected
        }
        Ok((KernelSocket::new(socket), addresses))
    }

    fn connect(&self, remotes: &[SocketAddr]) -> io::Result<KernelSocket> {
        check_count(remotes)?;
        let all: Vec<_> = remotes.iter().chain(&self.locals).copied().collect();
        let socket = self.socket(&all)?;
        if !self.locals.is_empty() {
            bind(socket.as_fd(), &bindable(&self.locals)?)?;
        }
        match sys::set_option(
            socket.as_fd(),
            layout::SOCKOPT_CONNECTX,
            &layout::addresses(remotes),
        ) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            Ok(()) | Err(_) => Ok(KernelSocket::new(socket)),
        }
    }

    fn local_addresses(&self, listener: &Listener) -> Vec<SocketAddr> {
        locals_of(listener.as_fd())
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

fn check_count(addresses: &[SocketAddr]) -> io::Result<()> {
    match addresses.len() {
        0 => Err(invalid("no address")),
        1..=MAX_ADDRESSES => Ok(()),
        _ => Err(invalid("too many addresses")),
    }
}

/// The addresses to bind: one port; an unspecified address alone, where `::` stands for IPv4 too.
fn bindable(addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    check_count(addresses)?;
    let port = addresses[0].port();
    if addresses.iter().any(|address| address.port() != port) {
        return Err(invalid("the addresses have different ports"));
    }
    if addresses
        .iter()
        .all(|address| !address.ip().is_unspecified())
    {
        return Ok(addresses.to_vec());
    }
    if addresses
        .iter()
        .any(|address| !address.ip().is_unspecified())
    {
        return Err(invalid("an unspecified address includes all others"));
    }
    let v6 = addresses.iter().any(SocketAddr::is_ipv6);
    Ok(vec![if v6 {
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        addresses[0]
    }])
}

/// Binds the first address, which may choose the port, and the others to the same port.
fn bind(socket: BorrowedFd<'_>, addresses: &[SocketAddr]) -> io::Result<()> {
    let Some((first, others)) = addresses.split_first() else {
        return Err(invalid("no address"));
    };
    sys::bind(socket, &layout::address(first))?;
    if others.is_empty() {
        return Ok(());
    }
    let port = locals_of(socket)
        .first()
        .map_or(first.port(), SocketAddr::port);
    let mut others = others.to_vec();
    others.iter_mut().for_each(|address| address.set_port(port));
    sys::set_option(
        socket,
        layout::SOCKOPT_BINDX_ADD,
        &layout::addresses(&others),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_to_bind_share_a_port_and_an_unspecified_one_is_alone() {
        let two = parse(&["10.0.0.1:9260", "[fd00::1]:9260"]);
        assert_eq!(bindable(&two).unwrap(), two);
        assert_eq!(
            bindable(&parse(&["0.0.0.0:1"])).unwrap(),
            parse(&["0.0.0.0:1"])
        );
        assert_eq!(
            bindable(&parse(&["0.0.0.0:1", "[::]:1"])).unwrap(),
            parse(&["[::]:1"])
        );
        for wrong in [
            &[] as &[&str],
            &["10.0.0.1:1", "10.0.0.2:2"],
            &["0.0.0.0:1", "10.0.0.1:1"],
            &["1.1.1.1:1"; 9],
        ] {
            assert_eq!(
                bindable(&parse(wrong)).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong:?}"
            );
        }
    }
}
