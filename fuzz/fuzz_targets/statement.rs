//! A key statement that is accepted has exactly the spelling it came in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towpath_protocol::signed::{KeyStatement, SignedStatement};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Some(at) = text.find("-----BEGIN") {
        let (text, signature) = text.split_at(at);
        if let Ok(signed) = SignedStatement::parse(text, signature) {
            assert_eq!(signed.text(), text);
            assert_eq!(signed.signature(), signature);
        }
    }
    if let Ok(statement) = KeyStatement::parse(text) {
        assert_eq!(statement.emit(), text);
    }
});
