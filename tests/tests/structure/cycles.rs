//! No file of a crate needs, by way of others, itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::crates::{self, root};
use super::modules::Modules;

type Needs<'a> = BTreeMap<&'a Path, BTreeSet<&'a Path>>;

#[test]
fn no_file_needs_itself_by_way_of_others() {
    let root = root();
    let mut groups = Vec::new();
    let mut files = 0;
    for target in crates::roots() {
        let modules = Modules::of(&target);
        let needs = modules.needs();
        files += needs.len();
        for group in cyclic_groups(&needs) {
            let names = |files: &[&Path]| -> Vec<String> {
                let short = |file: &&Path| file.strip_prefix(&root).unwrap().display().to_string();
                files.iter().map(short).collect()
            };
            println!("a cycle: {}", names(&cycle(&needs, &group)).join(" → "));
            groups.push(names(&group));
        }
    }
    assert!(files > 100, "the modules were not found: {files} files");
    assert!(groups.is_empty(), "files need each other: {groups:?}");
}

/// The sets of files of which each reaches each.
fn cyclic_groups<'a>(needs: &Needs<'a>) -> Vec<Vec<&'a Path>> {
    let reached: BTreeMap<_, _> = needs
        .keys()
        .map(|file| (*file, reachable(needs, file)))
        .collect();
    let mut groups = Vec::new();
    for (file, from_here) in &reached {
        if !from_here.contains(file) {
            continue;
        }
        let back = |other: &&Path| reached[*other].contains(file);
        let group: Vec<_> = from_here.iter().copied().filter(back).collect();
        if group.first() == Some(file) {
            groups.push(group);
        }
    }
    groups
}

fn reachable<'a>(needs: &Needs<'a>, file: &Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = needs[file].iter().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(&needs[next]);
        }
    }
    reached
}

/// A shortest way from the first file of a group back to it.
fn cycle<'a>(needs: &Needs<'a>, group: &[&'a Path]) -> Vec<&'a Path> {
    let start = group[0];
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &needs[way[way.len() - 1]] {
                let mut way = way.clone();
                way.push(*next);
                if *next == start {
                    return way;
                }
                if group.contains(next) && seen.insert(*next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    unreachable!("the group is a cycle")
}

/// A crate in which a parent and its child need each other in the ways that there are.
#[test]
fn cycles_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let crate_of = |name: &str, files: &[(&str, &str)]| {
        let source = directory.path().join(name);
        std::fs::create_dir(&source).unwrap();
        for (file, text) in files {
            std::fs::write(source.join(file), text).unwrap();
        }
        let modules = Modules::of(&source.join("lib.rs"));
        let needs = modules.needs();
        let group = |group: Vec<&Path>| -> Vec<String> {
            let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
            group.into_iter().map(name).collect()
        };
        cyclic_groups(&needs)
            .into_iter()
            .map(group)
            .collect::<Vec<_>>()
    };
    let none: [[&str; 0]; 0] = [];

    let re_exported_with_its_parents_type = [
        ("lib.rs", "mod x; pub use x::X; pub struct T;"),
        ("x.rs", "use super::T; pub struct X(T);"),
    ];
    let found = crate_of("parent", &re_exported_with_its_parents_type);
    assert_eq!(found, [["lib.rs", "x.rs"]]);

    let siblings_by_paths_in_code = [
        ("lib.rs", "mod x; mod y;"),
        ("x.rs", "pub fn f() { crate::y::g() }"),
        ("y.rs", "use super::x; pub fn g() { x::f() }"),
    ];
    let found = crate_of("siblings", &siblings_by_paths_in_code);
    assert_eq!(found, [["x.rs", "y.rs"]]);

    let sibling_by_re_export = [
        ("lib.rs", "mod x; mod y; pub use x::X; pub use y::*;"),
        ("x.rs", "pub struct X(crate::Y);"),
        (
            "y.rs",
            "pub struct Y; #[cfg(test)] mod tests { use crate::X; }",
        ),
    ];
    assert_eq!(crate_of("facade", &sibling_by_re_export), none);
}
