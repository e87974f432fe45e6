//! The sockets of an endpoint: those it listens at, or one for each interface that reaches a peer.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use towpath_sctp::PathId;

use super::interfaces::{self, Local};
use super::socket::Socket;
use crate::carrier::Registrar;
use crate::limits::{MAX_ADDRESSES, UDP_BIND_ATTEMPTS};

/// Sockets, numbered from 0 for the loop. None is removed: packets may arrive for it as long as the
/// endpoint exists.
pub(super) struct Sockets {
    pub(super) all: Vec<Socket>,
    /// The port of those that are opened as they are needed; 0: any.
    port: u16,
    segmentation: bool,
    registrar: Option<Registrar>,
}

impl Sockets {
    pub(super) fn new(port: u16, segmentation: bool) -> Self {
        Self {
            all: Vec::new(),
            port,
            segmentation,
            registrar: None,
        }
    }

    /// Binds all addresses, which share one port: that of the first, which the kernel chooses if it
    /// is 0.
    pub(super) fn listen(addresses: &[SocketAddr], segmentation: bool) -> io::Result<Self> {
        let addresses = listening(addresses)?;
        let chosen = addresses.first().is_some_and(|first| first.port() == 0);
        let mut attempts = if chosen { UDP_BIND_ATTEMPTS } else { 1 };
        loop {
            let mut sockets = Self::new(0, segmentation);
            match addresses
                .iter()
                .try_for_each(|address| sockets.bind_beside(*address))
            {
                Ok(()) => return Ok(sockets),
                // The port is free at one address and taken at another: try another one.
                Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 1 => attempts -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn bind_beside(&mut self, mut address: SocketAddr) -> io::Result<()> {
        if address.port() == 0
            && let Some(first) = self.all.first()
        {
            address.set_port(first.local.port());
        }
        let local = Local::at(address);
        self.all.push(Socket::bind(&local, self.segmentation)?);
        Ok(())
    }

    pub(super) fn register(&mut self, registrar: Registrar) -> io::Result<()> {
        for (socket, source) in self.all.iter().zip(0u64..) {
            registrar.register(socket.as_fd(), source)?;
        }
        self.registrar = Some(registrar);
        Ok(())
    }

    /// The socket for packets from `local`.
    pub(super) fn from(&mut self, local: SocketAddr) -> Option<&mut Socket> {
        let exact = self.all.iter().position(|socket| same(socket.local, local));
        let at = exact.or_else(|| {
            self.all.iter().position(|socket| {
                socket.local.ip().is_unspecified()
                    && socket.local.is_ipv4() == local.is_ipv4()
                    && socket.local.port() == local.port()
            })
        });
        self.all.get_mut(at?)
    }

    /// Makes sure that there is a socket for each of these, as far as they can be bound. Returns
    /// the new addresses.
    ///
    /// # Errors
    /// None of them can be bound: why the first cannot.
    pub(super) fn open(&mut self, locals: &[Local]) -> io::Result<Vec<SocketAddr>> {
        let (mut new, mut refused, mut usable) = (Vec::new(), None, false);
        for local in locals {
            match self.open_one(local) {
                Ok(added) => {
                    usable = true;
                    new.extend(added);
                }
                Err(error) => {
                    tracing::debug!(%error, address = %local.address, "cannot bind");
                    refused.get_or_insert(error);
                }
            }
        }
        match refused {
            Some(error) if !usable => Err(error),
            _ => Ok(new),
        }
    }

    fn open_one(&mut self, local: &Local) -> io::Result<Option<SocketAddr>> {
        let mut wanted = local.clone();
        if let Some(at) = self
            .all
            .iter()
            .position(|socket| socket.local.ip() == local.address.ip() && same_name(socket, local))
        {
            let known = &self.all[at];
            if known.device == local.device {
                return Ok(None);
            }
            // The interface was removed and added again: the old socket is bound to the removed
            // one.
            wanted.address.set_port(known.local.port());
            let socket = Socket::bind(&wanted, self.segmentation)?;
            let old = std::mem::replace(&mut self.all[at], socket);
            if let Some(registrar) = &self.registrar {
                registrar.deregister(old.as_fd())?;
                registrar.register(self.all[at].as_fd(), at as u64)?;
            }
            return Ok(None);
        }
        if self.all.len() >= MAX_SOCKETS {
            return Err(io::Error::other("too many sockets"));
        }
        // One port for all, if that is free: SCTP's address parameters have no ports of their own.
        let port = self
            .all
            .first()
            .map_or(self.port, |first| first.local.port());
        wanted.address.set_port(port);
        let socket = match Socket::bind(&wanted, self.segmentation) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && self.port == 0 => {
                wanted.address.set_port(0);
                Socket::bind(&wanted, self.segmentation)?
            }
            other => other?,
        };
        if let Some(registrar) = &self.registrar {
            registrar.register(socket.as_fd(), self.all.len() as u64)?;
        }
        let address = socket.local;
        self.all.push(socket);
        Ok(Some(address))
    }

    /// The paths from these local addresses to those of a peer. For each of the peer's addresses
    /// the one that the routing table prefers comes first, and the first choices for all of them
    /// before the second.
    pub(super) fn paths(&self, locals: &[Local], remotes: &[SocketAddr]) -> Vec<PathId> {
        let ranked: Vec<Vec<PathId>> = remotes
            .iter()
            .map(|remote| {
                let preferred = interfaces::preferred(*remote);
                let mut fitting: Vec<SocketAddr> = locals
                    .iter()
                    .filter(|local| local.reaches(*remote))
                    .filter_map(|local| self.bound_for(local))
                    .collect();
                fitting.sort_by_key(|local| Some(local.ip()) != preferred);
                fitting
                    .into_iter()
                    .map(|local| PathId::new(local, *remote))
                    .collect()
            })
            .collect();
        (0..locals.len())
            .flat_map(|round| {
                ranked
                    .iter()
                    .filter_map(move |paths| paths.get(round).copied())
            })
            .collect()
    }

    fn bound_for(&self, local: &Local) -> Option<SocketAddr> {
        let fits = |socket: &&Socket| {
            socket.local.ip() == local.address.ip() && socket.device == local.device
        };
        self.all.iter().find(fits).map(|socket| socket.local)
    }

    /// Where these are bound, as far as they are.
    pub(super) fn bound(&self, locals: &[Local]) -> Vec<SocketAddr> {
        locals
            .iter()
            .filter_map(|local| self.bound_for(local))
            .collect()
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|socket| socket.local).collect()
    }
}

/// Sockets of a client, some bound to their device and some not: enough for a host with many
/// addresses, and few enough for a linear search.
const MAX_SOCKETS: usize = 2 * MAX_ADDRESSES;

fn same_name(socket: &Socket, local: &Local) -> bool {
    let name =
        |device: &Option<interfaces::Device>| device.as_ref().map(|device| device.name.clone());
    name(&socket.device) == name(&local.device)
}

/// Whether two transport addresses are the same; the flow label does not count.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    a.ip() == b.ip() && a.port() == b.port() && scope(a) == scope(b)
}

