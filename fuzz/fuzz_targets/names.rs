//! Names, identifiers and times that are accepted print as they came; no accepted path leaves the
//! store.
#![no_main]

use std::fmt::Display;
use std::path::{Component, Path};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use towpath_protocol::signed::{Blake3Hash, FilePath, Fingerprint, StoreId, Timestamp, UserName};
use towpath_protocol::{Role, limits};

fn round_trip<T: FromStr + Display>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    assert_eq!(value.to_string(), text);
    Some(value)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Some(path) = round_trip::<FilePath>(text) {
        let parts: Vec<&str> = path.parts().collect();
        let normal: Vec<Component<'_>> = Path::new(text).components().collect();
        assert_eq!(parts.len(), normal.len());
        assert!(normal.iter().all(|c| matches!(c, Component::Normal(_))));
        assert!(parts.iter().all(|part| part.len() <= limits::MAX_PART_LEN));
        assert!(!text.contains(|c: char| c.is_control() || c == '\\'));
        assert_ne!(parts[0], ".towpath");
    }
    if let Some(time) = round_trip::<Timestamp>(text) {
        assert!(time.is_valid());
    }
    round_trip::<UserName>(text);
    round_trip::<StoreId>(text);
    round_trip::<Blake3Hash>(text);
    round_trip::<Fingerprint>(text);
    round_trip::<Role>(text);
});
