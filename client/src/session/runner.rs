//! Runs the jobs of a session on worker threads: files, keys, and questions to the user.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use towpath_io_mio::Execute;
use towpath_protocol::signed::{
    Content, FilePath, Manifest, SignedManifest, SigningKey, StoreId, Timestamp,
};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::interaction::Interaction;
use crate::limits::BATCH_CHUNKS;
use crate::local::config_dir::ConfigDir;
use crate::local::download::Receiving;
use crate::local::identity::IdentitySource;
use crate::local::known_servers::ServerId;
use crate::local::pins::{Allowed, Pins, Shown, SignerStatus};
use crate::local::secret::read_secret;
#[cfg(feature = "cli")]
use crate::local::tree;
use crate::local::trust::{self, TrustPolicy};
use crate::local::upload::Source;
use crate::session::command::Commands;
use crate::session::job::{Job, Output};
use crate::session::login::Login;
use crate::session::meter::TransferReport;

/// The user's options that jobs need.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config_dir: ConfigDir,
    pub(crate) trust: TrustPolicy,
    pub(crate) identity: IdentitySource,
    pub(crate) password_file: Option<PathBuf>,
    /// The user's key, if it is already unlocked.
    pub(crate) key: Option<Arc<SigningKey>>,
    /// The key to register, for `keys add`.
    #[cfg(feature = "cli")]
    pub(crate) new_key: Option<Arc<SigningKey>>,
    /// Allowed contradictions of the pins.
    pub(crate) allowed: Allowed,
    pub(crate) umask: u32,
}

/// Runs the jobs of one command or one [`Client`](crate::Client); shared by the workers.
#[derive(Debug)]
pub(crate) struct JobRunner {
    pub(crate) settings: Settings,
    pub(crate) interaction: Arc<dyn Interaction>,
    commands: Option<Commands>,
    key: Mutex<Option<Arc<SigningKey>>>,
    pins: Mutex<Option<Pins>>,
}

impl Execute for JobRunner {
    type Job = Job;
    type Output = Output;

    fn execute(&self, job: Job) -> Output {
        match job {
            Job::NextCommand => Output::Command(self.commands.as_ref().and_then(Commands::next)),
            Job::Trust(shown) => Output::Done(self.trust(&shown)),
            Job::LoadKey => Output::Key(self.key()),
            Job::Password { notice, prompt } => {
                if let Some(notice) = notice {
                    self.interaction.warn(&notice);
                }
                Output::Password(self.password(&prompt))
            }
            Job::Complain(message) => {
                self.interaction.warn(&message);
                Output::Done(Ok(()))
            }
            Job::OpenTarget(target) => Output::Target(Receiving::open(&target)),
            Job::CheckManifest {
                mut file,
                signed,
                path,
                offset,
                store,
            } => {
                let result = self
                    .check(&signed, &path, store)
                    .and_then(|()| file.begin(signed.manifest(), offset));
                Output::Received {
                    file,
                    bytes: 0,
                    result,
                }
            }
            Job::Receive {
                mut file,
                chunks,
                signed,
            } => {
                let bytes = chunks.iter().map(|chunk| chunk.len()).sum();
                let result = file.write(&chunks, signed.manifest());
                Output::Received {
                    file,
                    bytes,
                    result,
                }
            }
            Job::Publish {
                file,
                signed,
                report,
            } => Output::Done(self.publish(file, &signed, &report)),
            Job::Abandon { file, keep } => {
                if let Err(error) = file.abandon(keep) {
                    self.interaction.warn(&error.message);
                }
                Output::Done(Ok(()))
            }
            Job::OpenSource(path) => Output::Source(Source::open(&path)),
            Job::Read(source) => read(source),
            Job::SignFile {
                path,
                content,
                current,
                login,
                again,
                replace_damaged,
            } => {
                let current = current.as_ref();
                // The server has lost the version number; the pin has it.
                let newest = if replace_damaged && current.is_none() && !again {
                    self.pinned(&path, login.store)
                } else {
                    Ok(current.map(Shown::of))
                };
                let signed = newest.and_then(|newest| {
                    self.sign_file(path, content, current, newest, &login, again)
                });
                Output::Signed(signed)
            }
            #[cfg(feature = "cli")]
            Job::CheckAbsent {
                path,
                current,
                store,
            } => Output::Done(self.with_pins(store, |pins| {
                let current = current.as_ref().map(Shown::of);
                pins.check_version(&path, current, self.settings.allowed)
            })),
            Job::Published { signed, report } => {
                Output::Done(self.published(&signed, report.as_ref()))
            }
            #[cfg(feature = "cli")]
            Job::Print(text) => Output::Done(self.print(&text)),
            #[cfg(feature = "cli")]
            Job::Walk { root, prefix } => Output::Tree(tree::walk(&root, &prefix)),
            #[cfg(feature = "cli")]
            Job::SignStatement(statement) => {
                Output::Statement(self.sign_statement(statement).map(Box::new))
            }
            #[cfg(feature = "cli")]
            Job::ShowKeys { user, keys, store } => {
                Output::Done(self.show_keys(&user, &keys, store))
            }
            #[cfg(feature = "cli")]
            Job::Export {
                signed,
                directory,
                store,
            } => Output::Done(self.export(&signed, &directory, store)),
        }
    }
}

