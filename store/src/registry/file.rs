//! Reading `users.json` when it changed, and replacing it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::document::{Fault, Users};
use super::error::RegistryError;
use crate::files::{Files, Guard, LocalFiles, Lock, Stat, parent, read_all};
use crate::limits::{LOCK_PATIENCE, LOCK_RETRY, MAX_REGISTRY, SETTLED};

/// The file, with what was last read of it.
pub(super) struct RegistryFile {
    files: Arc<dyn Files>,
    name: String,
    /// For messages.
    path: PathBuf,
    cached: RwLock<Cached>,
    /// Held by those who change the file, and shared by those who must not see it change: a change
    /// waits for them; readers do not wait.
    gate: RwLock<()>,
    /// The file that was last found malformed, so that it is logged once.
    reported: Mutex<Option<Stat>>,
    /// Set for good when the directory could not be synced: a later sync would succeed although
    /// data was lost.
    read_only: AtomicBool,
}

#[derive(Clone, Default)]
struct Cached {
    /// What the file looked like when it was read; none when that cannot tell it from a later one.
    stat: Option<Stat>,
    users: Arc<Users>,
}

impl RegistryFile {
    pub(super) fn at(path: &Path) -> Result<Self, RegistryError> {
        let io = |error| RegistryError::Io {
            path: path.into(),
            error,
        };
        let not_a_file = || {
            io(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not the name of a file",
            ))
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(not_a_file)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let files = LocalFiles::open(dir.unwrap_or(Path::new("."))).map_err(io)?;
        Ok(Self::on(Arc::new(files), name, path))
    }

    pub(super) fn on(files: Arc<dyn Files>, name: &str, path: &Path) -> Self {
        Self {
            files,
            name: name.to_owned(),
            path: path.into(),
            cached: RwLock::default(),
            gate: RwLock::new(()),
            reported: Mutex::default(),
            read_only: AtomicBool::new(false),
        }
    }

    /// Writes the first version.
    pub(super) fn create(&self, users: &Users) -> Result<(), RegistryError> {
        let _lock = self.lock(Lock::Exclusive)?;
        if self.files.stat(&self.name).map_err(self.io())?.is_some() {
            return Err(RegistryError::Exists(self.path.clone()));
        }
        self.replace(users)
    }

    /// What the file says now.
    pub(super) fn load(&self) -> Result<Arc<Users>, RegistryError> {
        let stat = self.files.stat(&self.name).map_err(self.io())?;
        let stat = stat.ok_or_else(|| RegistryError::Missing(self.path.clone()))?;
        let cached = self.cached();
        if cached.stat == Some(stat) {
            return Ok(cached.users);
        }
        // When the file changes after its `stat`, the next `stat` differs and it is read again.
        let users = Arc::new(self.parse(&stat)?);
        self.remember(settled(&stat).then_some(stat), Arc::clone(&users));
        Ok(users)
    }

    /// What the file says now or, when it cannot be read, what it said before.
    pub(super) fn current(&self) -> Arc<Users> {
        self.load().unwrap_or_else(|error| {
            let seen = self.files.stat(&self.name).ok().flatten();
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_none() || *reported != seen {
                tracing::error!(%error, "the user registry cannot be read; going on with what was read before");
                *reported = seen;
            }
            self.cached().users
        })
    }

    /// Calls `f` under a shared lock, so that the file does not change.
    pub(super) fn read_locked<T>(
        &self,
        f: impl FnOnce(&Users) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock(Lock::Shared)?;
        f(&*self.load()?)
    }

    /// Replaces the file by what `f` makes of it; leaves it as it is when `f` fails.
    pub(super) fn change<T>(
        &self,
        f: impl FnOnce(&mut Users) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock(Lock::Exclusive)?;
        if self.read_only.load(Ordering::Acquire) {
            return Err(RegistryError::ReadOnly(self.path.clone()));
        }
        let mut users = Users::clone(&*self.load()?);
        let result = f(&mut users)?;
        self.replace(&users)?;
        // Read again at the next access, unless the file is damaged before: then this copy is used.
        self.remember(None, Arc::new(users));
        Ok(result)
    }

