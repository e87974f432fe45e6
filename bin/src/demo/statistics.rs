//! The output of a command, as the demo shows it.

use std::collections::BTreeMap;

/// The lines of `record` indented, without `root` (the demo's directory); the statistics of
/// `--stats` become sentences.
pub(super) fn told(record: &str, root: &str) -> String {
    let mut text = String::new();
    let mut bytes = String::new();
    for line in record.lines() {
        let line = line.replace(root, "");
        let shown = match line.split_once(' ') {
            Some(("stats", rest)) => {
                bytes = moved(&statistics(rest));
                continue;
            }
            Some(("link", rest)) => format!("{bytes}, {}", way(&statistics(rest))),
            // `--stats` has the same numbers.
            Some(("towpath:", rest)) if is_summary(rest) => continue,
            _ => line,
        };
        text.push_str(&format!("  {shown}\n"));
    }
    text
}

fn statistics(line: &str) -> BTreeMap<&str, &str> {
    line.split(' ')
        .filter_map(|word| word.split_once('='))
        .collect()
}

fn is_summary(message: &str) -> bool {
    (message.starts_with("put ") || message.starts_with("get ")) && message.ends_with(" MB/s)")
}

/// `67 MB in 0.13 s: 512 MB/s, longest pause 30 ms`
fn moved(statistics: &BTreeMap<&str, &str>) -> String {
    let number = |name: &str| -> f64 {
        let text = statistics.get(name).copied().unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    let (megabytes, seconds) = (number("bytes") / 1e6, number("seconds"));
    format!(
        "{megabytes:.0} MB in {seconds:.2} s: {:.0} MB/s, longest pause {:.0} ms",
        megabytes / seconds.max(0.001),
        number("longest_stall_ms")
    )
}

/// `over SCTP in user space, 127.0.0.1:9899 (active), 127.0.0.2:9899 (active)`
fn way(statistics: &BTreeMap<&str, &str>) -> String {
    let transport = match statistics.get("transport").copied() {
        Some("udp") => "SCTP in user space (UDP)",
        Some("kernel") => "the kernel's SCTP",
        Some(other) => other,
        None => "an unknown transport",
    };
    let paths = statistics.get("paths").copied().unwrap_or("-");
    let paths = paths
        .replace(",primary)", ")")
        .replace("),", "), ")
        .replace('(', " (");
    format!("over {transport}: {paths}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_become_a_sentence_and_other_lines_stay() {
        let record = "towpath: put a: 2.0 MB in 1.0 s (2.0 MB/s)\n\
            stats transfer=a bytes=2000000 seconds=1.000 longest_stall_ms=80\n\
            link transfer=a direction=put transport=udp paths=127.0.0.1:9899(active,primary),127.0.0.2:9899(inactive)\n\
            towpath: note.txt: refused\n/tmp/x/proof/a\n";
        assert_eq!(
            told(record, "/tmp/x/"),
            "  2 MB in 1.00 s: 2 MB/s, longest pause 80 ms, over SCTP in user space (UDP): \
            127.0.0.1:9899 (active), 127.0.0.2:9899 (inactive)\n\
            \x20 towpath: note.txt: refused\n  proof/a\n"
        );
    }
}
