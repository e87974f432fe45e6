use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::header::checksum;
use super::*;

const HEADER: Header = Header {
    source_port: 5_000,
    destination_port: 9_260,
    tag: 0xdead_beef,
};

/// An INIT as a multi-homed kernel sends it: two addresses, address types, ECN, extensions, partial
/// reliability, a cookie preservative. The checksum was computed by another implementation of
/// CRC32c.
const KERNEL_INIT: [u8; 80] = [
    0x9c, 0x40, 0x24, 0x2c, 0x00, 0x00, 0x00, 0x00, 0x7e, 0xd4, 0x4f, 0x2b, 0x01, 0x00, 0x00, 0x44,
    0x0e, 0xdd, 0xca, 0x08, 0x00, 0x01, 0xa0, 0x00, 0x00, 0x0a, 0xff, 0xff, 0x55, 0x08, 0x36, 0x37,
    0x00, 0x05, 0x00, 0x08, 0x0a, 0x00, 0x00, 0x01, 0x00, 0x05, 0x00, 0x08, 0x0a, 0x00, 0x01, 0x01,
    0x00, 0x0c, 0x00, 0x08, 0x00, 0x05, 0x00, 0x06, 0x80, 0x00, 0x00, 0x04, 0x80, 0x08, 0x00, 0x08,
    0xc0, 0x82, 0x80, 0xc1, 0xc0, 0x00, 0x00, 0x04, 0x00, 0x09, 0x00, 0x08, 0x00, 0x00, 0x00, 0xfa,
];

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = Writer::new(&mut buffer, HEADER, 1_452);
    write(&mut writer);
    writer.finish();
    buffer
}

fn only(bytes: &[u8]) -> Chunk<'_> {
    let packet = Packet::parse(bytes).expect("a packet");
    let mut chunks = packet.chunks();
    let chunk = chunks
        .next()
        .expect("a chunk")
        .expect("a well-formed chunk");
    assert!(chunks.next().is_none(), "one chunk");
    chunk
}

/// Restores the checksum of a packet that a test has changed.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

#[test]
fn an_init_of_a_kernel_reads_as_it_was_meant() {
    let packet = Packet::parse(&KERNEL_INIT).expect("the checksum matches");
    assert_eq!(
        packet.header,
        Header {
            source_port: 40_000,
            destination_port: 9_260,
            tag: 0
        }
    );
    let Chunk::Init(init) = only(&KERNEL_INIT) else {
        panic!("an INIT")
    };
    assert_eq!(init.tag, 0x0edd_ca08);
    assert_eq!(
        (init.window, init.outbound, init.inbound),
        (106_496, 10, 65_535)
    );
    assert_eq!(init.tsn, 1_426_601_527);
    let digest = init.digest();
    assert_eq!(
        *digest.addresses,
        [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 1, 1])]
    );
    assert_eq!(digest.preservative, Some(250));
    let reported: Vec<u16> = digest.unrecognized().map(|item| item.kind).collect();
    assert_eq!(
        reported,
        [0xc000],
        "of the unknown ones only partial reliability asks to be reported"
    );
}

#[test]
fn crc32c_is_the_published_one() {
    // RFC 3720 §B.4.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c::crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
}

#[test]
fn the_sack_of_the_specification_is_written_as_printed() {
    // RFC 9260 §3.3.4: 12 received in sequence, then 14, 15 and 17.
    let blocks = [GapBlock { start: 2, end: 3 }, GapBlock { start: 5, end: 5 }];
    let bytes = written(|writer| assert!(writer.sack(12, 4_660, blocks.into_iter(), &[])));
    assert_eq!(
        bytes[HEADER_LEN..],
        [
            3, 0, 0, 24, 0, 0, 0, 12, 0, 0, 0x12, 0x34, 0, 2, 0, 0, 0, 2, 0, 3, 0, 5, 0, 5
        ],
    );
    let Chunk::Sack(sack) = only(&bytes) else {
        panic!("a SACK")
    };
    assert_eq!((sack.cumulative, sack.window), (12, 4_660));
    assert!(sack.blocks().eq(blocks));
}

