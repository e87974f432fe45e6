//! What holds for every text and every value: one spelling, no panic, no signature that survives a
//! change.

use proptest::prelude::*;
use proptest::sample::Index;
use towpath_protocol::limits;
use towpath_protocol::signed::{
    FilePath, Fingerprint, KeyAction, KeyStatement, Manifest, Namespace, PublicKey, SignedManifest,
    SignedStatement, SigningKey, Timestamp, UserName, signer_of,
};

use crate::arbitrary::{
    file_path, manifest, manifest_by, signing_key, statement, timestamp, user_name,
};

/// A change that a careless parser would forgive.
#[derive(Debug, Clone)]
enum Slip {
    Insert(Index, String),
    Remove(Index),
    Replace(Index, char),
    SwapLines(Index),
    RepeatLine(Index),
    DropLine(Index),
    Cut(Index),
}

fn slip() -> impl Strategy<Value = Slip> {
    let text = prop_oneof![
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\t".to_owned()),
        Just("0".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\0".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    prop_oneof![
        (any::<Index>(), text).prop_map(|(at, text)| Slip::Insert(at, text)),
        any::<Index>().prop_map(Slip::Remove),
        (any::<Index>(), any::<char>()).prop_map(|(at, c)| Slip::Replace(at, c)),
        any::<Index>().prop_map(Slip::SwapLines),
        any::<Index>().prop_map(Slip::RepeatLine),
        any::<Index>().prop_map(Slip::DropLine),
        any::<Index>().prop_map(Slip::Cut),
    ]
}

impl Slip {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        match self {
            Self::Insert(at, new) => {
                let at = at.index(chars.len() + 1);
                let (before, after) = chars.split_at(at);
                before
                    .iter()
                    .copied()
                    .chain(new.chars())
                    .chain(after.iter().copied())
                    .collect()
            }
            Self::Remove(at) => {
                let at = at.index(chars.len());
                let kept = chars.iter().enumerate().filter(|(i, _)| *i != at);
                kept.map(|(_, c)| *c).collect()
            }
            Self::Replace(at, new) => {
                let mut chars = chars;
                let at = at.index(chars.len());
                chars[at] = *new;
                chars.into_iter().collect()
            }
            Self::SwapLines(at) => {
                let (one, two) = (at.index(lines.len()), lines.len() - 1);
                lines.swap(one, two);
                lines.concat()
            }
            Self::RepeatLine(at) => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at]);
                lines.concat()
            }
            Self::DropLine(at) => {
                lines.remove(at.index(lines.len()));
                lines.concat()
            }
            Self::Cut(at) => chars[..at.index(chars.len())].iter().collect(),
        }
    }
}