impl JobRunner {
    pub(crate) fn new(
        mut settings: Settings,
        interaction: Arc<dyn Interaction>,
        commands: Option<Commands>,
    ) -> Self {
        let key = settings.key.take();
        Self {
            settings,
            interaction,
            commands,
            key: Mutex::new(key),
            pins: Mutex::new(None),
        }
    }

    /// The user's key, unlocked once.
    pub(crate) fn key(&self) -> Result<Arc<SigningKey>, Error> {
        let mut slot = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*slot {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.settings.identity.load(&*self.interaction)?);
        *slot = Some(Arc::clone(&key));
        Ok(key)
    }

    fn password(&self, prompt: &str) -> Result<Zeroizing<String>, Error> {
        match &self.settings.password_file {
            Some(file) => read_secret(file, &*self.interaction),
            None => self.interaction.secret(prompt),
        }
    }

    fn trust(&self, shown: &ServerId) -> Result<(), Error> {
        let Settings {
            config_dir, trust, ..
        } = &self.settings;
        trust::decide(config_dir, trust, &*self.interaction, shown)?;
        // Replies are checked against the pins from before the request: another command of this
        // user may pin a newer version in between. Unreadable pins fail the jobs that need them,
        // not every command.
        if let Err(failure) = self.with_pins(shown.store, |_| Ok(())) {
            tracing::debug!(%failure, "the pins cannot be opened yet");
        }
        Ok(())
    }

    /// Runs `f` with the store's pins, opened once.
    pub(crate) fn with_pins<T>(
        &self,
        store: StoreId,
        f: impl FnOnce(&mut Pins) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot: MutexGuard<'_, Option<Pins>> =
            self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = match &mut *slot {
            Some(pins) => pins,
            None => slot.insert(Pins::open(&self.settings.config_dir, store)?),
        };
        f(pins)
    }

    /// Runs `f` with the store's pins and syncs what it recorded.
    pub(crate) fn record<T>(
        &self,
        store: StoreId,
        f: impl FnOnce(&mut Pins) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (value, unsynced) =
            self.with_pins(store, |pins| f(pins).map(|value| (value, pins.unsynced())))?;
        unsynced.sync()?;
        Ok(value)
    }

