use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// What events leave in the file, without the times.
fn logged(emit: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.log");
    let subscriber = tracing_subscriber::registry().with(ServerLog::open(&path).unwrap());
    tracing::subscriber::with_default(subscriber, emit);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(path).unwrap();
    let cut = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(
            (time.len(), time.get(10..11), time.get(26..)),
            (27, Some("T"), Some("Z")),
            "{line}"
        );
        format!("{rest}\n")
    };
    text.lines().map(cut).collect()
}

#[test]
fn a_line_has_level_message_and_fields() {
    let text = logged(|| {
        tracing::info!(user = "alice", size = 12, ok = true, "login");
        tracing::warn!(path = %"a b", none = "", "refused");
    });
    assert_eq!(
        text,
        "INFO  login user=alice size=12 ok=true\nWARN  refused path=\"a b\" none=\"\"\n"
    );
}

#[test]
fn fields_of_spans_follow_innermost_first() {
    let text = logged(|| {
        let outer = tracing::info_span!("session", peer = "10.0.0.1", user = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("user", "alice");
        let _inner = tracing::info_span!("transfer", stream = 3).entered();
        tracing::info!(path = "f", "get");
    });
    assert_eq!(text, "INFO  get path=f stream=3 peer=10.0.0.1 user=alice\n");
}

#[test]
fn peers_cannot_forge_lines_or_fields() {
    let evil =
        "x\n2026-01-01T00:00:00.000000Z INFO  login user=root\r\u{1b}[2J\u{202e}\u{2028}\"\\";
    let text = logged(|| {
        tracing::info!(user = evil, "login");
        tracing::info!("{evil}");
        tracing::info!(user = ?evil, "login");
    });
    let shown =
        r#"x\n2026-01-01T00:00:00.000000Z INFO  login user=root\r\u{1b}[2J\u{202e}\u{2028}\"\\"#;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], format!("INFO  login user=\"{shown}\""));
    assert_eq!(lines[1], format!("INFO  {}", shown.replace('=', r"\u{3d}")));
    assert!(!lines[2].contains('\u{1b}'));
}

#[test]
fn long_lines_are_cut() {
    let text = logged(|| {
        let long = "ü".repeat(crate::limits::MAX_LOG_LINE);
        tracing::info!(a = long, b = long, "m");
        tracing::info!("next");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].len() < crate::limits::MAX_LOG_LINE && lines[0].ends_with("ü…"));
    assert_eq!(lines[1], "INFO  next");
}

#[test]
fn a_renamed_file_is_followed_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.log");
    fs::write(&path, "before\n").unwrap();
    let subscriber = tracing_subscriber::registry().with(ServerLog::open(&path).unwrap());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("one");
        fs::rename(&path, dir.path().join("server.log.1")).unwrap();
        tracing::info!("two");
        tracing::info!("three");
    });
    let old = fs::read_to_string(dir.path().join("server.log.1")).unwrap();
    assert!(
        old.starts_with("before\n") && old.ends_with("INFO  one\n"),
        "{old}"
    );
    let new = fs::read_to_string(&path).unwrap();
    assert_eq!(new.lines().count(), 2, "{new}");
}

#[test]
fn lost_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let subscriber = tracing_subscriber::registry().with(ServerLog::open(&path).unwrap());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("one");
        tracing::info!("two");
        fs::remove_file(&path).unwrap();
        tracing::info!("three");
        tracing::info!("four");
    });
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["", "lines lost before this one: 2"]);
    assert!(
        lines.len() == 4 && lines[2].ends_with("three") && lines[3].ends_with("four"),
        "{text}"
    );
}

#[test]
fn the_level_filters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.log");
    let log = ServerLog::open(&path)
        .unwrap()
        .with_filter(LevelFilter::INFO);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
        tracing::debug!("no");
        tracing::info!("yes");
    });
    assert!(fs::read_to_string(path).unwrap().ends_with("INFO  yes\n"));
    let missing = ServerLog::open(&dir.path().join("none/server.log"));
    assert!(missing.unwrap_err().to_string().contains("none/server.log"));
}

proptest! {
    #[test]
    fn any_text_stays_on_its_line_and_comes_back(text in any::<String>()) {
        let value = Value(&text).to_string();
        let shows = |c: char| !towpath_protocol::is_hidden(c);
        prop_assert!(value.chars().all(shows));
        let inner = match value.strip_prefix('"') {
            Some(rest) => unescape(rest.strip_suffix('"').unwrap()),
            None => {
                prop_assert!(!value.contains(char::is_whitespace));
                value
            }
        };
        prop_assert_eq!(inner, text);
    }
}

/// A naive reader of the escapes.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match rest.next().unwrap() {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let hex: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap()
            }
            c => c,
        });
    }
    out
}

#[test]
fn a_clock_far_off_is_no_panic() {
    let far = Duration::from_secs(1 << 40);
    for (time, text) in [
        (UNIX_EPOCH + far, "9999-12-31T23:59:59.999999Z INFO  "),
        (UNIX_EPOCH - far, "0000-01-01T00:00:00.000000Z INFO  "),
        (
            UNIX_EPOCH + Duration::from_nanos(1_999_999_999),
            "1970-01-01T00:00:01.999999Z INFO  ",
        ),
    ] {
        let line = Line::new(time, tracing::Level::INFO).finish();
        assert_eq!(line.trim_end_matches('\n'), text);
    }
}

#[test]
fn a_log_that_is_written_without_end_stays_bounded_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.log");
    let log = ServerLog::open(&path).unwrap().rotated_at(1_000);
    let subscriber = tracing_subscriber::registry().with(log);
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..500 {
            tracing::info!(number, "login refused");
        }
    });
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 1 + crate::limits::OLD_LOGS, "{files:?}");
    for file in &files {
        let metadata = fs::metadata(file).unwrap();
        assert!(metadata.len() <= 1_000, "{} bytes", metadata.len());
        assert_eq!(metadata.mode() & 0o777, 0o600);
    }
    // The newest lines are there, without a gap.
    let text: String = files[1..]
        .iter()
        .rev()
        .chain([&path])
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let numbers: Vec<usize> = text
        .lines()
        .map(|line| line.split_once("number=").unwrap().1.parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(numbers.last(), Some(&499));
}
