//! The layouts, checked against the structures as the header declares them.

use std::mem::{offset_of, size_of};

use super::*;

/// The structures as the header declares them, to check sizes and offsets against.
#[repr(C, packed)]
struct Paddrparams {
    assoc_id: i32,
    address: libc::sockaddr_storage,
    hbinterval: u32,
    pathmaxrxt: u16,
    pathmtu: u32,
    sackdelay: u32,
    flags: u32,
    flowlabel: u32,
    dscp: u8,
}

#[repr(C)]
struct Paddrthlds {
    assoc_id: i32,
    address: libc::sockaddr_storage,
    pathmaxrxt: u16,
    pathpfthld: u16,
}

#[repr(C, packed)]
struct Paddrinfo {
    assoc_id: i32,
    address: libc::sockaddr_storage,
    state: i32,
    cwnd: u32,
    srtt: u32,
    rto: u32,
    mtu: u32,
}

#[repr(C)]
struct Status {
    assoc_id: i32,
    state: i32,
    rwnd: u32,
    unackdata: u16,
    penddata: u16,
    instrms: u16,
    outstrms: u16,
    fragmentation_point: u32,
    primary: Paddrinfo,
}

#[repr(C)]
struct Stats {
    assoc_id: i32,
    address: libc::sockaddr_storage,
    /// `sas_oodchunks` is the twelfth.
    counts: [u64; 15],
}

#[repr(C, packed)]
struct PaddrChange {
    kind: u16,
    flags: u16,
    length: u32,
    address: libc::sockaddr_storage,
    state: i32,
    error: i32,
    assoc_id: i32,
}

#[test]
fn structures_have_the_sizes_and_offsets_of_the_header() {
    assert_eq!(size_of::<libc::sockaddr_storage>(), STORAGE);
    // Packed, then rounded up to a multiple of 4.
    let params = paddrparams(Duration::from_millis(0x0102_0304), 0x0506);
    assert_eq!(params.len(), size_of::<Paddrparams>().next_multiple_of(4));
    assert_eq!(
        u32_at(&params, offset_of!(Paddrparams, hbinterval)),
        Some(0x0102_0304)
    );
    assert_eq!(
        u16_at(&params, offset_of!(Paddrparams, pathmaxrxt)),
        Some(0x0506)
    );
    assert_eq!(u32_at(&params, offset_of!(Paddrparams, flags)), Some(1));
    let thresholds = paddrthlds(7, 8);
    assert_eq!(thresholds.len(), size_of::<Paddrthlds>());
    assert_eq!(
        u16_at(&thresholds, offset_of!(Paddrthlds, pathmaxrxt)),
        Some(7)
    );
    assert_eq!(
        u16_at(&thresholds, offset_of!(Paddrthlds, pathpfthld)),
        Some(8)
    );
    assert_eq!(PADDRINFO_LEN, size_of::<Paddrinfo>());
    assert_eq!(offset_of!(Paddrinfo, state), 4 + STORAGE);
    assert_eq!(STATUS_LEN, size_of::<Status>());
    assert_eq!(offset_of!(Status, fragmentation_point), 20);
    assert_eq!(
        offset_of!(Status, primary) + offset_of!(Paddrinfo, address),
        28
    );
    assert_eq!(STATS_LEN, size_of::<Stats>());
    assert_eq!(offset_of!(Stats, counts), 8 + STORAGE);
    assert_eq!(offset_of!(PaddrChange, state), 8 + STORAGE);
    assert_eq!(
        initmsg(1, 2, Duration::ZERO).len(),
        size_of::<libc::sctp_initmsg>()
    );
    assert_eq!(
        (
            rtoinfo(Duration::ZERO, Duration::ZERO, Duration::ZERO).len(),
            assocparams(1).len()
        ),
        (16, 20)
    );
    assert_eq!(
        (
            event(1).len(),
            sack_info(Duration::ZERO).len(),
            assoc_value(1).len()
        ),
        (8, 12, 8)
    );
}