    fn cached(&self) -> Cached {
        self.cached
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, stat: Option<Stat>, users: Arc<Users>) {
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        *cached = Cached { stat, users };
    }

    /// Takes the lock, or gives up when another process holds it for too long: a worker that waits
    /// keeps the server from stopping.
    fn lock(&self, lock: Lock) -> Result<Box<dyn Guard>, RegistryError> {
        let name = format!("{}.lock", self.name);
        let give_up = Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(held) = self.files.lock(&name, lock).map_err(self.io())? {
                return Ok(held);
            }
            if Instant::now() >= give_up {
                return Err(RegistryError::Busy(self.path.clone()));
            }
            thread::sleep(LOCK_RETRY);
        }
    }

    fn parse(&self, stat: &Stat) -> Result<Users, RegistryError> {
        let path = self.path.clone();
        if stat.mode & 0o077 != 0 {
            return Err(RegistryError::TooOpen {
                path,
                mode: stat.mode,
            });
        }
        let file = self.files.open(&self.name).map_err(self.io())?;
        let bytes = read_all(&*file, MAX_REGISTRY).map_err(self.io())?;
        Users::parse(&bytes).map_err(|fault| match fault {
            Fault::At(line, column, reason) => RegistryError::Malformed {
                path,
                line,
                column,
                reason,
            },
            Fault::Version(found) => RegistryError::Version { path, found },
            Fault::Invalid(reason) => RegistryError::Invalid { path, reason },
        })
    }

    /// New file, sync, rename, sync of the directory; under the exclusive lock.
    fn replace(&self, users: &Users) -> Result<(), RegistryError> {
        let bytes = users
            .emit()
            .map_err(|error| RegistryError::Internal(error.to_string()))?;
        if bytes.len() as u64 > MAX_REGISTRY {
            return Err(RegistryError::Internal("the registry is full".into()));
        }
        let new = self.new_name();
        let write = || {
            if self.files.stat(&new)?.is_some() {
                self.files.remove(&new)?; // of a process that was killed: we hold the lock
            }
            let file = self.files.create(&new)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            self.files.rename(&new, &self.name)?;
            let synced = self.files.sync_dir(parent(&self.name));
            self.read_only.fetch_or(synced.is_err(), Ordering::AcqRel);
            synced
        };
        let written = write();
        if written.is_err() {
            self.remove_leftover();
        }
        written.map_err(self.io())
    }

    /// Removes what a change left that failed, or whose process was killed; under the exclusive
    /// lock.
    fn remove_leftover(&self) {
        let new = self.new_name();
        let remove = || match self.files.stat(&new)? {
            Some(_) => self.files.remove(&new),
            None => Ok(()),
        };
        if let Err(error) = remove() {
            tracing::warn!(name = new, %error, "an unfinished copy of the user registry stays on disk");
        }
    }

    /// Removes what a killed process left, unless another one is just changing the file. A file
    /// that cannot be removed has mode 0600, like the registry.
    pub(super) fn tidy(&self) {
        if !matches!(self.files.stat(&self.new_name()), Ok(Some(_))) {
            return;
        }
        match self
            .files
            .lock(&format!("{}.lock", self.name), Lock::Exclusive)
        {
            Ok(Some(_lock)) => self.remove_leftover(),
            Ok(None) => tracing::debug!("an unfinished copy of the user registry may be in use"),
            Err(error) => tracing::debug!(%error, "an unfinished copy of the user registry stays"),
        }
    }

    fn new_name(&self) -> String {
        format!("{}.new", self.name)
    }

    fn io(&self) -> impl Fn(io::Error) -> RegistryError + '_ {
        |error| RegistryError::Io {
            path: self.path.clone(),
            error,
        }
    }
}

/// Whether the file is old enough for its time of change to tell it from a later version.
fn settled(stat: &Stat) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
    });
    now.saturating_sub(stat.changed).abs() > SETTLED
}
