//! The files of a local directory, for an upload.

use std::io;
use std::path::{Path, PathBuf};

use towpath_protocol::Escaped;
use towpath_protocol::signed::FilePath;

use crate::error::Error;
use crate::limits::{MAX_DEPTH, MAX_FILES};

/// Content of a directory: files to put, with their names below `prefix`, and skipped entries.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Regular files and their names on the server.
    pub(crate) files: Vec<(PathBuf, FilePath)>,
    /// Symlinks, fifos, and names that are not valid on the server.
    pub(crate) unfit: Vec<Error>,
}

/// Lists the regular files below `root`, named `<prefix><path below root>` on the server.
///
/// # Errors
/// A local [`Error`] when a directory cannot be read or there are too many files.
pub(crate) fn walk(root: &Path, prefix: &str) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let mut directories = vec![(root.to_owned(), prefix.to_owned(), 0usize)];
    while let Some((directory, prefix, depth)) = directories.pop() {
        let fail = |e: io::Error| Error::io("read the directory", directory.display(), &e);
        let mut entries = std::fs::read_dir(&directory)
            .map_err(fail)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = entry
                .file_type()
                .map_err(|e| Error::io("look at", path.display(), &e))?;
            let shown = Escaped(&path.display().to_string()).to_string();
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| format!("{prefix}{name}"))
            else {
                tree.unfit
                    .push(Error::local(format!("{shown}: its name is not UTF-8")));
                continue;
            };
            if kind.is_dir() {
                if depth == MAX_DEPTH {
                    return Err(Error::local(format!(
                        "{shown}: directories are nested more than {MAX_DEPTH} deep"
                    )));
                }
                directories.push((path, format!("{name}/"), depth + 1));
            } else if !kind.is_file() {
                let kind = if kind.is_symlink() {
                    "a symbolic link"
                } else {
                    "not a regular file"
                };
                tree.unfit
                    .push(Error::local(format!("{shown} is {kind}, and is left out")));
            } else {
                match FilePath::parse(&name) {
                    Ok(remote) => tree.files.push((path, remote)),
                    Err(e) => tree.unfit.push(Error::usage(format!(
                        "{shown} cannot be stored as `{}`: {e}",
                        Escaped(&name)
                    ))),
                }
            }
            if tree.files.len() + tree.unfit.len() > MAX_FILES {
                return Err(Error::usage(format!(
                    "more than {MAX_FILES} files below {}; put them in parts",
                    root.display()
                )));
            }
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_lists_files_and_names_what_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::create_dir_all(path("empty")).unwrap();
        for name in ["z", "a/y", "a/b/x", "a/back\\slash"] {
            std::fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink("z", path("link")).unwrap();
        let tree = walk(dir.path(), "top/").unwrap();
        let mut names: Vec<&str> = tree
            .files
            .iter()
            .map(|(_, remote)| remote.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["top/a/b/x", "top/a/y", "top/z"]);
        assert_eq!(tree.unfit.len(), 2);
    }
}
