use towpath_protocol::signed::{Blake3Hash, FilePath, StoreId, Timestamp, UserId, UserName};

use super::*;
use crate::error::ErrorKind;

fn manifest(content: &[u8], mode: u32) -> Manifest {
    Manifest {
        store: StoreId::from_bytes([1; 16]),
        path: FilePath::parse("f").unwrap(),
        content: Content::File {
            size: content.len() as u64,
            hash: Blake3Hash::from_bytes(*blake3::hash(content).as_bytes()),
            mtime: Timestamp {
                seconds: 1_000_000_000,
                nanos: 5,
            },
            mode,
        },
        version: 1,
        previous: None,
        uid: UserId::from_bytes([1; 16]),
        name: UserName::parse("alice").unwrap(),
        key: towpath_protocol::signed::Fingerprint::from_bytes([1; 32]),
        signed_at: Timestamp::EPOCH,
    }
}

fn target(path: &Path) -> Target {
    Target::File {
        path: path.to_owned(),
        tree: None,
    }
}

fn chunks(content: &[u8]) -> Vec<Chunk> {
    content.chunks(CHUNK_LEN).map(Chunk::from_slice).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_whole_file_gets_its_name_mode_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "old").unwrap();
    let content = vec![7; 100_000];
    let manifest = manifest(&content, 0o777);
    let mut file = Receiving::open(&target(&path)).unwrap();
    file.begin(&manifest, 0).unwrap();
    file.write(&chunks(&content), &manifest).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    file.verify(&manifest).unwrap();
    file.publish(&manifest, 0o022).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()),
        (0o755, 1_000_000_000, 5)
    );
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn modes_are_never_wider_than_safe() {
    assert_eq!(local_mode(0o777, 0), 0o755);
    assert_eq!(local_mode(0o666, 0o077), 0o600);
    assert_eq!(local_mode(0o7777, 0), 0o755);
    assert_eq!(local_mode(0, 0o777), 0o400);
}

#[test]
fn too_much_too_little_and_other_content_fail_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let content = vec![7; 70_000];
    let manifest = manifest(&content, 0o644);
    let mut flipped = content.clone();
    flipped[69_999] ^= 1;
    for wrong in [&content[..69_999], &flipped] {
        let mut file = Receiving::open(&target(&path)).unwrap();
        file.begin(&manifest, 0).unwrap();
        file.write(&chunks(wrong), &manifest).unwrap();
        assert_eq!(
            file.verify(&manifest).unwrap_err().kind,
            ErrorKind::Verification
        );
        file.abandon(false).unwrap();
        assert!(names(dir.path()).is_empty());
    }
    let mut file = Receiving::open(&target(&path)).unwrap();
    file.begin(&manifest, 0).unwrap();
    let long = [content.as_slice(), b"x"].concat();
    assert_eq!(
        file.write(&chunks(&long), &manifest).unwrap_err().kind,
        ErrorKind::Verification
    );
}

