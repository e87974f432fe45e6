//! What is published, in memory: the newest signed manifest of each path, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use towpath_protocol::signed::{Content, FilePath, SignedManifest};

use crate::limits::MAX_LIST;

/// What is left of a stored file that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its manifest: [`Store::stat`](crate::Store::stat) gives it, and the next version goes on
    /// from it.
    Content,
    /// Nothing: whose it is and which version is not known. Only an upload of
    /// [`Store::begin_replacing`](crate::Store::begin_replacing) is published in its place, under
    /// any version.
    Proof,
}

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its path; that of a directory when the directory cannot be read.
    pub path: FilePath,
    /// The newest manifest; none of a file with [`Damage::Proof`].
    pub signed: Option<SignedManifest>,
    /// Whether the stored file cannot be read.
    pub damaged: bool,
}

/// Files and deletions apart, so that a listing does not scan deletions.
#[derive(Default)]
pub(super) struct Index {
    files: BTreeMap<FilePath, SignedManifest>,
    deleted: BTreeMap<FilePath, SignedManifest>,
    /// Paths whose last publish was cut off between its rename and the sync of the directory: the
    /// disk may hold either version.
    uncertain: BTreeSet<FilePath>,
    /// Paths whose stored file cannot be read, with its manifest if that is left; a directory that
    /// cannot be read stands for what is below it. None is among the files or deletions.
    damaged: BTreeMap<FilePath, Option<SignedManifest>>,
    /// Directories that could not be read, with a `/` at the end.
    unreadable: BTreeSet<String>,
}

impl Index {
    /// The newest version, a deletion or one whose content is damaged included.
    pub(super) fn newest(&self, path: &FilePath) -> Option<&SignedManifest> {
        let damaged = || self.damaged.get(path).and_then(Option::as_ref);
        let whole = self.files.get(path).or_else(|| self.deleted.get(path));
        whole.or_else(damaged)
    }

    /// The newest version when it is a file.
    pub(super) fn file(&self, path: &FilePath) -> Option<&SignedManifest> {
        self.files.get(path)
    }

    pub(super) fn publish(&mut self, signed: &SignedManifest) {
        let path = signed.manifest().path.clone();
        let (to, from) = match signed.manifest().content {
            Content::File { .. } => (&mut self.files, &mut self.deleted),
            Content::Deleted => (&mut self.deleted, &mut self.files),
        };
        from.remove(&path);
        self.damaged.remove(&path);
        to.insert(path, signed.clone());
    }

    pub(super) fn set_uncertain(&mut self, path: &FilePath) {
        self.uncertain.insert(path.clone());
    }

    pub(super) fn is_uncertain(&self, path: &FilePath) -> bool {
        self.uncertain.contains(path)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.files.len(), self.deleted.len())
    }

    /// A file cannot be read; `signed` is its manifest if that is left.
    pub(super) fn set_damaged(&mut self, path: FilePath, signed: Option<SignedManifest>) {
        self.damaged.insert(path, signed);
    }

    /// A directory cannot be read, so nothing is known of what is below it.
    pub(super) fn set_unreadable(&mut self, dir: &str) {
        self.unreadable.insert(format!("{dir}/"));
    }

    /// Whether it is a directory that could not be read.
    pub(super) fn is_unreadable(&self, dir: &FilePath) -> bool {
        self.unreadable.contains(&format!("{dir}/"))
    }

    /// What is damaged of the file at `path`, as far as known.
    pub(super) fn damage(&self, path: &FilePath) -> Option<Damage> {
        if self.files.contains_key(path) || self.deleted.contains_key(path) {
            return None;
        }
        match self.damaged.get(path) {
            Some(Some(_)) => Some(Damage::Content),
            Some(None) => Some(Damage::Proof),
            None => {
                let below = |dir: &String| path.as_str().starts_with(dir.as_str());
                self.unreadable.iter().any(below).then_some(Damage::Proof)
            }
        }
    }

    /// Whether the file itself was found damaged, not only its directory.
    pub(super) fn is_damaged_by_itself(&self, path: &FilePath) -> bool {
        self.damaged.contains_key(path)
    }

    /// Up to `limit` files whose paths begin with `prefix` and come after `after`, damaged ones
    /// included, and whether there are more.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&FilePath>,
        limit: usize,
    ) -> (Vec<Listed>, bool) {
        let lower = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let range = (lower, Bound::Unbounded);
        let mut files = self.files.range::<str, _>(range).peekable();
        let mut damaged = self.damaged.range::<str, _>(range).peekable();
        let mut rest = std::iter::from_fn(|| match (files.peek(), damaged.peek()) {
            (Some((file, _)), Some((other, _))) if other < file => {
                damaged.next().map(|(path, signed)| (path, signed.as_ref()))
            }
            (None, Some(_)) => damaged.next().map(|(path, signed)| (path, signed.as_ref())),
            (_, _) => files.next().map(|(path, signed)| (path, Some(signed))),
        })
        .take_while(|(path, _)| path.as_str().starts_with(prefix));
        let page = rest
            .by_ref()
            .take(limit.min(MAX_LIST))
            .map(|(path, signed)| Listed {
                path: path.clone(),
                signed: signed.cloned(),
                damaged: self.damaged.contains_key(path),
            })
            .collect();
        (page, rest.next().is_some())
    }
}
