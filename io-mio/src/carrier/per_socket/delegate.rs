//! Public carriers are thin wrappers.

/// Lets a public type that holds an [`Endpoint`](super::Endpoint) be the carrier, so that the
/// network behind it stays private.
macro_rules! carrier_by_endpoint {
    ($carrier:ty) => {
        impl $crate::carrier::Carrier for $carrier {
            fn kind(&self) -> &'static str {
                self.0.kind()
            }
            fn register(&mut self, registrar: $crate::carrier::Registrar) -> std::io::Result<()> {
                self.0.register(registrar)
            }
            fn handle_ready(&mut self, source: u64, readiness: $crate::carrier::Readiness) {
                self.0.handle_ready(source, readiness);
            }
            fn drive(&mut self, now: std::time::Instant) -> bool {
                self.0.drive(now)
            }
            fn handle_timeout(&mut self, now: std::time::Instant) {
                self.0.handle_timeout(now);
            }
            fn poll_timeout(&self) -> Option<std::time::Instant> {
                self.0.poll_timeout()
            }
            fn poll_event(
                &mut self,
            ) -> Option<(
                $crate::carrier::AssociationId,
                $crate::carrier::CarrierEvent,
            )> {
                self.0.poll_event()
            }
            fn connect(
                &mut self,
                remotes: &[std::net::SocketAddr],
                now: std::time::Instant,
            ) -> std::io::Result<$crate::carrier::AssociationId> {
                self.0.connect(remotes, now)
            }
            fn receive(
                &mut self,
                id: $crate::carrier::AssociationId,
                now: std::time::Instant,
            ) -> Option<$crate::carrier::Inbound> {
                self.0.receive(id, now)
            }
            fn send(
                &mut self,
                id: $crate::carrier::AssociationId,
                stream: u16,
                payload: bytes::Bytes,
                now: std::time::Instant,
            ) -> Result<(), $crate::carrier::SendError> {
                self.0.send(id, stream, payload, now)
            }
            fn queued(&mut self, id: $crate::carrier::AssociationId) -> usize {
                self.0.queued(id)
            }
            fn close(
                &mut self,
                id: $crate::carrier::AssociationId,
                mode: $crate::carrier::CloseMode,
                now: std::time::Instant,
            ) {
                self.0.close(id, mode, now);
            }
            fn paths(&self, id: $crate::carrier::AssociationId) -> Vec<$crate::carrier::PathInfo> {
                self.0.paths(id)
            }
            fn stop_listening(&mut self) {
                self.0.stop_listening();
            }
            fn local_addresses(&self) -> Vec<std::net::SocketAddr> {
                self.0.local_addresses()
            }
        }
    };
}
pub(crate) use carrier_by_endpoint;
