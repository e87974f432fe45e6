//! The store as its callers see it, on a real directory.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, Manifest, SignedManifest, SigningKey, StoreId, Timestamp,
    UserId, UserName,
};

use super::shared::PARTIAL;
use super::*;
use crate::files::Files;
use crate::limits::CHUNK;

/// A store in a temporary directory, and someone who signs for it.
pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Option<Store>,
    pub(super) report: OpenReport,
}

const SECRET: &str = "AGE-SECRET-KEY";

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = StorageKey::generate();
        key.save_new(&dir.path().join("storage.key")).unwrap();
        Store::init(&dir.path().join("files"), &key).unwrap();
        let mut bench = Self {
            dir,
            store: None,
            report: OpenReport::default(),
        };
        bench.reopen();
        bench
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    pub(super) fn key(&self) -> StorageKey {
        StorageKey::load(&self.dir.path().join("storage.key")).unwrap()
    }

    pub(super) fn reopen(&mut self) {
        self.store = None;
        let (store, report) = Store::open(&self.root(), self.key(), Vec::new()).unwrap();
        (self.store, self.report) = (Some(store), report);
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Where the file of a path lies.
    pub(super) fn stored(&self, path: &str) -> PathBuf {
        self.root().join(format!("{path}.age"))
    }

    fn partials(&self) -> usize {
        fs::read_dir(self.root().join(PARTIAL)).unwrap().count()
    }
}

/// Opens a store on something else than the local file system.
pub(super) fn open_on(
    files: Arc<dyn Files>,
    root: &Path,
    key: StorageKey,
    recipients: Vec<Recipient>,
) -> Result<(Store, OpenReport), OpenError> {
    let (shared, report) = open::open(files, root, key, recipients)?;
    let shared = Arc::new(shared);
    Ok((Store { shared }, report))
}

pub(super) fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

/// The next version at a path, signed.
pub(super) fn signed(
    store: StoreId,
    current: Option<&SignedManifest>,
    name: &str,
    data: Option<&[u8]>,
) -> SignedManifest {
    let key = SigningKey::from_seed(&[7; 32]);
    let content = match data {
        Some(data) => Content::File {
            size: data.len() as u64,
            hash: Blake3Hash::from_bytes(*blake3::hash(data).as_bytes()),
            mtime: Timestamp::EPOCH,
            mode: 0o644,
        },
        None => Content::Deleted,
    };
    let manifest = Manifest {
        store,
        path: path(name),
        content,
        version: current.map_or(1, |current| current.manifest().version + 1),
        previous: current.map(SignedManifest::hash),
        uid: UserId::from_bytes([1; 16]),
        name: UserName::parse("alice").unwrap(),
        key: key.public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    };
    SignedManifest::sign(manifest, &key).unwrap()
}

pub(super) fn next(store: &Store, name: &str, data: Option<&[u8]>) -> SignedManifest {
    signed(store.id(), store.stat(&path(name)).as_ref(), name, data)
}

pub(super) fn begin(store: &Store, name: &str, data: &[u8]) -> Upload {
    let mut upload = store.begin(&path(name)).unwrap();
    append(&mut upload, data).unwrap();
    upload
}

pub(super) fn append(upload: &mut Upload, data: &[u8]) -> Result<(), StoreError> {
    data.chunks(CHUNK)
        .try_for_each(|part| upload.append(&mut Chunk::from_slice(part)))
}

pub(super) fn put(store: &Store, name: &str, data: &[u8]) -> SignedManifest {
    let manifest = next(store, name, Some(data));
    begin(store, name, data).commit(&manifest).unwrap();
    manifest
}

pub(super) fn get(store: &Store, name: &str) -> Result<Vec<u8>, StoreError> {
    let mut download = store.read(&path(name))?;
    let (mut data, mut chunk) = (Vec::new(), Chunk::new());
    while download.next(&mut chunk)? {
        data.extend_from_slice(&chunk);
    }
    assert!(!download.next(&mut chunk)?, "the end stays the end");
    Ok(data)
}

pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Around the ends of chunks.
const SIZES: [usize; 8] = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK,
    2 * CHUNK + 1,
    200_000,
];

#[test]
fn what_is_committed_is_read_before_and_after_a_restart() {
    let mut bench = Bench::new();
    for size in SIZES {
        let name = format!("dir {}/größe {size}", size % 3);
        put(bench.store(), &name, &bytes(size));
        assert_eq!(get(bench.store(), &name).unwrap(), bytes(size));
    }
    bench.reopen();
    assert_eq!(
        (bench.report.files, bench.report.unreadable_count),
        (SIZES.len(), 0)
    );
    for size in SIZES {
        let name = format!("dir {}/größe {size}", size % 3);
        assert_eq!(get(bench.store(), &name).unwrap(), bytes(size));
        bench.store().verify(&path(&name)).unwrap();
    }
    assert_eq!(bench.partials(), 0);
}

#[test]
fn nothing_of_the_text_lies_on_the_disk() {
    let bench = Bench::new();
    let text = b"a text that must not lie on the disk in the clear".repeat(2000);
    put(bench.store(), "a", &text);
    let stored = fs::read(bench.stored("a")).unwrap();
    for clear in [&text[..20], b"alice", b"blake3", b"SSH SIGNATURE"] {
        assert!(!stored.windows(clear.len()).any(|window| window == clear));
    }
    assert!(!format!("{:?}", bench.key()).contains(SECRET));
}

#[test]
fn a_download_can_begin_at_any_chunk() {
    let bench = Bench::new();
    let data = bytes(3 * CHUNK + 5);
    put(bench.store(), "a", &data);
    let mut download = bench.store().read(&path("a")).unwrap();
    let mut chunk = Chunk::new();
    for index in [2, 0, 3, 1] {
        download.seek_chunk(index);
        assert!(download.next(&mut chunk).unwrap());
        let begin = index as usize * CHUNK;
        assert_eq!(chunk[..], data[begin..data.len().min(begin + CHUNK)]);
    }
    for index in [4, 5, u64::MAX] {
        download.seek_chunk(index);
        assert!(!download.next(&mut chunk).unwrap());
        assert!(chunk.is_empty());
    }
}

#[test]
fn a_download_keeps_its_version() {
    let bench = Bench::new();
    let (old, new) = (bytes(100_000), bytes(7));
    let first = put(bench.store(), "a", &old);
    let mut chunk = Chunk::new();
    let mut download = bench.store().read(&path("a")).unwrap();
    put(bench.store(), "a", &new);
    let mut second = bench.store().read(&path("a")).unwrap();
    bench
        .store()
        .delete(&next(bench.store(), "a", None))
        .unwrap();
    assert_eq!(*download.signed(), first);
    assert!(download.next(&mut chunk).unwrap());
    assert_eq!(chunk[..], old[..CHUNK]);
    assert!(second.next(&mut chunk).unwrap());
    assert_eq!(chunk[..], new);
    assert!(matches!(get(bench.store(), "a"), Err(StoreError::NotFound)));
}

#[test]
fn only_the_last_chunk_may_be_short() {
    let bench = Bench::new();
    let mut upload = begin(bench.store(), "a", b"short");
    assert!(matches!(
        append(&mut upload, b"more"),
        Err(StoreError::Misuse(_))
    ));
    drop(upload);
    let mut upload = begin(bench.store(), "a", b"");
    let mut long = Chunk::new();
    long.resize(CHUNK + 1);
    assert!(matches!(
        upload.append(&mut long),
        Err(StoreError::Misuse(_))
    ));
    upload.append(&mut Chunk::new()).unwrap();
    assert_eq!((upload.size(), upload.path()), (0, &path("a")));
    upload.complete().unwrap();
    assert!(matches!(
        append(&mut upload, b"late"),
        Err(StoreError::Misuse(_))
    ));
    drop(upload);
    assert_eq!(bench.partials(), 0, "dropped uploads leave nothing");
}

