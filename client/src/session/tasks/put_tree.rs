//! The upload of a local directory tree.

use std::path::PathBuf;

use towpath_protocol::Escaped;

use crate::error::Error;
use crate::session::job::{Job, Output};
use crate::session::task::{Context, Step, Task, unexpected};
use crate::session::tasks::put::Put;

/// Puts every regular file below a directory.
#[derive(Debug)]
pub(crate) struct PutTree {
    root: PathBuf,
    prefix: String,
    replace_damaged: bool,
}

impl PutTree {
    /// Creates a task that puts all files below `root`, named `<prefix><path below root>`.
    pub(crate) fn new(root: PathBuf, prefix: String, replace_damaged: bool) -> Self {
        Self {
            root,
            prefix,
            replace_damaged,
        }
    }
}

impl Task for PutTree {
    fn label(&self) -> String {
        Escaped(&self.root.display().to_string()).to_string()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        cx.job(Job::Walk {
            root: self.root.clone(),
            prefix: self.prefix.clone(),
        });
        Step::Running
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        let tree = match output {
            Output::Tree(Ok(tree)) => tree,
            Output::Tree(Err(failure)) => return Step::failed(failure),
            _ => return Step::failed(unexpected(&self.label())),
        };
        if tree.files.is_empty() && tree.unfit.is_empty() {
            return Step::failed(Error::local(format!("{} holds no file", self.label())));
        }
        for (source, path) in tree.files {
            cx.spawn(Box::new(Put::new(source, path, self.replace_damaged)));
        }
        for failure in tree.unfit {
            cx.spawn(Box::new(Unfit(failure)));
        }
        Step::Done(Ok(()))
    }
}

/// An entry of a tree that cannot be put: a task that fails, so that it is reported and counted.
#[derive(Debug)]
struct Unfit(Error);

impl Task for Unfit {
    fn label(&self) -> String {
        self.0.message.clone()
    }

    fn start(&mut self, _cx: &mut Context<'_>) -> Step {
        Step::failed(self.0.clone())
    }

    fn handle_output(&mut self, _output: Output, _cx: &mut Context<'_>) -> Step {
        Step::failed(self.0.clone())
    }
}
