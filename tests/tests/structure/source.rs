//! Rust source as far as paths are concerned: its words, without comments, text and tests.

/// One path that `use` brings in, under the name that it has from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// Segments, from `crate`, `self`, `super`, a module or another crate.
    pub(crate) path: Vec<String>,
    /// The name; `None` for all names of a module.
    pub(crate) name: Option<String>,
}

/// What a file says about modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// Names of the modules that have files of their own.
    pub(crate) children: Vec<String>,
    /// What is imported and re-exported.
    pub(crate) imports: Vec<Import>,
    /// Names of the items that are defined.
    pub(crate) items: Vec<String>,
    /// Paths of two and more segments outside of `use`.
    pub(crate) paths: Vec<Vec<String>>,
}

impl Source {
    /// Reads a file; what is there for tests only does not count.
    pub(crate) fn read(text: &str) -> Self {
        let words = without_tests(words(text));
        let mut source = Self::default();
        let mut at = 0;
        while at < words.len() {
            let word = words[at].as_str();
            let next = words.get(at + 1).map_or("", String::as_str);
            match word {
                "mod" if words.get(at + 2).is_some_and(|word| word == ";") => {
                    source.children.push(next.to_owned());
                    at += 3;
                }
                "use" => {
                    at = import(&words, at + 1, &[], &mut source.imports);
                }
                "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "fn"
                | "macro_rules" => {
                    let name = if next == "!" { at + 2 } else { at + 1 };
                    source.items.extend(words.get(name).cloned());
                    at += 1;
                }
                _ if is_name(word) && next == "::" => {
                    let mut path = vec![word.to_owned()];
                    while words.get(at + 1).is_some_and(|word| word == "::")
                        && words.get(at + 2).is_some_and(|word| is_name(word))
                    {
                        at += 2;
                        path.push(words[at].clone());
                    }
                    source.paths.push(path);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        source
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Reads one tree of `use`; gives the place behind it.
fn import(words: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "{" => {
                at += 1;
                while words[at] != "}" {
                    at = import(words, at, &path, found);
                    if words[at] == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "*" => {
                found.push(Import { path, name: None });
                return at + 1;
            }
            "::" => at += 1,
            "as" => {
                let name = words.get(at + 1).cloned();
                found.push(Import { path, name });
                return at + 2;
            }
            "self" if path.len() > prefix.len() || !prefix.is_empty() => at += 1,
            name if is_name(name) => {
                path.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    let name = path.last().cloned();
    found.push(Import { path, name });
    at
}

/// The words without each item that follows `#[cfg(test)]`.
fn without_tests(words: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if !words[at..].iter().take(MARK.len()).eq(MARK) {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut depth = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            match word.as_str() {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

/// Names and punctuation; `::` is one word. Comments, text, characters and numbers are left out.
fn words(text: &str) -> Vec<String> {
    let bytes: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    let starts = |at: usize, what: &str| {
        what.chars()
            .enumerate()
            .all(|(index, c)| bytes.get(at + index) == Some(&c))
    };
    while at < bytes.len() {
        let c = bytes[at];
        if starts(at, "//") {
            at += bytes[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                } else if at < bytes.len() {
                    at += 1;
                } else {
                    break;
                }
            }
        } else if c == '"' {
            at = text_end(&bytes, at + 1);
        } else if c == '\'' {
            at = character_end(&bytes, at);
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            at += bytes[at..]
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .count();
            let word: String = bytes[start..at].iter().collect();
            if matches!(word.as_str(), "r" | "br" | "cr")
                && matches!(bytes.get(at), Some('"' | '#'))
            {
                at = raw_text_end(&bytes, at);
            } else {
                words.push(word);
            }
        } else if starts(at, "::") {
            words.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
            at += 1;
        }
    }
    words
}

fn text_end(bytes: &[char], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Behind `r#"…"#`, given the place behind the `r`; a raw name such as `r#type` is a name.
fn raw_text_end(bytes: &[char], mut at: usize) -> usize {
    let hashes = bytes[at..].iter().take_while(|c| **c == '#').count();
    at += hashes;
    if bytes.get(at) != Some(&'"') {
        return at;
    }
    at += 1;
    while at < bytes.len() {
        let closes = bytes[at] == '"'
            && bytes[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// Behind a character, or behind the quote of a lifetime.
fn character_end(bytes: &[char], at: usize) -> usize {
    match (bytes.get(at + 1), bytes.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = &bytes[at + 3..];
            at + 4 + rest.iter().take_while(|c| **c != '\'').count()
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

#[test]
fn paths_modules_and_items_are_read() {
    let source = Source::read(
        r##"
        //! crate::comment::path
        mod child;
        pub mod inline { fn f() {} }
        pub use child::{self, Type as Other, deep::*};
        use crate::limits;
        struct Here<'a>(&'a str);
        fn run(c: char) { let _ = ("super::text", r#"super::"raw"#, '"', '\'');
            crate::other::run(limits::MOST, super::super::up()); }
        #[cfg(test)]
        use crate::only_for_tests;
        #[cfg(test)]
        mod tests { use super::*; fn f() { if true { crate::in_tests::f() } } }
        type After = self::child::Type;
        "##,
    );
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let import = |text: &str, name: Option<&str>| Import {
        path: path(text),
        name: name.map(str::to_owned),
    };
    let expected = Source {
        children: vec!["child".into()],
        imports: vec![
            import("child", Some("child")),
            import("child::Type", Some("Other")),
            import("child::deep", None),
            import("crate::limits", Some("limits")),
        ],
        items: ["f", "Here", "run", "After"].map(str::to_owned).to_vec(),
        paths: [
            "crate::other::run",
            "limits::MOST",
            "super::super::up",
            "self::child::Type",
        ]
        .map(path)
        .to_vec(),
    };
    assert_eq!(source, expected);
}