/// The addresses to bind: IPv6 sockets take no IPv4 here, so "all addresses" of IPv6 adds those of
/// IPv4, as with a dual-stack socket.
fn listening(addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let invalid = |why| Err(io::Error::new(ErrorKind::InvalidInput, why));
    let Some(first) = addresses.first() else {
        return invalid("no address to listen on");
    };
    if addresses.len() > MAX_ADDRESSES {
        return invalid("too many addresses");
    }
    if addresses
        .iter()
        .any(|address| address.port() != first.port())
    {
        return invalid("the addresses have different ports");
    }
    let mut out = addresses.to_vec();
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), first.port());
    if out
        .iter()
        .any(|address| address.is_ipv6() && address.ip().is_unspecified())
        && !out.iter().any(SocketAddr::is_ipv4)
    {
        out.push(any);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn all_addresses_of_ipv6_bring_those_of_ipv4() {
        assert_eq!(
            listening(&parse(&["[::]:7"])).unwrap(),
            parse(&["[::]:7", "0.0.0.0:7"])
        );
        let both = parse(&["[::]:7", "127.0.0.1:7"]);
        assert_eq!(listening(&both).unwrap(), both);
        assert!(listening(&[]).is_err());
        assert!(listening(&parse(&["127.0.0.1:7", "127.0.0.2:8"])).is_err());
        assert!(listening(&vec!["127.0.0.1:7".parse().unwrap(); 9]).is_err());
    }

    #[test]
    fn a_port_that_the_kernel_chose_is_shared_by_all_addresses() {
        let sockets =
            Sockets::listen(&parse(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]), true).unwrap();
        let port = sockets.all[0].local.port();
        assert!(port != 0);
        assert!(
            sockets
                .addresses()
                .iter()
                .all(|address| address.port() == port)
        );
    }

    #[test]
    fn a_socket_is_found_by_the_address_it_is_bound_to_and_else_by_its_port() {
        let mut sockets = Sockets::listen(&parse(&["0.0.0.0:0"]), true).unwrap();
        let port = sockets.all[0].local.port();
        let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
        assert!(sockets.from(at("127.0.0.9", port)).is_some());
        assert!(sockets.from(at("127.0.0.9", port ^ 1)).is_none());
        assert!(sockets.from(at("::1", port)).is_none());
    }

    #[test]
    fn clients_open_each_address_once_and_prefer_what_the_routes_say() {
        let mut sockets = Sockets::new(0, true);
        let locals =
            ["127.0.0.3", "127.0.0.1"].map(|ip| Local::at(SocketAddr::new(ip.parse().unwrap(), 0)));
        assert_eq!(sockets.open(&locals).unwrap().len(), 2);
        assert_eq!(sockets.open(&locals).unwrap(), []);
        let remotes = parse(&["127.0.0.1:9", "127.0.0.2:9"]);
        let paths = sockets.paths(&locals, &remotes);
        let shown: Vec<_> = paths
            .iter()
            .map(|path| (path.local.ip().to_string(), path.remote.ip().to_string()))
            .collect();
        let expected = [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.3", "127.0.0.1"),
            ("127.0.0.3", "127.0.0.2"),
        ];
        assert_eq!(shown, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_only_if_no_other_works() {
        let at = |ip: &str| Local::at(SocketAddr::new(ip.parse().unwrap(), 0));
        let mut sockets = Sockets::new(0, true);
        assert!(sockets.open(&[at("203.0.113.77")]).is_err());
        assert_eq!(
            sockets
                .open(&[at("203.0.113.77"), at("127.0.0.1")])
                .unwrap()
                .len(),
            1
        );
    }
}
