//! The slow work of a session, as values: a session emits a [`Job`], whoever drives it runs the job
//! on [`Services`] and hands the [`Output`] back.
//!
//! Invariant: every job that acts for a user looks the user up again, so a changed role or a
//! removed user takes effect on open sessions; what is published is checked once more under the
//! registry's lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use towpath_io_mio::Execute;
use towpath_protocol::channel::Chunk;
use towpath_protocol::limits::MAX_LIST_ENTRIES;
use towpath_protocol::signed::{
    Content, FilePath, Fingerprint, ManifestHash, SignedManifest, SignedStatement, StoreId,
    Timestamp, UserId, UserName,
};
use towpath_protocol::{
    Action, KeyEntry, ListEntry, Refusal, RefusalCode, Reply, Request, Role, UserEntry,
    server::{ClaimedUser, Credential},
};
use towpath_store::{
    CommitError, Damage, Download, Listed, NewKey, NewUser, OnBehalf, Registry, RegistryError,
    Store, Upload, User, UserKey,
};

use super::limits;
use super::refusals::{
    commit_refusal, damaged, not_found, refuse, registry_refusal, store_refusal,
};
use super::throttle::Throttle;

/// What all sessions of a server share.
pub struct Services {
    /// The stored files.
    pub store: Store,
    /// The users.
    pub registry: Registry,
    throttle: Mutex<Throttle>,
}

/// Who is logged in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The user's name, as it was at login.
    pub name: UserName,
    /// The user's id.
    pub uid: UserId,
    /// Logged in with a key, not with a password.
    pub by_key: bool,
}

/// Work for a worker.
pub enum Job {
    /// Check a credential.
    Login {
        /// The name that the client claims; it need not be a possible one.
        user: ClaimedUser,
        /// A password, or a key whose possession is proved already.
        credential: Credential,
    },
    /// Answer a request of the control stream.
    Request {
        /// Who asks.
        me: Me,
        /// For what.
        request: Box<Request>,
    },
    /// Start receiving a file.
    OpenUpload {
        /// Who uploads.
        me: Me,
        /// Where to.
        path: FilePath,
        /// Whether it is to replace a damaged file whose manifest is lost.
        replace_damaged: bool,
    },
    /// Seal and write records, in order.
    Append {
        /// The file so far.
        upload: Box<Upload>,
        /// At most [`limits::BATCH_CHUNKS`] records.
        chunks: Vec<Chunk>,
    },
    /// Publish a file that is complete.
    Commit {
        /// Who uploads.
        me: Me,
        /// The file.
        upload: Box<Upload>,
        /// Its signed manifest.
        signed: Box<SignedManifest>,
    },
    /// Start sending a file.
    OpenDownload {
        /// Who asks.
        me: Me,
        /// Which file.
        path: FilePath,
        /// Where to start, in bytes; a multiple of the record length.
        offset: u64,
        /// The manifest that a resumed download began with.
        manifest: Option<ManifestHash>,
    },
    /// Read and open records, in order.
    Read {
        /// The file, at its current position.
        download: Box<Download>,
    },
}

/// What became of a [`Job`].
pub enum Output {
    /// Of [`Job::Login`]; `None` is a refusal.
    Login(Option<(Me, Role)>),
    /// Of [`Job::Request`].
    Request(Result<Reply, Refusal>),
    /// Of [`Job::OpenUpload`]: the upload, and what is published at the path now.
    UploadOpened(Result<(Box<Upload>, Option<SignedManifest>), Refusal>),
    /// Of [`Job::Append`]: the upload and the bytes written.
    Appended(Result<(Box<Upload>, usize), Refusal>),
    /// Of [`Job::Commit`].
    Committed(CommitOutcome),
    /// Of [`Job::OpenDownload`].
    DownloadOpened(Result<(Box<Download>, u64), Refusal>),
    /// Of [`Job::Read`]: the records read; fewer than a batch at the end of the file.
    Read(Result<(Box<Download>, Vec<Chunk>), Refusal>),
}

/// What became of a commit.
pub enum CommitOutcome {
    /// Published and on stable storage.
    Published,
    /// Somebody else published first; the upload is whole and waits for a new signature.
    Conflict(Box<Upload>, Option<SignedManifest>),
    /// Not published; the upload is gone.
    Refused(Refusal),
}

