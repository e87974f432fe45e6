//! What only the owner of the sockets knows: current local addresses, paths to be tried first.

use std::net::SocketAddr;
use std::time::Instant;

use super::Endpoint;
use crate::address::scope;
use crate::event::{AssociationHandle, ConnectError, PathId, UnknownAssociation};

impl Endpoint {
    /// Replaces the endpoint's own transport addresses for new associations; existing ones keep
    /// theirs.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = addresses.into();
    }

    /// As [`connect`](Self::connect), but over the given paths, in the order in which they are
    /// tried: the caller knows the routing table. Their local addresses should be among the
    /// endpoint's.
    ///
    /// # Errors
    /// As for `connect`.
    pub fn connect_over(
        &mut self,
        paths: &[PathId],
        port: u16,
        now: Instant,
    ) -> Result<AssociationHandle, ConnectError> {
        let usable = |path: &PathId| scope(path.remote.ip()).is_some() && path.remote.port() != 0;
        let mut pairs: Vec<PathId> = Vec::new();
        for path in paths {
            let path = PathId::new(path.local, path.remote);
            if usable(&path) && !pairs.contains(&path) {
                pairs.push(path);
            }
        }
        self.begin(None, pairs, port, now)
    }

    /// Adds a local address to an association, e.g. of an interface that has come up, with a path
    /// to each of the peer's addresses. The paths carry data once they are confirmed.
    ///
    /// # Errors
    /// The association has ended.
    pub fn add_local(
        &mut self,
        handle: AssociationHandle,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(), UnknownAssociation> {
        let (index, association) = self.table.by_handle(handle).ok_or(UnknownAssociation)?;
        association.add_local(local, now);
        self.settle(index, now);
        Ok(())
    }

    /// Bytes that [`send`](Self::send) has taken and that have not been sent; 0 for a closed
    /// association.
    ///
    /// A sender that keeps this small can decide late which message is sent next.
    #[must_use]
    pub fn unsent(&self, handle: AssociationHandle) -> usize {
        self.table
            .by_handle_ref(handle)
            .map_or(0, |association| association.unsent())
    }

    /// Accepts no further associations; existing ones are not affected.
    pub fn stop_listening(&mut self) {
        self.listen = None;
    }
}