#[test]
fn a_manifest_must_describe_what_arrived() {
    let bench = Bench::new();
    let store = bench.store();
    let data = b"some data".as_slice();
    let refused = |manifest: SignedManifest| match begin(store, "a", data).commit(&manifest) {
        Err((CommitError::Mismatch(mismatch), None)) => mismatch,
        other => panic!("{other:?}"),
    };
    let other_store = StoreId::from_bytes([9; 16]);
    assert_eq!(
        refused(signed(other_store, None, "a", Some(data))),
        Mismatch::Store
    );
    assert_eq!(
        refused(signed(store.id(), None, "b", Some(data))),
        Mismatch::Path
    );
    assert_eq!(
        refused(signed(store.id(), None, "a", Some(b"some date"))),
        Mismatch::Hash
    );
    let short = signed(store.id(), None, "a", Some(b"some dat"));
    assert_eq!(
        refused(short),
        Mismatch::Size {
            signed: 8,
            arrived: 9
        }
    );
    let first = put(store, "a", data);
    assert_eq!(refused(next(store, "a", None)), Mismatch::Kind);
    let mut manifest = next(store, "a", Some(data)).manifest().clone();
    manifest.version = 3;
    let skipping = SignedManifest::sign(manifest, &SigningKey::from_seed(&[7; 32])).unwrap();
    assert_eq!(
        refused(skipping),
        Mismatch::Version {
            signed: 3,
            expected: 2
        }
    );
    assert!(matches!(
        store.delete(&first),
        Err(CommitError::Mismatch(Mismatch::Kind))
    ));
    assert_eq!(store.stat(&path("a")), Some(first));
    assert_eq!(bench.partials(), 0);
}

#[test]
fn versions_go_on_through_a_deletion() {
    let mut bench = Bench::new();
    put(bench.store(), "a", b"one");
    let deletion = next(bench.store(), "a", None);
    bench.store().delete(&deletion).unwrap();
    bench.store().delete(&deletion).unwrap(); // what is current already
    assert_eq!(bench.store().list("", None, 10), (vec![], false));
    let again = next(bench.store(), "a", None);
    assert!(matches!(
        bench.store().delete(&again),
        Err(CommitError::NotFound)
    ));
    bench.reopen();
    assert_eq!((bench.report.files, bench.report.deleted), (0, 1));
    assert_eq!(bench.store().stat(&path("a")), Some(deletion));
    assert!(matches!(
        bench.store().read(&path("a")),
        Err(StoreError::NotFound)
    ));
    let third = put(bench.store(), "a", b"three");
    assert_eq!(third.manifest().version, 3);
    assert_eq!(get(bench.store(), "a").unwrap(), b"three");
}

#[test]
fn a_conflict_gives_the_upload_back() {
    let bench = Bench::new();
    let store = bench.store();
    let mine = next(store, "a", Some(b"mine"));
    let upload = begin(store, "a", b"mine");
    let theirs = put(store, "a", b"theirs");
    let Err((CommitError::Conflict { current }, Some(upload))) = upload.commit(&mine) else {
        panic!()
    };
    assert_eq!(current, Some(theirs));
    let mine = next(store, "a", Some(b"mine"));
    upload.commit(&mine).unwrap();
    assert_eq!(get(store, "a").unwrap(), b"mine");
    // The answer got lost, the client tries again.
    begin(store, "a", b"mine").commit(&mine).unwrap();
    assert_eq!(bench.partials(), 0);
}

