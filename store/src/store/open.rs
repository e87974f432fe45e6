//! Making a store, and reading what is in one.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use towpath_protocol::signed::{FilePath, StoreId};

use super::damaged::{self, Unreadable};
use super::error::OpenError;
use super::index::Index;
use super::paths::{DurableDirs, PathLocks};
use super::shared::{OWN, PARTIAL, SUFFIX, Shared};
use crate::age::{ProofContext, Recipient, StorageKey};
use crate::files::{Files, Guard, Kind, LocalFiles, Lock, read_all};
use crate::limits::{MAX_DEPTH, MAX_RECIPIENTS, MAX_REPORTED, MAX_STORE_FILE, default_reserve};

const LOCK: &str = ".towpath/lock";
const DESCRIPTION: &str = ".towpath/store";
const NEW_DESCRIPTION: &str = ".towpath/store.new";

/// What a store held when it was opened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Published files.
    pub files: usize,
    /// Deletions that are kept so that versions go on from them.
    pub deleted: usize,
    /// Stored files that cannot be read, with the reason: name in the store directory and what is
    /// wrong. The others are served. At most [`MAX_REPORTED`];
    /// [`unreadable_count`](Self::unreadable_count) counts all.
    pub unreadable: Vec<(String, String)>,
    /// How many cannot be read.
    pub unreadable_count: usize,
    /// What lies in the store directory and is not a stored file; it is left alone. At most
    /// [`MAX_REPORTED`].
    pub foreign: Vec<String>,
    /// Uploads that an earlier run left, which were removed.
    pub leftovers: usize,
}

/// Makes the store in the directory `root`.
pub(super) fn init_at(root: &Path, key: &StorageKey) -> Result<StoreId, OpenError> {
    match DirBuilder::new().mode(0o700).create(root) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(OpenError::Io {
                path: root.into(),
                error,
            });
        }
    }
    let files = LocalFiles::open(root).map_err(|error| OpenError::Io {
        path: root.into(),
        error,
    })?;
    init(&files, root, key)
}

/// Opens the store in the directory `root`, unless others can replace its files.
pub(super) fn open_at(
    root: &Path,
    key: StorageKey,
    recipients: Vec<Recipient>,
) -> Result<(Shared, OpenReport), OpenError> {
    let io = |error| OpenError::Io {
        path: root.into(),
        error,
    };
    let files = LocalFiles::open(root).map_err(io)?;
    let (uid, mode) = files.owner_and_mode().map_err(io)?;
    if mode & 0o022 != 0 {
        let path = root.into();
        return Err(OpenError::Exposed { path, mode });
    }
    // Root can replace everything anyway.
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        let path = root.into();
        return Err(OpenError::Owner { path, uid });
    }
    open(Arc::new(files), root, key, recipients)
}

pub(super) fn init(files: &dyn Files, root: &Path, key: &StorageKey) -> Result<StoreId, OpenError> {
    let io = |error| OpenError::Io {
        path: root.into(),
        error,
    };
    for dir in [OWN, PARTIAL] {
        match files.create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
    }
    let _lock = lock(files, root)?;
    if files.stat(DESCRIPTION).map_err(io)?.is_some() {
        return Err(OpenError::Exists(root.into()));
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| io(error.into()))?;
    let id = StoreId::from_bytes(id);
    let write = || {
        if files.stat(NEW_DESCRIPTION)?.is_some() {
            files.remove(NEW_DESCRIPTION)?;
        }
        let file = files.create(NEW_DESCRIPTION)?;
        file.write_at(
            Description {
                id,
                recipient: key.recipient().clone(),
            }
            .emit()
            .as_bytes(),
            0,
        )?;
        file.sync()?;
        files.rename(NEW_DESCRIPTION, DESCRIPTION)?;
        files.sync_dir(OWN)?;
        files.sync_dir("")
    };
    write().map_err(io)?;
    Ok(id)
}

pub(super) fn open(
    files: Arc<dyn Files>,
    root: &Path,
    key: StorageKey,
    recipients: Vec<Recipient>,
) -> Result<(Shared, OpenReport), OpenError> {
    let io = |error| OpenError::Io {
        path: root.into(),
        error,
    };
    if recipients.len() >= MAX_RECIPIENTS {
        return Err(OpenError::Recipients);
    }
    let id = describe(&*files, root, &key)?;
    let lock = lock(&*files, root)?;
    let mut report = OpenReport {
        leftovers: clean(&*files).map_err(io)?,
        ..OpenReport::default()
    };
    if !names_are_told_apart(&*files).map_err(io)? {
        return Err(OpenError::Names(root.into()));
    }

    let mut index = Index::default();
    let mut durable = DurableDirs::default();
    Scan {
        files: &*files,
        key: &key,
        id,
        index: &mut index,
        durable: &mut durable,
        report: &mut report,
    }
    .run()
    .map_err(io)?;
    (report.files, report.deleted) = index.counts();

    let mut all = vec![key.recipient().clone()];
    all.extend(
        recipients
            .into_iter()
            .filter(|recipient| recipient != key.recipient()),
    );
    let reserve = default_reserve(files.space().map_err(io)?.total);
    let shared = Shared {
        files,
        key,
        recipients: all,
        id,
        index: RwLock::new(index),
        paths: PathLocks::default(),
        durable: Mutex::new(durable),
        read_only: false.into(),
        reserve: reserve.into(),
        _lock: lock,
    };
    Ok((shared, report))
}

