//! The report: actions, measurements, and the verdict on each case.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::CaseError;

/// Prints to standard output or, in a guest, to a file of the host.
#[derive(Debug, Default)]
pub struct Report {
    file: Option<File>,
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    /// A report that goes to `path`, if there is one, instead of standard output.
    pub fn to_file(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(File::create).transpose()?;
        Ok(Self {
            file,
            passed: 0,
            failed: Vec::new(),
        })
    }

    /// Reports an action.
    pub fn say(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let Some(file) = &mut self.file else {
            println!("{text}");
            return;
        };
        // A guest's file reaches the host when it is synced.
        let written = writeln!(file, "{text}").and_then(|()| file.sync_data());
        if let Err(error) = written {
            eprintln!("the report cannot be written, so it goes on here: {error}\n{text}");
            self.file = None;
        }
    }

    /// Runs one case and reports how it ended.
    pub fn case(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<(), CaseError>) {
        self.say(format!("\ncase {name}"));
        let started = Instant::now();
        let outcome = work(self);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                self.say(format!("PASS {name} ({seconds:.1} s)"));
            }
            Err(error) => {
                self.failed.push(name.to_owned());
                self.say(format!("FAIL {name} ({seconds:.1} s): {error}"));
            }
        }
    }

    /// Prints the summary; true if a case ran and none failed.
    #[must_use]
    pub fn conclude(&mut self) -> bool {
        for name in self.failed.clone() {
            self.say(format!("failed: {name}"));
        }
        self.say(format!(
            "kernel suite: {} passed, {} failed",
            self.passed,
            self.failed.len()
        ));
        self.failed.is_empty() && self.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_case_fails_the_suite() {
        let mut report = Report::default();
        report.case("good", |_| Ok(()));
        report.case("bad", |_| Err(CaseError::Wrong("no".into())));
        assert!(!report.conclude());
    }

    #[test]
    fn an_empty_suite_does_not_pass() {
        assert!(!Report::default().conclude());
    }

    #[test]
    fn the_file_gets_every_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut report = Report::to_file(Some(file.path())).unwrap();
        report.case("good", |report| {
            report.say("a number");
            Ok(())
        });
        assert!(report.conclude());
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("a number\nPASS good"), "{text}");
        assert!(
            text.ends_with("kernel suite: 1 passed, 0 failed\n"),
            "{text}"
        );
    }
}