    /// Checks that the manifest is that of the requested path, and agrees with the pins.
    pub(crate) fn check(
        &self,
        signed: &SignedManifest,
        path: &FilePath,
        store: StoreId,
    ) -> Result<(), Error> {
        let manifest = signed.manifest();
        if manifest.store != store || manifest.path != *path {
            return Err(Error::verification(format!(
                "{path}: the server shows a manifest of another file ({} in store {})",
                manifest.path, manifest.store
            )));
        }
        if manifest.content == Content::Deleted {
            self.with_pins(store, |pins| {
                pins.check_version(path, Some(Shown::of(signed)), self.settings.allowed)
            })?;
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{path}: deleted by {}", manifest.name),
            ));
        }
        self.with_pins(store, |pins| pins.check(manifest, self.settings.allowed))
            .map(drop)
    }

    fn publish(
        &self,
        file: Receiving,
        signed: &SignedManifest,
        report: &TransferReport,
    ) -> Result<(), Error> {
        let manifest = signed.manifest();
        let verified = file.verify(manifest).and_then(|()| {
            self.record(manifest.store, |pins| {
                pins.record(signed, self.settings.allowed)
            })
        });
        let status = match verified {
            Ok(status) => status,
            Err(failure) => {
                file.abandon(false)?;
                return Err(failure);
            }
        };
        file.publish(manifest, self.settings.umask)?;
        self.tell_status(manifest, status);
        self.interaction.transferred(report);
        Ok(())
    }

    pub(crate) fn tell_status(&self, manifest: &Manifest, status: SignerStatus) {
        let what = match status {
            SignerStatus::Known => return,
            SignerStatus::FirstUse => "first use",
            SignerStatus::Accepted => "accepted",
        };
        self.interaction.note(&format!(
            "{what}: {} is signed by {} with key {}; pinned",
            manifest.path, manifest.name, manifest.key
        ));
    }

    /// The version last seen at `path`.
    fn pinned(&self, path: &FilePath, store: StoreId) -> Result<Option<Shown>, Error> {
        self.with_pins(store, |pins| {
            Ok(pins.path(path).map(|pin| Shown {
                version: pin.version,
                manifest: pin.manifest,
                previous: None,
            }))
        })
    }

    fn sign_file(
        &self,
        path: FilePath,
        content: Content,
        current: Option<&SignedManifest>,
        newest: Option<Shown>,
        login: &Login,
        again: bool,
    ) -> Result<SignedManifest, Error> {
        if current.is_some_and(|c| c.manifest().path != path || c.manifest().store != login.store) {
            return Err(Error::verification(format!(
                "{path}: the server shows a manifest of another file"
            )));
        }
        self.with_pins(login.store, |pins| {
            pins.check_version(&path, newest, self.settings.allowed)
        })?;
        if let Some(current) = current.filter(|_| again) {
            let other = current.manifest();
            self.interaction.note(&format!(
                "{path}: {} published version {} meanwhile; signing on top of it",
                other.name, other.version
            ));
        }
        let key = self.key()?;
        let version = newest
            .map_or(0, |shown| shown.version)
            .checked_add(1)
            .ok_or_else(|| {
                Error::verification(format!("{path}: the version cannot grow any more"))
            })?;
        let manifest = Manifest {
            store: login.store,
            content,
            version,
            previous: newest.map(|shown| shown.manifest),
            uid: login.uid,
            name: login.name.clone(),
            key: key.public().fingerprint(),
            signed_at: Timestamp::from_system_time(SystemTime::now()),
            path,
        };
        let label = manifest.path.to_string();
        SignedManifest::sign(manifest, &key)
            .map_err(|e| Error::local(format!("{label}: cannot be signed: {e}")))
    }

    fn published(
        &self,
        signed: &SignedManifest,
        report: Option<&TransferReport>,
    ) -> Result<(), Error> {
        let manifest = signed.manifest();
        self.record(manifest.store, |pins| {
            pins.record_own(signed, self.settings.allowed)
        })
        .map_err(|failure| {
            let done = match manifest.content {
                Content::Deleted => "deleted",
                Content::File { .. } => "published",
            };
            Error::new(
                failure.kind,
                format!(
                    "{}: {done}, as version {}, but this client could not pin that: {}",
                    manifest.path, manifest.version, failure.message
                ),
            )
        })?;
        match report {
            Some(report) => self.interaction.transferred(report),
            None => self.interaction.note(&format!(
                "rm {}: deleted, as version {}",
                manifest.path, manifest.version
            )),
        }
        Ok(())
    }
}