#[test]
fn of_concurrent_commits_exactly_one_wins() {
    let bench = Bench::new();
    let store = bench.store();
    for round in 0..10 {
        let uploads: Vec<_> = (0..4_u8)
            .map(|id| {
                (
                    begin(store, "a/b", &[id; 9]),
                    next(store, "a/b", Some(&[id; 9])),
                )
            })
            .collect();
        let won: Vec<SignedManifest> = std::thread::scope(|scope| {
            let commit = |(upload, manifest): (Upload, SignedManifest)| {
                scope.spawn(move || match upload.commit(&manifest) {
                    Ok(()) => Some(manifest),
                    Err((CommitError::Conflict { current: Some(_) }, Some(_))) => None,
                    Err(other) => panic!("{other:?}"),
                })
            };
            let threads: Vec<_> = uploads.into_iter().map(commit).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(store.stat(&path("a/b")).as_ref(), won.first());
        store.verify(&path("a/b")).unwrap();
    }
}

#[test]
fn readers_see_whole_versions_while_writers_replace_them() {
    let bench = Bench::new();
    let store = bench.store();
    put(store, "a", &[0; 70_000]);
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (1..30_u8).for_each(|id| drop(put(store, "a", &vec![id; 70_000]))));
        while !writer.is_finished() {
            let data = get(store, "a").unwrap();
            assert!(data.len() == 70_000 && data.iter().all(|byte| *byte == data[0]));
        }
    });
}

#[test]
fn a_file_and_a_directory_of_one_name_live_side_by_side() {
    let mut bench = Bench::new();
    for name in ["a", "a/b", "a/b/c", "c/d", "c"] {
        put(bench.store(), name, name.as_bytes());
    }
    bench.reopen();
    for name in ["a", "a/b", "a/b/c", "c/d", "c"] {
        assert_eq!(get(bench.store(), name).unwrap(), name.as_bytes());
    }
}

#[test]
fn the_longest_path_is_stored() {
    let mut bench = Bench::new();
    let name = format!(
        "{}{}",
        format!("{}/", "ü".repeat(100)).repeat(5),
        "x".repeat(19)
    );
    assert_eq!(name.len(), 1_024);
    put(bench.store(), &name, b"deep");
    bench.reopen();
    assert_eq!(get(bench.store(), &name).unwrap(), b"deep");
}

#[test]
fn one_server_at_a_time() {
    let bench = Bench::new();
    let again = Store::open(&bench.root(), bench.key(), Vec::new());
    assert!(matches!(again, Err(OpenError::Locked(_))));
    assert!(matches!(
        Store::init(&bench.root(), &bench.key()),
        Err(OpenError::Locked(_))
    ));
}

#[test]
fn a_store_opens_with_its_own_key_only() {
    let mut bench = Bench::new();
    bench.store = None;
    let other = Store::open(&bench.root(), StorageKey::generate(), Vec::new());
    assert!(matches!(other, Err(OpenError::OtherKey { .. })));
    assert!(matches!(
        Store::init(&bench.root(), &bench.key()),
        Err(OpenError::Exists(_))
    ));
    let nowhere = Store::open(bench.dir.path(), bench.key(), Vec::new());
    assert!(matches!(nowhere, Err(OpenError::Missing(_))));
    let recipients = vec![bench.key().recipient().clone(); crate::limits::MAX_RECIPIENTS];
    assert!(matches!(
        Store::open(&bench.root(), bench.key(), recipients),
        Err(OpenError::Recipients)
    ));
    fs::write(bench.root().join(".towpath/store"), "towpath store 2\n").unwrap();
    assert!(matches!(
        Store::open(&bench.root(), bench.key(), Vec::new()),
        Err(OpenError::Description { .. })
    ));
}