#[test]
fn control_messages_have_the_layout_of_the_header() {
    let control = sndinfo(0x1234);
    assert_eq!(
        control.length,
        size_of::<libc::cmsghdr>() + size_of::<libc::sctp_sndinfo>()
    );
    assert_eq!(
        u16_at(
            &control.bytes,
            CMSG_HEADER + offset_of!(libc::sctp_sndinfo, snd_sid)
        ),
        Some(0x1234)
    );
    // Behind a message of another kind, on stream 5, unordered.
    let mut bytes = vec![0; 24];
    bytes[..8].copy_from_slice(&20u64.to_ne_bytes());
    let mut info = vec![0; CMSG_HEADER + size_of::<libc::sctp_rcvinfo>()];
    info[..8].copy_from_slice(&44u64.to_ne_bytes());
    info[8..12].copy_from_slice(&libc::IPPROTO_SCTP.to_ne_bytes());
    info[12..16].copy_from_slice(&libc::SCTP_RCVINFO.to_ne_bytes());
    info[16 + offset_of!(libc::sctp_rcvinfo, rcv_sid)] = 5;
    info[16 + offset_of!(libc::sctp_rcvinfo, rcv_flags)] = libc::SCTP_UNORDERED as u8;
    bytes.extend(info);
    assert_eq!(
        rcvinfo(&bytes),
        Some(RcvInfo {
            stream: 5,
            unordered: true
        })
    );
    for cut in 0..bytes.len() {
        assert_eq!(rcvinfo(&bytes[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn addresses_survive_and_mapped_ones_become_ipv4() {
    for text in ["10.1.2.3:9260", "[fd00::1]:1", "[fe80::1%3]:65535"] {
        let there: SocketAddr = text.parse().unwrap();
        let bytes = address(&there);
        assert_eq!(read_address(&bytes), Some((there, bytes.len())));
        for cut in 0..bytes.len() {
            let cut = read_address(&bytes[..cut]);
            assert!(cut.is_none() || there.is_ipv4(), "{text}"); // IPv4 ends in padding
        }
    }
    let mapped = address(&"[::ffff:10.1.2.3]:7".parse().unwrap());
    assert_eq!(
        read_address(&mapped),
        Some(("10.1.2.3:7".parse().unwrap(), 28))
    );
    assert_eq!(read_address(&[0; 28]), None);
}

#[test]
fn notifications_are_read_and_short_ones_are_not() {
    let assoc_change = |state: u16| {
        let fields = [ASSOC_CHANGE, 0, 20, 0, state, 0, 10, 64, 0, 0];
        fields
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .collect::<Vec<u8>>()
    };
    assert_eq!(
        notification(&assoc_change(0)),
        Some(Notification::Up { streams: 10 })
    );
    assert_eq!(notification(&assoc_change(1)), Some(Notification::Lost));
    assert_eq!(
        notification(&assoc_change(2)),
        Some(Notification::Restarted)
    );
    assert_eq!(
        notification(&assoc_change(3)),
        Some(Notification::ShutdownComplete)
    );
    assert_eq!(
        notification(&assoc_change(4)),
        Some(Notification::CannotStart)
    );
    assert_eq!(notification(&assoc_change(0)[..12]), None);
    let remote: SocketAddr = "10.0.0.1:9260".parse().unwrap();
    for (state, expected) in [
        (0, PathState::Active),
        (1, PathState::Inactive),
        (5, PathState::Active),
        (6, PathState::Inactive),
    ] {
        let mut bytes = PEER_ADDR_CHANGE.to_ne_bytes().to_vec();
        bytes.resize(size_of::<PaddrChange>(), 0);
        bytes[8..24].copy_from_slice(&address(&remote));
        bytes[offset_of!(PaddrChange, state)] = state;
        assert_eq!(
            notification(&bytes),
            Some(Notification::Path {
                remote,
                state: expected
            })
        );
        assert_eq!(notification(&bytes[..139]), None);
    }
    assert_eq!(notification(&[]), None);
    assert_eq!(notification(&[0xff, 0xff]), Some(Notification::Other));
}
