//! The registry as its callers see it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use towpath_protocol::signed::{KeyAction, KeyStatement, SignedStatement, SigningKey, StoreId};

use super::*;
use crate::limits::{LOCK_PATIENCE, MAX_KEYS};

/// The cheapest hashes there are.
const COST: u32 = 4;

pub(super) struct Bench {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        Registry::create(&path).unwrap();
        let registry = Registry::open_with_cost(&path, COST).unwrap();
        Self { dir, registry }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("users.json")
    }

    pub(super) fn again(&self) -> Registry {
        Registry::open_with_cost(&self.path(), COST).unwrap()
    }

    fn add(&self, who: &str, role: Role, password: Option<&[u8]>) -> User {
        let new = NewUser {
            name: name(who),
            role,
            password,
            keys: Vec::new(),
        };
        self.registry.add(new).unwrap()
    }

    /// Overwrites the file as an editor does.
    fn edit(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }
}

pub(super) fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn new_key(seed: u8) -> NewKey {
    NewKey {
        key: key(seed).public(),
        comment: format!("key {seed}"),
        statement: None,
    }
}

#[test]
fn users_survive_in_a_file_of_mode_0600() {
    let bench = Bench::new();
    let alice = bench.add("alice", Role::Admin, Some(b"correct horse"));
    bench.registry.add_key(alice.uid, new_key(1)).unwrap();
    let bob = NewUser {
        name: name("bob"),
        role: Role::Guest,
        password: None,
        keys: vec![new_key(2), new_key(3)],
    };
    let bob = bench.registry.add(bob).unwrap();
    assert_eq!(fs::metadata(bench.path()).unwrap().mode() & 0o777, 0o600);
    let again = bench.again();
    assert_eq!(again.users(), bench.registry.users());
    assert_eq!(again.find(&name("bob")), Some(bob.clone()));
    assert_eq!(again.find_uid(bob.uid), Some(bob));
    assert_eq!(again.find(&name("carol")), None);
    let alice = again.find(&name("alice")).unwrap();
    assert!(
        alice.has_password() && alice.has_key(&key(1).public()) && !alice.has_key(&key(2).public())
    );
    assert_eq!(alice.keys[0].comment, "key 1");
    assert!(!fs::read_to_string(bench.path()).unwrap().contains("horse"));
    let leftovers: BTreeSet<_> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        leftovers,
        BTreeSet::from(["users.json".into(), "users.json.lock".into()])
    );
    assert!(matches!(
        Registry::create(&bench.path()),
        Err(RegistryError::Exists(_))
    ));
}

#[test]
fn passwords() {
    let bench = Bench::new();
    let alice = bench.add("alice", Role::Admin, Some(b"secret"));
    bench.add("bob", Role::Guest, None);
    let check =
        |who: &str, password: &[u8]| bench.registry.verify_password(Some(&name(who)), password);
    assert_eq!(check("alice", b"secret"), Some(alice.clone()));
    for (who, password) in [
        ("alice", b"Secret".as_slice()),
        ("alice", b""),
        ("bob", b"secret"),
        ("bob", b""),
        ("carol", b"secret"),
    ] {
        assert_eq!(check(who, password), None, "{who} {password:?}");
    }
    bench
        .registry
        .set_password(alice.uid, Some(&[b'x'; 71]))
        .unwrap();
    assert_eq!(check("alice", b"secret"), None);
    assert!(check("alice", &[b'x'; 71]).is_some());
    assert_eq!(check("alice", &[b'x'; 72]), None);
    let refused = |password: &[u8]| {
        bench
            .registry
            .set_password(alice.uid, Some(password))
            .unwrap_err()
    };
    assert!(matches!(
        refused(&[b'x'; 72]),
        RegistryError::Password(PasswordError::TooLong)
    ));
    assert!(matches!(
        refused(b""),
        RegistryError::Password(PasswordError::Empty)
    ));
    assert!(matches!(
        refused(b"a\0"),
        RegistryError::Password(PasswordError::Nul)
    ));
    bench.registry.set_password(alice.uid, None).unwrap();
    assert_eq!(check("alice", &[b'x'; 71]), None);
    assert_eq!(bench.registry.verify_password(None, b"secret"), None);
}

