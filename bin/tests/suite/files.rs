//! Files go there and come back.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use super::harness::{Site, bytes, names, text};

const CHUNK: usize = 65_536;

#[test]
fn every_size_around_a_chunk_comes_back() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 40 * CHUNK + 17] {
        let content = bytes(size, 1);
        let path = format!("size-{size}");
        site.put(&alice, &path, &content);
        let (ran, target) = site.get(&alice, &path, &[]);
        ran.succeeds();
        assert!(fs::read(&target).unwrap() == content, "{size}");
        assert_eq!(names(target.parent().unwrap()), ["target"]);
    }
}

#[test]
fn mode_and_time_come_back_and_nothing_wider() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let source = site.path("tool");
    fs::write(&source, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o4777)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    fs::File::options()
        .write(true)
        .open(&source)
        .unwrap()
        .set_modified(time)
        .unwrap();
    site.towpath(&alice, &["put", text(&source), &site.url(&alice, "bin/")])
        .succeeds();
    let (ran, target) = site.get(&alice, "bin/tool", &[]);
    ran.succeeds();
    let meta = fs::metadata(target).unwrap();
    assert_eq!(meta.modified().unwrap(), time);
    assert_eq!(meta.mode() & 0o7022, 0);
    assert_eq!(meta.mode() & 0o700, 0o700);
}

#[test]
fn names_in_every_script() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let scripts = [
        "naïve café.txt",
        "Straße/Ελληνικά",
        "русский/файл",
        "עברית",
        "العربية.txt",
        "हिन्दी",
        "日本語/ファイル",
        "한국어",
        "ไทย",
        "😀👩‍👩‍👧.bin",
        " leading and trailing ",
        "100% sure?#1",
        "-dash",
        "a'b\"c$d`e",
    ];
    for (index, name) in scripts.iter().enumerate() {
        let content = bytes(100 + index, 2);
        let encoded = name.replace('%', "%25");
        site.put(&alice, &encoded, &content);
        let (ran, target) = site.get(&alice, &encoded, &[]);
        ran.succeeds();
        assert!(fs::read(target).unwrap() == content, "{name}");
    }
    let listing = site
        .towpath(&alice, &["ls", &site.url(&alice, "")])
        .succeeds()
        .text();
    for name in scripts {
        assert!(
            listing
                .lines()
                .any(|line| line.ends_with(&format!(" {name}"))),
            "{name} in {listing}"
        );
    }
    let json = site
        .towpath(&alice, &["ls", "--json", &site.url(&alice, "")])
        .succeeds()
        .text();
    assert_eq!(json.lines().count(), scripts.len());
}

#[test]
fn hostile_names_are_refused_here() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let source = site.path("source");
    fs::write(&source, "x").unwrap();
    for name in [
        "../x",
        "a/../x",
        "a//b",
        "./a",
        "a%00b",
        "a%0ab",
        "a%1b[2Jb",
        "a\\b",
        "cafe%cc%81",
        ".towpath/x",
        "d.age/x",
        &"x".repeat(201),
    ] {
        let url = site.url(&alice, name);
        site.towpath(&alice, &["put", text(&source), &url]).exits(2);
        let ran = site
            .towpath(&alice, &["get", &url, text(&site.path("no"))])
            .exits(2);
        assert!(!ran.errors.contains('\x1b'));
    }
    assert!(!site.path("no").exists());
}

#[test]
fn a_tree_goes_and_comes_back() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let tree = site.path("tree");
    for index in 0..30u8 {
        let directory = tree.join(format!("d{}/e{}", index % 3, index % 5));
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join(format!("f{index}")),
            bytes(usize::from(index) * 999, index),
        )
        .unwrap();
    }
    site.towpath(
        &alice,
        &["put", "-r", text(&tree), &site.url(&alice, "in/")],
    )
    .succeeds();
    let target = site.path("back");
    site.towpath(
        &alice,
        &["get", "-r", &site.url(&alice, "in/tree"), text(&target)],
    )
    .succeeds();
    for index in 0..30u8 {
        let file = format!("d{}/e{}/f{index}", index % 3, index % 5);
        assert!(
            fs::read(target.join(&file)).unwrap() == bytes(usize::from(index) * 999, index),
            "{file}"
        );
    }
    // A link among the files is named, and the rest goes all the same.
    std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
    site.towpath(
        &alice,
        &["put", "-r", text(&tree), &site.url(&alice, "again/")],
    )
    .exits(1)
    .says("symbolic link");
    let listing = site
        .towpath(&alice, &["ls", &site.url(&alice, "again")])
        .succeeds()
        .text();
    assert_eq!(listing.lines().count(), 30);
    // `ls` of a directory is not fooled by names that begin alike.
    site.towpath(&alice, &["ls", &site.url(&alice, "agai")])
        .exits(7);
    // `-r` on a file gets the file.
    let one = site.fresh_directory();
    site.towpath(
        &alice,
        &[
            "get",
            "-r",
            &site.url(&alice, "in/tree/d0/e0/f0"),
            text(&one),
        ],
    )
    .succeeds();
    assert_eq!(names(&one), ["f0"]);
}

