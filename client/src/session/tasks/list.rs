//! Listings.

use serde::Serialize;
use towpath_protocol::Escaped;
use towpath_protocol::{ListEntry, Refusal, Reply};

use crate::error::{Error, ErrorKind};
use crate::session::job::{Job, Output};
use crate::session::task::{Context, Step, Task, unexpected};
use crate::session::tasks::pages::Pages;

/// Lists the files at or below a path, page by page: the next page is requested after the last one
/// is printed.
#[derive(Debug)]
pub(crate) struct List {
    pages: Pages,
    json: bool,
    found: bool,
}

impl List {
    /// Creates a task that lists all below `prefix` (empty, or ending in `/`), or the file or
    /// directory `prefix`.
    pub(crate) fn new(prefix: String, json: bool) -> Self {
        Self {
            pages: Pages::new(prefix),
            json,
            found: false,
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) -> Step {
        match cx.request(self.pages.request()) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Step {
        if self.pages.has_more() {
            return self.ask(cx);
        }
        if self.found || self.pages.prefix.is_empty() {
            return Step::Done(Ok(()));
        }
        Step::failed(Error::new(
            ErrorKind::NotFound,
            format!(
                "{}: there is no such file or directory on the server",
                self.label()
            ),
        ))
    }
}

impl Task for List {
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

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let label = self.label();
        let entries = match self.pages.take(result, &label) {
            Ok(entries) => entries,
            Err(error) => return Step::failed(error),
        };
        let mut text = String::new();
        let pages = &self.pages;
        for entry in entries.iter().filter(|entry| pages.covers(&entry.path)) {
            let line = if self.json {
                json_line(entry)
            } else {
                plain_line(entry)
            };
            text.push_str(&line);
            text.push('\n');
        }
        if text.is_empty() {
            return self.next(cx);
        }
        self.found = true;
        cx.job(Job::Print(text.into_bytes()));
        Step::Running
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(Ok(())) => self.next(cx),
            Output::Done(Err(failure)) => Step::failed(failure),
            _ => Step::failed(unexpected(&self.label())),
        }
    }
}

/// Size (or that the file is damaged), time, version, owner, name.
fn plain_line(entry: &ListEntry) -> String {
    if entry.damaged && entry.version == 0 {
        let path = Escaped(entry.path.as_str());
        return format!(
            "{:>14} {:<20} {:<5} {:<12} {path}",
            "damaged", "-", "-", "-"
        );
    }
    let time = entry.mtime.to_string();
    let time = time
        .split_once('.')
        .map_or_else(|| time.clone(), |(seconds, _)| format!("{seconds}Z"));
    let size = if entry.damaged {
        "damaged".to_owned()
    } else {
        entry.size.to_string()
    };
    format!(
        "{size:>14} {time} v{:<4} {:<12} {}",
        entry.version,
        entry.owner,
        Escaped(entry.path.as_str())
    )
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    path: &'a str,
    size: u64,
    mtime: String,
    mode: String,
    version: u64,
    owner: String,
    uid: String,
    signer: String,
    manifest: String,
    damaged: bool,
}

/// One JSON object on a line; control characters are escaped as JSON requires.
fn json_line(entry: &ListEntry) -> String {
    let object = JsonEntry {
        path: entry.path.as_str(),
        size: entry.size,
        mtime: entry.mtime.to_string(),
        mode: format!("{:04o}", entry.mode),
        version: entry.version,
        owner: entry.owner.to_string(),
        uid: entry.uid.to_string(),
        signer: entry.signer.to_string(),
        manifest: entry.manifest.to_string(),
        damaged: entry.damaged,
    };
    serde_json::to_string(&object).unwrap_or_default()
}
