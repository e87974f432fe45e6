//! Canonical text: lines `keyword value` in a fixed order, each ended by one line feed, one
//! spelling for each value.

/// Reads the lines of a canonical text in order.
pub(crate) struct Lines<'a> {
    rest: &'a str,
}

/// The line that is missing, out of place, or not in its one spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLine(pub(crate) &'static str);

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The value of the next line if its keyword is `keyword`; otherwise nothing is consumed.
    pub(crate) fn optional(&mut self, keyword: &'static str) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        let value = line.strip_prefix(keyword)?.strip_prefix(' ')?;
        self.rest = rest;
        Some(value)
    }

    /// The value of the next line, whose keyword must be `keyword`.
    pub(crate) fn value(&mut self, keyword: &'static str) -> Result<&'a str, BadLine> {
        self.optional(keyword).ok_or(BadLine(keyword))
    }

    /// The value of the next line, read by `read`.
    pub(crate) fn read<T, E>(
        &mut self,
        keyword: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<T, BadLine> {
        read(self.value(keyword)?).map_err(|_| BadLine(keyword))
    }

    /// The end of the text.
    pub(crate) fn end(self) -> Result<(), BadLine> {
        match self.rest {
            "" => Ok(()),
            _ => Err(BadLine("end of the text")),
        }
    }
}

/// A decimal number in its one spelling: digits only, no leading zero.
pub(crate) fn number(text: &str) -> Result<u64, ()> {
    let plain = text.bytes().all(|c| c.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(());
    }
    text.parse().map_err(|_| ())
}

/// A value or the word `none`.
pub(crate) fn or_none<T: std::str::FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        for n in [0, 1, 10, u64::MAX] {
            assert_eq!(number(&n.to_string()), Ok(n));
        }
        for bad in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "١",
            "18446744073709551616",
        ] {
            assert_eq!(number(bad), Err(()), "{bad:?}");
        }
    }
}
