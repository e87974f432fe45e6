//! Interaction with the user: questions, messages and results.

use std::fmt;
use std::io;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::session::meter::TransferReport;

/// Questions, messages and results for the user.
///
/// Called on worker threads only: an answer may take minutes, and the connection continues
/// meanwhile. Text in messages that comes from a peer is already escaped.
pub trait Interaction: fmt::Debug + Send + Sync {
    /// Whether the user can be asked. If not, operations that need an answer fail.
    fn is_interactive(&self) -> bool;

    /// Asks whether the server, whose store and fingerprint the question shows, is to be trusted.
    ///
    /// # Errors
    /// The question could not be asked.
    fn confirm(&self, question: &str) -> Result<bool, Error>;

    /// Asks for a password or a passphrase.
    ///
    /// # Errors
    /// The question could not be asked, or was interrupted.
    fn secret(&self, prompt: &str) -> Result<Zeroizing<String>, Error>;

    /// Information, such as that a signer was pinned.
    fn note(&self, message: &str);

    /// A warning, or the reason why a part of the operation failed.
    fn warn(&self, message: &str);

    /// A transfer succeeded.
    fn transferred(&self, report: &TransferReport) {
        self.note(&report.summary());
    }

    /// The result of a command, as text; only the command line has such results.
    ///
    /// # Errors
    /// An I/O error of the output.
    fn print(&self, _text: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Asks nothing; messages go to the log ([`tracing`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct NonInteractive;

impl Interaction for NonInteractive {
    fn is_interactive(&self) -> bool {
        false
    }

    fn confirm(&self, _question: &str) -> Result<bool, Error> {
        Ok(false)
    }

    fn secret(&self, _prompt: &str) -> Result<Zeroizing<String>, Error> {
        Err(Error::local("there is no user to ask for a secret"))
    }

    fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    fn warn(&self, message: &str) {
        tracing::warn!("{message}");
    }
}
