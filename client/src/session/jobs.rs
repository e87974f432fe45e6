//! The slow work of a session: files, keys, and the person at the terminal.
//!
//! The session never waits: what may take long leaves as a [`Job`], and its [`Output`] comes back
//! under the job's ticket. What is held in a job (an open file, a hash) comes back with its output.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use towpath_io_mio::Execute;
use towpath_protocol::KeyEntry;
use towpath_protocol::channel::Chunk;
use towpath_protocol::signed::{
    Content, FilePath, KeyStatement, Manifest, ManifestHash, SignedManifest, SignedStatement,
    SigningKey, StoreId, Timestamp, UserName,
};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::local::config_dir::ConfigDir;
use crate::local::download::{Receiving, Target};
use crate::local::identity::IdentitySource;
use crate::local::known_servers::ServerIdentity;
use crate::local::pins::{Allowed, Pins, Sight};
use crate::local::proof;
use crate::local::trust::{self, TrustPolicy};
use crate::local::upload::{self, Source, Tree};
use crate::session::meter::Report;
use crate::session::task::Login;
use crate::terminal::{self, Terminal};

/// Something for a worker.
#[derive(Debug)]
pub enum Job {
    /// Decide whether to trust the server, asking the person where need be.
    Trust(ServerIdentity),
    /// Read and unlock the user's key.
    LoadKey,
    /// Get the password from its file or the person.
    Password {
        /// What to say first.
        notice: Option<String>,
        /// The prompt.
        prompt: String,
    },
    /// Write to standard output.
    Print(Vec<u8>),
    /// Say that something failed.
    Complain(String),
    /// Open a download's target.
    OpenTarget(Target),
    /// Judge what a get is about to bring.
    CheckManifest {
        /// The open target.
        file: Receiving,
        /// What the server shows.
        signed: SignedManifest,
        /// What was asked for.
        path: FilePath,
        /// Where the data will start.
        offset: u64,
        /// The server's store.
        store: StoreId,
    },
    /// Write and hash what came.
    Receive {
        /// The open target.
        file: Receiving,
        /// The data.
        chunks: Vec<Chunk>,
        /// Whose data it is.
        signed: SignedManifest,
    },
    /// Verify a whole download and put it in its place.
    Publish {
        /// The open target.
        file: Receiving,
        /// What it must be.
        signed: SignedManifest,
        /// The figures.
        report: Report,
        /// Whether the content went to standard output.
        to_output: bool,
    },
    /// Close a download that failed.
    Abandon {
        /// The open target.
        file: Receiving,
        /// Whether a later get may continue.
        keep: bool,
    },
    /// Open an upload's source.
    OpenSource(PathBuf),
    /// Read some of it.
    Read(Source),
    /// List a directory.
    Walk {
        /// The directory.
        root: PathBuf,
        /// What the names on the server start with.
        prefix: String,
    },
    /// Sign what is at a path from now on.
    SignFile {
        /// The path.
        path: FilePath,
        /// The file, or its deletion.
        content: Content,
        /// What the server says is there now.
        current: Option<SignedManifest>,
        /// Who signs.
        login: Login,
        /// Whether somebody else was first.
        again: bool,
        /// Whether a damaged file is replaced whose manifest the server has lost.
        replace_damaged: bool,
    },
    /// Record what this user published.
    Published {
        /// The manifest.
        signed: SignedManifest,
        /// The figures of a transfer.
        report: Option<Report>,
    },
    /// Sign a key statement with the key that it adds.
    SignStatement(KeyStatement),
    /// Print keys and whether they are pinned.
    ShowKeys {
        /// Whose keys.
        user: UserName,
        /// The keys.
        keys: Vec<KeyEntry>,
        /// The server's store.
        store: StoreId,
    },
    /// Write a proof of authorship.
    Export {
        /// What the server shows.
        signed: SignedManifest,
        /// Where to.
        directory: PathBuf,
        /// The server's store.
        store: StoreId,
    },
}

