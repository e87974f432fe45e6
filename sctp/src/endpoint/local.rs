//! What a carrier alone knows: which addresses are ours now, over which paths to begin, what still
//! waits to go out.

use std::net::SocketAddr;
use std::time::Instant;

use super::Endpoint;
use crate::address::scope;
use crate::event::{AssociationHandle, ConnectError, PathId, UnknownAssociation};

impl Endpoint {
    /// Replaces our own transport addresses, for associations that begin from now on; those that
    /// exist keep theirs.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = addresses.into();
    }

    /// Begins an association as [`connect`](Self::connect) does, but over these paths, the best
    /// first: the order of the routing table is better than any guess. Their local addresses should
    /// be among the endpoint's.
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

    /// Gives an association another address of ours, from which it tries to reach each of the
    /// peer's: an interface has come up. The new paths carry data once the peer has answered on
    /// them.
    ///
    /// # Errors
    /// The association is gone.
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

    /// Bytes that [`send`](Self::send) has taken and that have not gone out for the first time; 0
    /// for an association that is gone.
    ///
    /// What is in flight is the network's; a sender that keeps this short can still decide what
    /// goes next.
    #[must_use]
    pub fn unsent(&self, handle: AssociationHandle) -> usize {
        self.table
            .by_handle_ref(handle)
            .map_or(0, |association| association.unsent())
    }

    /// Accepts no further associations; those that exist live on.
    pub fn stop_listening(&mut self) {
        self.listen = None;
    }
}
