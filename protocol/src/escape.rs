//! Untrusted text on terminals and in logs.

use std::fmt;

/// Shows text of a peer or a file with every [hidden](is_hidden) character as Rust's escape: `\n`,
/// `\r`, `\t`, else `\u{202e}`. All other text is left as it is, of any script.
///
/// The escapes are for readers: a backslash in the text is not escaped, so what a program is to
/// read back needs more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Writes one character as [`Escaped`] shows it.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn write_char(f: &mut impl fmt::Write, c: char) -> fmt::Result {
        match c {
            '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default()),
            c if is_hidden(c) => write!(f, "{}", c.escape_unicode()),
            c => f.write_char(c),
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| Self::write_char(f, c))
    }
}

/// Whether a character does not show, commands a terminal, or changes how its neighbours show.
///
/// - control characters, C0, DEL and C1 (ECMA-48), tab and line feed among them
/// - line and paragraph separators, U+2028 and U+2029
/// - bidirectional marks, embeddings, overrides and isolates (UAX #9 §2; CVE-2021-42574)
/// - interlinear annotations, U+FFF9 to U+FFFB
/// - what else Unicode calls `Default_Ignorable_Code_Point` (`DerivedCoreProperties.txt`): soft
///   hyphen, zero-width spaces, the byte order mark, fillers, tags. The joiners U+200C and U+200D
///   and the variation selectors U+FE00 to U+FE0F alone stay, since Persian, Indic scripts and
///   emoji are written with them.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_escaped() {
        for (text, shown) in [
            ("a\tb\r\n", r"a\tb\r\n"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{0}\u{7f}", r"\u{0}\u{7f}"),
            ("\u{80}\u{9b}31m\u{9f}", r"\u{80}\u{9b}31m\u{9f}"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            ("\u{200e}\u{200f}\u{61c}", r"\u{200e}\u{200f}\u{61c}"),
            ("gpj.\u{202e}exe\u{202c}", r"gpj.\u{202e}exe\u{202c}"),
            ("\u{202a}\u{202b}\u{202d}", r"\u{202a}\u{202b}\u{202d}"),
            (
                "\u{2066}\u{2067}\u{2068}\u{2069}",
                r"\u{2066}\u{2067}\u{2068}\u{2069}",
            ),
            ("\u{200b}\u{2060}\u{feff}", r"\u{200b}\u{2060}\u{feff}"),
            ("\u{ad}\u{34f}\u{180e}", r"\u{ad}\u{34f}\u{180e}"),
            (
                "\u{115f}\u{1160}\u{3164}\u{ffa0}",
                r"\u{115f}\u{1160}\u{3164}\u{ffa0}",
            ),
            ("\u{fff9}\u{fffa}\u{fffb}", r"\u{fff9}\u{fffa}\u{fffb}"),
            ("\u{1bca0}\u{1d173}", r"\u{1bca0}\u{1d173}"),
            (
                "\u{e0001}\u{e0041}\u{e007f}\u{e0100}",
                r"\u{e0001}\u{e0041}\u{e007f}\u{e0100}",
            ),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn text_that_shows_is_left_alone() {
        for text in [
            "",
            "a file (1).txt",
            r"back\slash",
            "naïve – 名前 עברית فارسی ไทย",
            "\u{2764}\u{fe0f} e\u{301} \u{1f600}",
            "می\u{200c}خواهم क्\u{200d}ष \u{1f469}\u{200d}\u{1f4bb}",
        ] {
            assert_eq!(Escaped(text).to_string(), text);
        }
    }
}
