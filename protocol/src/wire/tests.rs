//! Every message whole, cut at each byte, with something after it, and with each byte changed;
//! against vectors that were not made with this code.

use proptest::prelude::*;

use super::control::{ClientMessage, Common, ServerMessage, split_frame};
use super::record::{Open, TransferReply, decode_abort};
use super::round_trip::{Decoded, Origin, decode, unframed};
use crate::channel::kind::decode_credit;
use crate::limits::MAX_REPLY_LEN;
use crate::signed::{FilePath, ManifestHash, PublicKey, StoreId, Timestamp, UserId, UserName};
use crate::{CloseCode, NewPassword, ProtocolError, Refusal, RefusalCode, Reply, Request, Role};

/// Sender, name, and the message: a frame, or kind and body of a record.
fn vectors() -> Vec<(Origin, String, Vec<u8>)> {
    let mut vectors = Vec::new();
    for line in include_str!("../../../tests/vectors/messages.hex").lines() {
        let [from, name, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let digits = hex.as_bytes().chunks(2);
        let bytes: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let froms = match from {
            "client" => vec![Origin::Client],
            "server" => vec![Origin::Server],
            "both" => vec![Origin::Client, Origin::Server],
            "record" => vec![Origin::Record],
            _ => panic!("{line}"),
        };
        vectors.extend(
            froms
                .into_iter()
                .map(|from| (from, name.to_owned(), bytes.clone())),
        );
    }
    vectors
}

fn vector(name: &str) -> Vec<u8> {
    let found = vectors().into_iter().find(|(_, other, _)| other == name);
    let (from, _, bytes) = found.unwrap();
    if from == Origin::Record {
        bytes[1..].to_vec()
    } else {
        bytes[4..].to_vec()
    }
}

#[test]
fn every_vector_whole_cut_and_lengthened() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 54);
    for (from, name, message) in vectors {
        let body = if from == Origin::Record {
            message.clone()
        } else {
            for len in 0..message.len() {
                assert_eq!(
                    split_frame(&message[..len], MAX_REPLY_LEN),
                    Ok(None),
                    "{name} cut to {len}"
                );
            }
            let longer = [&message[..], b"next"].concat();
            assert_eq!(
                split_frame(&longer, MAX_REPLY_LEN),
                Ok(Some(&message[4..])),
                "{name}"
            );
            assert_eq!(
                split_frame(&message, message.len() - 5),
                Err(ProtocolError::TooLong)
            );
            unframed(&message)
        };
        match decode(from, &body) {
            Ok(Decoded::Canonical(again)) => assert_eq!(again, body, "{name}"),
            Ok(Decoded::Normalized) => assert_eq!(name, "request-list-first"),
            Err(error) => panic!("{name}: {error}"),
        }
        for len in 0..body.len() {
            decode(from, &body[..len]).expect_err(&format!("{name} cut to {len}"));
        }
        for extra in [0, 1, 0xFF] {
            decode(from, &[&body[..], &[extra]].concat()).expect_err(&format!("{name} lengthened"));
        }
        // One spelling: what is taken is written again as it came.
        for at in 0..body.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut changed = body.clone();
                changed[at] ^= flip;
                if let Ok(Decoded::Canonical(again)) = decode(from, &changed) {
                    assert_eq!(again, changed, "{name} changed at {at}");
                }
            }
        }
    }
}

/// RFC 8032 §7.1, the first test's public key.
const RFC_8032_KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

#[test]
fn what_clients_say() {
    let decode = |name| ClientMessage::decode(&vector(name)).unwrap();
    assert_eq!(decode("hello"), ClientMessage::Hello { streams: 64 });
    assert_eq!(decode("user"), ClientMessage::User("alice".to_owned()));
    assert_eq!(
        decode("password"),
        ClientMessage::Password("secret".to_owned().into())
    );
    let list = Request::List {
        prefix: "docs/".to_owned(),
        after: Some(FilePath::parse("docs/a.txt").unwrap()),
        limit: 100,
    };
    let add = Request::AddUser {
        name: UserName::parse("bob").unwrap(),
        role: Role::Guest,
        password: Some(NewPassword::new("secret".to_owned().into())),
        key: Some((
            PublicKey::from_bytes(RFC_8032_KEY).unwrap(),
            "bob@laptop".to_owned(),
        )),
    };
    assert!(!format!("{add:?}").contains("secret"));
    assert_eq!(
        decode("request-add-user"),
        ClientMessage::Request {
            id: 7,
            request: Ok(add)
        }
    );
    let set = Request::SetRole {
        user: UserName::parse("bob").unwrap(),
        role: Role::Admin,
    };
    assert_eq!(
        decode("request-set-role"),
        ClientMessage::Request {
            id: 10,
            request: Ok(set)
        }
    );
    assert_eq!(
        decode("request-list"),
        ClientMessage::Request {
            id: 7,
            request: Ok(list)
        }
    );
    let stat = Request::Stat {
        path: FilePath::parse("docs/ä.txt").unwrap(),
    };
    assert_eq!(
        decode("request-stat"),
        ClientMessage::Request {
            id: 7,
            request: Ok(stat)
        }
    );
    let close = Common::Close {
        code: CloseCode::Record,
        message: "record not authentic".to_owned(),
    };
    assert_eq!(decode("close"), ClientMessage::Common(close));
}