#[test]
fn opening_reports_what_it_cannot_serve_and_serves_the_rest() {
    let mut bench = Bench::new();
    let names = ["good", "cut", "longer", "moved", "garbage", "swapped"];
    for name in names {
        put(bench.store(), name, &bytes(70_000));
    }
    let abandoned = begin(bench.store(), "x", b"x");
    std::mem::forget(abandoned); // as a killed process leaves it
    let stored = |name: &str| bench.stored(name);
    let cut = fs::read(stored("cut")).unwrap();
    fs::write(stored("cut"), &cut[..cut.len() - 1]).unwrap();
    fs::write(stored("longer"), [cut.as_slice(), b"x"].concat()).unwrap();
    fs::rename(stored("moved"), stored("elsewhere")).unwrap();
    fs::write(stored("garbage"), "garbage").unwrap();
    fs::write(bench.root().join("README.md"), "hello").unwrap();
    symlink(stored("good"), stored("link")).unwrap();
    symlink(bench.dir.path(), bench.root().join("linked")).unwrap();

    // `forget` leaks the store's lock as well, which a killed process does not.
    let copy = bench.dir.path().join("copy");
    copy_tree(&bench.root(), &copy);
    let (store, report) = Store::open(&copy, bench.key(), Vec::new()).unwrap();
    bench.store = Some(store);
    let names: Vec<&str> = report
        .unreadable
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["cut.age", "elsewhere.age", "garbage.age", "longer.age"],
        "{:?}",
        report.unreadable
    );
    assert_eq!(report.unreadable_count, 4);
    assert_eq!(report.foreign, ["README.md", "link.age", "linked"]);
    assert_eq!((report.files, report.leftovers), (2, 1));
    assert_eq!(get(bench.store(), "good").unwrap(), bytes(70_000));

    // An unreadable file may be all that is left of something: nothing is put in its place.
    let manifest = next(bench.store(), "garbage", Some(b"new"));
    let refused = begin(bench.store(), "garbage", b"new").commit(&manifest);
    assert!(matches!(refused, Err((CommitError::Occupied, None))));
    assert_eq!(fs::read(copy.join("garbage.age")).unwrap(), b"garbage");
    assert!(fs::read_dir(copy.join(PARTIAL)).unwrap().next().is_none());
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn links_put_into_the_store_are_not_followed() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), bench.root().join("dir")).unwrap();
    let manifest = next(bench.store(), "dir/a", Some(b"x"));
    assert!(
        begin(bench.store(), "dir/a", b"x")
            .commit(&manifest)
            .is_err()
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn every_flipped_bit_is_found() {
    let bench = Bench::new();
    let data = bytes(CHUNK + 40);
    put(bench.store(), "a", &data);
    let file = bench.stored("a");
    let stored = fs::read(&file).unwrap();
    let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
    let header = stored.len() - data.len() - 2 * 16;
    assert!(header > 4_000, "the header has a proof: {header}");
    // Each bit of header and nonce, the last bytes with both tags, and a sample of the rest.
    let tags = stored.len() - 100..stored.len();
    let sample = (header..tags.start)
        .step_by(997)
        .chain(header + CHUNK..header + CHUNK + 16);
    for at in (0..header).chain(sample).chain(tags) {
        for bit in 0..8 {
            open.write_all_at(&[stored[at] ^ 1 << bit], at as u64)
                .unwrap();
            match get(bench.store(), "a") {
                Err(StoreError::Corrupt(_)) => {}
                other => panic!("byte {at}, bit {bit}: {:?}", other.map(|data| data.len())),
            }
        }
        open.write_all_at(&stored[at..=at], at as u64).unwrap();
    }
    fs::write(&file, &stored).unwrap();
    assert_eq!(get(bench.store(), "a").unwrap(), data);
    for wrong in [
        &stored[..stored.len() - 1],
        &stored[..header + 65_552],
        &stored[..header - 20],
        b"",
        &[&stored[..], b"x"].concat(),
    ] {
        fs::write(&file, wrong).unwrap();
        assert!(
            matches!(get(bench.store(), "a"), Err(StoreError::Corrupt(_))),
            "{} bytes",
            wrong.len()
        );
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        get(bench.store(), "a"),
        Err(StoreError::Corrupt(_))
    ));
}

#[test]
fn an_older_version_put_back_is_found() {
    let bench = Bench::new();
    put(bench.store(), "a", b"one");
    let old = fs::read(bench.stored("a")).unwrap();
    put(bench.store(), "a", b"two");
    fs::write(bench.stored("a"), old).unwrap();
    assert!(matches!(
        get(bench.store(), "a"),
        Err(StoreError::Corrupt(_))
    ));
}
