//! `towpathd` on one host and `towpath` on the other.

use super::CaseError;

/// An empty directory that goes when it is dropped; in a guest it lies in memory.
pub fn directory() -> Result<tempfile::TempDir, CaseError> {
    tempfile::Builder::new()
        .prefix("towpath-suite-")
        .tempdir()
        .map_err(|source| CaseError::File {
            what: "temporary directory".to_owned(),
            source,
        })
}