impl Services {
    /// The services over an open store and registry.
    pub fn new(store: Store, registry: Registry) -> Self {
        Self {
            store,
            registry,
            throttle: Mutex::new(Throttle::new()),
        }
    }

    /// The login throttle of all sessions.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // The tables hold counts only: after a panic elsewhere they are still usable.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(&self, user: &ClaimedUser, credential: Credential) -> Option<(Me, Role)> {
        let name = user.valid();
        let (user, by_key) = match credential {
            Credential::Password(password) => {
                let user = self.registry.verify_password(name, password.as_bytes());
                (user?, false)
            }
            Credential::Key(key) => {
                let user = self.registry.find(name?);
                (user.filter(|user| user.has_key(&key))?, true)
            }
        };
        let me = Me {
            name: user.name,
            uid: user.uid,
            by_key,
        };
        Some((me, user.role))
    }

    fn request(&self, me: &Me, request: Request) -> Result<Reply, Refusal> {
        let user = self.user(me)?;
        match request {
            Request::Whoami => Ok(Reply::Whoami {
                name: user.name,
                uid: user.uid,
                role: user.role,
                by_key: me.by_key,
            }),
            Request::List {
                prefix,
                after,
                limit,
            } => {
                allow(&user, Action::List)?;
                let limit = limit.clamp(1, MAX_LIST_ENTRIES) as usize;
                let (listed, more) = self.store.list(&prefix, after.as_ref(), limit);
                let entries = listed.iter().filter_map(list_entry).collect();
                Ok(Reply::List { entries, more })
            }
            Request::Stat { path } => {
                allow(&user, Action::List)?;
                if self.store.damage(&path) == Some(Damage::Proof) {
                    return Err(damaged(&path));
                }
                let current = self.store.stat(&path);
                Ok(Reply::Stat { current })
            }
            Request::Delete { signed } => self.delete(me, &signed),
            Request::Users => {
                allow(&user, Action::ManageUsers)?;
                let users = self.registry.users();
                Ok(Reply::Users(users.iter().map(user_entry).collect()))
            }
            Request::Keys { user: name } => {
                let found = self.named(&name)?;
                Ok(Reply::Keys(found.keys.iter().map(key_entry).collect()))
            }
            Request::AddKey { statement } => self.add_key(me, &user, statement),
            Request::AddUser {
                name,
                role,
                password,
                key,
            } => {
                allow(&user, Action::ManageUsers)?;
                if role != Role::Guest {
                    allow(&user, Action::ChangeRoles)?;
                }
                let key = key.map(|(key, comment)| NewKey {
                    key,
                    comment,
                    statement: None,
                });
                let new = NewUser {
                    name,
                    role,
                    password: password
                        .as_ref()
                        .map(|password| password.as_str().as_bytes()),
                    keys: key.into_iter().collect(),
                };
                let may = |user: &User| {
                    let guest = role == Role::Guest;
                    user.role.allows(Action::ManageUsers, user.uid)
                        && (guest || user.role.allows(Action::ChangeRoles, user.uid))
                };
                let added = self.registry.add_for(on_behalf(me, &may), new);
                let added = added.map_err(|error| registry_refusal(&error))?;
                Ok(Reply::UserAdded { uid: added.uid })
            }
            Request::RemoveUser { user: name } => {
                allow(&user, Action::ManageUsers)?;
                let may = |user: &User| user.role.allows(Action::ManageUsers, user.uid);
                let uid = self.named(&name)?.uid;
                let removed = self.registry.remove_for(on_behalf(me, &may), uid);
                removed.map_err(|error| registry_refusal(&error))?;
                Ok(Reply::UserRemoved)
            }
            Request::SetRole { user: name, role } => {
                allow(&user, Action::ChangeRoles)?;
                let may = |user: &User| user.role.allows(Action::ChangeRoles, user.uid);
                let uid = self.named(&name)?.uid;
                let set = self.registry.set_role_for(on_behalf(me, &may), uid, role);
                set.map_err(|error| registry_refusal(&error))?;
                Ok(Reply::RoleSet)
            }
        }
    }

    fn add_key(&self, me: &Me, user: &User, statement: SignedStatement) -> Result<Reply, Refusal> {
        let claim = statement.statement().clone();
        check_author(&self.store.id(), me, claim.store, claim.uid, &claim.name)?;
        if !user.keys.is_empty() && !me.by_key {
            return Err(refuse(
                RefusalCode::Denied,
                "you have a key already: a further one is added by a session that logged in with a key, or by an administrator",
            ));
        }
        let key = NewKey {
            key: claim.key,
            comment: String::new(),
            statement: Some(statement),
        };
        let may = |user: &User| user.keys.is_empty() || me.by_key;
        self.registry
            .add_key_for(on_behalf(me, &may), me.uid, key)
            .map_err(|error| registry_refusal(&error))?;
        Ok(Reply::KeyAdded)
    }

    fn delete(&self, me: &Me, signed: &SignedManifest) -> Result<Reply, Refusal> {
        let manifest = signed.manifest();
        if manifest.content != Content::Deleted {
            return Err(refuse(
                RefusalCode::BadManifest,
                "a delete needs a manifest of kind deleted",
            ));
        }
        self.publish(me, signed, |user| {
            let current = self.store.stat(&manifest.path);
            let owner = current.as_ref().and_then(owner_of_file);
            match (&current, owner) {
                // A repeated delete: committing what is already current succeeds.
                (Some(current), None) if current.hash() == signed.hash() => Ok(()),
                (_, None) => Err(not_found(&manifest.path)),
                (_, Some(owner)) => allow(user, Action::Delete { owner }),
            }?;
            self.store
                .delete(signed)
                .map_err(|error| commit_refusal(&error, &manifest.path))
        })?;
        Ok(Reply::Deleted)
    }

    fn open_upload(
        &self,
        me: &Me,
        path: &FilePath,
        replace_damaged: bool,
    ) -> Result<(Box<Upload>, Option<SignedManifest>), Refusal> {
        let user = self.user(me)?;
        allow(&user, Action::Upload)?;
        let orphaned = self.store.damage(path) == Some(Damage::Proof);
        if orphaned {
            allow_replacing(&user, path, replace_damaged)?;
        }
        let current = self.store.stat(path);
        allow_overwrite(&user, current.as_ref())?;
        if user.keys.is_empty() {
            return Err(refuse(
                RefusalCode::BadSignature,
                "you have no registered key, and every file is signed; register one with `towpath keys add`",
            ));
        }
        let upload = if orphaned {
            self.store.begin_replacing(path)
        } else {
            self.store.begin(path)
        };
        let upload = upload.map_err(|e| store_refusal(&e, path))?;
        Ok((Box::new(upload), current))
    }

    fn append(
        &self,
        mut upload: Box<Upload>,
        chunks: Vec<Chunk>,
    ) -> Result<(Box<Upload>, usize), Refusal> {
        let mut written = 0;
        for mut chunk in chunks {
            let length = chunk.len();
            if let Err(error) = upload.append(&mut chunk) {
                return Err(store_refusal(&error, upload.path()));
            }
            written += length;
        }
        Ok((upload, written))
    }

    fn commit(&self, me: &Me, mut upload: Box<Upload>, signed: &SignedManifest) -> CommitOutcome {
        let path = &signed.manifest().path;
        // The long wait for the disk, before the registry's lock is taken.
        if let Err(error) = upload.complete() {
            return CommitOutcome::Refused(store_refusal(&error, path));
        }
        let mut conflict = None;
        let published = self.publish(me, signed, |user| {
            allow(user, Action::Upload)?;
            allow_overwrite(user, self.store.stat(path).as_ref())?;
            if upload.replaces_damaged() {
                allow_replacing(user, path, true)?;
            }
            match upload.commit(signed) {
                Ok(()) => Ok(()),
                Err((CommitError::Conflict { current }, Some(upload))) => {
                    let refusal = refuse(RefusalCode::Conflict, "the file changed meanwhile");
                    conflict = Some((Box::new(upload), current));
                    Err(refusal)
                }
                Err((error, _)) => Err(commit_refusal(&error, path)),
            }
        });
        match (published, conflict) {
            (Ok(()), _) => CommitOutcome::Published,
            (Err(_), Some((upload, current))) => CommitOutcome::Conflict(upload, current),
            (Err(refusal), None) => CommitOutcome::Refused(refusal),
        }
    }

    /// Runs `act` under the registry's lock, once the manifest is seen to be this user's own.
    fn publish(
        &self,
        me: &Me,
        signed: &SignedManifest,
        act: impl FnOnce(&User) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let manifest = signed.manifest();
        check_author(
            &self.store.id(),
            me,
            manifest.store,
            manifest.uid,
            &manifest.name,
        )?;
        let done = self.registry.with_user(me.uid, |user| {
            if !user.has_key(signed.signer()) {
                return Err(refuse(
                    RefusalCode::BadSignature,
                    format!(
                        "{} is not a registered key of {}; register it with `towpath keys add`",
                        manifest.key, me.name
                    ),
                ));
            }
            act(user)
        });
        match done {
            Ok(Ok(())) => {
                // Here and not in the session, which may have lost its client: the log has every
                // change of the store.
                tracing::info!(user = %me.name, file = %manifest.path, version = manifest.version, "published");
                Ok(())
            }
            Ok(refused) => refused,
            Err(RegistryError::UnknownUser) => Err(gone(me)),
            Err(error) => Err(registry_refusal(&error)),
        }
    }

    fn open_download(
        &self,
        me: &Me,
        path: &FilePath,
        offset: u64,
        wanted: Option<ManifestHash>,
    ) -> Result<(Box<Download>, u64), Refusal> {
        allow(&self.user(me)?, Action::Download)?;
        let mut download = self.store.read(path).map_err(|e| store_refusal(&e, path))?;
        let signed = download.signed();
        let Content::File { size, .. } = signed.manifest().content else {
            return Err(not_found(path));
        };
        // Resuming makes sense at a record of the very same file; else the download starts over.
        let chunk = towpath_protocol::channel::CHUNK_LEN as u64;
        let resumes =
            wanted == Some(signed.hash()) && offset <= size && offset.is_multiple_of(chunk);
        let offset = if resumes { offset } else { 0 };
        download.seek_chunk(offset / chunk);
        Ok((Box::new(download), offset))
    }

    fn read(&self, mut download: Box<Download>) -> Result<(Box<Download>, Vec<Chunk>), Refusal> {
        let mut chunks = Vec::with_capacity(limits::BATCH_CHUNKS);
        while chunks.len() < limits::BATCH_CHUNKS {
            let mut chunk = Chunk::new();
            match download.next(&mut chunk) {
                Ok(true) => chunks.push(chunk),
                Ok(false) => break,
                Err(error) => {
                    let path = download.signed().manifest().path.clone();
                    return Err(store_refusal(&error, &path));
                }
            }
        }
        Ok((download, chunks))
    }

    fn named(&self, name: &UserName) -> Result<User, Refusal> {
        self.registry
            .find(name)
            .ok_or_else(|| refuse(RefusalCode::NotFound, format!("no user is named {name}")))
    }

    fn user(&self, me: &Me) -> Result<User, Refusal> {
        self.registry.find_uid(me.uid).ok_or_else(|| gone(me))
    }
}

