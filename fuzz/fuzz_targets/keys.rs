//! Keys that are accepted come back the same from the files that we write of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_key::Kdf;
use towpath_fuzz::plain_and_armored;
use towpath_protocol::signed::{PublicKey, SigningKey};

/// The passphrase of the encrypted seeds.
const PASSPHRASE: &str = "correct horse";

/// Key derivation is slow by design; more rounds only cost time.
fn is_cheap(pem: &str) -> bool {
    ssh_key::PrivateKey::from_openssh(pem)
        .is_ok_and(|key| !matches!(key.kdf(), Kdf::Bcrypt { rounds: 3.., .. }))
}

fuzz_target!(|data: &[u8]| {
    if let Ok(line) = str::from_utf8(data)
        && let Ok((key, _)) = PublicKey::parse_openssh_with_comment(line)
    {
        assert_eq!(PublicKey::parse_openssh(&key.to_openssh()), Ok(key));
        assert_eq!(key.fingerprint().to_string().parse(), Ok(key.fingerprint()));
    }
    for pem in plain_and_armored("OPENSSH PRIVATE KEY", data) {
        let encrypted = SigningKey::is_encrypted(&pem);
        let passphrase = is_cheap(&pem).then_some(PASSPHRASE);
        if let Ok(key) = SigningKey::from_openssh(&pem, passphrase) {
            assert!(encrypted.is_ok());
            let read = SigningKey::from_openssh(&key.to_openssh("comment"), None);
            assert_eq!(read.map(|read| read.public()), Ok(key.public()));
        }
    }
});
