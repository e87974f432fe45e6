//! Registries from anywhere.

use super::document::Users;

/// Any bytes as `users.json`: what is accepted reads the same when it is written again. Whether it
/// was.
///
/// # Panics
/// When it does not.
pub fn users(bytes: &[u8]) -> bool {
    let Ok(users) = Users::parse(bytes) else {
        return false;
    };
    let written = users.emit().map_err(|error| error.to_string());
    let again = written.as_ref().map(|written| Users::parse(written));
    assert_eq!(again, Ok(Ok(users)));
    true
}