fn read(mut source: Source) -> Output {
    let result = source.read(BATCH_CHUNKS).and_then(|(chunks, ended)| {
        let content = if ended { Some(source.content()?) } else { None };
        Ok((chunks, content))
    });
    Output::Read { source, result }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::signed::{Blake3Hash, UserId, UserName};

    use super::*;
    use crate::interaction::NonInteractive;

    const STORE: StoreId = StoreId::from_bytes([7; 16]);

    fn runner(home: &std::path::Path) -> JobRunner {
        let config_dir = ConfigDir::open(Some(home)).unwrap();
        let settings = Settings {
            identity: IdentitySource::new(&config_dir, None, None),
            config_dir,
            trust: TrustPolicy {
                aliases: Vec::new(),
                fingerprint: None,
                first_use: false,
            },
            password_file: None,
            key: None,
            #[cfg(feature = "cli")]
            new_key: None,
            allowed: Allowed::default(),
            umask: 0o022,
        };
        JobRunner::new(settings, Arc::new(NonInteractive), None)
    }

    fn signed(content: Content) -> SignedManifest {
        let key = SigningKey::from_seed(&[1; 32]);
        let manifest = Manifest {
            store: STORE,
            path: FilePath::parse("f").unwrap(),
            content,
            version: 1,
            previous: None,
            uid: UserId::from_bytes([1; 16]),
            name: UserName::parse("alice").unwrap(),
            key: key.public().fingerprint(),
            signed_at: Timestamp::EPOCH,
        };
        SignedManifest::sign(manifest, &key).unwrap()
    }

    fn file() -> Content {
        Content::File {
            size: 1,
            hash: Blake3Hash::from_bytes([1; 32]),
            mtime: Timestamp::EPOCH,
            mode: 0o644,
        }
    }

    #[test]
    fn what_was_published_is_pinned_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(dir.path());
        let Output::Done(Ok(())) = runner.execute(Job::Published {
            signed: signed(file()),
            report: None,
        }) else {
            panic!("not recorded");
        };
        let synced = runner.with_pins(STORE, |pins| {
            assert!(pins.path(&FilePath::parse("f").unwrap()).is_some());
            Ok(pins.unsynced().is_synced())
        });
        assert!(synced.unwrap());
    }

    #[test]
    fn what_took_effect_is_said_even_if_it_cannot_be_pinned() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pins")).unwrap();
        std::fs::write(dir.path().join(format!("pins/{STORE}")), "damaged\n").unwrap();
        let runner = runner(dir.path());
        let Output::Done(Err(failure)) = runner.execute(Job::Published {
            signed: signed(file()),
            report: None,
        }) else {
            panic!("nothing failed");
        };
        assert_eq!(failure.kind, ErrorKind::Verification);
        assert!(
            failure.message.contains("f: published, as version 1, but"),
            "{failure}"
        );
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_pinned_file_that_the_server_denies_is_not_just_absent() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(dir.path());
        let absent = || Job::CheckAbsent {
            path: FilePath::parse("f").unwrap(),
            current: None,
            store: STORE,
        };
        assert!(matches!(runner.execute(absent()), Output::Done(Ok(()))));
        let signed = signed(file());
        runner
            .record(STORE, |pins| pins.record(&signed, Allowed::default()))
            .unwrap();
        let Output::Done(Err(failure)) = runner.execute(absent()) else {
            panic!("not noticed");
        };
        assert_eq!(failure.kind, ErrorKind::Verification);
    }

    #[test]
    fn pins_are_checked_before_any_data_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner(dir.path());
        let pinned = signed(file());
        runner
            .record(STORE, |pins| pins.record(&pinned, Allowed::default()))
            .unwrap();
        let key = SigningKey::from_seed(&[1; 32]);
        let mut other = pinned.manifest().clone();
        other.signed_at = Timestamp::MAX;
        let other = SignedManifest::sign(other, &key).unwrap();
        let path = dir.path().join("f");
        let check = |shown: &SignedManifest| {
            let target = crate::local::download::Target::File {
                path: path.clone(),
                tree: None,
            };
            let job = Job::CheckManifest {
                file: Receiving::open(&target).unwrap(),
                signed: shown.clone(),
                path: FilePath::parse("f").unwrap(),
                offset: 0,
                store: STORE,
            };
            let Output::Received { result, .. } = runner.execute(job) else {
                panic!("no result");
            };
            result
        };
        check(&pinned).unwrap();
        assert_eq!(check(&other).unwrap_err().kind, ErrorKind::Verification);
    }
}
