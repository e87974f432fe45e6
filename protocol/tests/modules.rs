//! What the modules of this crate may know of each other.
//!
//! `signed` is usable without a connection, `channel` without knowing what a file is.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has to fail"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files of a module with their text.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(module),
    ];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() >= 5, "{module}: the sources were not found");
    found
}

/// The words of a text that are Rust identifiers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The modules that a text names by `crate::`, in code, comments and lists of imports.
fn named_modules(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            // Only the first level: what is in a nested list belongs to a module before it.
            Some(list) => {
                let mut depth = 0;
                let mut start = 0;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth > 0 => depth -= 1,
                        ',' | '}' if depth == 0 => {
                            found.extend(words(list[start..at].trim()).next());
                            start = at + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
            }
            None => found.extend(words(rest).next()),
        }
    }
    found.retain(|word| !word.is_empty());
    found
}

fn violations(text: &str, allowed: &[&str], forbidden: &[&str]) -> Vec<String> {
    let modules = named_modules(text)
        .into_iter()
        .filter(|module| !allowed.contains(module));
    let words = words(text).filter(|word| forbidden.contains(word));
    // A path that leaves the module upwards.
    let upwards = text.matches("super::super");
    modules
        .chain(words)
        .chain(upwards)
        .map(ToOwned::to_owned)
        .collect()
}

const CHANNEL_MAY_NAME: [&str; 4] = ["channel", "error", "ids", "limits"];
/// What the records of a transfer carry is not the channel's business.
const CHANNEL_NEVER_NAMES: [&str; 8] = [
    "FilePath",
    "Manifest",
    "ManifestHash",
    "Refusal",
    "Request",
    "SignedManifest",
    "StoreId",
    "UserName",
];

const SIGNED_MAY_NAME: [&str; 2] = ["limits", "signed"];
const SIGNED_NEVER_NAMES: [&str; 5] = [
    "Chunk",
    "Connection",
    "ProtocolError",
    "TransferId",
    "rustls",
];

#[test]
fn the_channel_knows_nothing_of_files() {
    for (path, text) in sources("channel") {
        let found = violations(&text, &CHANNEL_MAY_NAME, &CHANNEL_NEVER_NAMES);
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

#[test]
fn what_is_signed_knows_nothing_of_connections() {
    for (path, text) in sources("signed") {
        let found = violations(&text, &SIGNED_MAY_NAME, &SIGNED_NEVER_NAMES);
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

/// The checks above find what they look for.
#[test]
fn violations_are_found() {
    let text = "use crate::channel::{keys::{Root, Chain}, tls};\n\
        use crate::{limits::X, wire::{a, b}, client};\n\
        /// See [`Event`](crate::server::Event) and [`FilePath`].\n\
        use super::super::wire;\n";
    assert_eq!(
        named_modules(text),
        ["channel", "limits", "wire", "client", "server"]
    );
    assert_eq!(
        violations(text, &CHANNEL_MAY_NAME, &CHANNEL_NEVER_NAMES),
        ["wire", "client", "server", "FilePath", "super::super"]
    );
}
