//! Steps with their name, duration and outcome, and a summary that cannot be overlooked.

use std::time::{Duration, Instant};

use crate::TaskError;

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

/// Collects the outcome of each step.
pub(crate) struct Report {
    steps: Vec<Step>,
    skips_fail: bool,
}

impl Report {
    /// `skips_fail`: a skipped step counts as a failure (continuous integration).
    pub(crate) fn new(skips_fail: bool) -> Self {
        Self {
            steps: Vec::new(),
            skips_fail,
        }
    }

    /// Runs one step and prints how it ended; later steps run even if it failed.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), TaskError>) {
        println!("\n=== {name} ===");
        let started = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.finish(Step {
            name: name.to_owned(),
            duration: started.elapsed(),
            outcome,
        });
    }

    /// Records a step that was not run, and why; the summary shows it.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        let outcome = Outcome::Skipped(reason.to_owned());
        self.steps.push(Step {
            name: name.to_owned(),
            duration: Duration::ZERO,
            outcome,
        });
    }

    fn finish(&mut self, step: Step) {
        println!("--- {}", row(&step));
        self.steps.push(step);
    }

    /// Prints the summary; an error if anything failed (or was skipped, where that fails).
    pub(crate) fn conclude(&self) -> Result<(), TaskError> {
        println!("\n=== summary ===");
        for step in &self.steps {
            println!("{}", row(step));
        }
        let count = |wanted: fn(&Outcome) -> bool| {
            self.steps
                .iter()
                .filter(|step| wanted(&step.outcome))
                .count()
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
                self.steps.len()
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
        let mut report = Report::new(false);
        let mut ran = false;
        report.step("first", || Err(TaskError::Failed("broken".into())));
        report.step("second", || {
            ran = true;
            Ok(())
        });
        assert!(ran);
        assert!(report.conclude().is_err());
    }

    #[test]
    fn a_skipped_step_fails_only_in_continuous_integration() {
        for (ci, good) in [(false, true), (true, false)] {
            let mut report = Report::new(ci);
            report.step("first", || Ok(()));
            report.skip("second", "not asked for");
            assert_eq!(report.conclude().is_ok(), good, "ci: {ci}");
        }
    }

    #[test]
    fn nothing_run_is_no_success() {
        assert!(Report::new(false).conclude().is_err());
    }
}
