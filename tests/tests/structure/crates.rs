//! The crates: what they depend on, what is in the programs, and what is published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

/// What a cargo command prints.
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .current_dir(root())
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the workspace, and with `arguments` all that they are built from.
fn packages(arguments: &[&str]) -> Vec<Value> {
    let command = [&["metadata", "--format-version=1", "--offline"], arguments].concat();
    let metadata: Value = serde_json::from_str(&cargo(&command)).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// The root files of all libraries and programs of the workspace.
pub(crate) fn roots() -> Vec<PathBuf> {
    let is_ours = |target: &&Value| {
        let kind = target["kind"][0].as_str();
        matches!(kind, Some("lib" | "bin"))
    };
    let packages = packages(&["--no-deps"]);
    let targets = packages
        .iter()
        .flat_map(|package| package["targets"].as_array().unwrap());
    targets
        .filter(is_ours)
        .map(|target| PathBuf::from(text(target, "src_path")))
        .collect()
}

/// What each crate of ours may need of ours, directly or not, as ARCHITECTURE.md has it.
const ARROWS: &[(&str, &[&str])] = &[
    ("towpath-protocol", &[]),
    ("towpath-sctp", &[]),
    ("towpath-io-mio", &["towpath-sctp"]),
    ("towpath-store", &["towpath-protocol"]),
    (
        "towpath-client",
        &["towpath-io-mio", "towpath-protocol", "towpath-sctp"],
    ),
    (
        "towpath-server",
        &[
            "towpath-io-mio",
            "towpath-protocol",
            "towpath-sctp",
            "towpath-store",
        ],
    ),
    (
        "towpath",
        &[
            "towpath-client",
            "towpath-io-mio",
            "towpath-protocol",
            "towpath-sctp",
            "towpath-server",
            "towpath-store",
        ],
    ),
    ("towpath-adapter", &["towpath-protocol", "towpath-sctp"]),
    ("xtask", &[]),
];

/// Crates that other crates have for their tests only.
const FOR_TESTS: [&str; 1] = ["towpath-tests"];

#[test]
fn crates_depend_one_way() {
    let packages = packages(&["--no-deps"]);
    let direct: BTreeMap<&str, Vec<&str>> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(dependency, "name"));
            (text(package, "name"), normal.collect())
        })
        .collect();
    for name in direct.keys().filter(|name| !FOR_TESTS.contains(name)) {
        let mut reached = BTreeSet::new();
        let mut open = vec![*name];
        while let Some(next) = open.pop() {
            for dependency in direct.get(next).into_iter().flatten() {
                if direct.contains_key(dependency) && reached.insert(*dependency) {
                    open.push(dependency);
                }
            }
        }
        let allowed = ARROWS.iter().find(|(owner, _)| owner == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name} has no line in ARROWS"));
        let wrong: Vec<_> = reached
            .iter()
            .filter(|dependency| !allowed.contains(dependency))
            .collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}");
    }
}

#[test]
fn programs_have_no_feature_for_tests() {
    let tree = cargo(&[
        "tree",
        "--offline",
        "--locked",
        "-p=towpath",
        "-e=features,normal",
        "--prefix=none",
        "--no-dedupe",
    ]);
    let of_ours: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.strip_suffix(" (*)").or(Some(line)))
        .filter(|line| line.starts_with("towpath") && line.contains(" feature \""))
        .collect();
    assert!(
        of_ours.contains("towpath-sctp feature \"default\""),
        "the features were not found: {of_ours:?}"
    );
    for line in of_ours {
        for word in ["simulator", "fuzzing", "test"] {
            assert!(!line.contains(word), "in the programs: {line}");
        }
    }
}

#[test]
fn the_package_towpath_has_the_two_programs_and_nothing_else() {
    let packages = packages(&["--no-deps"]);
    let package = packages
        .iter()
        .find(|package| text(package, "name") == "towpath")
        .unwrap();
    let built: Vec<_> = package["targets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|target| target["kind"][0] != "test")
        .map(|target| (text(target, "name"), target["kind"][0].as_str().unwrap()))
        .collect();
    assert_eq!(built, [("towpath", "bin"), ("towpathd", "bin")]);
}

/// `1.88` and `1.88.0` as the same three numbers.
fn version(text: &str) -> [u32; 3] {
    let mut version = [0; 3];
    for (number, part) in version.iter_mut().zip(text.split('.')) {
        *number = part.parse().unwrap();
    }
    version
}

#[test]
fn no_dependency_needs_a_newer_rust() {
    let host = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let packages = packages(&["--locked", "--filter-platform", host]);
    let ours = packages
        .iter()
        .find(|package| text(package, "name") == "towpath")
        .unwrap();
    let ours = version(text(ours, "rust_version"));
    let mut stated = 0;
    for package in &packages {
        if let Some(theirs) = package["rust_version"].as_str() {
            stated += 1;
            assert!(
                version(theirs) <= ours,
                "{} needs Rust {theirs}, ours is {ours:?}",
                text(package, "name")
            );
        }
    }
    assert!(stated > 100, "the versions were not found: {stated}");
}

/// Files that a published crate may have beside its sources, tests, examples and vectors.
const BESIDE: [&str; 8] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
];

/// Files that a published crate must have.
const DEMANDED: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

#[test]
fn published_crates_have_their_texts_and_nothing_unexpected() {
    let mut missing = Vec::new();
    let mut published = 0;
    for package in packages(&["--no-deps"]) {
        if package["publish"] == Value::Array(Vec::new()) {
            continue;
        }
        published += 1;
        let name = text(&package, "name");
        let list = cargo(&[
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "-p",
            name,
        ]);
        let files: Vec<_> = list.lines().collect();
        let absent = DEMANDED.iter().filter(|file| !files.contains(file));
        missing.extend(absent.map(|file| format!("{name}: {file}")));
        for file in files {
            let expected = BESIDE.contains(&file)
                || ["src/", "tests/", "examples/", "docs/"]
                    .iter()
                    .any(|directory| file.starts_with(directory));
            assert!(expected, "{name} would be published with {file}");
        }
    }
    assert!(published >= 6, "{published} crates are published");
    assert!(
        missing.is_empty(),
        "missing in published crates: {missing:?}"
    );
}
