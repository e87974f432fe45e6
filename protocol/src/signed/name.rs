//! Names of files, users and stores.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use unicode_normalization::is_nfc;

use crate::limits::{MAX_PART_LEN, MAX_PATH_LEN, MAX_USER_NAME_LEN};
use crate::signed::hex::hex_type;

/// First part of the paths that the store keeps for itself.
const RESERVED: &str = ".towpath";
/// What the store adds to the name of a stored file.
const STORED_SUFFIX: &str = ".age";
/// Longest file name that the common file systems take.
const MAX_OS_NAME_LEN: usize = 255;
const _: () = assert!(MAX_PART_LEN + STORED_SUFFIX.len() <= MAX_OS_NAME_LEN);

/// The path of a file in a store: UTF-8 in NFC, `/` between parts, relative to the root.
///
/// Refused, never corrected: an empty part, `.`, `..`, a leading or trailing `/`, `\`, control
/// characters (C0, DEL, C1), line and paragraph separators (U+2028, U+2029), bidirectional
/// embeddings, overrides and isolates (U+202A–U+202E, U+2066–U+2069), a part over 200 bytes, a path
/// over 1,024 bytes, a first part `.towpath`, and a directory part that ends in `.age` (both in any
/// case of ASCII letters).
///
/// Cloning is cheap. Order is that of the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Arc<str>);

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path has more than 1,024 bytes.
    #[error("the path is longer than {MAX_PATH_LEN} bytes")]
    TooLong,
    /// A part has more than 200 bytes.
    #[error("a part of the path is longer than {MAX_PART_LEN} bytes")]
    PartTooLong,
    /// A part is empty: a leading, trailing or doubled `/`.
    #[error("the path begins or ends with `/` or has two in a row")]
    EmptyPart,
    /// A part is `.` or `..`.
    #[error("the path has a part `.` or `..`")]
    DotPart,
    /// A character that has no place in a name.
    #[error("the path has a forbidden character (U+{:04X})", u32::from(*.0))]
    Character(char),
    /// The text is not in Unicode normalization form C.
    #[error("the path is not in Unicode normalization form C")]
    NotNfc,
    /// A directory part ends in `.age`, where it could collide with a stored file.
    #[error("a directory of the path ends in `.age`")]
    AgeDirectory,
    /// The first part is `.towpath`.
    #[error("`.towpath` is reserved")]
    Reserved,
}

impl FilePath {
    /// Checks `text` against every rule for names.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| is_forbidden(*c)) {
            return Err(PathError::Character(c));
        }
        if !is_nfc(text) {
            return Err(PathError::NotNfc);
        }
        let mut parts = text.split('/').peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            check_part(part)?;
            if first && part.eq_ignore_ascii_case(RESERVED) {
                return Err(PathError::Reserved);
            }
            if parts.peek().is_some() && ends_in_age(part) {
                return Err(PathError::AgeDirectory);
            }
            first = false;
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the root, at least one; the last is the file's name.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> + '_ {
        self.0.split('/')
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn check_part(part: &str) -> Result<(), PathError> {
    match part {
        "" => Err(PathError::EmptyPart),
        "." | ".." => Err(PathError::DotPart),
        _ if part.len() > MAX_PART_LEN => Err(PathError::PartTooLong),
        _ => Ok(()),
    }
}

/// In any case of letters: `a/` with `a.AGE` beside it collide on a file system that ignores case.
fn ends_in_age(part: &str) -> bool {
    let (part, suffix) = (part.as_bytes(), STORED_SUFFIX.as_bytes());
    part.len() >= suffix.len() && part[part.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

/// Characters that break lines, drive terminals, or reorder the text around them. Directional marks
/// (U+200E, U+200F, U+061C) and joiners stay: names in Arabic, Hebrew, Persian and emoji use them,
/// and they reorder no letters.
fn is_forbidden(c: char) -> bool {
    c == '\\'
        || c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilePath({:?})", &*self.0)
    }
}

impl FromStr for FilePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A map keyed by paths is searched by text: equality, order and hash are those of the text.
impl Borrow<str> for FilePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for FilePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The name of a user: `[a-z0-9][a-z0-9._-]{0,31}`, so that it means itself in `ssh-keygen`'s
/// pattern lists, in paths and in logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// The text is not a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name has 1 to 32 characters of a-z, 0-9, `.`, `_` and `-`, the first a letter or digit"
)]
pub struct UserNameError;

