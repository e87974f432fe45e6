//! The services that all sessions of a server share, and the jobs that run on them.
//!
//! Invariant: every job that acts for a user looks the user up again, so a changed role or a
//! removed user takes effect on open sessions; what is published is checked once more under the
//! registry's lock.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use towpath_io_mio::Execute;
use towpath_protocol::channel::Chunk;
use towpath_protocol::limits::MAX_LIST_ENTRIES;
use towpath_protocol::server::{ClaimedUser, Credential};
use towpath_protocol::signed::{
    Content, FilePath, ManifestHash, SignedManifest, SignedStatement, UserId, UserName,
};
use towpath_protocol::{Action, Refusal, RefusalCode, Reply, Request, Role};
use towpath_store::{
    CommitError, Damage, Download, NewKey, NewUser, Registry, RegistryError, Store, Upload, User,
};

use super::authorization::{
    allow, allow_overwrite, allow_replacing, check_author, on_behalf, owner_of_file,
};
use super::entries::{key_entry, list_entry, user_entry};
use super::jobs::{AuthenticatedUser, CommitOutcome, Job, Output};
use super::limits;
use super::refusals::{
    commit_refusal, damaged, not_found, refuse, registry_refusal, store_refusal,
};
use super::throttle::Throttle;

/// The services that all sessions of a server share.
pub(crate) struct Services {
    /// The stored files.
    pub(crate) store: Store,
    /// The users.
    pub(crate) registry: Registry,
    throttle: Mutex<Throttle>,
    /// Users who logged in since the start, and are none any more.
    removed: RwLock<BTreeSet<UserId>>,
}

impl Services {
    /// The services over an open store and registry.
    pub(crate) fn new(store: Store, registry: Registry) -> Self {
        Self {
            store,
            registry,
            throttle: Mutex::new(Throttle::new()),
            removed: RwLock::default(),
        }
    }

