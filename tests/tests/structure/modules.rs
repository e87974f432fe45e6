//! The modules of a crate, and which file needs which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source::Source;

/// Re-exports that lead on to re-exports: more than any tree has.
const DEEPEST: usize = 16;

/// A module: the names that lead to it from the crate's root.
type Module = Vec<String>;

/// What the modules of a crate, each with a file of its own, say.
pub(crate) struct Modules {
    by_path: BTreeMap<Module, (PathBuf, Source)>,
}

impl Modules {
    /// Reads the crate with this root file.
    pub(crate) fn of(root: &Path) -> Self {
        let mut modules = Self {
            by_path: BTreeMap::new(),
        };
        let directory = root.parent().unwrap();
        modules.read(Vec::new(), root, directory);
        modules
    }

    fn read(&mut self, module: Module, file: &Path, directory: &Path) {
        let text = fs::read_to_string(file);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let source = Source::read(&text);
        for child in &source.children {
            let beside = directory.join(format!("{child}.rs"));
            let within = directory.join(child);
            let file = if beside.is_file() {
                beside
            } else {
                within.join("mod.rs")
            };
            let mut path = module.clone();
            path.push(child.clone());
            self.read(path, &file, &within);
        }
        self.by_path.insert(module, (file.to_owned(), source));
    }

    /// For each file the files of the same crate that it needs.
    pub(crate) fn needs(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut needs = BTreeMap::new();
        for (module, (file, source)) in &self.by_path {
            let imports = source.imports.iter().map(|import| &import.path);
            let needed = imports
                .chain(&source.paths)
                .filter_map(|path| self.resolve(module, path, 0))
                .map(|needed| self.by_path[&needed].0.as_path())
                .filter(|needed| *needed != file);
            needs.insert(file.as_path(), needed.collect());
        }
        needs
    }

    /// The module with the item at `path`, as seen from `module`; `None` for another crate's.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        if depth > DEEPEST {
            return None;
        }
        let mut at = module.clone();
        let mut rest = path;
        let mut anchored = false;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => {
                    at.pop()?;
                }
                "self" => {}
                _ => break,
            }
            anchored = true;
            rest = others;
        }
        while let [name, others @ ..] = rest {
            let (_, source) = self.by_path.get(&at)?;
            if source.children.contains(name) {
                at.push(name.clone());
            } else if source.items.contains(name) {
                return (anchored || path.len() > rest.len()).then_some(at);
            } else if let Some(found) = self.imported(&at, name, depth) {
                match found {
                    Found::Module(module) => at = module,
                    Found::Within(module) => return Some(module),
                }
            } else {
                // A macro's item, perhaps; what no module of ours has is another crate's.
                return anchored.then_some(at);
            }
            anchored = true;
            rest = others;
        }
        Some(at)
    }

    /// What the name that a module has imported stands for, if it is ours.
    fn imported(&self, module: &Module, name: &str, depth: usize) -> Option<Found> {
        let (_, source) = &self.by_path[module];
        let by_name = source
            .imports
            .iter()
            .find(|import| import.name.as_deref() == Some(name));
        if let Some(import) = by_name {
            if import.path == [name] {
                return None;
            }
            let found = self.resolve(module, &import.path, depth + 1)?;
            let is_module = found.last() == import.path.last()
                && !self.by_path[&found].1.items.contains(import.path.last()?);
            return Some(if is_module {
                Found::Module(found)
            } else {
                Found::Within(found)
            });
        }
        let globs = source.imports.iter().filter(|import| import.name.is_none());
        globs
            .filter_map(|import| self.resolve(module, &import.path, depth + 1))
            .find_map(|target| {
                let (_, source) = &self.by_path[&target];
                let has = source.items.iter().any(|item| item == name);
                has.then_some(Found::Within(target))
            })
    }
}

enum Found {
    /// The module itself.
    Module(Module),
    /// An item in this module.
    Within(Module),
}
