//! `server.log`: one line for each event, through `tracing`.
//!
//! A line is `time LEVEL message key=value…`: time in RFC 3339, UTC, with microseconds; the fields
//! of the event, then those of the spans around it, innermost first. What comes from peers cannot
//! forge lines or fields: see [`Value`].

mod file;
mod line;

use std::io;
use std::path::Path;
use std::time::SystemTime;

use file::LogFile;
pub use line::Value;
use line::{Fields, Line};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A layer that writes events to a file, which it opens again when it was renamed away (as
/// `logrotate` does).
#[derive(Debug)]
pub struct ServerLog {
    file: LogFile,
}

/// Why the log cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("{path}: {error}")]
    Io {
        /// Path of the file.
        path: std::path::PathBuf,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// The process has a subscriber already.
    #[error("the log is installed already")]
    Installed,
}

impl ServerLog {
    /// Opens the file at `path` to append to it; made with mode 0600 when missing.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let file = LogFile::open(path).map_err(|error| LogError::Io {
            path: path.into(),
            error,
        })?;
        Ok(Self { file })
    }

    /// Begins a new file when the current one would grow beyond `longest` bytes; four old ones are
    /// kept, as `server.log.1` to `.4`.
    #[must_use]
    pub fn rotated_at(mut self, longest: u64) -> Self {
        self.file.longest = longest;
        self
    }

    /// Makes it the process's subscriber for events up to `level`.
    ///
    /// # Errors
    /// [`LogError::Installed`].
    pub fn install(self, level: LevelFilter) -> Result<(), LogError> {
        let subscriber = tracing_subscriber::registry().with(self.with_filter(level));
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ServerLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::new(SystemTime::now(), *event.metadata().level());
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.add(fields);
            }
        }
        self.file.write(line.finish());
    }
}

#[cfg(test)]
mod tests;
