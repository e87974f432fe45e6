//! A manifest that is accepted has exactly the spelling it came in, and survives being signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towpath_protocol::signed::{Manifest, SignedManifest, SigningKey};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Some(at) = text.find("-----BEGIN") {
        let (text, signature) = text.split_at(at);
        if let Ok(signed) = SignedManifest::parse(text, signature) {
            assert_eq!(signed.text(), text);
            assert_eq!(signed.signature(), signature);
        }
    }
    if let Ok(manifest) = Manifest::parse(text) {
        assert_eq!(manifest.emit(), text);
        let key = SigningKey::from_seed(&[7; 32]);
        let ours = Manifest {
            key: key.public().fingerprint(),
            ..manifest
        };
        let signed = SignedManifest::sign(ours, &key).expect("a manifest that was read is valid");
        let read = SignedManifest::parse(signed.text(), signed.signature());
        assert_eq!(read.as_ref(), Ok(&signed));
    }
});
