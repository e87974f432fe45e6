//! Escaping of names in output for programs.

use std::fmt;

use towpath_protocol::is_hidden;

/// Displays text without spaces: every space, `=`, backslash and [hidden](is_hidden) character as
/// `\u{HEX}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a>(pub(crate) &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            if is_hidden(c) || c.is_whitespace() || matches!(c, '=' | '\\') {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_no_space() {
        assert_eq!(Word("a b=c\\").to_string(), r"a\u{20}b\u{3d}c\u{5c}");
        assert_eq!(Word("\n\u{202e}").to_string(), r"\u{a}\u{202e}");
    }
}
