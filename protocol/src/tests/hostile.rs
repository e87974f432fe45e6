//! A network that changes what it carries.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::apps::Apps;
use super::pair::{Dice, Host, Pair, content, path};
use crate::channel::LinkChange;
use crate::{CloseReason, Limits, ProtocolError};

/// One thing done to one message.
#[derive(Debug, Clone)]
enum Attack {
    /// Flip a bit, at this place of the message.
    Flip(prop::sample::Index),
    /// Cut to a part.
    Cut(prop::sample::Index),
    /// Lengthen by a byte.
    Lengthen(u8),
    Drop,
    Repeat,
    /// Let the next one of the stream go first.
    Swap,
    /// Move to another stream.
    Move(u16),
    /// Send back to where it came from.
    Reflect,
    Replace(Vec<u8>),
}

fn attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Attack::Flip),
        any::<prop::sample::Index>().prop_map(Attack::Cut),
        any::<u8>().prop_map(Attack::Lengthen),
        Just(Attack::Drop),
        Just(Attack::Repeat),
        Just(Attack::Swap),
        (0_u16..70).prop_map(Attack::Move),
        Just(Attack::Reflect),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Attack::Replace),
    ]
}

impl Attack {
    /// Attacks the first message of a random stream. `false` when none could be.
    fn perform(&self, pair: &mut Pair, dice: &mut Dice, to_server: bool) -> bool {
        let wire = if to_server {
            &mut pair.to_server
        } else {
            &mut pair.to_client
        };
        let Some((stream, payload)) = wire.pop(dice) else {
            return false;
        };
        let queue = wire.streams.get_mut(&stream).unwrap();
        match self {
            Self::Flip(index) => {
                let mut bytes = BytesMut::from(&payload[..]);
                let bit = index.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                queue.push_front(bytes.freeze());
            }
            Self::Cut(index) => queue.push_front(payload.slice(..index.index(payload.len()))),
            Self::Lengthen(byte) => {
                queue.push_front([&payload[..], &[*byte]].concat().into());
            }
            Self::Drop => {}
            Self::Repeat => {
                queue.push_front(payload.clone());
                queue.push_front(payload);
            }
            Self::Swap => match queue.pop_front() {
                Some(next) => {
                    queue.push_front(payload);
                    queue.push_front(next);
                }
                None => {
                    queue.push_front(payload);
                    return false;
                }
            },
            Self::Move(to) if *to == stream => {
                queue.push_front(payload);
                return false;
            }
            Self::Move(to) => wire.streams.entry(*to).or_default().push_front(payload),
            Self::Reflect => {
                let back = if to_server {
                    &mut pair.to_client
                } else {
                    &mut pair.to_server
                };
                back.streams.entry(stream).or_default().push_front(payload);
            }
            Self::Replace(bytes) if bytes[..] == payload[..] => {
                queue.push_front(payload);
                return false;
            }
            Self::Replace(bytes) => queue.push_front(Bytes::copy_from_slice(bytes)),
        }
        true
    }
}

fn check_data(apps: &Apps, there: &[u8], new: &[u8]) {
    for (transfer, data) in &apps.fetched {
        assert!(there.starts_with(data), "wrong bytes arrived");
        if apps.finished.contains(transfer) {
            assert!(there == data, "a get finished without all of it");
        }
    }
    for (_, data) in apps.uploads.values() {
        assert!(new.starts_with(data), "wrong bytes arrived");
    }
    if let Some((_, data)) = apps.files.get(&path("new")) {
        assert!(data == new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever is done to one message of a session with a get and a put: both sides stay sane, no
    /// wrong byte arrives, and who notices says so.
    #[test]
    fn an_attacked_message_ends_the_session(
        seed in any::<u64>(),
        when in 0_usize..40,
        to_server in any::<bool>(),
        attack in attack(),
    ) {
        let (there, new) = (content(200_000), content(150_000));
        let mut apps = Apps::new(seed);
        apps.store("there", &there);
        apps.get("there");
        apps.put("new", &new);
        for _ in 0..when {
            apps.step();
        }
        apps.pair.collect();
        let mut dice = Dice::new(seed);
        let attacked = attack.perform(&mut apps.pair, &mut dice, to_server);
        apps.run();
        check_data(&apps, &there, &new);
        let noticed = apps.closed.iter().flatten().any(|reason| {
            matches!(reason, CloseReason::Protocol(_) | CloseReason::Tls(_))
        });
        if !attacked {
            prop_assert_eq!(apps.finished.len(), 2);
        } else if matches!(attack, Attack::Drop) || matches!(attack, Attack::Cut(_)) {
            // When nothing follows there is nothing to notice it by: the transfer never ends, until
            // the keepalive or the link does.
            prop_assert!(noticed || apps.finished.len() < 2 || apps.served.len() < 2);
        } else {
            prop_assert!(noticed, "{:?}", apps.closed);
        }
        if noticed {
            apps.lose();
            prop_assert!(apps.closed.iter().all(Option::is_some));
            prop_assert!(apps.pair.client.is_closed() && apps.pair.server.is_closed());
        }
    }

    /// Garbage at any stage of the connection, on any stream, to either side.
    #[test]
    fn garbage_never_panics(
        stage in 0_usize..30,
        messages in prop::collection::vec((0_u16..70, prop::collection::vec(any::<u8>(), 0..300)), 1..8),
        to_server in any::<bool>(),
    ) {
        let mut pair = Pair::down(1, &Host::new(), Limits::default(), Limits::default());
        pair.link(LinkChange::Up { streams: 65 });
        for _ in 0..stage {
            pair.step();
            if let Some(crate::client::Event::Identified { .. }) = pair.client_events.pop_front() {
                pair.client.trust().unwrap();
            }
        }
        for (stream, payload) in messages {
            let payload = BytesMut::from(&payload[..]);
            if to_server {
                pair.server.handle_message(stream, payload, pair.now);
            } else {
                pair.client.handle_message(stream, payload, pair.now);
            }
        }
        pair.run();
        while pair.jump() {
            pair.run();
            if pair.client.is_closed() && pair.server.is_closed() {
                break;
            }
        }
        prop_assert!(pair.client.is_closed() && pair.server.is_closed());
    }

    /// A long prefix of a real session, then the same messages again: nothing is accepted twice.
    #[test]
    fn a_replayed_session_goes_nowhere(seed in any::<u64>()) {
        let mut apps = Apps::new(seed);
        apps.store("there", b"there");
        apps.get("there");
        apps.pair.collect();
        let open = apps.pair.to_server.streams[&1][0].clone();
        apps.run();
        prop_assert_eq!(apps.finished.len(), 1);
        apps.pair.server.handle_message(1, BytesMut::from(&open[..]), apps.pair.now);
        apps.run();
        prop_assert_eq!(&apps.closed[1], &Some(CloseReason::Protocol(ProtocolError::Record)));
    }
}
