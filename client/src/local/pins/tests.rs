use towpath_protocol::signed::{Blake3Hash, Content, SigningKey, Timestamp};

use super::*;

struct Author {
    name: &'static str,
    uid: u8,
    key: u8,
}

const ALICE: Author = Author {
    name: "alice",
    uid: 1,
    key: 1,
};
const ALICE_NEW_KEY: Author = Author {
    name: "alice",
    uid: 1,
    key: 2,
};
const OTHER_ALICE: Author = Author {
    name: "alice",
    uid: 9,
    key: 1,
};
const BOB: Author = Author {
    name: "bob",
    uid: 2,
    key: 3,
};

/// A version whose previous version was not seen.
fn signed(author: &Author, path: &str, version: u64, content: u8) -> SignedManifest {
    let previous = (version > 1).then(|| ManifestHash::from_bytes([0; 32]));
    sign(author, path, version, previous, content)
}

/// The version after `previous`.
fn next(author: &Author, previous: &SignedManifest, content: u8) -> SignedManifest {
    let manifest = previous.manifest();
    sign(
        author,
        manifest.path.as_str(),
        manifest.version + 1,
        Some(previous.hash()),
        content,
    )
}

fn sign(
    author: &Author,
    path: &str,
    version: u64,
    previous: Option<ManifestHash>,
    content: u8,
) -> SignedManifest {
    let key = SigningKey::from_seed(&[author.key; 32]);
    let content = Content::File {
        size: 1,
        hash: Blake3Hash::from_bytes([content; 32]),
        mtime: Timestamp::EPOCH,
        mode: 0o644,
    };
    let manifest = Manifest {
        store: StoreId::from_bytes([7; 16]),
        path: FilePath::parse(path).unwrap(),
        content,
        version,
        previous,
        uid: UserId::from_bytes([author.uid; 16]),
        name: UserName::parse(author.name).unwrap(),
        key: key.public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    };
    SignedManifest::sign(manifest, &key).unwrap()
}

fn fresh() -> (tempfile::TempDir, ConfigDir, Pins) {
    let dir = tempfile::tempdir().unwrap();
    let config_dir = ConfigDir::open(Some(dir.path())).unwrap();
    let pins = Pins::open(&config_dir, StoreId::from_bytes([7; 16])).unwrap();
    (dir, config_dir, pins)
}

fn again(config_dir: &ConfigDir) -> Pins {
    Pins::open(config_dir, StoreId::from_bytes([7; 16])).unwrap()
}

const STRICT: Allowed = Allowed {
    signer: false,
    rollback: false,
};
const SIGNER: Allowed = Allowed {
    signer: true,
    rollback: false,
};
const ROLLBACK: Allowed = Allowed {
    signer: false,
    rollback: true,
};

#[test]
fn first_sight_then_known_and_it_lasts() {
    let (_dir, config_dir, mut pins) = fresh();
    let first = signed(&ALICE, "a b/ü", 1, 0);
    assert_eq!(pins.record(&first, STRICT).unwrap(), SignerStatus::FirstUse);
    assert_eq!(
        pins.record(&signed(&ALICE, "c", 1, 0), STRICT).unwrap(),
        SignerStatus::Known
    );
    let mut pins = again(&config_dir);
    assert_eq!(
        pins.record(&next(&ALICE, &first, 1), STRICT).unwrap(),
        SignerStatus::Known
    );
    assert_eq!(
        pins.path(&FilePath::parse("a b/ü").unwrap())
            .unwrap()
            .version,
        2
    );
}

#[test]
fn a_lower_version_and_a_changed_one_are_refused() {
    let (_dir, _home, mut pins) = fresh();
    pins.record(&signed(&ALICE, "f", 3, 0), STRICT).unwrap();
    let path = FilePath::parse("f").unwrap();
    for wrong in [signed(&ALICE, "f", 2, 0), signed(&ALICE, "f", 3, 1)] {
        assert_eq!(
            pins.record(&wrong, STRICT).unwrap_err().kind,
            ErrorKind::Verification
        );
        assert_eq!(
            pins.record(&wrong, SIGNER).unwrap_err().kind,
            ErrorKind::Verification
        );
        assert!(
            pins.check_version(&path, Some(Shown::of(&wrong)), STRICT)
                .is_err()
        );
    }
    assert!(pins.check_version(&path, None, STRICT).is_err());
    assert!(pins.check_version(&path, None, ROLLBACK).is_ok());
    pins.record(&signed(&ALICE, "f", 2, 0), ROLLBACK).unwrap();
    pins.record(&signed(&ALICE, "f", 2, 0), STRICT).unwrap();
}