#[test]
fn old_hashes_are_renewed_at_login() {
    let bench = Bench::new();
    bench.add("alice", Role::Admin, Some(b"secret"));
    let newer = Registry::open_with_cost(&bench.path(), COST + 1).unwrap();
    assert!(
        newer
            .verify_password(Some(&name("alice")), b"wrong")
            .is_none()
    );
    assert!(
        fs::read_to_string(bench.path())
            .unwrap()
            .contains("$2b$04$")
    );
    assert!(
        newer
            .verify_password(Some(&name("alice")), b"secret")
            .is_some()
    );
    assert!(
        fs::read_to_string(bench.path())
            .unwrap()
            .contains("$2b$05$")
    );
    // A lower cost does not make them weaker.
    assert!(
        bench
            .registry
            .verify_password(Some(&name("alice")), b"secret")
            .is_some()
    );
    assert!(
        fs::read_to_string(bench.path())
            .unwrap()
            .contains("$2b$05$")
    );
    for cost in [3, 17] {
        assert!(matches!(
            Registry::open_with_cost(&bench.path(), cost),
            Err(RegistryError::Cost)
        ));
    }
}

#[test]
fn the_last_admin_stays() {
    let bench = Bench::new();
    let (alice, bob) = (
        bench.add("alice", Role::Admin, None),
        bench.add("bob", Role::Guest, None),
    );
    assert!(matches!(
        bench.registry.remove(alice.uid),
        Err(RegistryError::LastAdmin)
    ));
    for role in [Role::Maintainer, Role::Guest] {
        assert!(matches!(
            bench.registry.set_role(alice.uid, role),
            Err(RegistryError::LastAdmin)
        ));
    }
    bench.registry.set_role(alice.uid, Role::Admin).unwrap();
    bench.registry.set_role(bob.uid, Role::Admin).unwrap();
    bench.registry.set_role(alice.uid, Role::Guest).unwrap();
    assert!(matches!(
        bench.registry.remove(bob.uid),
        Err(RegistryError::LastAdmin)
    ));
    bench.registry.remove(alice.uid).unwrap();
    assert!(matches!(
        bench.registry.remove(alice.uid),
        Err(RegistryError::UnknownUser)
    ));
}

#[test]
fn uids_are_never_issued_again() {
    let bench = Bench::new();
    bench.add("root", Role::Admin, None);
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let alice = bench.add("alice", Role::Guest, None);
        assert!(seen.insert(alice.uid));
        bench.registry.remove(alice.uid).unwrap();
    }
    let retired: BTreeSet<UserId> = bench
        .again()
        .retired()
        .iter()
        .map(|retired| retired.uid)
        .collect();
    assert_eq!(retired, seen);
}

/// Whatever the random numbers are: those of this test repeat themselves.
#[test]
fn a_uid_that_somebody_has_or_had_is_drawn_again() {
    let bench = Bench::new();
    let root = bench.add("root", Role::Admin, None);
    let alice = bench.add("alice", Role::Guest, None);
    bench.registry.remove(alice.uid).unwrap();
    let users = bench.registry.file.load().unwrap();
    let mut draws = [root.uid, alice.uid, root.uid, UserId::from_bytes([3; 16])].into_iter();
    let uid = fresh_uid(&users, |bytes| {
        bytes.copy_from_slice(draws.next().unwrap().as_bytes());
        Ok(())
    });
    assert_eq!(uid.unwrap(), UserId::from_bytes([3; 16]));
}

