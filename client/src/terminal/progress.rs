//! The progress line on a terminal.
//!
//! The session updates counters, which a display thread reads periodically. A stopped terminal
//! (`Ctrl-S`) therefore stops only the display.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::limits::PROGRESS_TICK;
use crate::session::counters::Counters;

/// The progress display, if any.
#[derive(Debug)]
pub(crate) struct Progress {
    counters: Arc<Counters>,
    bar: Option<ProgressBar>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Progress {
    /// Counts without showing.
    pub(crate) fn hidden() -> Self {
        Self {
            counters: Arc::default(),
            bar: None,
            stop: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    /// Shows one line on standard error, from the first byte requested.
    pub(crate) fn shown() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template =
            "{bar:24} {bytes:>11} of {total_bytes:<11} {binary_bytes_per_sec:>13}  {eta:>4}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let progress = Self {
            bar: Some(bar.clone()),
            ..Self::hidden()
        };
        let (counters, stop) = (Arc::clone(&progress.counters), Arc::clone(&progress.stop));
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || draw(&bar, &counters, &stop));
        // Without its thread only the progress line is missing.
        *progress
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = thread.ok();
        progress
    }

    /// The counters that the session updates.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Runs `f` with the line removed from the terminal.
    pub(crate) fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(f),
            None => f(),
        }
    }

    /// Removes the line permanently.
    pub(crate) fn clear(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            // A panic in the display has already been printed.
            thread.join().unwrap_or(());
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, counters: &Counters, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let files_wanted = counters.files_wanted();
        if files_wanted > 0 {
            let done = counters.bytes();
            bar.set_length(counters.bytes_wanted().max(done));
            bar.set_position(done);
            if files_wanted > 1 {
                bar.set_message(format!("{} of {files_wanted} files", counters.files()));
            }
        }
        std::thread::park_timeout(PROGRESS_TICK);
    }
}