impl Execute for Services {
    type Job = Job;
    type Output = Output;

    fn execute(&self, job: Job) -> Output {
        match job {
            Job::Login { user, credential } => Output::Login(self.login(&user, credential)),
            Job::Request { me, request } => Output::Request(self.request(&me, *request)),
            Job::OpenUpload {
                me,
                path,
                replace_damaged,
            } => Output::UploadOpened(self.open_upload(&me, &path, replace_damaged)),
            Job::Append { upload, chunks } => Output::Appended(self.append(upload, chunks)),
            Job::Commit { me, upload, signed } => {
                Output::Committed(self.commit(&me, upload, &signed))
            }
            Job::OpenDownload {
                me,
                path,
                offset,
                manifest,
            } => Output::DownloadOpened(self.open_download(&me, &path, offset, manifest)),
            Job::Read { download } => Output::Read(self.read(download)),
        }
    }
}

fn owner_of_file(signed: &SignedManifest) -> Option<UserId> {
    match signed.manifest().content {
        Content::File { .. } => Some(signed.manifest().uid),
        Content::Deleted => None,
    }
}

/// Overwriting is deleting and uploading.
fn allow_overwrite(user: &User, current: Option<&SignedManifest>) -> Result<(), Refusal> {
    match current.and_then(owner_of_file) {
        Some(owner) => allow(user, Action::Delete { owner }),
        None => Ok(()),
    }
}