fn lock(files: &dyn Files, root: &Path) -> Result<Box<dyn Guard>, OpenError> {
    let held = files
        .lock(LOCK, Lock::Exclusive)
        .map_err(|error| OpenError::Io {
            path: root.into(),
            error,
        })?;
    held.ok_or_else(|| OpenError::Locked(root.into()))
}

/// Removes the uploads of an earlier run: no key is left to go on with them.
///
/// A backup has no directory of uploads: it is made again.
fn clean(files: &dyn Files) -> io::Result<usize> {
    match files.create_dir(PARTIAL) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut removed = 0;
    for (name, kind) in files.entries(PARTIAL)? {
        if let (Some(name), Kind::File) = (name.to_str(), kind) {
            files.remove(&format!("{PARTIAL}/{name}"))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether the file system keeps names as they are given: neither folding case nor changing the
/// spelling of accents.
fn names_are_told_apart(files: &dyn Files) -> io::Result<bool> {
    const NAME: &str = "probe-\u{e9}";
    const OTHER: &str = "Probe-\u{c9}";
    let name = format!("{PARTIAL}/{NAME}");
    drop(files.create(&name)?);
    let kept = files.entries(PARTIAL)?.iter().any(|(name, _)| name == NAME);
    let folded = files.stat(&format!("{PARTIAL}/{OTHER}"))?.is_some();
    files.remove(&name)?;
    Ok(kept && !folded)
}

/// Reads the store's id, and checks that `key` is the one it was made with.
fn describe(files: &dyn Files, root: &Path, key: &StorageKey) -> Result<StoreId, OpenError> {
    let path = || root.join(DESCRIPTION);
    let bytes = match files
        .open(DESCRIPTION)
        .and_then(|file| read_all(&*file, MAX_STORE_FILE as u64))
    {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing(root.into()));
        }
        Err(error) => {
            return Err(OpenError::Io {
                path: path(),
                error,
            });
        }
    };
    let description = std::str::from_utf8(&bytes)
        .ok()
        .and_then(Description::parse)
        .ok_or_else(|| OpenError::Description {
            path: path(),
            reason: format!("not a description of a store that this version reads ({FORMAT:?})"),
        })?;
    if key
        .identities()
        .any(|identity| *identity.recipient() == description.recipient)
    {
        Ok(description.id)
    } else {
        Err(OpenError::OtherKey {
            path: PathBuf::from(root),
            recipient: description.recipient.to_string(),
        })
    }
}

const FORMAT: &str = "towpath store 1";

/// The text of `.towpath/store`.
struct Description {
    id: StoreId,
    recipient: Recipient,
}

impl Description {
    fn emit(&self) -> String {
        format!("{FORMAT}\nid {}\nrecipient {}\n", self.id, self.recipient)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FORMAT {
            return None;
        }
        let id = lines.next()?.strip_prefix("id ")?.parse().ok()?;
        let recipient = lines.next()?.strip_prefix("recipient ")?.parse().ok()?;
        lines.next().is_none().then_some(Self { id, recipient })
    }
}

/// Reads every stored file's header into the index.
struct Scan<'a> {
    files: &'a dyn Files,
    key: &'a StorageKey,
    id: StoreId,
    index: &'a mut Index,
    durable: &'a mut DurableDirs,
    report: &'a mut OpenReport,
}

impl Scan<'_> {
    fn run(mut self) -> io::Result<()> {
        let mut dirs = vec![(String::new(), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            let entries = match self.files.entries(&dir) {
                Ok(entries) => entries,
                Err(error) if !dir.is_empty() => {
                    self.unreadable_dir(&dir, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A run that was killed may have left names that are seen but not yet on the disk. They
            // count from now on.
            self.files.sync_dir(&dir)?;
            for (name, kind) in entries {
                let full = |name: &str| {
                    if dir.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{dir}/{name}")
                    }
                };
                match (name.to_str(), kind) {
                    (Some(OWN), _) if dir.is_empty() => {}
                    (Some(name), Kind::Directory) if depth < MAX_DEPTH => {
                        let name = full(name);
                        self.durable.insert(&name);
                        dirs.push((name, depth + 1));
                    }
                    (Some(name), Kind::File) if name.ends_with(SUFFIX) => self.file(full(name)),
                    _ => self.foreign(full(&OsStr::new(&name).to_string_lossy())),
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String) {
        let path = name.strip_suffix(SUFFIX).unwrap_or(&name);
        let path = match FilePath::parse(path) {
            Ok(path) => path,
            Err(error) => return self.report(name, error.to_string()),
        };
        let context = ProofContext {
            storage: self.key,
            store: self.id,
            path: &path,
        };
        match damaged::read(self.files, context) {
            Ok(signed) => self.index.publish(&signed),
            Err(Unreadable { signed, error }) => {
                self.index.set_damaged(path, signed);
                self.report(name, error.to_string());
            }
        }
    }

    /// Names the directory, in the listing too; what is below it is not known.
    fn unreadable_dir(&mut self, dir: &str, error: &io::Error) {
        self.index.set_unreadable(dir);
        if let Ok(path) = FilePath::parse(dir)
            && self.index.newest(&path).is_none()
        {
            self.index.set_damaged(path, None);
        }
        self.report(
            format!("{dir}/"),
            format!("the directory cannot be read: {error}"),
        );
    }

    fn report(&mut self, name: String, reason: String) {
        self.report.unreadable_count += 1;
        if self.report.unreadable.len() < MAX_REPORTED {
            self.report.unreadable.push((name, reason));
        }
    }

    fn foreign(&mut self, name: String) {
        if self.report.foreign.len() < MAX_REPORTED {
            self.report.foreign.push(name);
        }
    }
}
