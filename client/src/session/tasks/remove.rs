//! Tasks that need a stored file's manifest but not its content: deletion and export of its proof.

use std::mem;
use std::path::PathBuf;

use towpath_protocol::Escaped;
use towpath_protocol::signed::{Content, FilePath, SignedManifest};
use towpath_protocol::{Refusal, Reply, Request};

use crate::error::{Error, ErrorKind};
use crate::session::job::{Job, Output};
use crate::session::task::{Context, Step, Task, unexpected};

fn not_found(label: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{label}: not on the server"))
}

/// The manifest at `path`, if there is a file.
fn present(path: &FilePath, result: Result<Reply, Refusal>) -> Result<SignedManifest, Error> {
    let label = Escaped(path.as_str()).to_string();
    match result {
        Ok(Reply::Stat {
            current: Some(signed),
        }) if signed.manifest().path != *path => Err(unexpected(&label)),
        Ok(Reply::Stat {
            current: Some(signed),
        }) if signed.manifest().content != Content::Deleted => Ok(signed),
        Ok(Reply::Stat { .. }) => Err(not_found(&label)),
        Ok(_) => Err(unexpected(&label)),
        Err(refusal) => Err(Error::refused(path.as_str(), &refusal)),
    }
}

/// Deletes one file: publishes a signed `deleted` manifest that follows the current one.
#[derive(Debug)]
pub(crate) struct Remove {
    path: FilePath,
    state: State,
}

#[derive(Debug)]
enum State {
    Asking,
    /// The server says that there is no file; a job checks that against the pins.
    Absent(Error),
    Signing,
    Deleting(SignedManifest),
    Recording,
}

impl Remove {
    /// Creates a task that deletes `path`.
    pub(crate) fn new(path: FilePath) -> Self {
        Self {
            path,
            state: State::Asking,
        }
    }
}

impl Task for Remove {
    fn label(&self) -> String {
        Escaped(self.path.as_str()).to_string()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(Request::Stat {
            path: self.path.clone(),
        }) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        match mem::replace(&mut self.state, State::Recording) {
            State::Asking => match present(&self.path, result.clone()) {
                Ok(current) => {
                    cx.job(Job::SignFile {
                        path: self.path.clone(),
                        content: Content::Deleted,
                        current: Some(current),
                        login: cx.login.clone(),
                        again: false,
                        replace_damaged: false,
                    });
                    self.state = State::Signing;
                    Step::Running
                }
                Err(failure) if failure.kind == ErrorKind::NotFound => {
                    let current = match result {
                        Ok(Reply::Stat { current }) => current,
                        _ => None,
                    };
                    cx.job(Job::CheckAbsent {
                        path: self.path.clone(),
                        current,
                        store: cx.login.store,
                    });
                    self.state = State::Absent(failure);
                    Step::Running
                }
                Err(failure) => Step::failed(failure),
            },
            State::Deleting(signed) => match result {
                Ok(Reply::Deleted) => {
                    cx.job(Job::Published {
                        signed,
                        report: None,
                    });
                    Step::Running
                }
                Ok(_) => Step::failed(unexpected(&self.label())),
                Err(refusal) => Step::failed(Error::refused(self.path.as_str(), &refusal)),
            },
            State::Absent(_) | State::Signing | State::Recording => {
                Step::failed(unexpected(&self.label()))
            }
        }
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        match (&self.state, output) {
            (State::Signing, Output::Signed(Ok(signed))) => {
                if let Err(failure) = cx.request(Request::Delete {
                    signed: signed.clone(),
                }) {
                    return Step::failed(failure);
                }
                self.state = State::Deleting(signed);
                Step::Running
            }
            (State::Signing, Output::Signed(Err(failure))) => Step::failed(failure),
            (State::Absent(failure), Output::Done(result)) => {
                Step::failed(result.err().unwrap_or_else(|| failure.clone()))
            }
            (State::Recording, Output::Done(result)) => Step::Done(result),
            (_, _) => Step::failed(unexpected(&self.label())),
        }
    }

    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        let message = match &self.state {
            State::Absent(_) | State::Recording => return Step::Running,
            State::Deleting(_) => format!(
                "{}: {}; it may or may not have been deleted; `towpath ls` shows",
                self.label(),
                failure.message
            ),
            State::Asking | State::Signing => {
                format!("{}: {}; it was not deleted", self.label(), failure.message)
            }
        };
        Step::failed(Error::new(failure.kind, message))
    }
}

/// Writes one file's proof of authorship to a directory.
#[derive(Debug)]
pub(crate) struct Export {
    path: FilePath,
    directory: PathBuf,
}

impl Export {
    /// Creates a task that exports the proof of `path` into `directory`.
    pub(crate) fn new(path: FilePath, directory: PathBuf) -> Self {
        Self { path, directory }
    }
}

impl Task for Export {
    fn label(&self) -> String {
        Escaped(self.path.as_str()).to_string()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(Request::Stat {
            path: self.path.clone(),
        }) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        match present(&self.path, result) {
            Ok(signed) => {
                cx.job(Job::Export {
                    signed,
                    directory: self.directory.clone(),
                    store: cx.login.store,
                });
                Step::Running
            }
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_output(&mut self, output: Output, _cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(result) => Step::Done(result),
            _ => Step::failed(unexpected(&self.label())),
        }
    }

    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        Step::failed(failure.clone())
    }
}