/// Whose a damaged file is whose proof is lost, nobody knows: it is for an administrator to replace,
/// who asks for just that.
fn allow_replacing(user: &User, path: &FilePath, asked: bool) -> Result<(), Refusal> {
    match (user.role, asked) {
        (Role::Admin, true) => Ok(()),
        (Role::Admin, false) => Err(refuse(
            RefusalCode::Corrupt,
            format!(
                "whose {path} is cannot be read any more; restore it from a backup, or replace it with --replace-damaged"
            ),
        )),
        (_, true) => Err(refuse(
            RefusalCode::Denied,
            format!("only an administrator may replace {path}, which is damaged"),
        )),
        (_, false) => Err(refuse(
            RefusalCode::Corrupt,
            format!(
                "whose {path} is cannot be read any more; ask an administrator to restore or replace it"
            ),
        )),
    }
}

fn allow(user: &User, action: Action) -> Result<(), Refusal> {
    if user.role.allows(action, user.uid) {
        return Ok(());
    }
    let what = match action {
        Action::Upload => "upload",
        Action::Download => "download",
        Action::List => "list files",
        Action::Delete { owner } if owner == user.uid => "delete or replace files",
        Action::Delete { .. } => "delete or replace another user's file",
        Action::ManageUsers => "manage users",
        Action::ChangeRoles => "change roles",
    };
    let message = format!("a {} may not {what}; ask an administrator", user.role);
    Err(refuse(RefusalCode::Denied, message))
}