    /// The login throttle of all sessions.
    pub(crate) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // The tables contain only counts: after a panic elsewhere they are still usable.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(
        &self,
        user: &ClaimedUser,
        credential: Credential,
    ) -> Option<(AuthenticatedUser, Role)> {
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
        let caller = AuthenticatedUser {
            name: user.name,
            uid: user.uid,
            by_key,
        };
        Some((caller, user.role))
    }

    fn request(&self, caller: &AuthenticatedUser, request: Request) -> Result<Reply, Refusal> {
        let user = self.user(caller)?;
        match request {
            Request::Whoami => Ok(Reply::Whoami {
                name: user.name,
                uid: user.uid,
                role: user.role,
                by_key: caller.by_key,
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
            Request::Delete { signed } => self.delete(caller, &signed),
            Request::Users => {
                allow(&user, Action::ManageUsers)?;
                let users = self.registry.users();
                Ok(Reply::Users(users.iter().map(user_entry).collect()))
            }
            Request::Keys { user: name } => {
                let found = self.named(&name)?;
                Ok(Reply::Keys(found.keys.iter().map(key_entry).collect()))
            }
            Request::AddKey { statement } => self.add_key(caller, &user, statement),
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
                let added = self.registry.add_for(on_behalf(caller, &may), new);
                let added = added.map_err(|error| registry_refusal(&error))?;
                Ok(Reply::UserAdded { uid: added.uid })
            }
            Request::RemoveUser { user: name } => {
                allow(&user, Action::ManageUsers)?;
                let may = |user: &User| user.role.allows(Action::ManageUsers, user.uid);
                let uid = self.named(&name)?.uid;
                let removed = self.registry.remove_for(on_behalf(caller, &may), uid);
                removed.map_err(|error| registry_refusal(&error))?;
                self.note_removed(uid);
                Ok(Reply::UserRemoved)
            }
            Request::SetRole { user: name, role } => {
                allow(&user, Action::ChangeRoles)?;
                let may = |user: &User| user.role.allows(Action::ChangeRoles, user.uid);
                let uid = self.named(&name)?.uid;
                let set = self
                    .registry
                    .set_role_for(on_behalf(caller, &may), uid, role);
                set.map_err(|error| registry_refusal(&error))?;
                Ok(Reply::RoleSet)
            }
        }
    }

    /// Registers a key; `user` is the caller as of the request's arrival.
    pub(crate) fn add_key(
        &self,
        caller: &AuthenticatedUser,
        user: &User,
        statement: SignedStatement,
    ) -> Result<Reply, Refusal> {
        let claim = statement.statement().clone();
        check_author(
            &self.store.id(),
            caller,
            claim.store,
            claim.uid,
            &claim.name,
        )?;
        if !user.keys.is_empty() && !caller.by_key {
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
        let may = |user: &User| user.keys.is_empty() || caller.by_key;
        self.registry
            .add_key_for(on_behalf(caller, &may), caller.uid, key)
            .map_err(|error| registry_refusal(&error))?;
        Ok(Reply::KeyAdded)
    }

    fn delete(
        &self,
        caller: &AuthenticatedUser,
        signed: &SignedManifest,
    ) -> Result<Reply, Refusal> {
        let manifest = signed.manifest();
        if manifest.content != Content::Deleted {
            return Err(refuse(
                RefusalCode::BadManifest,
                "a delete needs a manifest of kind deleted",
            ));
        }
        self.publish(caller, signed, |user| {
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
        caller: &AuthenticatedUser,
        path: &FilePath,
        replace_damaged: bool,
    ) -> Result<(Box<Upload>, Option<SignedManifest>), Refusal> {
        let user = self.user(caller)?;
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
        caller: &AuthenticatedUser,
        mut upload: Box<Upload>,
        chunks: Vec<Chunk>,
    ) -> Result<(Box<Upload>, usize), Refusal> {
        allow(&self.user(caller)?, Action::Upload)?;
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

    fn commit(
        &self,
        caller: &AuthenticatedUser,
        mut upload: Box<Upload>,
        signed: &SignedManifest,
    ) -> CommitOutcome {
        let path = &signed.manifest().path;
        // The long wait for the disk, before the registry's lock is taken.
        if let Err(error) = upload.complete() {
            return CommitOutcome::Refused(store_refusal(&error, path));
        }
        let mut conflict = None;
        let published = self.publish(caller, signed, |user| {
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

    /// Runs `act` under the registry's lock, after checking that the manifest is this user's.
    fn publish(
        &self,
        caller: &AuthenticatedUser,
        signed: &SignedManifest,
        act: impl FnOnce(&User) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let manifest = signed.manifest();
        check_author(
            &self.store.id(),
            caller,
            manifest.store,
            manifest.uid,
            &manifest.name,
        )?;
        let done = self.registry.with_user(caller.uid, |user| {
            if !user.has_key(signed.signer()) {
                return Err(refuse(
                    RefusalCode::BadSignature,
                    format!(
                        "{} is not a registered key of {}; register it with `towpath keys add`",
                        manifest.key, caller.name
                    ),
                ));
            }
            act(user)
        });
        match done {
            Ok(Ok(())) => {
                // Here and not in the session, which may have lost its client: the log has every
                // change of the store.
                tracing::info!(user = %caller.name, file = %manifest.path, version = manifest.version, "published");
                Ok(())
            }
            Ok(refused) => refused,
            Err(RegistryError::UnknownUser) => Err(gone(caller)),
            Err(error) => Err(registry_refusal(&error)),
        }
    }

    fn open_download(
        &self,
        caller: &AuthenticatedUser,
        path: &FilePath,
        offset: u64,
        wanted: Option<ManifestHash>,
    ) -> Result<(Box<Download>, u64), Refusal> {
        allow(&self.user(caller)?, Action::Download)?;
        let mut download = self.store.read(path).map_err(|e| store_refusal(&e, path))?;
        let signed = download.signed();
        let Content::File { size, .. } = signed.manifest().content else {
            return Err(not_found(path));
        };
        // A download resumes only at a record of the same file; otherwise it starts over.
        let chunk = towpath_protocol::channel::CHUNK_LEN as u64;
        let resumes =
            wanted == Some(signed.hash()) && offset <= size && offset.is_multiple_of(chunk);
        let offset = if resumes { offset } else { 0 };
        download.seek_chunk(offset / chunk);
        Ok((Box::new(download), offset))
    }

    fn read(
        &self,
        caller: &AuthenticatedUser,
        mut download: Box<Download>,
    ) -> Result<(Box<Download>, Vec<Chunk>), Refusal> {
        allow(&self.user(caller)?, Action::Download)?;
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

    /// The caller as the registry has them now; the sessions of one who was removed end.
    fn user(&self, caller: &AuthenticatedUser) -> Result<User, Refusal> {
        self.registry.find_uid(caller.uid).ok_or_else(|| {
            self.note_removed(caller.uid);
            gone(caller)
        })
    }

    fn note_removed(&self, user: UserId) {
        let mut removed = self.removed.write().unwrap_or_else(PoisonError::into_inner);
        removed.insert(user);
    }

    /// Whether a user was seen to be removed: a uid is never issued again.
    pub(crate) fn is_removed(&self, user: UserId) -> bool {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        removed.contains(&user)
    }
}

impl Execute for Services {
    type Job = Job;
    type Output = Output;

    fn execute(&self, job: Job) -> Output {
        match job {
            Job::Login { user, credential } => Output::Login(self.login(&user, credential)),
            Job::Request { caller, request } => Output::Request(self.request(&caller, *request)),
            Job::OpenUpload {
                caller,
                path,
                replace_damaged,
            } => Output::UploadOpened(self.open_upload(&caller, &path, replace_damaged)),
            Job::Append {
                caller,
                upload,
                chunks,
            } => Output::Appended(self.append(&caller, upload, chunks)),
            Job::Commit {
                caller,
                upload,
                signed,
            } => Output::Committed(self.commit(&caller, upload, &signed)),
            Job::OpenDownload {
                caller,
                path,
                offset,
                manifest,
            } => Output::DownloadOpened(self.open_download(&caller, &path, offset, manifest)),
            Job::Read { caller, download } => Output::Read(self.read(&caller, download)),
        }
    }
}

fn gone(caller: &AuthenticatedUser) -> Refusal {
    refuse(
        RefusalCode::Denied,
        format!("the user {} no longer exists", caller.name),
    )
}
