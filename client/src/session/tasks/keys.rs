//! Tasks about the user and keys.

use towpath_protocol::signed::{KeyAction, KeyStatement, PublicKey, UserName};
use towpath_protocol::{KeyEntry, Refusal, Reply, Request};

use crate::error::{Error, ErrorKind};
use crate::session::job::{Job, Output};
use crate::session::task::{Context, Step, Task, unexpected};

/// Prints the logged-in user.
#[derive(Debug)]
pub(crate) struct Whoami;

impl Task for Whoami {
    fn label(&self) -> String {
        "whoami".to_owned()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(Request::Whoami) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        match result {
            Ok(Reply::Whoami {
                name,
                uid,
                role,
                by_key,
            }) => {
                let how = if by_key { "key" } else { "password" };
                let text = format!(
                    "user   {name}\nrole   {role}\nuid    {uid}\nlogin  {how}\nstore  {}\n",
                    cx.login.store
                );
                cx.job(Job::Print(text.into_bytes()));
                Step::Running
            }
            Ok(_) => Step::failed(unexpected("whoami")),
            Err(refusal) => Step::failed(Error::refused("whoami", &refusal)),
        }
    }

    fn handle_output(&mut self, output: Output, _cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(result) => Step::Done(result),
            _ => Step::failed(unexpected("whoami")),
        }
    }
}

/// Lists the keys of a user.
#[derive(Debug)]
pub(crate) struct ListKeys {
    user: Option<UserName>,
}

impl ListKeys {
    /// Creates a task that lists the keys of `user`, or of the logged-in user.
    pub(crate) fn new(user: Option<UserName>) -> Self {
        Self { user }
    }
}

impl Task for ListKeys {
    fn label(&self) -> String {
        "keys".to_owned()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        let user = self
            .user
            .get_or_insert_with(|| cx.login.name.clone())
            .clone();
        match cx.request(Request::Keys { user }) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let user = self.user.clone().unwrap_or_else(|| cx.login.name.clone());
        match result {
            Ok(Reply::Keys(keys)) => {
                cx.job(Job::ShowKeys {
                    user,
                    keys,
                    store: cx.login.store,
                });
                Step::Running
            }
            Ok(_) => Step::failed(unexpected("keys")),
            Err(refusal) => Step::failed(Error::refused(user.as_str(), &refusal)),
        }
    }

    fn handle_output(&mut self, output: Output, _cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(result) => Step::Done(result),
            _ => Step::failed(unexpected("keys")),
        }
    }
}

/// Registers the user's own key: a statement at the end of the key log, signed by the key that it
/// adds.
#[derive(Debug)]
pub(crate) struct AddKey {
    key: PublicKey,
}

impl AddKey {
    /// Creates a task that adds `key`, whose private key the job runner holds.
    pub(crate) fn new(key: PublicKey) -> Self {
        Self { key }
    }

    /// The statement to append to the log.
    fn statement(&self, keys: &[KeyEntry], cx: &Context<'_>) -> Result<KeyStatement, Error> {
        let newest = keys
            .iter()
            .filter_map(|entry| entry.statement.as_ref())
            .max_by_key(|signed| signed.statement().sequence);
        let foreign = newest.is_some_and(|signed| {
            signed.statement().uid != cx.login.uid || signed.statement().store != cx.login.store
        });
        if foreign {
            return Err(Error::verification(
                "the server shows a key log that is not this user's",
            ));
        }
        let sequence = newest
            .map_or(0, |signed| signed.statement().sequence)
            .checked_add(1)
            .ok_or_else(|| unexpected("keys"))?;
        Ok(KeyStatement {
            store: cx.login.store,
            uid: cx.login.uid,
            name: cx.login.name.clone(),
            sequence,
            previous: newest.map(towpath_protocol::signed::SignedStatement::hash),
            action: KeyAction::Add,
            key: self.key,
        })
    }
}

impl Task for AddKey {
    fn label(&self) -> String {
        format!("key {}", self.key.fingerprint())
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(Request::Keys {
            user: cx.login.name.clone(),
        }) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        match result {
            Ok(Reply::Keys(keys)) if keys.iter().any(|entry| entry.key == self.key) => {
                cx.job(Job::Print(
                    format!("{} was registered already\n", self.key.fingerprint()).into_bytes(),
                ));
                Step::Running
            }
            Ok(Reply::Keys(keys)) => match self.statement(&keys, cx) {
                Ok(statement) => {
                    cx.job(Job::SignStatement(statement));
                    Step::Running
                }
                Err(failure) => Step::failed(failure),
            },
            Ok(Reply::KeyAdded) => {
                cx.job(Job::Print(
                    format!(
                        "{} is registered for {}\n",
                        self.key.fingerprint(),
                        cx.login.name
                    )
                    .into_bytes(),
                ));
                Step::Running
            }
            Ok(_) => Step::failed(unexpected(&self.label())),
            Err(refusal) => Step::failed(Error::refused(&self.label(), &refusal)),
        }
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(result) => Step::Done(result),
            Output::Statement(Ok(statement)) => match cx.request(Request::AddKey {
                statement: *statement,
            }) {
                Ok(()) => Step::Running,
                Err(failure) => Step::failed(failure),
            },
            Output::Statement(Err(failure)) => Step::failed(failure),
            _ => Step::failed(Error::new(ErrorKind::Server, self.label())),
        }
    }
}