fn check_author(
    here: &StoreId,
    me: &Me,
    store: StoreId,
    uid: UserId,
    name: &UserName,
) -> Result<(), Refusal> {
    let wrong = if store != *here {
        "it was signed for another server"
    } else if uid != me.uid || *name != me.name {
        "it names another user"
    } else {
        return Ok(());
    };
    Err(refuse(
        RefusalCode::BadManifest,
        format!("the statement is not taken: {wrong}"),
    ))
}

/// What the owner of a damaged file is called in a listing when it is not known.
const UNKNOWN: &str = "unknown";

/// With version 0 when the path is all that is known.
fn list_entry(listed: &Listed) -> Option<ListEntry> {
    let mut entry = ListEntry {
        path: listed.path.clone(),
        size: 0,
        mtime: Timestamp::EPOCH,
        mode: 0,
        version: 0,
        owner: UserName::parse(UNKNOWN).ok()?,
        uid: UserId::from_bytes([0; 16]),
        signer: Fingerprint::from_bytes([0; 32]),
        manifest: ManifestHash::from_bytes([0; 32]),
        damaged: listed.damaged,
    };
    if let Some(signed) = &listed.signed {
        let manifest = signed.manifest();
        if let Content::File {
            size, mtime, mode, ..
        } = manifest.content
        {
            (entry.size, entry.mtime, entry.mode) = (size, mtime, mode);
        }
        entry.version = manifest.version;
        entry.owner = manifest.name.clone();
        entry.uid = manifest.uid;
        entry.signer = manifest.key;
        entry.manifest = signed.hash();
    }
    Some(entry)
}

fn key_entry(key: &UserKey) -> KeyEntry {
    KeyEntry {
        key: key.key,
        comment: key.comment.clone(),
        statement: key.statement.clone(),
    }
}

fn user_entry(user: &User) -> UserEntry {
    UserEntry {
        name: user.name.clone(),
        uid: user.uid,
        role: user.role,
        keys: u32::try_from(user.keys.len()).unwrap_or(u32::MAX),
    }
}

fn gone(me: &Me) -> Refusal {
    refuse(
        RefusalCode::Denied,
        format!("the user {} no longer exists", me.name),
    )
}

/// What a request may do is decided once more under the registry's lock: a hash took its time since
/// the first look.
fn on_behalf<'a>(me: &Me, may: &'a dyn Fn(&User) -> bool) -> Option<OnBehalf<'a>> {
    Some(OnBehalf { uid: me.uid, may })
}