#[test]
fn any_flipped_bit_is_noticed() {
    let bytes = written(|writer| assert!(writer.cookie_ack()));
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            Packet::parse(&bent).err(),
            Some(PacketError::Checksum),
            "bit {bit}"
        );
    }
}

#[test]
fn every_cut_of_a_packet_is_refused_without_panic() {
    let bytes = written(|writer| {
        assert!(writer.heartbeat(b"information"));
        assert!(writer.error(&[Cause::InvalidStream(3), Cause::StaleCookie(9)]));
    });
    for len in 0..bytes.len() {
        if len < HEADER_LEN + 4 {
            assert_eq!(
                Packet::parse(&bytes[..len]).err(),
                Some(PacketError::Length)
            );
            continue;
        }
        let cut = seal(bytes[..len].to_vec());
        let packet = Packet::parse(&cut).expect("sealed again");
        let last = packet.chunks().last().expect("a chunk");
        // A missing final padding is tolerated, a missing byte of the chunk is not.
        assert_eq!(
            last.is_ok(),
            [31, 32, bytes.len()].contains(&len),
            "length {len}: {last:?}"
        );
    }
}

#[test]
fn impossible_lengths_end_the_packet() {
    for (kind, len) in [
        (kind::DATA, 15),
        (kind::DATA, 3),
        (kind::INIT, 19),
        (kind::SACK, 15),
        (kind::SHUTDOWN, 4),
    ] {
        let mut bytes = written(|writer| assert!(writer.raw(kind, 0, &[0; 32])));
        bytes[HEADER_LEN + 2..HEADER_LEN + 4].copy_from_slice(&u16::to_be_bytes(len));
        let bytes = seal(bytes);
        let packet = Packet::parse(&bytes).expect("a packet");
        let chunks: Vec<_> = packet.chunks().collect();
        assert!(
            matches!(chunks[..], [Err(_)]),
            "{kind} of {len}: {chunks:?}"
        );
    }
}

#[test]
fn sack_counts_must_match_its_length() {
    let mut value = vec![0; 20];
    value[9] = 2;
    let bytes = written(|writer| assert!(writer.raw(kind::SACK, 0, &value)));
    assert!(matches!(only(&bytes), Chunk::Sack(_)));
    value[9] = 3;
    let bytes = written(|writer| assert!(writer.raw(kind::SACK, 0, &value)));
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(
        packet.chunks().next(),
        Some(Err(ChunkError::Malformed(kind::SACK)))
    );
}

#[test]
fn the_two_highest_bits_say_what_to_do_with_the_unknown() {
    let table = [
        (0x10, false, false),
        (0x50, false, true),
        (0x90, true, false),
        (0xd0, true, true),
    ];
    for (kind, proceed, report) in table {
        assert_eq!(
            UnknownAction::for_chunk(kind),
            UnknownAction { proceed, report }
        );
        assert_eq!(
            UnknownAction::for_parameter(u16::from(kind) << 8),
            UnknownAction { proceed, report }
        );
    }
}

#[test]
fn an_unknown_parameter_that_says_stop_hides_what_follows() {
    let mut value = Vec::new();
    value.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 7]);
    value.extend_from_slice(&[0, 5, 0, 8, 10, 0, 0, 1]);
    value.extend_from_slice(&[0x40, 1, 0, 4]);
    value.extend_from_slice(&[0, 5, 0, 8, 10, 0, 0, 2]);
    let bytes = written(|writer| assert!(writer.raw(kind::INIT, 0, &value)));
    let Chunk::Init(init) = only(&bytes) else {
        panic!("an INIT")
    };
    let digest = init.digest();
    assert_eq!(*digest.addresses, [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]);
    assert_eq!(digest.unrecognized().count(), 1);
}

#[test]
fn chunk_lengths_do_not_count_the_last_parameters_padding() {
    let bytes = written(|writer| assert!(writer.abort(false, Some(Cause::UserAbort(b"why")))));
    assert_eq!(bytes.len(), HEADER_LEN + 12);
    assert_eq!(bytes[HEADER_LEN + 3], 11);
    let Chunk::Abort {
        reflected: false,
        causes,
    } = only(&bytes)
    else {
        panic!("an ABORT")
    };
    assert_eq!(
        causes.iter().collect::<Vec<_>>(),
        [Cause::UserAbort(b"why")]
    );
}