#[test]
fn keys_are_checked() {
    let bench = Bench::new();
    let (alice, bob) = (
        bench.add("alice", Role::Admin, None),
        bench.add("bob", Role::Guest, None),
    );
    let registry = &bench.registry;
    registry.add_key(alice.uid, new_key(1)).unwrap();
    for uid in [alice.uid, bob.uid] {
        let taken = registry.add_key(uid, new_key(1));
        assert!(matches!(taken, Err(RegistryError::KeyExists(who)) if who == alice.name));
    }
    for comment in [
        "a\nb".to_owned(),
        "x".repeat(crate::limits::MAX_COMMENT + 1),
    ] {
        let refused = registry.add_key(
            bob.uid,
            NewKey {
                comment,
                ..new_key(2)
            },
        );
        assert!(matches!(refused, Err(RegistryError::Comment)));
    }
    assert!(matches!(
        registry.add_key(UserId::from_bytes([0; 16]), new_key(2)),
        Err(RegistryError::UnknownUser)
    ));
    for seed in 2..=MAX_KEYS as u8 {
        registry.add_key(alice.uid, new_key(seed)).unwrap();
    }
    assert!(matches!(
        registry.add_key(alice.uid, new_key(200)),
        Err(RegistryError::TooManyKeys)
    ));
    let twice = NewUser {
        name: name("carol"),
        role: Role::Guest,
        password: None,
        keys: vec![new_key(201), new_key(201)],
    };
    assert!(matches!(
        registry.add(twice),
        Err(RegistryError::KeyExists(_))
    ));
    assert!(bench.again().find(&name("carol")).is_none());
}

#[test]
fn a_key_log_grows_by_its_next_statement_only() {
    let bench = Bench::new();
    let (alice, bob) = (
        bench.add("alice", Role::Admin, None),
        bench.add("bob", Role::Guest, None),
    );
    let statement = |user: &User, seed: u8, last: Option<&SignedStatement>, action: KeyAction| {
        let statement = KeyStatement {
            store: StoreId::from_bytes([5; 16]),
            uid: user.uid,
            name: user.name.clone(),
            sequence: last.map_or(1, |last| last.statement().sequence + 1),
            previous: last.map(SignedStatement::hash),
            action,
            key: key(seed).public(),
        };
        SignedStatement::sign(statement, &key(seed)).unwrap()
    };
    let add = |user: &User, seed: u8, signed: &SignedStatement| {
        bench.registry.add_key(
            user.uid,
            NewKey {
                statement: Some(signed.clone()),
                ..new_key(seed)
            },
        )
    };
    let refused = |result: Result<(), RegistryError>| {
        assert!(
            matches!(result, Err(RegistryError::Statement(_))),
            "{result:?}"
        )
    };

    let first = statement(&alice, 1, None, KeyAction::Add);
    refused(add(&bob, 1, &first));
    refused(add(&alice, 2, &first));
    add(&alice, 1, &first).unwrap();
    refused(add(&alice, 2, &statement(&alice, 2, None, KeyAction::Add)));
    let second = statement(&alice, 2, Some(&first), KeyAction::Add);
    refused(add(
        &alice,
        3,
        &statement(&alice, 3, Some(&second), KeyAction::Add),
    ));
    add(&alice, 2, &second).unwrap();
    refused(add(
        &alice,
        3,
        &statement(&alice, 3, Some(&second), KeyAction::Retire),
    ));
    let kept = bench.again().find(&name("alice")).unwrap();
    assert_eq!(kept.keys[1].statement, Some(second.clone()));

    // A statement that was edited in the file does not verify.
    let text = fs::read_to_string(bench.path()).unwrap();
    bench.edit(&text.replacen("user alice", "user alicf", 1));
    assert!(matches!(
        Registry::open(&bench.path()),
        Err(RegistryError::Malformed { .. })
    ));
}

