//! The text that a key login signs.

use crate::signed::name::StoreId;

/// The canonical text of a key login, signed in the namespace `login@towpath`.
///
/// The channel binding (RFC 9266 `tls-exporter`) differs between any two TLS sessions, so a server
/// that relays the signature to another one, or an eavesdropper that keeps it, has nothing. The
/// user name comes last and is not followed by anything, so no name can be mistaken for another
/// line.
pub(crate) fn login_text(store: StoreId, binding: &[u8; 32], user: &str) -> String {
    use std::fmt::Write;

    let mut text = format!("towpath login 1\nstore {store}\nbinding ");
    for byte in binding {
        write!(text, "{byte:02x}").expect("writing into a String has no way to fail");
    }
    text.push_str("\nuser ");
    text.push_str(user);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of docs/PROTOCOL.md.
    #[test]
    fn vector() {
        let text = login_text(StoreId::from_bytes([0x5a; 16]), &[0xc3; 32], "alice");
        let expected = "towpath login 1\n\
            store 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n\
            binding c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3\n\
            user alice\n";
        assert_eq!(text, expected);
    }
}
