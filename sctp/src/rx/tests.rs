use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::testing::start;

fn data(tsn: u32, stream: u16, ssn: u16, flags: &str, payload: &'static [u8]) -> Data<'static> {
    Data {
        tsn,
        stream,
        ssn,
        ppid: 0,
        unordered: flags.contains('U'),
        begin: flags.contains('B'),
        end: flags.contains('E'),
        immediate: false,
        payload,
    }
}

fn rx() -> Rx {
    Rx::new(10, 4, &Config::default())
}

fn read(rx: &mut Rx) -> Vec<(u16, Vec<u8>)> {
    std::iter::from_fn(|| rx.recv())
        .map(|message| (message.stream, message.payload.to_vec()))
        .collect()
}

#[test]
fn a_gap_on_one_stream_does_not_hold_up_another() {
    let mut rx = rx();
    // 10 is missing.
    assert_eq!(
        rx.handle_data(&data(11, 0, 1, "BE", b"late")),
        Ok(Received::New)
    );
    assert_eq!(
        rx.handle_data(&data(12, 1, 0, "B", b"who")),
        Ok(Received::New)
    );
    assert_eq!(
        rx.handle_data(&data(13, 1, 0, "E", b"le")),
        Ok(Received::New)
    );
    assert_eq!(read(&mut rx), [(1, b"whole".to_vec())]);
    assert_eq!(
        rx.blocks().collect::<Vec<_>>(),
        [GapBlock { start: 2, end: 4 }]
    );
    assert_eq!(
        rx.handle_data(&data(10, 0, 0, "BE", b"soon")),
        Ok(Received::New)
    );
    assert_eq!(
        read(&mut rx),
        [(0, b"soon".to_vec()), (0, b"late".to_vec())]
    );
    assert_eq!((rx.cumulative(), rx.has_gaps()), (13, false));
}

#[test]
fn a_received_payload_is_alone_in_its_buffer() {
    let mut rx = rx();
    for chunk in [
        data(10, 0, 0, "BE", b"whole"),
        data(11, 0, 1, "B", b"in"),
        data(12, 0, 1, "E", b"two"),
    ] {
        assert_eq!(rx.handle_data(&chunk), Ok(Received::New));
    }
    for _ in 0..2 {
        let payload = rx.recv().expect("a message").payload;
        let before = payload.as_ptr();
        assert_eq!(BytesMut::from(payload).as_ptr(), before, "not copied");
    }
}

#[test]
fn unordered_messages_overtake() {
    let mut rx = rx();
    assert_eq!(
        rx.handle_data(&data(11, 0, 1, "BE", b"ordered")),
        Ok(Received::New)
    );
    assert_eq!(
        rx.handle_data(&data(12, 0, 0, "UBE", b"free")),
        Ok(Received::New)
    );
    assert_eq!(read(&mut rx), [(0, b"free".to_vec())]);
}

#[test]
fn fragments_may_come_in_any_order() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let pieces = [
            data(10, 2, 0, "B", b"abc"),
            data(11, 2, 0, "", b"de"),
            data(12, 2, 0, "E", b"f"),
        ];
        let mut rx = rx();
        for index in order {
            assert_eq!(
                rx.handle_data(&pieces[index]),
                Ok(Received::New),
                "{order:?}"
            );
        }
        assert_eq!(read(&mut rx), [(2, b"abcdef".to_vec())], "{order:?}");
        assert_eq!(rx.buffered, 0, "{order:?}");
    }
}

#[test]
fn duplicates_are_reported_and_not_delivered_again() {
    let mut rx = rx();
    for expected in [Received::New, Received::Duplicate, Received::Duplicate] {
        assert_eq!(rx.handle_data(&data(10, 0, 0, "BE", b"x")), Ok(expected));
    }
    assert_eq!(
        rx.duplicates(),
        [10, 10],
        "listed as often as they came again"
    );
    rx.acknowledged();
    assert_eq!(rx.duplicates(), []);
    assert_eq!(read(&mut rx).len(), 1);
}