#[test]
fn a_change_by_another_process_is_seen() {
    let bench = Bench::new();
    let alice = bench.add("alice", Role::Admin, None);
    let other = bench.again();
    for round in 0..50 {
        let who = format!("user{round}");
        let added = other
            .add(NewUser {
                name: name(&who),
                role: Role::Guest,
                password: None,
                keys: vec![],
            })
            .unwrap();
        assert_eq!(bench.registry.find(&name(&who)), Some(added));
        let role = if round % 2 == 0 {
            Role::Maintainer
        } else {
            Role::Guest
        };
        bench.registry.set_role(other.users()[1].uid, role).unwrap();
        assert_eq!(other.users()[1].role, role);
    }
    let text = fs::read_to_string(bench.path()).unwrap();
    bench.edit(&text.replace("\"alice\"", "\"alicf\""));
    assert_eq!(bench.registry.find(&name("alicf")).unwrap().uid, alice.uid);
}

#[test]
fn concurrent_changes_by_two_processes_are_all_kept() {
    let bench = Bench::new();
    bench.add("root", Role::Admin, None);
    let registries = [bench.again(), bench.again()];
    std::thread::scope(|scope| {
        for (index, registry) in registries.iter().enumerate() {
            for thread in 0..2 {
                scope.spawn(move || {
                    for round in 0..10 {
                        let name = name(&format!("u{index}-{thread}-{round}"));
                        let new = NewUser {
                            name,
                            role: Role::Guest,
                            password: None,
                            keys: vec![],
                        };
                        registry.add(new).unwrap();
                    }
                });
            }
        }
    });
    assert_eq!(bench.registry.users().len(), 41);
}

#[test]
fn nobody_changes_a_user_while_it_is_checked() {
    let bench = Bench::new();
    let alice = bench.add("alice", Role::Admin, None);
    let other = bench.again();
    std::thread::scope(|scope| {
        let mut demotions = Vec::new();
        bench
            .registry
            .with_user(alice.uid, |user| {
                // Neither by this process nor by another; others may check at the same time.
                for registry in [&bench.registry, &other] {
                    demotions
                        .push(scope.spawn(move || registry.set_password(alice.uid, Some(b"new"))));
                }
                std::thread::sleep(Duration::from_millis(50));
                assert!(demotions.iter().all(|thread| !thread.is_finished()));
                assert!(!bench.registry.find(&name("alice")).unwrap().has_password());
                assert_eq!(user.role, Role::Admin);
            })
            .unwrap();
        demotions
            .into_iter()
            .for_each(|thread| thread.join().unwrap().unwrap());
    });
    assert!(bench.registry.find(&name("alice")).unwrap().has_password());
    let nobody = bench
        .registry
        .with_user(UserId::from_bytes([0; 16]), |_| ());
    assert!(matches!(nobody, Err(RegistryError::UnknownUser)));
}

#[test]
fn a_file_that_is_not_understood_is_left_alone() {
    let bench = Bench::new();
    let alice = bench.add("alice", Role::Admin, Some(b"secret"));
    let good = fs::read_to_string(bench.path()).unwrap();
    let hash = good
        .lines()
        .find(|line| line.contains("$2b$"))
        .unwrap()
        .to_owned();
    let later = good.replace("\"version\": 1", "\"version\": 2, \"new\": []");
    let twice = good.replace(
        "\"users\": [",
        &format!(
            "\"users\": [{},",
            record("alice", "11111111111111111111111111111111")
        ),
    );
    let same_uid = good.replace(
        "\"users\": [",
        &format!("\"users\": [{},", record("bob", &alice.uid.to_string())),
    );
    let cases = [
        (good.replace("\"admin\"", "\"king\""), "users.json:8:"),
        (good.replace("\"alice\"", "\"*\""), "users.json:6:"),
        (good.replace(&hash, ""), "missing field `password`"),
        (good.replace("$2b$04$", "$2b$31$"), "not a bcrypt hash"),
        (
            good.replace("\"role\"", "\"rolle\""),
            "unknown field `rolle`",
        ),
        (good[..good.len() / 2].to_owned(), "users.json:"),
        (String::new(), "users.json:1:0"),
        (later, "version 2"),
        (twice, "user alice occurs twice"),
        (same_uid, "uid of alice"),
        (good.replace("towpath-users", "other"), "`format`"),
    ];
    for (text, expected) in cases {
        bench.edit(&text);
        let error = Registry::open(&bench.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} in {error}");
        assert!(!error.contains("$2b$04$"), "{error}");
        // A running server goes on with what it had, and changes nothing.
        assert_eq!(
            bench.registry.find(&name("alice")).map(|user| user.uid),
            Some(alice.uid)
        );
        assert!(bench.registry.set_password(alice.uid, None).is_err());
        assert!(bench.registry.with_user(alice.uid, |_| ()).is_err());
        assert_eq!(fs::read_to_string(bench.path()).unwrap(), text);
    }
    bench.edit(&good);
    bench.registry.set_password(alice.uid, None).unwrap();
    fs::remove_file(bench.path()).unwrap();
    assert!(matches!(
        Registry::open(&bench.path()),
        Err(RegistryError::Missing(_))
    ));
}

