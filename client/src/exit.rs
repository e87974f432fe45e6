//! How a command ends: one failure type, and the exit code of each kind.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use towpath_protocol::{Escaped, Refusal, RefusalCode};

/// Why a command ended as it did, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All was done.
    Success,
    /// Several things were asked for, and some failed, or failed for different reasons.
    Partial,
    /// The command line does not make sense.
    Usage,
    /// The user's role does not allow it.
    Denied,
    /// The server did not accept the credential.
    LoginRefused,
    /// The server is not known, or its key changed.
    Untrusted,
    /// What the server sent is not what was signed, or contradicts what was seen before.
    Verification,
    /// There is no such file or user on the server.
    NotFound,
    /// No address answered, or the connection was lost.
    Unreachable,
    /// A local file, directory or terminal failed.
    Local,
    /// Somebody else changed the file meanwhile.
    Conflict,
    /// The server could not do it: no space, too busy, too large, or a fault of its own.
    Server,
    /// Interrupted by the person.
    Interrupted,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Partial,
        Self::Usage,
        Self::Denied,
        Self::LoginRefused,
        Self::Untrusted,
        Self::Verification,
        Self::NotFound,
        Self::Unreachable,
        Self::Local,
        Self::Conflict,
        Self::Server,
        Self::Interrupted,
    ];

    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Partial => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::LoginRefused => 4,
            Self::Untrusted => 5,
            Self::Verification => 6,
            Self::NotFound => 7,
            Self::Unreachable => 8,
            Self::Local => 9,
            Self::Conflict => 10,
            Self::Server => 11,
            Self::Interrupted => 130,
        }
    }

    /// The line of the documented table.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "everything was done",
            Self::Partial => {
                "several things were asked for and some failed (each is named on standard error)"
            }
            Self::Usage => "the command line does not make sense",
            Self::Denied => "refused: the user's role does not allow it",
            Self::LoginRefused => "login refused",
            Self::Untrusted => "the server is not trusted, or its key changed",
            Self::Verification => {
                "verification failed: content, signature, signer or version; or damaged on the server"
            }
            Self::NotFound => "no such file or user on the server",
            Self::Unreachable => "the server cannot be reached, or the connection was lost",
            Self::Local => "a local file, directory or terminal failed",
            Self::Conflict => "somebody else changed the file meanwhile",
            Self::Server => "the server could not do it (space, load, size or a fault)",
            Self::Interrupted => "interrupted",
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
    /// some succeeded or they differ; [`Exit::Verification`] when only verification failed, even if
    /// others succeeded, so that a program tells damage and tampering from a missing file.
    #[must_use]
    pub fn of_all(succeeded: u64, failures: &BTreeSet<Self>) -> Self {
        match failures.first() {
            None => Self::Success,
            Some(&only)
                if failures.len() == 1 && (succeeded == 0 || only == Self::Verification) =>
            {
                only
            }
            Some(_) => Self::Partial,
        }
    }
}

/// A failure: how to exit, and what to tell the person.
///
/// The message says what happened, to what, and what to do; text from a peer in it is already
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub exit: Exit,
    /// For the person; nothing is said when empty.
    pub message: String,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The command line does not make sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something local failed.
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Exit::Local, message)
    }

    /// What the server sent does not verify.
    pub fn verification(message: impl Into<String>) -> Self {
        Self::new(Exit::Verification, message)
    }

    /// A local operation on `what` failed with `error`.
    pub fn io(doing: &str, what: impl fmt::Display, error: &io::Error) -> Self {
        Self::local(format!(
            "cannot {doing} {}: {error}",
            Escaped(&what.to_string())
        ))
    }

    /// Standard output cannot be written to. Nothing is said when its reader merely had enough
    /// (`towpath ls … | head`).
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::local(""),
            _ => Self::io("write", "standard output", error),
        }
    }

    /// The server refused something about `what`.
    #[must_use]
    pub fn refused(what: &str, refusal: &Refusal) -> Self {
        let said = Escaped(&refusal.message);
        let what = Escaped(what);
        match refusal.code {
            RefusalCode::NotFound => Self::new(
                Exit::NotFound,
                format!("{what}: not on the server ({said})"),
            ),
            RefusalCode::Denied => Self::new(
                Exit::Denied,
                format!("{what}: your role does not allow this ({said})"),
            ),
            RefusalCode::Conflict => Self::new(
                Exit::Conflict,
                format!(
                    "{what}: changed by somebody else meanwhile ({said}); look at it and try again"
                ),
            ),
            RefusalCode::BadManifest | RefusalCode::BadSignature => Self::new(
                Exit::Verification,
                format!(
                    "{what}: the server did not accept the signature ({said}); see `towpath keys list`, and `towpath keys add` to register this key"
                ),
            ),
            RefusalCode::Corrupt => Self::new(
                Exit::Verification,
                format!("{what}: the stored file is damaged ({said})"),
            ),
            RefusalCode::NoSpace => Self::new(
                Exit::Server,
                format!("{what}: the server has no space left ({said})"),
            ),
            RefusalCode::Busy => Self::new(
                Exit::Server,
                format!("{what}: the server is busy ({said}); try again later"),
            ),
            RefusalCode::TooLarge => Self::new(
                Exit::Server,
                format!("{what}: too large for the server ({said})"),
            ),
            RefusalCode::Internal => Self::new(
                Exit::Server,
                format!("{what}: the server failed ({said}); its log says more"),
            ),
            RefusalCode::BadRequest => Self::new(
                Exit::Server,
                format!("{what}: the server does not accept this ({said})"),
            ),
            RefusalCode::Cancelled => Self::new(
                Exit::Server,
                format!("{what}: cancelled by the server ({said})"),
            ),
            _ => Self::new(
                Exit::Server,
                format!("{what}: refused by the server ({said})"),
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

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
        let of = |succeeded, failures: &[Exit]| {
            Exit::of_all(succeeded, &failures.iter().copied().collect())
        };
        assert_eq!(of(3, &[]), Exit::Success);
        assert_eq!(
            of(0, &[Exit::Unreachable, Exit::Unreachable]),
            Exit::Unreachable
        );
        assert_eq!(of(1, &[Exit::Unreachable]), Exit::Partial);
        assert_eq!(of(0, &[Exit::Unreachable, Exit::NotFound]), Exit::Partial);
        assert_eq!(of(9, &[Exit::Verification]), Exit::Verification);
        assert_eq!(of(9, &[Exit::Verification, Exit::NotFound]), Exit::Partial);
    }

    #[test]
    fn a_refusal_text_cannot_steer_the_terminal() {
        let refusal = Refusal {
            code: RefusalCode::Denied,
            message: "no\x1b[2J".into(),
        };
        let failure = Failure::refused("a/b", &refusal);
        assert_eq!(failure.exit, Exit::Denied);
        assert!(!failure.message.contains('\x1b'));
    }
}