impl UserName {
    /// Checks `text` against the rule for user names.
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.as_bytes() {
            [first, rest @ ..]
                if rest.len() < MAX_USER_NAME_LEN
                    && plain(*first)
                    && rest.iter().all(|c| plain(*c) || b"._-".contains(c)) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(UserNameError),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserName({:?})", &*self.0)
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AsRef<str> for UserName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

hex_type!(
    /// The identity of a user, drawn at random and never issued again; ownership binds to it, not
    /// to the name. 32 hexadecimal digits as text.
    UserId,
    16
);

hex_type!(
    /// The identity of a store, drawn at random when it is made. 32 hexadecimal digits as text.
    StoreId,
    16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_every_script() {
        let emoji = "👩‍👩‍👧/🏴󠁧󠁢󠁥󠁮󠁧󠁿";
        for good in [
            "a",
            "a/b/c.txt",
            "...",
            "..a",
            "a..",
            " leading and trailing ",
            "-rf",
            "~",
            "a.age",
            "dir/a.age",
            "café",
            "تقرير/سنوي.pdf",
            "دست\u{200c}نوشته",
            "报告/年度.pdf",
            "レポート",
            "보고서",
            "Ёлка",
            "दस्तावेज़".nfc_or_self().as_str(),
            emoji,
            "שלום\u{200f}!",
            "CON",
            "a:b",
            "towpath",
            ".towpath2",
            "x/.towpath",
            "x/.age.txt",
        ] {
            assert_eq!(
                FilePath::parse(good).map(|p| p.to_string()),
                Ok(good.to_owned())
            );
        }
    }

    trait Nfc {
        fn nfc_or_self(&self) -> String;
    }
    impl Nfc for str {
        fn nfc_or_self(&self) -> String {
            use unicode_normalization::UnicodeNormalization;
            self.nfc().collect()
        }
    }

    #[test]
    fn hostile_paths() {
        use PathError::*;
        for (bad, why) in [
            ("", Empty),
            ("/", EmptyPart),
            ("/etc/passwd", EmptyPart),
            ("a/", EmptyPart),
            ("a//b", EmptyPart),
            (".", DotPart),
            ("..", DotPart),
            ("a/../b", DotPart),
            ("a/.", DotPart),
            ("a\\b", Character('\\')),
            ("a\0b", Character('\0')),
            ("a\nb", Character('\n')),
            ("a\r", Character('\r')),
            ("\u{1b}[2J", Character('\u{1b}')),
            ("a\u{7f}", Character('\u{7f}')),
            ("a\u{85}", Character('\u{85}')),
            ("a\u{9b}", Character('\u{9b}')),
            ("a\u{2028}b", Character('\u{2028}')),
            ("a\u{2029}b", Character('\u{2029}')),
            ("a\u{202e}gpj.exe", Character('\u{202e}')),
            ("a\u{2066}b", Character('\u{2066}')),
            ("a\u{2069}b", Character('\u{2069}')),
            ("cafe\u{301}", NotNfc),
            ("\u{212b}", NotNfc),
            ("\u{1100}\u{1161}", NotNfc),
            ("a.age/b", AgeDirectory),
            ("x/.age/b", AgeDirectory),
            ("a.AgE/b", AgeDirectory),
            (".towpath", Reserved),
            (".towpath/partial/1", Reserved),
            (".TowPath/x", Reserved),
        ] {
            assert_eq!(FilePath::parse(bad), Err(why), "{bad:?}");
        }
    }

    /// The specification's list, over every character there is.
    #[test]
    fn every_forbidden_character() {
        let forbidden = [
            0..=0x1f,
            0x5c..=0x5c,
            0x7f..=0x9f,
            0x2028..=0x202e,
            0x2066..=0x2069,
        ];
        for c in '\0'..=char::MAX {
            let listed = forbidden.iter().any(|range| range.contains(&u32::from(c)));
            let verdict = FilePath::parse(&format!("a{c}b"));
            let refused = verdict == Err(PathError::Character(c));
            assert_eq!(refused, listed, "U+{:04X}: {verdict:?}", u32::from(c));
        }
    }

    #[test]
    fn lengths_of_paths() {
        let part = "é".repeat(MAX_PART_LEN / 2);
        assert!(FilePath::parse(&part).is_ok());
        assert_eq!(
            FilePath::parse(&format!("{part}x")),
            Err(PathError::PartTooLong)
        );
        let mut path = [part.as_str(); 5].join("/");
        path.push('/');
        path.push_str(&"x".repeat(MAX_PATH_LEN - path.len()));
        assert_eq!(path.len(), MAX_PATH_LEN);
        assert!(FilePath::parse(&path).is_ok());
        path.push('x');
        assert_eq!(FilePath::parse(&path), Err(PathError::TooLong));
    }

    #[test]
    fn parts_of_a_path() {
        let path = FilePath::parse("a/b/c.txt").unwrap();
        assert_eq!(path.parts().collect::<Vec<_>>(), ["a", "b", "c.txt"]);
        assert_eq!(path.file_name(), "c.txt");
        assert_eq!(FilePath::parse("c").unwrap().file_name(), "c");
    }

    #[test]
    fn user_names() {
        for good in ["a", "0", "alice", "a.b_c-d", "a..", &"a".repeat(32)] {
            assert_eq!(UserName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "*",
            "a*",
            "A",
            "alicE",
            "-a",
            ".a",
            "_a",
            "a b",
            "a,b",
            "a!b",
            "é",
            "a\n",
            "a/b",
            "a\0",
            &"a".repeat(33),
        ] {
            assert_eq!(UserName::parse(bad), Err(UserNameError), "{bad:?}");
        }
    }
}