fn record(name: &str, uid: &str) -> String {
    format!(
        r#"{{"name":"{name}","uid":"{uid}","role":"guest","password":null,"keys":[],"added":"2026-01-01T00:00:00.000000000Z"}}"#
    )
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let bench = Bench::new();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Registry::open(&bench.path()),
        Err(RegistryError::TooOpen { mode: 0o640, .. })
    ));
}

#[test]
fn the_sample_registry_is_valid_and_lets_nobody_in() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../users.json");
    let users = Users::parse(&fs::read(sample).unwrap()).unwrap();
    assert!(
        users
            .users
            .iter()
            .all(|user| !user.has_password() && user.keys.is_empty())
    );
    assert_eq!(
        users
            .users
            .iter()
            .map(|user| user.role)
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );
}

#[test]
fn a_change_on_behalf_of_someone_is_decided_under_the_lock() {
    let bench = Bench::new();
    let root = bench.add("root", Role::Admin, None);
    let mallory = bench.add("mallory", Role::Admin, None);
    let admin = |user: &User| user.role == Role::Admin;
    let asker = Some(OnBehalf {
        uid: mallory.uid,
        may: &admin,
    });
    bench
        .registry
        .set_role_for(asker, mallory.uid, Role::Admin)
        .unwrap();
    // Demoted, then removed: what was asked for before is not done any more.
    for removed in [false, true] {
        if removed {
            bench.registry.remove(mallory.uid).unwrap();
        } else {
            bench.registry.set_role(mallory.uid, Role::Guest).unwrap();
        }
        let before = fs::read(bench.path()).unwrap();
        let new = NewUser {
            name: name("accomplice"),
            role: Role::Admin,
            password: Some(b"secret"),
            keys: Vec::new(),
        };
        let new_key = NewKey {
            key: key(9).public(),
            comment: String::new(),
            statement: None,
        };
        let refused = [
            bench.registry.add_for(asker, new).map(drop),
            bench.registry.add_key_for(asker, root.uid, new_key),
            bench.registry.set_role_for(asker, root.uid, Role::Guest),
            bench.registry.remove_for(asker, root.uid),
        ];
        for result in refused {
            assert!(
                matches!(result, Err(RegistryError::NotAllowed)),
                "{result:?}"
            );
        }
        assert_eq!(fs::read(bench.path()).unwrap(), before);
    }
}

/// As an editor that was started under `flock`.
#[test]
fn a_lock_that_another_process_holds_stops_nobody_for_long() {
    let bench = Bench::new();
    let lock = fs::File::open(bench.dir.path().join("users.json.lock")).unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (committing, changing, changed) = (bench.again(), bench.again(), sender.clone());
    let uid = UserId::from_bytes([1; 16]);
    std::thread::spawn(move || sender.send(committing.with_user(uid, |_| ()).unwrap_err()));
    std::thread::spawn(move || changed.send(changing.remove(uid).unwrap_err()));
    for _ in 0..2 {
        let error = receiver.recv_timeout(LOCK_PATIENCE * 10).unwrap();
        assert!(matches!(error, RegistryError::Busy(_)), "{error}");
    }
    drop(held);
}