#[test]
fn a_kept_partial_continues_on_whole_chunks_under_the_same_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let content: Vec<u8> = (0..200_000).map(|i| (i % 253) as u8).collect();
    let signed = manifest(&content, 0o644);
    let mut file = Receiving::open(&target(&path)).unwrap();
    assert_eq!(file.resume(), (0, None));
    file.begin(&signed, 0).unwrap();
    file.write(&chunks(&content[..150_000]), &signed).unwrap();
    file.abandon(true).unwrap();
    assert_eq!(
        names(dir.path()),
        [".f.towpath-partial", ".f.towpath-partial.of"]
    );

    let mut file = Receiving::open(&target(&path)).unwrap();
    let offset = 2 * CHUNK_LEN as u64;
    assert_eq!(file.resume(), (offset, Some(signed.hash())));
    assert!(file.begin(&signed, CHUNK_LEN as u64).is_err());
    assert!(file.begin(&manifest(b"other", 0o644), offset).is_err());
    file.begin(&signed, offset).unwrap();
    file.write(&chunks(&content[2 * CHUNK_LEN..]), &signed)
        .unwrap();
    file.verify(&signed).unwrap();
    file.publish(&signed, 0o022).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_partial_of_another_version_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let old = manifest(&vec![1; 150_000], 0o644);
    let mut file = Receiving::open(&target(&path)).unwrap();
    file.begin(&old, 0).unwrap();
    file.write(&chunks(&vec![1; 140_000]), &old).unwrap();
    file.abandon(true).unwrap();

    let content = vec![2; 100];
    let new = manifest(&content, 0o644);
    let mut file = Receiving::open(&target(&path)).unwrap();
    assert_ne!(file.resume().0, 0);
    file.begin(&new, 0).unwrap();
    file.write(&chunks(&content), &new).unwrap();
    file.verify(&new).unwrap();
    file.publish(&new, 0o022).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn no_download_takes_the_place_of_another_one_s_partial() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let content = vec![7; 100];
    let signed = manifest(&content, 0o644);
    let mut file = Receiving::open(&target(&path)).unwrap();
    file.begin(&signed, 0).unwrap();
    file.write(&chunks(&content), &signed).unwrap();
    for name in [".f.towpath-partial", ".f.towpath-partial.of"] {
        let refused = Receiving::open(&target(&dir.path().join(name))).unwrap_err();
        assert!(refused.message.contains("unfinished"), "{refused}");
    }
    // Another user may write to the directory: a file they create there was not verified.
    fs::write(dir.path().join("other"), "not signed").unwrap();
    fs::rename(
        dir.path().join("other"),
        dir.path().join(".f.towpath-partial"),
    )
    .unwrap();
    file.verify(&signed).unwrap();
    assert_eq!(
        file.publish(&signed, 0o022).unwrap_err().kind,
        ErrorKind::Local
    );
    assert!(!path.exists());
}

#[test]
fn links_and_directories_are_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("victim"), "v").unwrap();
    std::os::unix::fs::symlink("victim", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("victim", dir.path().join(".g.towpath-partial")).unwrap();
    for name in ["link", ".", "g"] {
        assert_eq!(
            Receiving::open(&target(&dir.path().join(name)))
                .unwrap_err()
                .kind,
            ErrorKind::Local,
            "{name}"
        );
    }
    assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"v");
}

#[test]
fn one_partial_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let _first = Receiving::open(&target(&path)).unwrap();
    assert!(
        Receiving::open(&target(&path))
            .unwrap_err()
            .message
            .contains("another towpath")
    );
}

#[test]
fn a_partial_or_record_of_somebody_else_is_refused() {
    for name in [".f.towpath-partial", ".f.towpath-partial.of"] {
        let dir = tempfile::tempdir().unwrap();
        let planted = dir.path().join(name);
        fs::write(&planted, vec![7; 2 * CHUNK_LEN]).unwrap();
        let somebody = Uid::from_raw(geteuid().as_raw() + 1);
        let failure = open_own(&planted, somebody).unwrap_err();
        assert!(
            failure.message.contains("belongs to another user"),
            "{failure}"
        );
        // Only root can create a file of another user.
        if geteuid().is_root() {
            nix::unistd::chown(&planted, Some(somebody), None).unwrap();
            let failure = Receiving::open(&target(&dir.path().join("f"))).unwrap_err();
            assert!(
                failure.message.contains("belongs to another user"),
                "{failure}"
            );
        }
    }
}

#[test]
fn a_link_planted_in_a_tree_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, elsewhere) = (dir.path().join("tree"), dir.path().join("elsewhere"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, tree.join("sub")).unwrap();
    for name in ["sub/f", "sub/deeper/f"] {
        let target = Target::File {
            path: tree.join(name),
            tree: Some(tree.clone()),
        };
        let failure = Receiving::open(&target).unwrap_err();
        assert!(failure.message.contains("symbolic link"), "{failure}");
    }
    assert!(names(&elsewhere).is_empty(), "{:?}", names(&elsewhere));
}
