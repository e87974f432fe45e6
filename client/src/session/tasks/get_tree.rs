//! The download of every file below a directory of the server.

use std::path::PathBuf;

use towpath_protocol::Escaped;
use towpath_protocol::signed::FilePath;
use towpath_protocol::{ListEntry, Refusal, Reply};

use crate::error::{Error, ErrorKind};
use crate::limits::MAX_FILES;
use crate::local::download::Target;
use crate::session::job::Output;
use crate::session::task::{Context, Step, Task, unexpected};
use crate::session::tasks::get::Get;
use crate::session::tasks::pages::Pages;

/// Gets every file below a prefix.
#[derive(Debug)]
pub(crate) struct GetTree {
    pages: Pages,
    directory: PathBuf,
    /// File to get instead when there is nothing below the prefix.
    file: Option<(FilePath, PathBuf)>,
    found: usize,
}

impl GetTree {
    /// Creates a task that gets all files below `prefix` (empty, or ending in `/`) into
    /// `directory`, or else `file` to its target.
    pub(crate) fn new(
        prefix: String,
        directory: PathBuf,
        file: Option<(FilePath, PathBuf)>,
    ) -> Self {
        Self {
            pages: Pages::new(prefix),
            directory,
            file,
            found: 0,
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(self.pages.request()) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn take(&mut self, entry: ListEntry, cx: &mut Context<'_>) -> Result<(), Error> {
        let below = entry.path.as_str().strip_prefix(self.pages.prefix.as_str());
        let Some(below) = below.filter(|below| !below.is_empty()) else {
            return Err(unexpected(&self.label()));
        };
        self.found += 1;
        if self.found > MAX_FILES {
            return Err(Error::usage(format!(
                "{}: more than {MAX_FILES} files; get them in parts",
                self.label()
            )));
        }
        // A stored path has no `..`, no empty part and no leading `/`, so it stays below the
        // directory.
        let path = self.directory.join(below);
        cx.spawn(Box::new(Get::new(
            entry.path,
            Target::File {
                path,
                tree: Some(self.directory.clone()),
            },
        )));
        Ok(())
    }
}

impl Task for GetTree {
    fn label(&self) -> String {
        if self.pages.prefix.is_empty() {
            "/".to_owned()
        } else {
            Escaped(&self.pages.prefix).to_string()
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        self.ask(cx)
    }

    fn handle_output(&mut self, _output: Output, _cx: &mut Context<'_>) -> Step {
        Step::failed(unexpected(&self.label()))
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let label = self.label();
        let entries = match self.pages.take(result, &label) {
            Ok(entries) => entries,
            Err(error) => return Step::failed(error),
        };
        for entry in entries {
            if let Err(failure) = self.take(entry, cx) {
                return Step::failed(failure);
            }
        }
        if self.pages.has_more() {
            self.ask(cx)
        } else if let Some((path, target)) = self.file.take().filter(|_| self.found == 0) {
            cx.spawn(Box::new(Get::new(
                path,
                Target::File {
                    path: target,
                    tree: None,
                },
            )));
            Step::Done(Ok(()))
        } else if self.found == 0 {
            Step::failed(Error::new(
                ErrorKind::NotFound,
                format!("{label}: there is no file below it on the server"),
            ))
        } else {
            Step::Done(Ok(()))
        }
    }
}
