//! Text from elsewhere, made safe to show.
//!
//! A name or a message that a peer chose may hold control characters that move the cursor, or
//! direction marks that reorder a line. They are shown as escapes.

use std::fmt;

/// Shows `text` with every character that could steer a terminal written as an escape.
#[derive(Clone, Copy, Debug)]
pub struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            if is_steering(c) {
                write!(f, "\\u{{{:x}}}", u32::from(c))?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Shows `text` as one word: as [`Safe`], with spaces, `=` and backslashes escaped too, for lines
/// that programs read.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a>(pub &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            if is_steering(c) || c.is_whitespace() || matches!(c, '=' | '\\') {
                write!(f, "\\u{{{:x}}}", u32::from(c))?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and the marks that change the direction of
/// text.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_scripts_are_not() {
        assert_eq!(
            Safe("a\x1b[2Jb\r\n").to_string(),
            "a\\u{1b}[2Jb\\u{d}\\u{a}"
        );
        assert_eq!(
            Safe("név עברית 名前 naïve.txt").to_string(),
            "név עברית 名前 naïve.txt"
        );
        assert_eq!(Safe("gpj.\u{202e}exe").to_string(), "gpj.\\u{202e}exe");
    }

    #[test]
    fn a_word_has_no_space() {
        assert_eq!(Word("a b=c\\").to_string(), "a\\u{20}b\\u{3d}c\\u{5c}");
    }
}
