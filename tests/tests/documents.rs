//! The documents say nothing about the tree that is not so.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the tree has to fail"
)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use towpath_client::cli::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Markdown documents of the project, with their content.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for directory in [root(), root().join("docs")] {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() >= 5, "the documents were not found: {found:?}");
    found
}

/// Text between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn links_lead_somewhere() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap();
            let full = path.parent().unwrap().join(file);
            assert!(full.exists(), "{}: dead link {target}", path.display());
        }
    }
}

#[test]
fn files_that_are_named_exist() {
    let parts = [
        "protocol/",
        "sctp/",
        "io-mio/",
        "store/",
        "bin/",
        "client/",
        "server/",
        "tests/",
        "xtask/",
        "fuzz/",
        "docs/",
    ];
    let mut seen = 0;
    for (path, text) in documents() {
        for word in code(&text) {
            let names_a_file =
                parts.iter().any(|part| word.starts_with(part)) && !word.contains(['*', ' ', '…']);
            if names_a_file {
                assert!(
                    root().join(word).exists(),
                    "{}: there is no {word}",
                    path.display()
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "only {seen} files are named");
}

/// Rows of the form ``| `file.rs` | `function`, `Type::function` | … |``.
#[test]
fn functions_in_the_walk_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for row in text.lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, file, functions, ..] = cells.as_slice() else {
            continue;
        };
        let Some(file) = code(file).next().filter(|file| file.ends_with(".rs")) else {
            continue;
        };
        let source =
            fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for function in code(functions) {
            let name = function.rsplit("::").next().unwrap();
            assert!(
                source.contains(&format!("fn {name}")),
                "{file} has no function {name}"
            );
        }
    }
}

/// Lines of the fenced shell blocks.
fn shell_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
}

#[test]
fn the_readme_begins_with_the_demonstration_and_the_tests() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let lines: Vec<_> = shell_lines(&text).take(2).collect();
    assert_eq!(lines, ["cargo run --release -- demo", "cargo xtask test"]);
}

#[test]
fn commands_are_understood() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut seen = 0;
    for line in shell_lines(&text).filter(|line| line.starts_with("towpath ")) {
        if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
            panic!("{line}: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} commands");
}