/// What a job gave.
#[derive(Debug)]
pub enum Output {
    /// For jobs without a result of their own.
    Done(Result<(), Failure>),
    /// Of [`Job::LoadKey`].
    Key(Result<Arc<SigningKey>, Failure>),
    /// Of [`Job::Password`].
    Password(Result<Zeroizing<String>, Failure>),
    /// Of [`Job::OpenTarget`].
    Target(Result<Receiving, Failure>),
    /// Of [`Job::CheckManifest`] and [`Job::Receive`].
    Received {
        /// The target, back.
        file: Receiving,
        /// Bytes dealt with.
        bytes: usize,
        /// How it went.
        result: Result<(), Failure>,
    },
    /// Of [`Job::OpenSource`].
    Source(Result<Source, Failure>),
    /// Of [`Job::Read`]: chunks, and at the end what the whole is.
    Read {
        /// The source, back.
        source: Source,
        /// The data.
        result: Result<(Vec<Chunk>, Option<Content>), Failure>,
    },
    /// Of [`Job::Walk`].
    Tree(Result<Tree, Failure>),
    /// Of [`Job::SignFile`].
    Signed(Result<SignedManifest, Failure>),
    /// Of [`Job::SignStatement`].
    Statement(Result<Box<SignedStatement>, Failure>),
}

/// What the person chose, as far as the jobs need it.
#[derive(Debug)]
pub struct Settings {
    /// The client's directory.
    pub config_dir: ConfigDir,
    /// How a server becomes trusted.
    pub trust: TrustPolicy,
    /// The user's key.
    pub identity: IdentitySource,
    /// Where the password is, when in a file.
    pub password_file: Option<PathBuf>,
    /// The user's key, when it is unlocked already.
    pub key: Option<Arc<SigningKey>>,
    /// The key to register, for `keys add`.
    pub new_key: Option<Arc<SigningKey>>,
    /// What may contradict the pins.
    pub allowed: Allowed,
    /// Print a line of figures for each transfer.
    pub stats: bool,
    /// The process's umask.
    pub umask: u32,
}

/// Does the jobs of one command; shared by the workers.
#[derive(Debug)]
pub struct Workshop {
    settings: Settings,
    terminal: Arc<Terminal>,
    key: Mutex<Option<Arc<SigningKey>>>,
    pins: Mutex<Option<Pins>>,
    link: Arc<Mutex<String>>,
}

impl Execute for Workshop {
    type Job = Job;
    type Output = Output;

    fn execute(&self, job: Job) -> Output {
        match job {
            Job::Trust(shown) => Output::Done(self.trust(&shown)),
            Job::LoadKey => Output::Key(self.key()),
            Job::Password { notice, prompt } => {
                if let Some(notice) = notice {
                    self.terminal.warn(notice);
                }
                Output::Password(self.password(&prompt))
            }
            Job::Print(text) => {
                Output::Done(self.terminal.print(&text).map_err(|e| Failure::output(&e)))
            }
            Job::Complain(message) => {
                self.terminal.warn(message);
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
                to_output,
            } => Output::Done(self.publish(file, &signed, &report, to_output)),
            Job::Abandon { file, keep } => {
                if let Err(failure) = file.abandon(keep) {
                    self.terminal.warn(failure);
                }
                Output::Done(Ok(()))
            }
            Job::OpenSource(path) => Output::Source(Source::open(&path)),
            Job::Read(source) => read(source),
            Job::Walk { root, prefix } => Output::Tree(upload::walk(&root, &prefix)),
            Job::SignFile {
                path,
                content,
                current,
                login,
                again,
                replace_damaged,
            } => {
                let current = current.as_ref();
                // The server has lost the version; the pin still has it.
                let newest = if replace_damaged && current.is_none() && !again {
                    self.pinned(&path, login.store)
                } else {
                    Ok(current.map(|c| (c.manifest().version, c.hash())))
                };
                let signed = newest.and_then(|newest| {
                    self.sign_file(path, content, current, newest, &login, again)
                });
                Output::Signed(signed)
            }
            Job::Published { signed, report } => {
                Output::Done(self.published(&signed, report.as_ref()))
            }
            Job::SignStatement(statement) => {
                Output::Statement(self.sign_statement(statement).map(Box::new))
            }
            Job::ShowKeys { user, keys, store } => {
                Output::Done(self.show_keys(&user, &keys, store))
            }
            Job::Export {
                signed,
                directory,
                store,
            } => Output::Done(self.export(&signed, &directory, store)),
        }
    }
}

