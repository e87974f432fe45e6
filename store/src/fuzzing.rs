//! What the fuzz targets call: parsers of files that someone else may have written, with what must
//! hold when they accept one.

pub use crate::age::fuzzing::{header, key_file};
pub use crate::registry::fuzzing::users;
