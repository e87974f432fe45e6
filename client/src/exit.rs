//! Exit codes: one for each kind of error.

use std::collections::BTreeSet;

use crate::error::ErrorKind;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Success.
    Success,
    /// Several things were asked for, and some failed, or failed for different reasons.
    Partial,
    /// All failed, with this kind of error.
    Failed(ErrorKind),
}

impl Exit {
    /// All variants, in the order of the codes.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Partial,
        Self::Failed(ErrorKind::Usage),
        Self::Failed(ErrorKind::Denied),
        Self::Failed(ErrorKind::LoginRefused),
        Self::Failed(ErrorKind::Untrusted),
        Self::Failed(ErrorKind::Verification),
        Self::Failed(ErrorKind::NotFound),
        Self::Failed(ErrorKind::Unreachable),
        Self::Failed(ErrorKind::Local),
        Self::Failed(ErrorKind::Conflict),
        Self::Failed(ErrorKind::Server),
        Self::Failed(ErrorKind::Interrupted),
    ];

    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Partial => 1,
            Self::Failed(kind) => match kind {
                ErrorKind::Usage => 2,
                ErrorKind::Denied => 3,
                ErrorKind::LoginRefused => 4,
                ErrorKind::Untrusted => 5,
                ErrorKind::Verification => 6,
                ErrorKind::NotFound => 7,
                ErrorKind::Unreachable => 8,
                ErrorKind::Local => 9,
                ErrorKind::Conflict => 10,
                ErrorKind::Server => 11,
                ErrorKind::Interrupted => 130,
            },
        }
    }

    /// The line of the documented table.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => {
                "some of several operations failed (each is reported on standard error)"
            }
            Self::Failed(kind) => match kind {
                ErrorKind::Usage => "usage error",
                ErrorKind::Denied => "refused: the user's role does not allow it",
                ErrorKind::LoginRefused => "login refused",
                ErrorKind::Untrusted => "the server is not trusted, or its key changed",
                ErrorKind::Verification => {
                    "verification failed: content, signature, signer or version; or damaged on the server"
                }
                ErrorKind::NotFound => "no such file or user on the server",
                ErrorKind::Unreachable => {
                    "the server cannot be reached, or the connection was lost"
                }
                ErrorKind::Local => "local I/O error",
                ErrorKind::Conflict => "another client changed the file meanwhile",
                ErrorKind::Server => "the server failed (space, load, size or an internal error)",
                ErrorKind::Interrupted => "interrupted",
            },
        }
    }

    /// The table of exit codes, one line each, as `--help` shows it.
    #[must_use]
    pub fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }

    /// The code for several results: the common one when all failed alike, [`Exit::Partial`] when
    /// some succeeded or they differ; [`ErrorKind::Verification`] when only verification failed,
    /// even if others succeeded, so that a program tells damage and tampering from a missing file.
    #[must_use]
    pub fn of_all(succeeded: u64, failures: &BTreeSet<ErrorKind>) -> Self {
        match failures.first() {
            None => Self::Success,
            Some(&only)
                if failures.len() == 1 && (succeeded == 0 || only == ErrorKind::Verification) =>
            {
                Self::Failed(only)
            }
            Some(_) => Self::Partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_listed_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|e| e.code()).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
        assert!(Exit::table().contains("   6  verification failed"));
    }

    #[test]
    fn the_manual_has_the_same_table() {
        let manual = include_str!("../../docs/CLI.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(manual.contains(&row), "docs/CLI.md lacks {row}");
        }
    }

    #[test]
    fn one_kind_of_failure_keeps_its_code_and_a_mixture_does_not() {
        let of = |succeeded, failures: &[ErrorKind]| {
            Exit::of_all(succeeded, &failures.iter().copied().collect())
        };
        assert_eq!(of(3, &[]), Exit::Success);
        assert_eq!(
            of(0, &[ErrorKind::Unreachable, ErrorKind::Unreachable]),
            Exit::Failed(ErrorKind::Unreachable)
        );
        assert_eq!(of(1, &[ErrorKind::Unreachable]), Exit::Partial);
        assert_eq!(
            of(0, &[ErrorKind::Unreachable, ErrorKind::NotFound]),
            Exit::Partial
        );
        assert_eq!(
            of(9, &[ErrorKind::Verification]),
            Exit::Failed(ErrorKind::Verification)
        );
        assert_eq!(
            of(9, &[ErrorKind::Verification, ErrorKind::NotFound]),
            Exit::Partial
        );
    }
}
