//! The kernel's SCTP: one non-blocking one-to-one socket for each association.

mod config;
mod family;
mod layout;
mod socket;

use std::io;
use std::net::SocketAddr;

pub use config::KernelConfig;
use family::Kernel;

use crate::carrier::Carrier;
use crate::carrier::per_socket::PerSocket;
use crate::limits::MAX_ADDRESSES;
use crate::sys;

/// Whether this kernel has SCTP that this process may use.
///
/// # Errors
/// The reason, in a form for users.
pub fn supported() -> io::Result<()> {
    let Err(error) = sys::socket(libc::AF_INET) else {
        return Ok(());
    };
    let why = match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::EAFNOSUPPORT) => {
            "this kernel has no SCTP, or its module `sctp` is not loaded"
        }
        Some(libc::EACCES | libc::EPERM) => "this process may not use SCTP sockets",
        _ => "SCTP sockets do not work here",
    };
    Err(io::Error::new(error.kind(), format!("{why} ({error})")))
}

/// Listens on these addresses, which share one port (0: any). An unspecified address stands alone.
///
/// # Errors
/// No SCTP, no or too many addresses, different ports, or an address that cannot be bound.
pub fn listen(addresses: &[SocketAddr], config: &KernelConfig) -> io::Result<impl Carrier + use<>> {
    let kernel = Kernel::new(Vec::new(), config);
    let listener = kernel.listen(addresses)?;
    Ok(PerSocket::new(kernel, vec![listener]))
}

/// A carrier for outgoing associations, bound to these addresses, or to all if there are none.
///
/// # Errors
/// No SCTP, or too many addresses.
pub fn client(locals: &[SocketAddr], config: &KernelConfig) -> io::Result<impl Carrier + use<>> {
    supported()?;
    if locals.len() > MAX_ADDRESSES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many addresses",
        ));
    }
    let kernel = Kernel::new(locals.to_vec(), config);
    Ok(PerSocket::new(kernel, Vec::new()))
}
