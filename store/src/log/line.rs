//! The text of a line.

use std::fmt::{self, Write};
use std::time::SystemTime;

use towpath_protocol::signed::Timestamp;
use towpath_protocol::{Escaped, is_hidden};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::limits::MAX_LOG_LINE;

/// A field's value: as [`Escaped`] shows it, with backslash and quotation mark escaped too, and in
/// quotation marks unless it is one plain word.
pub struct Value<'a>(pub &'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = |c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\\') || is_hidden(c);
        if self.0.is_empty() || self.0.contains(special) {
            f.write_char('"')?;
            self.0.chars().try_for_each(|c| escape(f, c))?;
            f.write_char('"')
        } else {
            f.write_str(self.0)
        }
    }
}

fn escape(f: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '\\' | '"' => write!(f, "{}", c.escape_default()),
        c => Escaped::write_char(f, c),
    }
}

/// Fields as text, each with a space before it.
#[derive(Default)]
pub(super) struct Fields(String);

impl Fields {
    fn push(&mut self, name: &str, value: &str) {
        if self.0.len() < MAX_LOG_LINE {
            write!(self.0, " {name}={}", Value(value)).expect("a String takes everything");
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field.name(), &format!("{value:?}"));
    }
}

/// One line in the making.
pub(super) struct Line {
    start: String,
    message: String,
    fields: Fields,
}

impl Line {
    /// Begins a line. A time outside the years 0000 to 9999 is written as the nearest one inside.
    pub(super) fn new(time: SystemTime, level: Level) -> Self {
        let mut time = Timestamp::from_system_time(time).to_string();
        // Microseconds are enough: three of its nine digits go.
        time.truncate("0000-00-00T00:00:00.000000".len());
        Self {
            start: format!("{time}Z {level:5} "),
            message: String::new(),
            fields: Fields::default(),
        }
    }

    pub(super) fn add(&mut self, fields: &Fields) {
        self.fields.0.push_str(&fields.0);
    }

    /// The line with its line feed, cut to [`MAX_LOG_LINE`] bytes.
    pub(super) fn finish(self) -> String {
        let mut line = self.start;
        // A message that holds `=` could be taken for fields.
        for c in self.message.chars() {
            let written = match c {
                '=' => write!(line, "{}", c.escape_unicode()),
                c => escape(&mut line, c),
            };
            written.expect("a String takes everything");
        }
        line.push_str(&self.fields.0);
        const CUT: &str = "…\n";
        if line.len() + 1 > MAX_LOG_LINE {
            let fits = (0..=MAX_LOG_LINE - CUT.len()).rev();
            let end = fits.into_iter().find(|&at| line.is_char_boundary(at));
            line.truncate(end.unwrap_or(0));
            line.push_str(CUT);
        } else {
            line.push('\n');
        }
        line
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.fields.push(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.message, "{value:?}").expect("a String takes everything"),
            name => self.fields.push(name, &format!("{value:?}")),
        }
    }
}
