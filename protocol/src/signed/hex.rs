//! Lowercase hexadecimal of fixed length, the one spelling of every identifier and hash.

use std::fmt;

/// What was read is not the expected number of lowercase hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lowercase hexadecimal digits")]
pub struct HexError {
    /// How many digits were expected.
    pub digits: usize,
}

pub(crate) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

pub(crate) fn parse<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let error = HexError { digits: N * 2 };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(error);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high).ok_or(error)? << 4 | digit(*low).ok_or(error)?;
    }
    Ok(bytes)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

/// A fixed-length byte string that reads and prints as lowercase hexadecimal.
macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes the raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::signed::hex::write(f, &self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::signed::hex::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::signed::hex::parse(text).map(Self)
            }
        }
    };
}
pub(crate) use hex_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        assert_eq!(parse("00ff"), Ok([0x00, 0xff]));
        for bad in [
            "", "00f", "00ff0", "00FF", "00fg", " 0ff", "+0ff", "00é", "0é0",
        ] {
            assert_eq!(parse::<2>(bad), Err(HexError { digits: 4 }), "{bad:?}");
        }
    }
}
