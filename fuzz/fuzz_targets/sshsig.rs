//! An armored signature that is accepted is for one purpose, and is by a key that can be written
//! down.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towpath_fuzz::plain_and_armored;
use towpath_protocol::signed::{Namespace, PublicKey, SignatureError, signer_of};

fuzz_target!(|data: &[u8]| {
    for armored in plain_and_armored("SSH SIGNATURE", data) {
        let Ok(signer) = signer_of(&armored) else {
            continue;
        };
        assert!(armored.starts_with("-----BEGIN SSH SIGNATURE-----\n"));
        assert!(armored.ends_with("\n-----END SSH SIGNATURE-----\n"));
        assert_eq!(PublicKey::parse_openssh(&signer.to_openssh()), Ok(signer));
        let verdicts = Namespace::ALL.map(|namespace| signer.verify(namespace, b"", &armored));
        let others = verdicts
            .iter()
            .filter(|verdict| **verdict == Err(SignatureError::OtherNamespace));
        assert_eq!(others.count(), Namespace::ALL.len() - 1);
    }
});
