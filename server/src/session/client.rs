//! The client of a session.

use towpath_io_mio::Peer;

use crate::jobs::AuthenticatedUser;

/// The client of a session, as far as it is known.
pub(super) struct Client {
    pub(super) peer: Peer,
    /// Set by the login.
    pub(super) user: Option<AuthenticatedUser>,
}

impl Client {
    /// The name of the user, for the log; `-` before the login.
    pub(super) fn user_name(&self) -> &str {
        self.user.as_ref().map_or("-", |user| user.name.as_str())
    }
}
