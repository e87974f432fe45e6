//! Login: the order of credentials, and the messages when one is refused.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use towpath_protocol::signed::{StoreId, UserId, UserName};

use crate::error::{Error, ErrorKind};
use crate::interaction::Interaction;
use crate::local::identity::IdentitySource;

/// The logged-in user and the store.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) store: StoreId,
    pub(crate) uid: UserId,
    pub(crate) name: UserName,
}

/// A login method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// The user's key.
    Key,
    /// The password of a file, tried once.
    PasswordFile,
    /// A password typed at the terminal, as often as the server allows.
    AskedPassword,
}

/// The remaining credentials, in order.
#[derive(Debug)]
pub(crate) struct LoginPlan {
    pub(crate) user: UserName,
    credentials: VecDeque<Credential>,
    /// Reason why the last credential was refused; shown before the next question.
    notice: Option<String>,
}

impl LoginPlan {
    /// The available credentials, in order. A password file that was named takes
    /// precedence over the default key; a key that was named, over the password file: a server that
    /// refuses the key must not get the password without the user's consent. `adding_identity` says
    /// that the server does not know the user's key yet.
    pub(crate) fn choose(
        user: UserName,
        identity: &IdentitySource,
        password_file: Option<&Path>,
        adding_identity: bool,
        interaction: &dyn Interaction,
    ) -> Self {
        let password = match password_file {
            Some(_) => Some(Credential::PasswordFile),
            None if interaction.is_interactive() => Some(Credential::AskedPassword),
            None => None,
        };
        let key = identity.is_present()
            && (password_file.is_none() || identity.explicit)
            && !(adding_identity && password.is_some());
        let key = key.then_some(Credential::Key);
        let password = password.filter(|p| key.is_none() || *p != Credential::PasswordFile);
        Self::new(user, key.into_iter().chain(password).collect())
    }

    fn new(user: UserName, credentials: VecDeque<Credential>) -> Self {
        Self {
            user,
            credentials,
            notice: None,
        }
    }

    /// The credential to try now.
    ///
    /// # Errors
    /// No credential is left.
    pub(crate) fn next(&self) -> Result<Credential, Error> {
        self.credentials.front().copied().ok_or_else(|| {
            Error::new(
                ErrorKind::LoginRefused,
                format!(
                    "login as {} refused, or no way to log in left: there is no key that the server knows, no terminal to ask for the password, and no --password-file",
                    self.user
                ),
            )
        })
    }

    /// Takes the message to show before the next question.
    pub(crate) fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// The server refused the credential that was tried, or, with `retry_after`, has not checked it
    /// because of too many attempts.
    ///
    /// # Errors
    /// No attempt or no credential is left.
    pub(crate) fn refused(
        &mut self,
        attempts_left: u32,
        retry_after: Option<Duration>,
    ) -> Result<(), Error> {
        let too_many = retry_after.map(|wait| {
            let seconds = wait.as_secs();
            format!("too many attempts, try again in {seconds} s")
        });
        let tried = self.credentials.front().copied();
        if tried != Some(Credential::AskedPassword) {
            self.credentials.pop_front();
        }
        let key = tried == Some(Credential::Key);
        if attempts_left == 0 || self.credentials.is_empty() {
            let why = match &too_many {
                Some(too_many) => too_many,
                None if key => "the server does not know the user or this key",
                None => "wrong user name or password",
            };
            return Err(Error::new(
                ErrorKind::LoginRefused,
                format!("login as {} refused: {why}", self.user),
            ));
        }
        let notice = if key {
            "the key was not accepted; trying a password"
        } else {
            "wrong user name or password; try again"
        };
        self.notice = Some(too_many.unwrap_or_else(|| notice.to_owned()));
        Ok(())
    }

    /// Whether the credential to try now costs the user no answer.
    pub(crate) fn may_repeat(&self) -> bool {
        self.credentials.front() != Some(&Credential::AskedPassword)
    }

    /// The key cannot be used.
    ///
    /// # Errors
    /// The same error, when no other credential is left.
    pub(crate) fn skip_key(&mut self, error: Error) -> Result<(), Error> {
        if self.credentials.len() < 2 {
            return Err(error);
        }
        self.credentials.pop_front();
        self.notice = Some(error.message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(credentials: &[Credential]) -> LoginPlan {
        LoginPlan::new(
            UserName::parse("ada").unwrap(),
            credentials.iter().copied().collect(),
        )
    }

    #[test]
    fn a_refused_key_leads_to_the_password_which_may_be_typed_again() {
        let mut plan = plan(&[Credential::Key, Credential::AskedPassword]);
        assert_eq!(plan.next().unwrap(), Credential::Key);
        plan.refused(2, None).unwrap();
        assert_eq!(plan.next().unwrap(), Credential::AskedPassword);
        assert!(plan.take_notice().unwrap().contains("trying a password"));
        plan.refused(1, None).unwrap();
        assert_eq!(plan.next().unwrap(), Credential::AskedPassword);
        assert_eq!(
            plan.refused(0, None).unwrap_err().kind,
            ErrorKind::LoginRefused
        );
    }

    #[test]
    fn a_credential_that_was_not_looked_at_is_not_called_wrong() {
        let wait = Some(Duration::from_secs(12));
        let mut asked = plan(&[Credential::AskedPassword]);
        asked.refused(2, wait).unwrap();
        let notice = asked.take_notice().unwrap();
        assert_eq!(notice, "too many attempts, try again in 12 s");
        let mut file = plan(&[Credential::PasswordFile]);
        let error = file.refused(2, wait).unwrap_err();
        assert_eq!(error.kind, ErrorKind::LoginRefused);
        assert!(error.message.ends_with(&notice), "{}", error.message);
    }

    #[test]
    fn a_refused_key_that_was_named_is_not_followed_by_the_password_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, "").unwrap();
        let user = UserName::parse("ada").unwrap();
        let identity = IdentitySource {
            path: key,
            explicit: true,
            passphrase_file: None,
        };
        let file = Some(Path::new("password"));
        let mut plan = LoginPlan::choose(
            user.clone(),
            &identity,
            file,
            false,
            &crate::interaction::NonInteractive,
        );
        assert_eq!(plan.next().unwrap(), Credential::Key);
        assert_eq!(
            plan.refused(2, None).unwrap_err().kind,
            ErrorKind::LoginRefused
        );
        // A key that is not registered yet cannot log in; the password can.
        let plan = LoginPlan::choose(
            user,
            &identity,
            file,
            true,
            &crate::interaction::NonInteractive,
        );
        assert_eq!(plan.next().unwrap(), Credential::PasswordFile);
    }

    #[test]
    fn a_key_that_cannot_be_read_is_skipped_where_there_is_a_password() {
        let mut both = plan(&[Credential::Key, Credential::PasswordFile]);
        both.skip_key(Error::local("locked")).unwrap();
        assert_eq!(both.take_notice().as_deref(), Some("locked"));
        assert_eq!(both.next().unwrap(), Credential::PasswordFile);
        let mut only = plan(&[Credential::Key]);
        assert_eq!(
            only.skip_key(Error::local("locked")).unwrap_err().kind,
            ErrorKind::Local
        );
        assert_eq!(plan(&[]).next().unwrap_err().kind, ErrorKind::LoginRefused);
    }
}
