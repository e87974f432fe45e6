//! Headers and key files from anywhere.

use towpath_protocol::signed::{FilePath, StoreId};

use super::key::parse_key_file;
use super::{Header, ProofContext, Recipient, StorageKey, stanza};

/// Any bytes as the header of a stored file: what is accepted is what would be written. Whether it
/// was.
///
/// # Panics
/// When it is not, or when a header opens that was not sealed.
pub fn header(bytes: &[u8]) -> bool {
    let parsed = stanza::parse(bytes);
    if let Ok(parts) = &parsed {
        assert_eq!(parts.emit().as_bytes(), &bytes[..parts.len]);
        let context = ProofContext {
            storage: &StorageKey::generate(),
            store: StoreId::from_bytes([0; 16]),
            path: &FilePath::parse("a").expect("one letter is a path"),
        };
        let opened = Header::open(bytes, context);
        assert!(
            opened.is_err(),
            "nobody encrypted anything for a key that was made just now"
        );
    }
    parsed.is_ok()
}

/// Any text as a key file: what is accepted keeps its identities when it is written again. Whether
/// it was.
///
/// # Panics
/// When it does not.
pub fn key_file(bytes: &[u8]) -> bool {
    let Ok(Ok(key)) = std::str::from_utf8(bytes).map(parse_key_file) else {
        return false;
    };
    let again = parse_key_file(&key.emit());
    let recipients = |key: &StorageKey| -> Vec<Recipient> {
        key.identities()
            .map(|identity| identity.recipient().clone())
            .collect()
    };
    assert_eq!(again.as_ref().map(recipients).ok(), Some(recipients(&key)));
    true
}
