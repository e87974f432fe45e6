//! The tasks of a [`Client`](crate::Client): each returns the result of one command.

use towpath_protocol::Escaped;
use towpath_protocol::client::TransferEvent;
use towpath_protocol::signed::SignedManifest;
use towpath_protocol::{ListEntry, Refusal, Reply};

use crate::error::Error;
use crate::limits::MAX_FILES;
use crate::local::download::Target;
use crate::session::command::{Answer, Command};
use crate::session::job::Output;
use crate::session::task::{Context, Step, Task, unexpected};
use crate::session::tasks::get::Get;
use crate::session::tasks::pages::Pages;
use crate::session::tasks::put::Put;

/// Creates the task of `command`.
pub(crate) fn task(command: Command) -> Box<dyn Task> {
    match command {
        Command::Ready(answer) => Box::new(Ready(answer)),
        Command::List { prefix, answer } => Box::new(Collect {
            pages: Pages::new(prefix),
            found: Vec::new(),
            answer,
        }),
        Command::Get {
            path,
            local,
            answer,
        } => {
            let target = Target::File {
                path: local,
                tree: None,
            };
            let task = Box::new(Get::new(path, target));
            Box::new(Transfer { task, answer })
        }
        Command::Put {
            local,
            path,
            answer,
        } => {
            let task = Box::new(Put::new(local, path, false));
            Box::new(Transfer { task, answer })
        }
    }
}

/// Ends the task and sends its result, which is dropped when the caller has gone.
fn answer<T>(answer: &Answer<T>, result: Result<T, Error>) -> Step {
    if answer.send(result).is_err() {
        tracing::debug!("nothing waits for the result of a command");
    }
    Step::Done(Ok(()))
}

/// A task that ends at once, with success.
#[derive(Debug)]
struct Ready(Answer<()>);

impl Task for Ready {
    fn label(&self) -> String {
        "login".to_owned()
    }

    fn start(&mut self, _cx: &mut Context<'_>) -> Step {
        answer(&self.0, Ok(()))
    }

    fn handle_output(&mut self, _output: Output, _cx: &mut Context<'_>) -> Step {
        answer(&self.0, Err(unexpected(&self.label())))
    }
}

/// A get or a put; returns the manifest of the transferred file.
#[derive(Debug)]
struct Transfer {
    task: Box<dyn Task>,
    answer: Answer<SignedManifest>,
}

impl Transfer {
    fn step(&self, step: Step) -> Step {
        match step {
            Step::Done(result) => {
                let manifest = result.and_then(|()| {
                    let manifest = self.task.manifest().cloned();
                    manifest.ok_or_else(|| unexpected(&self.label()))
                });
                answer(&self.answer, manifest)
            }
            other => other,
        }
    }
}

impl Task for Transfer {
    fn label(&self) -> String {
        self.task.label()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        let step = self.task.start(cx);
        self.step(step)
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        let step = self.task.handle_output(output, cx);
        self.step(step)
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let step = self.task.handle_reply(result, cx);
        self.step(step)
    }

    fn handle_transfer(&mut self, event: TransferEvent, cx: &mut Context<'_>) -> Step {
        let step = self.task.handle_transfer(event, cx);
        self.step(step)
    }

    fn retry(&mut self, cx: &mut Context<'_>) -> Step {
        let step = self.task.retry(cx);
        self.step(step)
    }

    fn handle_closed(&mut self, failure: &Error, cx: &mut Context<'_>) -> Step {
        let step = self.task.handle_closed(failure, cx);
        self.step(step)
    }
}

/// Collects a listing.
#[derive(Debug)]
struct Collect {
    pages: Pages,
    found: Vec<ListEntry>,
    answer: Answer<Vec<ListEntry>>,
}

impl Collect {
    fn ask(&self, cx: &mut Context<'_>) -> Step {
        match cx.request(self.pages.request()) {
            Ok(()) => Step::Running,
            Err(error) => answer(&self.answer, Err(error)),
        }
    }
}

impl Task for Collect {
    fn label(&self) -> String {
        Escaped(&self.pages.prefix).to_string()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        self.ask(cx)
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let label = self.label();
        let entries = match self.pages.take(result, &label) {
            Ok(entries) => entries,
            Err(error) => return answer(&self.answer, Err(error)),
        };
        let pages = &self.pages;
        let covered = entries
            .into_iter()
            .filter(|entry| pages.covers(&entry.path));
        self.found.extend(covered);
        if self.found.len() > MAX_FILES {
            let error = Error::usage(format!("{label}: more than {MAX_FILES} files"));
            answer(&self.answer, Err(error))
        } else if self.pages.has_more() {
            self.ask(cx)
        } else {
            answer(&self.answer, Ok(std::mem::take(&mut self.found)))
        }
    }

    fn handle_output(&mut self, _output: Output, _cx: &mut Context<'_>) -> Step {
        answer(&self.answer, Err(unexpected(&self.label())))
    }

    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        answer(&self.answer, Err(failure.clone()))
    }
}