impl Workshop {
    /// A workshop; `link` is what the loop last said about carrier and paths.
    #[must_use]
    pub fn new(mut settings: Settings, terminal: Arc<Terminal>, link: Arc<Mutex<String>>) -> Self {
        let key = settings.key.take();
        Self {
            settings,
            terminal,
            key: Mutex::new(key),
            pins: Mutex::new(None),
            link,
        }
    }

    /// The user's key, unlocked once.
    fn key(&self) -> Result<Arc<SigningKey>, Failure> {
        let mut slot = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*slot {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.settings.identity.load(&self.terminal)?);
        *slot = Some(Arc::clone(&key));
        Ok(key)
    }

    fn password(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        match &self.settings.password_file {
            Some(file) => terminal::read_secret(file, &self.terminal),
            None => self.terminal.secret(prompt),
        }
    }

    fn trust(&self, shown: &ServerIdentity) -> Result<(), Failure> {
        let Settings {
            config_dir, trust, ..
        } = &self.settings;
        trust::decide(config_dir, trust, &self.terminal, shown)?;
        // What the server answers is judged by what was seen before it was asked: another of this
        // user's commands may pin a newer version while an answer is on its way. Pins that cannot
        // be read fail what needs them, not every command.
        if let Err(failure) = self.with_pins(shown.store, |_| Ok(())) {
            tracing::debug!(%failure, "the pins cannot be opened yet");
        }
        Ok(())
    }

    /// Runs `f` with the store's pins, opened once.
    fn with_pins<T>(
        &self,
        store: StoreId,
        f: impl FnOnce(&mut Pins) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut slot: MutexGuard<'_, Option<Pins>> =
            self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let pins = match &mut *slot {
            Some(pins) => pins,
            None => slot.insert(Pins::open(&self.settings.config_dir, store)?),
        };
        f(pins)
    }