#[test]
fn fragments_that_do_not_belong_together_are_a_violation() {
    let cases: [&[Data<'static>]; 6] = [
        &[data(10, 0, 0, "E", b"x")],
        &[data(10, 0, 0, "B", b"x"), data(11, 0, 0, "B", b"x")],
        &[data(10, 0, 0, "B", b"x"), data(11, 1, 0, "E", b"x")],
        &[data(10, 0, 0, "B", b"x"), data(11, 0, 1, "E", b"x")],
        &[data(12, 0, 0, "E", b"x"), data(11, 0, 0, "BE", b"x")],
        &[data(12, 0, 0, "BE", b"x"), data(11, 0, 0, "B", b"x")],
    ];
    for case in cases {
        let mut rx = rx();
        let results: Vec<_> = case.iter().map(|chunk| rx.handle_data(chunk)).collect();
        assert!(
            results.last().is_some_and(Result::is_err),
            "{case:?}: {results:?}"
        );
        assert!(
            results[..results.len() - 1].iter().all(Result::is_ok),
            "{case:?}: {results:?}"
        );
    }
}

#[test]
fn sequence_numbers_neither_repeat_nor_skip() {
    let mut rx = rx();
    assert_eq!(
        rx.handle_data(&data(10, 0, 0, "BE", b"x")),
        Ok(Received::New)
    );
    assert!(rx.handle_data(&data(11, 0, 0, "BE", b"x")).is_err());
    let mut rx = self::rx();
    assert!(rx.handle_data(&data(10, 0, 1, "BE", b"x")).is_err());
}

#[test]
fn an_unknown_stream_is_acknowledged_and_dropped() {
    let mut rx = rx();
    assert_eq!(
        rx.handle_data(&data(10, 4, 0, "BE", b"x")),
        Ok(Received::InvalidStream)
    );
    assert_eq!((rx.cumulative(), rx.is_readable()), (10, false));
}

#[test]
fn a_full_window_takes_nothing_new_but_lets_gaps_be_filled() {
    let config = Config {
        receive_window: 4_000,
        max_receive_window: 4_000,
        ..Config::default()
    };
    let mut rx = Rx::new(10, 4, &config);
    let payload: &'static [u8] = &[7; 1_000];
    let mut tsn = 11;
    while rx.handle_data(&data(
        tsn,
        0,
        u16::try_from(tsn - 10).unwrap(),
        "BE",
        payload,
    )) == Ok(Received::New)
    {
        tsn += 1;
    }
    assert_eq!(tsn, 14, "three messages with their overhead");
    assert_eq!(
        rx.acknowledgement(),
        (9, 0),
        "the rest is smaller than a packet"
    );
    assert_eq!(
        rx.handle_data(&data(10, 0, 0, "BE", payload)),
        Ok(Received::New)
    );
    assert_eq!(
        rx.handle_data(&data(14, 0, 4, "BE", payload)),
        Ok(Received::Dropped)
    );
    rx.acknowledged();
    assert!(!rx.ack_pending());
    assert_eq!(read(&mut rx).len(), 4);
    assert!(rx.ack_due(), "the window has opened");
    assert_eq!(rx.acknowledgement(), (13, 4_000));
}

#[test]
fn the_next_tsn_is_taken_however_many_ranges_there_are() {
    let mut rx = rx();
    let mut tsn = 12;
    while rx.handle_data(&data(tsn, 0, 0, "UBE", b"x")) == Ok(Received::New) {
        tsn += 2;
    }
    assert_eq!(rx.blocks().count(), crate::limits::MAX_RECEIVED_RANGES);
    assert_eq!(
        rx.handle_data(&data(10, 0, 0, "UBE", b"x")),
        Ok(Received::New)
    );
    assert_eq!(rx.cumulative(), 10);
    assert_eq!(
        rx.handle_data(&data(11, 0, 0, "UBE", b"x")),
        Ok(Received::New)
    );
    assert_eq!(rx.cumulative(), 12);
}

#[test]
fn acknowledgements_wait_for_a_second_packet_or_the_delay() {
    let (mut rx, now) = (rx(), start());
    rx.packet_done(false, true, now);
    assert!(rx.ack_due(), "the first data is acknowledged at once");
    rx.acknowledged();
    rx.packet_done(false, true, now);
    assert!(!rx.ack_due() && rx.ack_pending());
    assert_eq!(rx.deadline(), Some(now + Duration::from_millis(20)));
    rx.packet_done(false, true, now);
    assert!(rx.ack_due());
    rx.acknowledged();
    rx.packet_done(false, true, now);
    rx.handle_timeout(now + Duration::from_millis(20));
    assert!(rx.ack_due());
    rx.acknowledged();
    rx.packet_done(true, true, now);
    assert!(rx.ack_due(), "the peer asked for it");
}

/// The chunks that a sender makes of messages, in the order of their TSNs.
fn chunks(messages: &[(u16, bool, Vec<u8>)], piece: usize) -> Vec<(Data<'_>, usize)> {
    let mut ssns = [0u16; 4];
    let mut out = Vec::new();
    for (index, (stream, unordered, payload)) in messages.iter().enumerate() {
        let count = payload.len().div_ceil(piece);
        for (at, payload) in payload.chunks(piece).enumerate() {
            let chunk = Data {
                tsn: u32::MAX.wrapping_add(out.len() as u32).wrapping_sub(20),
                stream: *stream,
                ssn: ssns[usize::from(*stream)],
                ppid: 0,
                unordered: *unordered,
                begin: at == 0,
                end: at + 1 == count,
                immediate: false,
                payload,
            };
            out.push((chunk, index));
        }
        if !unordered {
            ssns[usize::from(*stream)] += 1;
        }
    }
    out
}

proptest! {
    /// Against a simple model: a message is delivered when all its fragments have arrived, ordered
    /// ones in order.
    #[test]
    fn whatever_the_order_of_arrival_everything_comes_out_once(
        messages in prop::collection::vec((0u16..4, any::<bool>(), prop::collection::vec(any::<u8>(), 1..60)), 1..30),
        piece in 1usize..40,
        keys in prop::collection::vec(any::<u32>(), 200),
        repeat in any::<bool>(),
    ) {
        let chunks = chunks(&messages, piece);
        let mut arrivals: Vec<usize> = (0..chunks.len()).collect();
        arrivals.sort_by_key(|&index| keys[index % keys.len()].wrapping_mul(index as u32 + 1));
        let mut rx = Rx::new(chunks[0].0.tsn, 4, &Config::default());
        let mut arrived = vec![0usize; messages.len()];
        let mut out = vec![Vec::new(); 4];
        for index in arrivals {
            let (chunk, message) = &chunks[index];
            prop_assert_eq!(rx.handle_data(chunk), Ok(Received::New));
            if repeat {
                prop_assert_eq!(rx.handle_data(chunk), Ok(Received::Duplicate));
            }
            arrived[*message] += chunk.payload.len();
            while let Some(message) = rx.recv() {
                out[usize::from(message.stream)].push((message.unordered, message.payload.to_vec()));
            }
            for stream in 0..4u16 {
                let mine = || messages.iter().zip(&arrived).filter(|((s, ..), _)| *s == stream);
                let whole = |((_, _, payload), got): &(&(u16, bool, Vec<u8>), &usize)| payload.len() == **got;
                let ordered: Vec<&Vec<u8>> =
                    mine().filter(|((_, unordered, _), _)| !unordered).take_while(whole).map(|((.., payload), _)| payload).collect();
                let delivered = &out[usize::from(stream)];
                let in_order: Vec<&Vec<u8>> = delivered.iter().filter(|(unordered, _)| !unordered).map(|(_, p)| p).collect();
                prop_assert_eq!(in_order, ordered);
                let free = mine().filter(|((_, unordered, _), _)| *unordered).filter(whole).count();
                prop_assert_eq!(delivered.iter().filter(|(unordered, _)| *unordered).count(), free);
            }
        }
        prop_assert_eq!(rx.buffered, 0);
        prop_assert!(!rx.has_gaps());
    }
}
