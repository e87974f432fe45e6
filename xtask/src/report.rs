//! Steps with their name, duration and outcome, and a summary.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::TaskError;
use crate::output::Output;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Step {
    name: String,
    duration: Duration,
    outcome: Outcome,
}

/// Collects the outcome of each step; several may run at once.
pub(crate) struct Report {
    steps: Mutex<Vec<Step>>,
    skips_fail: bool,
}

impl Report {
    /// `skips_fail`: a skipped step counts as a failure (continuous integration).
    pub(crate) fn new(skips_fail: bool) -> Self {
        Self {
            steps: Mutex::new(Vec::new()),
            skips_fail,
        }
    }

    /// Runs one step and prints how it ended; later steps run even if it failed.
    pub(crate) fn step(&self, name: &str, work: impl FnOnce(&Output) -> Result<(), TaskError>) {
        println!("\n=== {name} ===");
        self.run(name, &Output::terminal(), work);
    }

    /// Runs one step while others may run on other threads: its output goes to the file `log`
    /// and is printed in one piece when it has ended.
    ///
    /// `background`: its commands leave the processor to those of other steps.
    pub(crate) fn step_beside(
        &self,
        name: &str,
        log: &Path,
        background: bool,
        work: impl FnOnce(&Output) -> Result<(), TaskError>,
    ) {
        println!("(started: {name})");
        match Output::log(log, background) {
            Ok(output) => self.run(name, &output, work),
            Err(error) => {
                let why = format!("{}: {error}", log.display());
                self.run(name, &Output::terminal(), |_| Err(TaskError::Failed(why)));
            }
        }
    }

    fn run(
        &self,
        name: &str,
        output: &Output,
        work: impl FnOnce(&Output) -> Result<(), TaskError>,
    ) {
        let started = Instant::now();
        let outcome = match work(output) {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        let step = Step {
            name: name.to_owned(),
            duration: started.elapsed(),
            outcome,
        };
        // Held while printing: the logs of two steps do not mix.
        let mut steps = self.steps();
        match output.logged() {
            Ok(text) if text.is_empty() => {}
            Ok(text) => print!("\n=== {name} ===\n{text}"),
            Err(error) => eprintln!("xtask: the log of {name}: {error}"),
        }
        println!("--- {}", row(&step));
        steps.push(step);
    }

    /// Records a step that was not run, and why; the summary shows it.
    pub(crate) fn skip(&self, name: &str, reason: &str) {
        let outcome = Outcome::Skipped(reason.to_owned());
        self.steps().push(Step {
            name: name.to_owned(),
            duration: Duration::ZERO,
            outcome,
        });
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        // A vector that was being pushed to is whole.
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the summary; an error if anything failed (or was skipped, where that fails).
    pub(crate) fn conclude(&self) -> Result<(), TaskError> {
        println!("\n=== summary ===");
        let steps = self.steps();
        for step in steps.iter() {
            println!("{}", row(step));
        }
        let count = |wanted: fn(&Outcome) -> bool| {
            steps.iter().filter(|step| wanted(&step.outcome)).count()
        };
        let passed = count(|outcome| *outcome == Outcome::Passed);
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let mut failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        if self.skips_fail {
            failed += skipped;
            println!("(a skipped step counts as failed here)");
        } else if skipped > 0 {
            println!("{skipped} skipped");
        }
        println!("{passed} passed, {failed} failed");
        if failed > 0 {
            return Err(TaskError::Failed(format!(
                "{failed} of {} steps failed",
                steps.len()
            )));
        }
        if passed == 0 {
            return Err(TaskError::Failed("no step was run".to_owned()));
        }
        Ok(())
    }
}

fn row(step: &Step) -> String {
    let (word, detail) = match &step.outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::Failed(why) => ("FAILED", why.as_str()),
        Outcome::Skipped(why) => ("SKIPPED", why.as_str()),
    };
    format!(
        "{:<10} {word:<8} {:>7.1} s  {detail}",
        step.name,
        step.duration.as_secs_f64()
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_task_and_the_next_step_still_runs() {
        let report = Report::new(false);
        let mut ran = false;
        report.step("first", |_| Err(TaskError::Failed("broken".into())));
        report.step("second", |_| {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert!(report.conclude().is_err());
    }

    #[test]
    fn a_skipped_step_fails_only_in_continuous_integration() {
        for (ci, good) in [(false, true), (true, false)] {
            let report = Report::new(ci);
            report.step("first", |_| Ok(()));
            report.skip("second", "not asked for");
            assert_eq!(report.conclude().is_ok(), good, "ci: {ci}");
        }
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(Report::new(false).conclude().is_err());
    }
}