proptest! {
    #[test]
    fn manifests_have_one_spelling(manifest in manifest(), slip in slip()) {
        let text = manifest.emit();
        prop_assert!(text.len() <= limits::MAX_MANIFEST_LEN);
        prop_assert_eq!(Manifest::parse(&text), Ok(manifest.clone()));
        let other = slip.apply(&text);
        if let Ok(read) = Manifest::parse(&other) {
            prop_assert_eq!(read.emit(), other.as_str());
            prop_assert_eq!(read == manifest, other == text);
        }
    }

    #[test]
    fn statements_have_one_spelling(statement in statement(), slip in slip()) {
        let text = statement.emit();
        prop_assert!(text.len() <= limits::MAX_STATEMENT_LEN);
        prop_assert_eq!(KeyStatement::parse(&text), Ok(statement.clone()));
        let other = slip.apply(&text);
        if let Ok(read) = KeyStatement::parse(&other) {
            prop_assert_eq!(read.emit(), other.as_str());
            prop_assert_eq!(read == statement, other == text);
        }
    }

    #[test]
    fn names_are_read_as_they_stand(path in file_path(), name in user_name(), slip in slip()) {
        prop_assert_eq!(FilePath::parse(path.as_str()), Ok(path.clone()));
        prop_assert_eq!(path.parts().collect::<Vec<_>>().join("/"), path.as_str());
        prop_assert_eq!(path.parts().next_back(), Some(path.file_name()));
        prop_assert_eq!(UserName::parse(name.as_str()), Ok(name));
        if let Ok(read) = FilePath::parse(&slip.apply(&format!("{path}\n"))) {
            prop_assert!(!read.as_str().contains(|c: char| c.is_control() || c == '\\'));
            prop_assert!(read.parts().all(|part| !part.is_empty() && part != "." && part != ".."));
        }
    }

    #[test]
    fn times_keep_their_order_as_text(one in timestamp(), two in timestamp()) {
        prop_assert_eq!(one.to_string().parse(), Ok(one));
        prop_assert_eq!(one.cmp(&two), one.to_string().cmp(&two.to_string()));
        prop_assert_eq!(Timestamp::from_system_time(one.to_system_time().unwrap()), one);
    }

    #[test]
    fn nothing_panics_on_any_text(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let any = String::from_utf8_lossy(&bytes);
        for text in [text.as_str(), &any, &format!("towpath manifest 1\n{text}")] {
            prop_assert!(Manifest::parse(text).is_err());
            prop_assert!(KeyStatement::parse(text).is_err());
            prop_assert!(signer_of(text).is_err());
            prop_assert!(SigningKey::from_openssh(text, Some("x")).is_err());
            prop_assert!(PublicKey::parse_openssh(text).is_err());
            prop_assert!(text.parse::<Fingerprint>().is_err());
            if let Ok(path) = FilePath::parse(text) {
                prop_assert_eq!(path.as_str(), text);
            }
        }
    }

    #[test]
    fn keys_come_back_from_their_files(key in signing_key(), comment in "[ -~]{0,40}") {
        let pem = key.to_openssh(&comment);
        prop_assert_eq!(SigningKey::from_openssh(&pem, None).unwrap().public(), key.public());
        let public = key.public();
        prop_assert_eq!(PublicKey::parse_openssh(&public.to_openssh()), Ok(public));
        prop_assert_eq!(PublicKey::from_bytes(*public.as_bytes()), Ok(public));
        prop_assert_eq!(public.fingerprint().to_string().parse(), Ok(public.fingerprint()));
    }

    #[test]
    fn a_signature_holds_for_its_message_only(
        key in signing_key(),
        message in any::<Vec<u8>>(),
        at in any::<Index>(),
        bit in 0..8_u32,
    ) {
        let armored = key.sign(Namespace::Login, &message);
        prop_assert!(armored.len() <= limits::MAX_SIGNATURE_LEN);
        prop_assert_eq!(signer_of(&armored), Ok(key.public()));
        prop_assert_eq!(key.public().verify(Namespace::Login, &message, &armored), Ok(()));
        let mut longer = message.clone();
        longer.push(0);
        prop_assert!(key.public().verify(Namespace::Login, &longer, &armored).is_err());
        if !message.is_empty() {
            let mut changed = message;
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert!(key.public().verify(Namespace::Login, &changed, &armored).is_err());
        }
    }

    #[test]
    fn signed_statements_come_back(mut statement in statement(), key in signing_key()) {
        if statement.action == KeyAction::Add {
            statement.key = key.public();
        }
        let signed = SignedStatement::sign(statement.clone(), &key).unwrap();
        prop_assert_eq!(signed.statement(), &statement);
        prop_assert_eq!(SignedStatement::parse(signed.text(), signed.signature()), Ok(signed));
    }
}

proptest! {
    // Each case tries every byte.
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn no_signed_manifest_survives_a_changed_byte(
        (key, manifest) in signing_key().prop_flat_map(|key| {
            let manifest = manifest_by(&key);
            (Just(key), manifest)
        }),
        mask in 1..=255_u8,
    ) {
        let signed = SignedManifest::sign(manifest, &key).unwrap();
        prop_assert_eq!(
            &SignedManifest::parse(signed.text(), signed.signature()),
            &Ok(signed.clone())
        );
        let survives = |text: &[u8], signature: &[u8]| {
            // What is no UTF-8 cannot even be asked about.
            match (str::from_utf8(text), str::from_utf8(signature)) {
                (Ok(text), Ok(signature)) => SignedManifest::parse(text, signature).is_ok(),
                _ => false,
            }
        };
        let (text, signature) = (signed.text().as_bytes(), signed.signature().as_bytes());
        for flip in [mask, 1, 0x20, 0x80] {
            for at in 0..text.len() {
                let mut changed = text.to_vec();
                changed[at] ^= flip;
                prop_assert!(!survives(&changed, signature), "byte {at} of the text");
            }
            for at in 0..signature.len() {
                let mut changed = signature.to_vec();
                changed[at] ^= flip;
                prop_assert!(!survives(text, &changed), "byte {at} of the signature");
            }
        }
    }
}

