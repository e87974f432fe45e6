//! The error of every operation: a kind, and a message.

use std::fmt;
use std::io;

use towpath_protocol::Escaped;
use towpath_protocol::{Refusal, RefusalCode};

/// The kinds of failure; each has an exit code in `docs/CLI.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// Usage error.
    Usage,
    /// The user's role does not allow it.
    Denied,
    /// The server did not accept the credential.
    LoginRefused,
    /// The server is not known, or its key changed.
    Untrusted,
    /// Data of the server does not match its signed manifest, or contradicts the pins.
    Verification,
    /// There is no such file or user on the server.
    NotFound,
    /// No address answered, or the connection was lost.
    Unreachable,
    /// Local I/O error.
    Local,
    /// Another client changed the file meanwhile.
    Conflict,
    /// The server failed: no space, too busy, file too large, or an internal error.
    Server,
    /// Interrupted by the user.
    Interrupted,
}

/// An error: a kind for programs, and a message for the user.
///
/// The message names the object, the problem and the next step; text from a peer in it is already
/// escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub(crate) kind: ErrorKind,
    /// Not shown when empty.
    pub(crate) message: String,
}

impl Error {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A usage error.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A local error.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Local, message)
    }

    /// A verification error.
    pub(crate) fn verification(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Verification, message)
    }

    /// A local operation on `what` failed with `error`.
    pub(crate) fn io(doing: &str, what: impl fmt::Display, error: &io::Error) -> Self {
        Self::local(format!(
            "cannot {doing} {}: {error}",
            Escaped(&what.to_string())
        ))
    }

    /// Standard output cannot be written to. The message is empty when its reader closed the pipe
    /// (`towpath ls … | head`).
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::local(""),
            _ => Self::io("write", "standard output", error),
        }
    }

    /// The server refused a request about `what`.
    pub(crate) fn refused(what: &str, refusal: &Refusal) -> Self {
        let said = Escaped(&refusal.message);
        let what = Escaped(what);
        match refusal.code {
            RefusalCode::NotFound => Self::new(
                ErrorKind::NotFound,
                format!("{what}: not on the server ({said})"),
            ),
            RefusalCode::Denied => Self::new(
                ErrorKind::Denied,
                format!("{what}: your role does not allow this ({said})"),
            ),
            RefusalCode::Conflict => Self::new(
                ErrorKind::Conflict,
                format!(
                    "{what}: changed by somebody else meanwhile ({said}); look at it and try again"
                ),
            ),
            RefusalCode::BadManifest | RefusalCode::BadSignature => Self::new(
                ErrorKind::Verification,
                format!(
                    "{what}: the server did not accept the signature ({said}); see `towpath keys list`, and `towpath keys add` to register this key"
                ),
            ),
            RefusalCode::Corrupt => Self::new(
                ErrorKind::Verification,
                format!("{what}: the stored file is damaged ({said})"),
            ),
            RefusalCode::NoSpace => Self::new(
                ErrorKind::Server,
                format!("{what}: the server has no space left ({said})"),
            ),
            RefusalCode::Busy => Self::new(
                ErrorKind::Server,
                format!("{what}: the server is busy ({said}); try again later"),
            ),
            RefusalCode::TooLarge => Self::new(
                ErrorKind::Server,
                format!("{what}: too large for the server ({said})"),
            ),
            RefusalCode::Internal => Self::new(
                ErrorKind::Server,
                format!("{what}: the server failed ({said}); its log says more"),
            ),
            RefusalCode::BadRequest => Self::new(
                ErrorKind::Server,
                format!("{what}: the server does not accept this ({said})"),
            ),
            RefusalCode::Cancelled => Self::new(
                ErrorKind::Server,
                format!("{what}: cancelled by the server ({said})"),
            ),
            _ => Self::new(
                ErrorKind::Server,
                format!("{what}: refused by the server ({said})"),
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_text_cannot_steer_the_terminal() {
        let refusal = Refusal {
            code: RefusalCode::Denied,
            message: "no\x1b[2J".into(),
        };
        let error = Error::refused("a/b", &refusal);
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(!error.message.contains('\x1b'));
    }
}