#[test]
fn what_servers_say() {
    let decode = |name| ServerMessage::decode(&vector(name)).unwrap();
    let reply = |name| match decode(name) {
        ServerMessage::Reply { id: 7, result } => result,
        other => panic!("{other:?}"),
    };
    let store: StoreId = "00112233445566778899aabbccddeeff".parse().unwrap();
    let uid: UserId = "0f1e2d3c4b5a69788796a5b4c3d2e1f0".parse().unwrap();
    let hello = ServerMessage::decode(&{
        let (_, _, bytes) = vectors()
            .into_iter()
            .find(|(from, name, _)| *from == Origin::Server && name == "hello")
            .unwrap();
        bytes[4..].to_vec()
    });
    assert_eq!(hello, Ok(ServerMessage::Hello { streams: 64, store }));
    assert_eq!(
        decode("ask-credential"),
        ServerMessage::AskCredential { attempts_left: 3 }
    );
    assert_eq!(
        decode("logged-in"),
        ServerMessage::LoggedIn {
            uid,
            role: Role::Maintainer
        }
    );
    assert_eq!(
        reply("reply-refused"),
        Err(Refusal::new(RefusalCode::Denied, "guests do not upload"))
    );
    let Ok(Reply::List {
        entries,
        more: true,
    }) = reply("reply-list")
    else {
        panic!("no list");
    };
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].size, entries[0].mode, entries[0].version),
        (1 << 40, 0o640, 3)
    );
    assert_eq!(
        entries[0].mtime,
        Timestamp {
            seconds: -1,
            nanos: 999_999_999
        }
    );
    assert_eq!(entries[0].manifest.as_bytes()[0], 31);
    assert!(!entries[0].damaged);
    let Ok(Reply::Users(users)) = reply("reply-users") else {
        panic!("no users");
    };
    assert_eq!(
        users
            .iter()
            .map(|user| (user.name.as_str(), user.role, user.keys))
            .collect::<Vec<_>>(),
        [("alice", Role::Admin, 2), ("bob", Role::Guest, 0),]
    );
    let Ok(Reply::Keys(keys)) = reply("reply-keys") else {
        panic!("no keys");
    };
    assert_eq!(keys[0].comment, "laptop");
    assert_eq!(
        keys[1].statement.as_ref().map(|signed| *signed.signer()),
        Some(keys[0].key)
    );
}

#[test]
fn what_records_say() {
    assert_eq!(
        Open::decode(&vector("open-get")),
        Ok(Ok(Open::Get {
            path: FilePath::parse("docs/a.txt").unwrap(),
            offset: 65_536,
            manifest: Some(ManifestHash::from_bytes(std::array::from_fn(|i| {
                u8::try_from(i).unwrap()
            }))),
            window: 4 << 20,
        }))
    );
    for (name, replace_damaged) in [("open-put", false), ("open-put-replacing-damaged", true)] {
        let open = Open::Put {
            path: FilePath::parse("docs/a.txt").unwrap(),
            size_hint: 12_345,
            replace_damaged,
        };
        assert_eq!(Open::decode(&vector(name)), Ok(Ok(open)));
    }
    assert_eq!(
        TransferReply::decode(&vector("committed")),
        Ok(TransferReply::Committed)
    );
    assert_eq!(decode_credit(&vector("credit")), Ok(5 << 20));
    assert_eq!(
        decode_abort(&vector("abort")),
        Ok(Refusal::new(RefusalCode::NoSpace, "disk full"))
    );
}

#[test]
fn values_out_of_range_are_malformed() {
    let change = |name: &str, at: usize, to: &[u8]| {
        let mut body = vector(name);
        body[at..at + to.len()].copy_from_slice(to);
        body
    };
    // Nanoseconds, then mode, of the one list entry; the role of a user; a flag; padding.
    let list = vector("reply-list");
    let nanos = list
        .windows(4)
        .position(|bytes| bytes == 999_999_999_u32.to_be_bytes())
        .unwrap();
    for (at, value) in [
        (nanos, 1_000_000_000_u32),
        (nanos + 4, 0o1_000),
        (nanos + 4, 1 << 31),
    ] {
        let body = change("reply-list", at, &value.to_be_bytes());
        assert_eq!(ServerMessage::decode(&body), Err(ProtocolError::Malformed));
    }
    assert_eq!(
        ServerMessage::decode(&change("logged-in", 17, &[0])),
        Err(ProtocolError::Malformed)
    );
    assert_eq!(
        ServerMessage::decode(&change("logged-in", 17, &[4])),
        Err(ProtocolError::Malformed)
    );
    assert_eq!(
        ServerMessage::decode(&change("reply-list-empty", 10, &[2])),
        Err(ProtocolError::Malformed)
    );
    assert_eq!(
        ClientMessage::decode(&change("password", 256, &[1])),
        Err(ProtocolError::Malformed)
    );
    // Padding of a block too many.
    let longer = [&vector("password")[..], &[0; 256]].concat();
    assert_eq!(
        ClientMessage::decode(&longer),
        Err(ProtocolError::Malformed)
    );
    // A count of entries that never come takes no memory.
    let body = change("reply-users", 6, &u32::MAX.to_be_bytes());
    assert_eq!(ServerMessage::decode(&body), Err(ProtocolError::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// What is taken is written again as it came, whatever it is.
    #[test]
    fn anything_decodes_to_one_spelling(
        kind in prop_oneof![0_u8..12, 0x10_u8..0x12, 0x20_u8..0x23, any::<u8>()],
        rest in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..80),
    ) {
        let body = [&[kind][..], &rest].concat();
        for from in [Origin::Client, Origin::Server, Origin::Record] {
            if let Ok(Decoded::Canonical(again)) = decode(from, &body) {
                prop_assert_eq!(again, body.clone());
            }
        }
    }
}
