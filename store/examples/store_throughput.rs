//! How fast the store takes, gives and opens files, beside what the same machine does with the same
//! bytes without it.
//!
//! `cargo run --release --package towpath-store --example store_throughput -- [DIR]`: works in a
//! temporary directory in DIR (default: the system's).
#![expect(
    clippy::unwrap_used,
    reason = "a measurement ends where something unexpected happens"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{
    Blake3Hash, Content, FilePath, Manifest, SignedManifest, SigningKey, Timestamp, UserId,
    UserName,
};
use towpath_store::limits::CHUNK;
use towpath_store::{StorageKey, Store};

/// Chunks of the large file: 256 MiB.
const CHUNKS: usize = 4_096;
/// Small files.
const FILES: usize = 500;

fn main() {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let root = dir.path().join("files");
    let key_file = dir.path().join("storage.key");
    StorageKey::generate().save_new(&key_file).unwrap();
    let key = || StorageKey::load(&key_file).unwrap();
    Store::init(&root, &key()).unwrap();
    let (store, _) = Store::open(&root, key(), vec![]).unwrap();

    let data = vec![0x5a; CHUNK];
    let (plain_write, plain_read) = plain(&dir.path().join("plain"), &data);
    let (hash, hashing) = timed(|| {
        let mut hasher = blake3::Hasher::new();
        for _ in 0..CHUNKS {
            hasher.update(&data);
        }
        *hasher.finalize().as_bytes()
    });
    let ((), put) = timed(|| put(&store, "large", &data, CHUNKS, hash));
    let ((), get) = timed(|| {
        let mut download = store.read(&FilePath::parse("large").unwrap()).unwrap();
        let mut chunk = Chunk::new();
        while download.next(&mut chunk).unwrap() {
            black_box(&chunk[0]);
        }
    });
    let mib = (CHUNKS * CHUNK / (1 << 20)) as f64;
    let line = |what: &str, time: Duration, base: Duration| {
        let seconds = time.as_secs_f64();
        println!(
            "{what:32} {:8.0} MiB/s   {:5.2} × the time without the store",
            mib / seconds,
            seconds / base.as_secs_f64()
        );
    };
    line("write and sync a plain file", plain_write, plain_write);
    line("put (seal, hash, write, sync)", put, plain_write);
    line("read a plain file", plain_read, plain_read);
    line("get (read, open)", get, plain_read);
    line("BLAKE3 alone", hashing, hashing);

    let empty = *blake3::hash(b"").as_bytes();
    let ((), small) = timed(|| {
        (0..FILES).for_each(|id| self::put(&store, &format!("small/{id}"), &[], 0, empty))
    });
    drop(store);
    let (report, open) = timed(|| Store::open(&root, key(), vec![]).unwrap().1);
    assert_eq!((report.files, report.unreadable_count), (FILES + 1, 0));
    println!(
        "publish an empty file            {:8.0} files/s",
        FILES as f64 / small.as_secs_f64()
    );
    println!(
        "open a store                     {:8.0} files/s",
        FILES as f64 / open.as_secs_f64()
    );
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed())
}

/// The times to write and sync, and to read, the same bytes in a plain file.
fn plain(path: &Path, data: &[u8]) -> (Duration, Duration) {
    let ((), write) = timed(|| {
        let mut file = File::create(path).unwrap();
        (0..CHUNKS).for_each(|_| file.write_all(data).unwrap());
        file.sync_all().unwrap();
    });
    let ((), read) = timed(|| {
        let mut file = File::open(path).unwrap();
        let mut buffer = vec![0; CHUNK];
        (0..CHUNKS).for_each(|_| file.read_exact(&mut buffer).unwrap());
        black_box(buffer);
    });
    (write, read)
}

fn put(store: &Store, path: &str, data: &[u8], chunks: usize, hash: [u8; 32]) {
    let key = SigningKey::from_seed(&[7; 32]);
    let path = FilePath::parse(path).unwrap();
    let mut upload = store.begin(&path).unwrap();
    let mut chunk = Chunk::new();
    for _ in 0..chunks {
        chunk.extend_from_slice(data);
        upload.append(&mut chunk).unwrap();
    }
    let manifest = Manifest {
        store: store.id(),
        path,
        content: Content::File {
            size: upload.size(),
            hash: Blake3Hash::from_bytes(hash),
            mtime: Timestamp::EPOCH,
            mode: 0o600,
        },
        version: 1,
        previous: None,
        uid: UserId::from_bytes([1; 16]),
        name: UserName::parse("alice").unwrap(),
        key: key.public().fingerprint(),
        signed_at: Timestamp::EPOCH,
    };
    upload
        .commit(&SignedManifest::sign(manifest, &key).unwrap())
        .unwrap();
}