    /// Whether the manifest is of what was asked for, and fits what was seen before.
    fn check(
        &self,
        signed: &SignedManifest,
        path: &FilePath,
        store: StoreId,
    ) -> Result<(), Failure> {
        let manifest = signed.manifest();
        if manifest.store != store || manifest.path != *path {
            return Err(Failure::verification(format!(
                "{path}: the server shows a manifest of another file ({} in store {})",
                manifest.path, manifest.store
            )));
        }
        if manifest.content == Content::Deleted {
            return Err(Failure::new(
                Exit::NotFound,
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
        report: &Report,
        to_output: bool,
    ) -> Result<(), Failure> {
        let manifest = signed.manifest();
        let verified = file.verify(manifest).and_then(|()| {
            self.with_pins(manifest.store, |pins| {
                pins.record(signed, self.settings.allowed)
            })
        });
        let sight = match verified {
            Ok(sight) => sight,
            Err(failure) => {
                file.abandon(false)?;
                return Err(failure);
            }
        };
        file.publish(manifest, self.settings.umask)?;
        self.tell_sight(manifest, sight);
        self.tell_report(report, to_output);
        Ok(())
    }

    fn tell_sight(&self, manifest: &Manifest, sight: Sight) {
        match sight {
            Sight::Known => {}
            Sight::First => self.terminal.note(format_args!(
                "first sight: {} is signed by {} with key {}; pinned",
                manifest.path, manifest.name, manifest.key
            )),
            Sight::Accepted => self.terminal.note(format_args!(
                "accepted: {} is signed by {} with key {}; pinned",
                manifest.path, manifest.name, manifest.key
            )),
        }
    }

    fn tell_report(&self, report: &Report, to_output: bool) {
        self.terminal.note(report.summary());
        if self.settings.stats {
            let link = self
                .link
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let lines = report.stats_lines(&link);
            if to_output {
                self.terminal.warn_raw(&lines);
            } else if let Err(e) = self.terminal.print(lines.as_bytes()) {
                self.terminal
                    .warn(Failure::io("write", "standard output", &e));
            }
        }
    }

    /// The version and manifest last seen at `path`.
    fn pinned(
        &self,
        path: &FilePath,
        store: StoreId,
    ) -> Result<Option<(u64, ManifestHash)>, Failure> {
        self.with_pins(store, |pins| {
            Ok(pins.path(path).map(|pin| (pin.version, pin.manifest)))
        })
    }

    fn sign_file(
        &self,
        path: FilePath,
        content: Content,
        current: Option<&SignedManifest>,
        newest: Option<(u64, ManifestHash)>,
        login: &Login,
        again: bool,
    ) -> Result<SignedManifest, Failure> {
        if current.is_some_and(|c| c.manifest().path != path || c.manifest().store != login.store) {
            return Err(Failure::verification(format!(
                "{path}: the server shows a manifest of another file"
            )));
        }
        self.with_pins(login.store, |pins| {
            pins.check_version(&path, newest, self.settings.allowed)
        })?;
        if let Some(current) = current.filter(|_| again) {
            let other = current.manifest();
            self.terminal.note(format_args!(
                "{path}: {} published version {} meanwhile; signing on top of it",
                other.name, other.version
            ));
        }
        let key = self.key()?;
        let version = newest
            .map_or(0, |(version, _)| version)
            .checked_add(1)
            .ok_or_else(|| {
                Failure::verification(format!("{path}: the version cannot grow any more"))
            })?;
        let manifest = Manifest {
            store: login.store,
            content,
            version,
            previous: newest.map(|(_, hash)| hash),
            uid: login.uid,
            name: login.name.clone(),
            key: key.public().fingerprint(),
            signed_at: Timestamp::from_system_time(SystemTime::now()),
            path,
        };
        let label = manifest.path.to_string();
        SignedManifest::sign(manifest, &key)
            .map_err(|e| Failure::local(format!("{label}: cannot be signed: {e}")))
    }

    fn published(&self, signed: &SignedManifest, report: Option<&Report>) -> Result<(), Failure> {
        let manifest = signed.manifest();
        self.with_pins(manifest.store, |pins| pins.record_own(signed))?;
        match report {
            Some(report) => self.tell_report(report, false),
            None => self.terminal.note(format_args!(
                "rm {}: deleted, as version {}",
                manifest.path, manifest.version
            )),
        }
        Ok(())
    }

    fn sign_statement(&self, statement: KeyStatement) -> Result<SignedStatement, Failure> {
        let key = match &self.settings.new_key {
            Some(key) => Arc::clone(key),
            None => self.key()?,
        };
        SignedStatement::sign(statement, &key)
            .map_err(|e| Failure::local(format!("the key statement cannot be signed: {e}")))
    }

    fn show_keys(&self, user: &UserName, keys: &[KeyEntry], store: StoreId) -> Result<(), Failure> {
        let text = self.with_pins(store, |pins| {
            Ok(proof::key_table(user, keys, |key| pins.knows(user, key)))
        })?;
        self.terminal
            .print(text.as_bytes())
            .map_err(|e| Failure::output(&e))
    }

    fn export(
        &self,
        signed: &SignedManifest,
        directory: &std::path::Path,
        store: StoreId,
    ) -> Result<(), Failure> {
        self.check(signed, &signed.manifest().path, store)?;
        let sight = self.with_pins(store, |pins| pins.record(signed, self.settings.allowed))?;
        let text = proof::export(signed, directory)?;
        self.tell_sight(signed.manifest(), sight);
        self.terminal
            .print(text.as_bytes())
            .map_err(|e| Failure::output(&e))
    }
}

fn read(mut source: Source) -> Output {
    let result = source
        .read(crate::limits::BATCH_CHUNKS)
        .and_then(|(chunks, ended)| {
            let content = if ended { Some(source.content()?) } else { None };
            Ok((chunks, content))
        });
    Output::Read { source, result }
}