#[test]
fn many_at_once_and_the_small_one_does_not_wait() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let tree = site.path("many");
    fs::create_dir(&tree).unwrap();
    for index in 0..32u8 {
        fs::write(
            tree.join(format!("large-{index:02}")),
            bytes(2 << 20, index),
        )
        .unwrap();
    }
    fs::write(tree.join("small"), bytes(1000, 99)).unwrap();
    site.towpath(
        &alice,
        &["put", "-r", "-j", "33", text(&tree), &site.url(&alice, "")],
    )
    .succeeds();
    let target = site.path("target");
    let ran = site
        .towpath(
            &alice,
            &[
                "get",
                "-r",
                "-j",
                "33",
                "--stats",
                &site.url(&alice, "many"),
                text(&target),
            ],
        )
        .succeeds();
    let ended: Vec<String> = ran
        .text()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("stats transfer=")?
                .split(' ')
                .next()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(ended.len(), 33);
    let small = ended.iter().position(|name| name == "many/small").unwrap();
    assert!(
        small < 16,
        "the small one ended as number {small} of 33: {ended:?}"
    );
    for index in 0..32u8 {
        assert!(
            fs::read(target.join(format!("large-{index:02}"))).unwrap() == bytes(2 << 20, index)
        );
    }
}

#[test]
fn overwriting_deleting_and_listing_count_versions() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let url = site.url(&alice, "f");
    let version = || {
        let listing = site.towpath(&alice, &["ls", &url]).succeeds().text();
        listing
            .split_whitespace()
            .find_map(|word| word.strip_prefix('v')?.parse::<u32>().ok())
            .unwrap()
    };
    site.put(&alice, "f", b"one");
    assert_eq!(version(), 1);
    site.put(&alice, "f", b"two");
    assert_eq!(version(), 2);
    site.towpath(&alice, &["rm", &url]).succeeds();
    site.towpath(&alice, &["ls", &url]).exits(7);
    site.towpath(&alice, &["get", &url, text(&site.path("x"))])
        .exits(7);
    site.towpath(&alice, &["rm", &url]).exits(7);
    site.put(&alice, "f", b"three");
    assert_eq!(version(), 4);
    let (ran, target) = site.get(&alice, "f", &[]);
    ran.succeeds();
    assert_eq!(fs::read(target).unwrap(), b"three");
}

#[test]
fn standard_input_and_output() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let content = bytes(300_000, 5);
    let url = site.url(&alice, "piped");
    site.towpath_with_input(&alice, &["put", "-", &url], &content)
        .succeeds();
    for options in [&["get"][..], &["get", "--unverified"]] {
        let mut arguments = options.to_vec();
        arguments.extend([url.as_str(), "-"]);
        let ran = site.towpath(&alice, &arguments).succeeds();
        assert!(ran.output == content);
    }
}

#[test]
fn what_cannot_be_put_is_named() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let directory = site.fresh_directory();
    fs::write(directory.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", directory.join("link")).unwrap();
    nix::unistd::mkfifo(
        &directory.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o600),
    )
    .unwrap();
    let url = site.url(&alice, "x/");
    for (name, what) in [
        ("link", "symbolic link"),
        ("fifo", "not a regular file"),
        ("none", "No such file"),
    ] {
        site.towpath(&alice, &["put", text(&directory.join(name)), &url])
            .exits(9)
            .says(what);
    }
    site.towpath(&alice, &["put", text(&directory), &url])
        .exits(9)
        .says("-r");
    // One that works among one that does not.
    site.towpath(
        &alice,
        &[
            "put",
            text(&directory.join("file")),
            text(&directory.join("none")),
            &url,
        ],
    )
    .exits(1);
    site.towpath(&alice, &["ls", &site.url(&alice, "x/file")])
        .succeeds();
}

#[test]
fn a_link_or_directory_at_the_target_is_never_replaced() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    site.put(&alice, "f", b"new");
    let directory = site.fresh_directory();
    fs::write(directory.join("victim"), "old").unwrap();
    std::os::unix::fs::symlink("victim", directory.join("f")).unwrap();
    site.towpath(&alice, &["get", &site.url(&alice, "f"), text(&directory)])
        .exits(9)
        .says("symbolic link");
    assert_eq!(fs::read(directory.join("victim")).unwrap(), b"old");
    assert_eq!(names(&directory), ["f", "victim"]);
    fs::remove_file(directory.join("f")).unwrap();
    fs::write(directory.join("f"), "old").unwrap();
    site.towpath(&alice, &["get", &site.url(&alice, "f"), text(&directory)])
        .succeeds();
    assert_eq!(fs::read(directory.join("f")).unwrap(), b"new");
}

#[test]
fn a_large_sparse_file_needs_little_memory() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let source = site.path("sparse");
    let size = 300u64 << 20;
    fs::File::create(&source).unwrap().set_len(size).unwrap();
    let mut command = site.trusting(&alice, &["put", text(&source), &site.url(&alice, "sparse")]);
    let ran = super::harness::run(
        std::process::Command::new("sh")
            .arg("-c")
            .arg("ulimit -v 600000; exec \"$0\" \"$@\"")
            .arg(command.get_program())
            .args(command.get_args())
            .env_remove("TOWPATH_CONFIG_DIR"),
        None,
    );
    ran.succeeds();
    // Not started itself: it only lent its arguments.
    command.stdin(std::process::Stdio::null());
    let listing = site
        .towpath(&alice, &["ls", &site.url(&alice, "sparse")])
        .succeeds()
        .text();
    assert!(listing.contains(&size.to_string()), "{listing}");
}

#[test]
#[ignore = "needs 11 GB of disk and half a minute"]
fn five_gibibytes_come_back() {
    let site = Site::new();
    let alice = site.user("alice", "maintainer");
    let (source, target) = (site.path("sparse"), site.path("back"));
    let size = 5u64 << 30;
    let file = fs::File::create(&source).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"the end", size - 7).unwrap();
    let url = site.url(&alice, "sparse");
    site.towpath(&alice, &["put", text(&source), &url])
        .succeeds();
    site.towpath(&alice, &["get", &url, text(&target)])
        .succeeds();
    let hash = |path| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(path).unwrap()).unwrap();
        hasher.finalize()
    };
    assert_eq!(hash(&source), hash(&target));
    println!("put and got {size} bytes: {}", hash(&source));
}
