//! The binary form of control messages and record bodies. Every decoder takes exactly one spelling
//! of each value and nothing after it.

pub(crate) mod control;
mod cursor;
mod parts;
pub(crate) mod record;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod round_trip;
#[cfg(test)]
mod tests;