/// The longest values of every field still fit the stated bounds.
#[test]
fn the_bounds_hold_the_longest_texts() {
    let key = SigningKey::from_seed(&[1; 32]);
    let part = "é".repeat(limits::MAX_PART_LEN / 2);
    let mut path = [part.as_str(); 5].join("/");
    path.push('/');
    path.push_str(&"x".repeat(limits::MAX_PATH_LEN - path.len()));
    let mut longest = manifest_by_hand(&key);
    longest.path = FilePath::parse(&path).unwrap();
    let signed = SignedManifest::sign(longest, &key).unwrap();
    assert!(signed.text().len() <= limits::MAX_MANIFEST_LEN);
    let room = limits::MAX_MANIFEST_LEN - signed.text().len();
    assert!(
        room < 600,
        "the bound is {room} bytes looser than it needs to be"
    );

    let hashes = (0..limits::MAX_KEPT_MANIFESTS as u64).map(|n| {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&n.to_be_bytes());
        towpath_protocol::signed::ManifestHash::from_bytes(bytes)
    });
    let mut statement = KeyStatement {
        store: towpath_protocol::signed::StoreId::from_bytes([1; 16]),
        uid: towpath_protocol::signed::UserId::from_bytes([1; 16]),
        name: UserName::parse(&"a".repeat(32)).unwrap(),
        sequence: u64::MAX,
        previous: Some(towpath_protocol::signed::StatementHash::from_bytes([1; 32])),
        action: KeyAction::Compromise {
            keep: hashes.collect(),
        },
        key: key.public(),
    };
    let text = statement.emit();
    assert!(text.len() <= limits::MAX_STATEMENT_LEN);
    assert_eq!(KeyStatement::parse(&text), Ok(statement.clone()));
    if let KeyAction::Compromise { keep } = &mut statement.action {
        keep.push(towpath_protocol::signed::ManifestHash::from_bytes([1; 32]));
    }
    assert!(KeyStatement::parse(&statement.emit()).is_err());
}

fn manifest_by_hand(key: &SigningKey) -> Manifest {
    Manifest {
        store: towpath_protocol::signed::StoreId::from_bytes([1; 16]),
        path: FilePath::parse("a").unwrap(),
        content: towpath_protocol::signed::Content::File {
            size: i64::MAX as u64,
            hash: towpath_protocol::signed::Blake3Hash::from_bytes([1; 32]),
            mtime: Timestamp::MAX,
            mode: 0o777,
        },
        version: u64::MAX,
        previous: Some(towpath_protocol::signed::ManifestHash::from_bytes([1; 32])),
        uid: towpath_protocol::signed::UserId::from_bytes([1; 16]),
        name: UserName::parse(&"a".repeat(32)).unwrap(),
        key: key.public().fingerprint(),
        signed_at: Timestamp::MAX,
    }
}

/// Fields are public, so a caller can write nonsense into them; it is never signed.
#[test]
fn what_has_no_spelling_is_not_signed() {
    use towpath_protocol::signed::Content;
    let key = SigningKey::from_seed(&[1; 32]);
    let good = manifest_by_hand(&key);
    assert!(SignedManifest::sign(good.clone(), &key).is_ok());
    type Spoil = fn(&mut Manifest);
    let spoils: [Spoil; 9] = [
        |m| m.version = 0,
        |m| m.version = 1,
        |m| m.previous = None,
        |m| m.signed_at.nanos = 1_000_000_000,
        |m| m.signed_at.seconds = i64::MAX,
        |m| {
            (m.version, m.previous, m.content) = (1, None, Content::Deleted);
        },
        |m| {
            if let Content::File { size, .. } = &mut m.content {
                *size = u64::MAX;
            }
        },
        |m| {
            if let Content::File { mode, .. } = &mut m.content {
                *mode = 0o4755;
            }
        },
        |m| {
            if let Content::File { mtime, .. } = &mut m.content {
                mtime.seconds = Timestamp::MIN.seconds - 1;
            }
        },
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(SignedManifest::sign(bad, &key).is_err(), "spoil {n}");
    }
}