#[test]
fn a_new_signer_needs_the_flag_once() {
    for newcomer in [&ALICE_NEW_KEY, &OTHER_ALICE, &BOB] {
        let (_dir, config_dir, mut pins) = fresh();
        let first = signed(&ALICE, "f", 1, 0);
        pins.record(&first, STRICT).unwrap();
        let next = next(newcomer, &first, 1);
        assert_eq!(
            pins.record(&next, STRICT).unwrap_err().kind,
            ErrorKind::Verification,
            "{}",
            newcomer.name
        );
        assert_eq!(
            pins.record(&next, ROLLBACK).unwrap_err().kind,
            ErrorKind::Verification
        );
        assert_eq!(pins.record(&next, SIGNER).unwrap(), SignerStatus::Accepted);
        assert_eq!(
            again(&config_dir).record(&next, STRICT).unwrap(),
            SignerStatus::Known
        );
    }
}

#[test]
fn a_new_key_is_refused_on_another_path_too() {
    let (_dir, _home, mut pins) = fresh();
    pins.record(&signed(&ALICE, "f", 1, 0), STRICT).unwrap();
    assert!(
        pins.record(&signed(&ALICE_NEW_KEY, "g", 1, 0), STRICT)
            .is_err()
    );
    assert_eq!(
        pins.record(&signed(&BOB, "g", 1, 0), STRICT).unwrap(),
        SignerStatus::FirstUse
    );
}

#[test]
fn an_accepted_key_of_the_same_user_serves_old_paths() {
    let (_dir, _home, mut pins) = fresh();
    let (f, g) = (signed(&ALICE, "f", 1, 0), signed(&ALICE, "g", 1, 0));
    pins.record(&f, STRICT).unwrap();
    pins.record(&g, STRICT).unwrap();
    pins.record(&next(&ALICE_NEW_KEY, &f, 0), SIGNER).unwrap();
    assert_eq!(
        pins.record(&next(&ALICE_NEW_KEY, &g, 0), STRICT).unwrap(),
        SignerStatus::Known
    );
}

#[test]
fn own_work_is_pinned_but_never_lowers_a_pin() {
    let (_dir, _home, mut pins) = fresh();
    pins.record(&signed(&BOB, "f", 1, 0), STRICT).unwrap();
    pins.record_own(&signed(&ALICE, "f", 3, 0), STRICT).unwrap();
    pins.record_own(&signed(&ALICE, "f", 2, 0), STRICT).unwrap();
    assert_eq!(
        pins.path(&FilePath::parse("f").unwrap()).unwrap().version,
        3
    );
}

#[test]
fn a_cut_last_line_is_dropped_and_any_other_damage_is_an_error() {
    let (_dir, config_dir, mut pins) = fresh();
    pins.record(&signed(&ALICE, "f", 1, 0), STRICT).unwrap();
    let file = pins.file.clone();
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}path 2 abc")).unwrap();
    let mut pins = again(&config_dir);
    pins.record(&signed(&ALICE, "g", 1, 0), STRICT).unwrap();
    assert_eq!(again(&config_dir).paths.len(), 2);

    std::fs::write(&file, format!("{good}path 2 abc\n")).unwrap();
    let error = Pins::open(&config_dir, StoreId::from_bytes([7; 16])).unwrap_err();
    assert!(error.message.contains("line 4"), "{error}");
}