#[test]
fn what_does_not_fit_leaves_no_trace() {
    let mut buffer = Vec::new();
    let mut writer = Writer::new(&mut buffer, HEADER, 64);
    assert!(!writer.cookie_echo(&[1; 100]));
    assert!(writer.is_empty());
    assert!(writer.cookie_ack());
    assert!(writer.sack(
        1,
        2,
        (0..100).map(|n| GapBlock {
            start: 2 * n + 2,
            end: 2 * n + 2
        }),
        &[5; 9]
    ));
    let len = writer.finish();
    assert_eq!(len, 64);
    let packet = Packet::parse(&buffer).expect("a packet");
    let Some(Ok(Chunk::Sack(sack))) = packet.chunks().nth(1) else {
        panic!("a SACK")
    };
    assert_eq!((sack.blocks().len(), sack.duplicates().len()), (8, 0));
}

fn any_data() -> impl Strategy<Value = (u32, u16, u16, u32, [bool; 4], Vec<u8>)> {
    (
        any::<u32>(),
        any::<u16>(),
        any::<u16>(),
        any::<u32>(),
        any::<[bool; 4]>(),
        prop::collection::vec(any::<u8>(), 1..600),
    )
}

proptest! {
    #[test]
    fn data_comes_back_as_it_went((tsn, stream, ssn, ppid, flags, payload) in any_data()) {
        let [unordered, begin, end, immediate] = flags;
        let data = Data { tsn, stream, ssn, ppid, unordered, begin, end, immediate, payload: &payload };
        let bytes = written(|writer| assert!(writer.data(&data).is_some()));
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(only(&bytes), Chunk::Data(data));
    }

    #[test]
    fn inits_come_back_as_they_went(
        fields in any::<(u32, u32, u16, u16, u32)>(),
        addresses in prop::collection::vec(any::<IpAddr>(), 0..8),
        preservative in any::<Option<u32>>(),
        cookie in prop::collection::vec(any::<u8>(), 0..96),
    ) {
        let (tag, window, outbound, inbound, tsn) = fields;
        let init = Init::new(tag, window, outbound, inbound, tsn);
        let bytes = written(|writer| assert!(writer.init(&init, &addresses, preservative, 300)));
        prop_assert_eq!(bytes.len(), 300);
        let Chunk::Init(read) = only(&bytes) else { panic!("an INIT") };
        prop_assert_eq!((read.tag, read.window, read.outbound, read.inbound, read.tsn), fields);
        let mut expected = InitAddresses::default();
        addresses.iter().for_each(|address| expected.push(address.to_canonical()));
        prop_assert_eq!(read.digest().addresses, expected);
        prop_assert_eq!(read.digest().preservative, preservative);

        let bytes = written(|writer| assert!(writer.init_ack(&init, &cookie, &addresses, std::iter::once(&[0xc0, 0, 0, 4][..]))));
        let Chunk::InitAck(read) = only(&bytes) else { panic!("an INIT ACK") };
        prop_assert_eq!(read.digest().cookie, Some(&cookie[..]));
        prop_assert_eq!(read.parameters().last().map(|item| item.kind), Some(parameter::UNRECOGNIZED));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 4..200)) {
        let mut bytes = written(|_| {});
        bytes.extend_from_slice(&body);
        let bytes = seal(bytes);
        for chunk in Packet::parse(&bytes).expect("a packet").chunks() {
            match chunk {
                Ok(Chunk::Init(init) | Chunk::InitAck(init)) => {
                    prop_assert!(init.digest().unrecognized().count() <= crate::limits::MAX_REPORTS);
                }
                Ok(Chunk::Abort { causes, .. } | Chunk::Error(causes)) => {
                    prop_assert!(causes.iter().count() <= body.len() / 4);
                }
                Ok(Chunk::Sack(sack)) => prop_assert!(sack.blocks().len() + sack.duplicates().len() <= body.len() / 4),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
