//! The system calls that no crate wraps: the only `unsafe` of the project.
//!
//! Options, addresses, notifications and control messages cross as bytes;
//! `carrier/kernel/layout.rs` knows what they mean, in safe code.

#![expect(
    unsafe_code,
    reason = "system calls on SCTP sockets, which nix does not wrap"
)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::{BufMut, BytesMut};
use libc::{c_int, c_void, socklen_t};

/// Space for one `SCTP_RCVINFO` (28 bytes behind its header), with room to spare for what was not
/// asked for.
pub(crate) const CONTROL_LEN: usize = 64;

/// What `recvmsg` returns beside the bytes.
pub(crate) struct Received {
    /// Bytes appended to the buffer.
    pub(crate) length: usize,
    /// `MSG_EOR`, `MSG_NOTIFICATION`, `MSG_CTRUNC`.
    pub(crate) flags: c_int,
    /// The control messages.
    pub(crate) control: Control,
}

/// Room for control messages, aligned as the kernel's `cmsghdr` wants it.
#[repr(C, align(8))]
pub(crate) struct Control {
    pub(crate) bytes: [u8; CONTROL_LEN],
    pub(crate) length: usize,
}

/// Makes a non-blocking one-to-one SCTP socket.
pub(crate) fn socket(domain: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes plain integers.
    let fd = check(unsafe { libc::socket(domain, kind, libc::IPPROTO_SCTP) })?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds to one address, given as the bytes of its `sockaddr`.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`, which the kernel copies before it returns.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            length(address.len()),
        )
    })?;
    Ok(())
}

/// Sets an option of the level `SOL_SCTP`.
pub(crate) fn set_option(socket: BorrowedFd<'_>, option: c_int, value: &[u8]) -> io::Result<()> {
    set_option_at(socket, libc::IPPROTO_SCTP, option, value)
}

/// Lets IP fragment what is sent from now on, or refuse what is too long for the interface and
/// forbid routers to fragment the rest, whatever path MTU they have reported.
pub(crate) fn allow_fragments(socket: BorrowedFd<'_>, v6: bool, allow: bool) -> io::Result<()> {
    let set =
        |level, option, value: c_int| set_option_at(socket, level, option, &value.to_ne_bytes());
    if v6 {
        // Only the sender may fragment, by the path MTU that routers have reported.
        let discovery = if allow {
            libc::IPV6_PMTUDISC_WANT
        } else {
            libc::IPV6_PMTUDISC_PROBE
        };
        set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discovery)?;
        set(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, c_int::from(!allow))
    } else {
        let discovery = if allow {
            libc::IP_PMTUDISC_DONT
        } else {
            libc::IP_PMTUDISC_PROBE
        };
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discovery)
    }
}

fn set_option_at(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: &[u8],
) -> io::Result<()> {
    let (pointer, length) = (value.as_ptr().cast::<c_void>(), length(value.len()));
    // SAFETY: pointer and length describe `value`, which the kernel copies before it returns.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, length) })?;
    Ok(())
}

/// Reads an option: `value` goes in as the question and comes back as the answer. Returns the
/// answer's length.
pub(crate) fn option(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = length(value.len());
    let pointer = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: pointer and length describe `value`, and the kernel writes no more than `length`
    // says.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, pointer, &raw mut length)
    })?;
    Ok((length as usize).min(value.len()))
}

/// Receives a piece of a message, or a notification, into the spare capacity of `buffer`.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut BytesMut) -> io::Result<Received> {
    let mut control = Control {
        bytes: [0; CONTROL_LEN],
        length: 0,
    };
    let spare = buffer.spare_capacity_mut();
    let mut part = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len(),
    };
    // SAFETY: `msghdr` is integers and pointers, for all of which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
    // SAFETY: the header points at `part`, the spare capacity and the control buffer, with their
    // lengths; all of them outlive the call, and the kernel only writes to them.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel wrote `length` bytes there, no more than the spare capacity.
    unsafe { buffer.advance_mut(length) };
    control.length = (header.msg_controllen as usize).min(CONTROL_LEN);
    Ok(Received {
        length,
        flags: header.msg_flags,
        control,
    })
}

/// Sends a whole message with the control messages in `control`.
pub(crate) fn send(socket: BorrowedFd<'_>, payload: &[u8], control: &Control) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: `msghdr` is integers and pointers, for all of which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.as_ptr().cast_mut().cast();
    header.msg_controllen = control.length as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header points at `part`, the payload and the control buffer, with their lengths;
    // all of them outlive the call, and the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    match usize::try_from(sent) {
        Ok(sent) if sent == payload.len() => Ok(()),
        Ok(_) => Err(io::Error::other("the kernel took a part of a message")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn length(length: usize) -> socklen_t {
    socklen_t::try_from(length).expect("options and addresses are a few hundred bytes")
}
