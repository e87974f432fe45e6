//! What is published, in memory: the newest signed manifest of each path, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use towpath_protocol::signed::{Content, FilePath, SignedManifest};

use crate::limits::MAX_LIST;

/// Files and deletions apart, so that a listing does not wade through deletions.
#[derive(Default)]
pub(super) struct Index {
    files: BTreeMap<FilePath, SignedManifest>,
    deleted: BTreeMap<FilePath, SignedManifest>,
    /// Paths whose last publish was cut off between its rename and the sync of the directory: the
    /// disk may hold either version.
    uncertain: BTreeSet<FilePath>,
}

impl Index {
    /// The newest version, a deletion included.
    pub(super) fn newest(&self, path: &FilePath) -> Option<&SignedManifest> {
        self.files.get(path).or_else(|| self.deleted.get(path))
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

    /// Up to `limit` files whose paths begin with `prefix` and come after `after`, and whether
    /// there are more.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&FilePath>,
        limit: usize,
    ) -> (Vec<SignedManifest>, bool) {
        let lower = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut rest = self
            .files
            .range::<str, _>((lower, Bound::Unbounded))
            .take_while(|(path, _)| path.as_str().starts_with(prefix));
        let page = rest
            .by_ref()
            .take(limit.min(MAX_LIST))
            .map(|(_, signed)| signed.clone())
            .collect();
        (page, rest.next().is_some())
    }
}
