//! Messages about the end of the connection.

use towpath_protocol::signed::UserName;
use towpath_protocol::{CloseReason, Deadline};

use crate::error::{Error, ErrorKind};

/// The error for a server at `at` that has no place for another session.
pub(crate) fn busy(at: &str) -> Error {
    Error::new(
        ErrorKind::Server,
        format!("the server at {at} is busy and takes no further session now; try again later"),
    )
}

/// The error for a connection of `user` to the server at `at` that ended because of `reason`;
/// `connecting` says that it was never established.
pub(crate) fn error(reason: &CloseReason, at: &str, user: &UserName, connecting: bool) -> Error {
    let unreachable = |message: String| Error::new(ErrorKind::Unreachable, message);
    match reason {
        CloseReason::Lost | CloseReason::Timeout(Deadline::Link) if connecting => {
            unreachable(format!(
                "no answer from {at}: is towpathd running there, and does the firewall let it through?"
            ))
        }
        CloseReason::Lost => unreachable(format!("the connection to {at} was lost")),
        CloseReason::Timeout(Deadline::Login) => Error::new(
            ErrorKind::LoginRefused,
            "the login took too long; try again",
        ),
        CloseReason::Timeout(deadline) => unreachable(format!(
            "the server at {at} was silent for too long during {deadline}"
        )),
        CloseReason::Peer | CloseReason::PeerError { .. } => {
            unreachable(format!("the server at {at} ended the connection: {reason}"))
        }
        CloseReason::LoginFailed => {
            Error::new(ErrorKind::LoginRefused, format!("login as {user} refused"))
        }
        CloseReason::Tls(_) => Error::new(
            ErrorKind::Untrusted,
            format!("no secure connection with {at}: {reason}"),
        ),
        CloseReason::Protocol(_) => Error::verification(format!(
            "the server at {at} does not follow the protocol: {reason}"
        )),
        CloseReason::Local => unreachable(format!("the connection to {at} was closed")),
    }
}