#[test]
fn two_clients_at_once_lose_nothing() {
    let (_dir, config_dir, _pins) = fresh();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let config_dir = &config_dir;
            scope.spawn(move || {
                let mut pins = again(config_dir);
                for file in 0..20 {
                    pins.record(&signed(&ALICE, &format!("{client}/{file}"), 1, 0), STRICT)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(again(&config_dir).paths.len(), 80);
}

#[test]
fn outdated_lines_do_not_pile_up() {
    let (_dir, config_dir, mut pins) = fresh();
    let mut newest = signed(&ALICE, "f", 1, 0);
    pins.record(&newest, STRICT).unwrap();
    for _ in 2..=(PIN_SLACK + 10) {
        newest = next(&ALICE, &newest, 0);
        pins.record(&newest, STRICT).unwrap();
    }
    assert!(pins.lines < PIN_SLACK / 2, "{} lines", pins.lines);
    assert_eq!(
        again(&config_dir)
            .path(&FilePath::parse("f").unwrap())
            .unwrap()
            .version,
        PIN_SLACK as u64 + 10
    );
}

#[test]
fn the_version_after_the_pinned_one_must_follow_it() {
    let (_dir, _home, mut pins) = fresh();
    let pinned = signed(&ALICE, "f", 3, 0);
    pins.record(&pinned, STRICT).unwrap();
    // Version 4 of another history, of which this client has not seen version 3.
    let spliced = signed(&ALICE, "f", 4, 1);
    let path = FilePath::parse("f").unwrap();
    for allowed in [STRICT, SIGNER] {
        let refused = pins.record(&spliced, allowed).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Verification);
        assert!(refused.message.contains("does not follow"), "{refused}");
        assert!(
            pins.check_version(&path, Some(Shown::of(&spliced)), allowed)
                .is_err(),
            "nor may this user sign on top of it"
        );
    }
    assert_eq!(pins.path(&path).unwrap().version, 3);
    let good = next(&ALICE, &pinned, 1);
    pins.check_version(&path, Some(Shown::of(&good)), STRICT)
        .unwrap();
    pins.record(&good, STRICT).unwrap();
    // Further ahead nothing can be checked: the versions between are not known.
    pins.record(&signed(&ALICE, "f", 6, 1), STRICT).unwrap();
    pins.record(&signed(&ALICE, "f", 7, 1), ROLLBACK).unwrap();
}

#[test]
fn own_work_does_not_replace_another_manifest_of_the_same_version() {
    let (_dir, config_dir, mut pins) = fresh();
    let first = signed(&ALICE, "f", 1, 0);
    pins.record(&first, STRICT).unwrap();
    // While this client published its version 2, another client of this user saw another version 2.
    let seen = next(&ALICE, &first, 7);
    again(&config_dir).record(&seen, STRICT).unwrap();
    let own = next(&ALICE, &first, 8);
    let refused = pins.record_own(&own, STRICT).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Verification);
    let path = FilePath::parse("f").unwrap();
    assert_eq!(pins.path(&path).unwrap().manifest, seen.hash());
    // The same applies to a version that does not follow the one seen.
    let beyond = signed(&ALICE, "f", 3, 8);
    assert_eq!(
        pins.record_own(&beyond, STRICT).unwrap_err().kind,
        ErrorKind::Verification
    );
    assert_eq!(pins.path(&path).unwrap().manifest, seen.hash());
    pins.record_own(&own, ROLLBACK).unwrap();
    assert_eq!(pins.path(&path).unwrap().manifest, own.hash());
}

#[test]
fn pins_that_were_emptied_are_no_first_use() {
    let (_dir, config_dir, mut pins) = fresh();
    pins.record(&signed(&ALICE, "f", 2, 0), STRICT).unwrap();
    let file = pins.file.clone();
    let good = std::fs::read_to_string(&file).unwrap();
    let headless = good.strip_prefix(HEADER).unwrap();
    for damaged in ["", "towpath p", "\n", headless] {
        std::fs::write(&file, damaged).unwrap();
        for opened in [
            Pins::open(&config_dir, StoreId::from_bytes([7; 16])).map(drop),
            pins.record(&signed(&ALICE, "f", 1, 1), STRICT).map(drop),
        ] {
            let failure = opened.expect_err(damaged);
            assert_eq!(failure.kind, ErrorKind::Verification, "{damaged:?}");
        }
    }
    std::fs::write(&file, good).unwrap();
    let mut pins = again(&config_dir);
    std::fs::remove_file(&file).unwrap();
    assert!(
        pins.record(&signed(&ALICE, "f", 1, 1), STRICT).is_err(),
        "removed while they were in use"
    );
    assert!(!file.exists());
}

#[test]
fn what_is_recorded_is_on_the_disk_once_waited_for() {
    let (_dir, config_dir, mut pins) = fresh();
    let synced = |pins: &Pins| *pins.on_disk.synced.lock().unwrap();
    for path in ["f", "g", "h"] {
        pins.record(&signed(&ALICE, path, 1, 0), STRICT).unwrap();
    }
    // One sync covers all, and also the lines of another client.
    let unsynced = pins.unsynced();
    again(&config_dir)
        .record(&signed(&ALICE, "i", 1, 0), STRICT)
        .unwrap();
    unsynced.sync().unwrap();
    let length = std::fs::metadata(&pins.file).unwrap().len();
    assert_eq!(synced(&pins), length);
    assert!(pins.read < length);
    pins.record(&signed(&ALICE, "j", 1, 0), STRICT).unwrap();
    assert!(synced(&pins) < pins.read);
    pins.unsynced().sync().unwrap();
    assert_eq!(synced(&pins), pins.read);
}
