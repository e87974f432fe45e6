//! Format: what the stable rustfmt checks, and what it does not.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::error::TaskError;
use crate::output::Output;
use crate::{limits, process};

/// Checks the format of code, the groups of imports, and the width of comments and documents.
pub(crate) fn check(output: &Output) -> Result<(), TaskError> {
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut format = process::cargo(["fmt", "--all", "--check", "--manifest-path", manifest]);
        format
            .args(["--", "--config"])
            .arg("group_imports=StdExternalCrate,unstable_features=true")
            // Grouping of imports is an unstable option of the stable rustfmt.
            .env("RUSTC_BOOTSTRAP", "1");
        process::run(output, format)?;
    }
    let wide = wide_lines()?;
    for place in &wide {
        output.say(place);
    }
    if wide.is_empty() {
        Ok(())
    } else {
        Err(TaskError::Failed(format!(
            "{} comments or lines of documents are wider than {} columns",
            wide.len(),
            limits::COLUMNS
        )))
    }
}

/// `FILE:LINE: N columns` of every comment and line of a document that is too wide.
fn wide_lines() -> Result<Vec<String>, TaskError> {
    let mut wide = Vec::new();
    for file in tracked_files()? {
        let text = fs::read_to_string(process::workspace().join(&file))
            .map_err(|error| TaskError::Failed(format!("{}: {error}", file.display())))?;
        let lines = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => wide_in_document(&text),
            Some("toml") => wide_in_code(&text, &["#"]),
            _ => wide_in_code(&text, &["//", "/*", "* "]),
        };
        wide.extend(
            lines
                .into_iter()
                .map(|(line, columns)| format!("{}:{line}: {columns} columns", file.display())),
        );
    }
    Ok(wide)
}

/// The documents and the files with comments that git knows.
fn tracked_files() -> Result<Vec<PathBuf>, TaskError> {
    let failed = |reason: String| TaskError::Failed(format!("git ls-files: {reason}"));
    let output = Command::new("git")
        .current_dir(process::workspace())
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .args(["--", "*.rs", "*.md", "*.toml", "*.c"])
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    let files: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|file| process::workspace().join(file).is_file())
        .collect();
    if files.is_empty() {
        return Err(failed("no file".to_owned()));
    }
    Ok(files)
}

/// Line numbers and widths of the lines of a document that are too wide, but for tables, blocks of
/// code, and lines that are one link.
fn wide_in_document(text: &str) -> Vec<(usize, usize)> {
    let mut in_code = false;
    wide(text, move |line| {
        let line = line.trim_start();
        if line.starts_with("```") {
            in_code = !in_code;
            return false;
        }
        let link = line.starts_with('[') && line.contains("]: ");
        !in_code && !line.starts_with('|') && !link && !unbreakable(line)
    })
}

/// Line numbers and widths of the comments that are too wide, but for the tables, blocks of code
/// and links in them; rustfmt looks after the code.
fn wide_in_code(text: &str, starts: &[&str]) -> Vec<(usize, usize)> {
    let mut in_block = false;
    wide(text, move |line| {
        let line = line.trim_start();
        let Some(comment) = starts.iter().find_map(|start| line.strip_prefix(start)) else {
            in_block = false;
            return false;
        };
        let comment = comment.trim_start_matches(['/', '!', '*']).trim_start();
        in_block ^= comment.starts_with("```");
        !in_block && !comment.starts_with('|') && !unbreakable(comment)
    })
}

/// Whether a line cannot be wrapped: one word, or one span of code.
fn unbreakable(text: &str) -> bool {
    let text = text.trim_end();
    let code = text
        .strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'));
    code.is_some_and(|code| !code.contains('`')) || text.split_whitespace().nth(1).is_none()
}

fn wide(text: &str, mut counts: impl FnMut(&str) -> bool) -> Vec<(usize, usize)> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let columns = line.chars().count();
            (counts(line) && columns > limits::COLUMNS).then_some((index + 1, columns))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(columns: usize) -> String {
        "a word ".repeat(columns / 7 + 1)[..columns].to_owned()
    }

    #[test]
    fn a_wide_line_of_a_document_is_found_but_in_tables_code_and_links() {
        let (fits, wide) = (words(100), words(101));
        let link = format!("[manual]: https://example.org/{}", "x".repeat(100));
        let text = format!("{fits}\n{wide}\n```\n{wide}\n```\n| {wide} |\n{link}\n");
        let places = wide_in_document(&text);
        assert_eq!(places, [(2, 101)]);
    }

    #[test]
    fn a_wide_comment_is_found_but_in_tables_and_code() {
        let wide = words(101);
        let text = format!("/// {wide}\nlet a = \"{wide}\";\n// | {wide} |\n//! {wide}\n");
        assert_eq!(wide_in_code(&text, &["//"]), [(1, 105), (4, 105)]);
        assert_eq!(wide_in_code(&format!("# {wide}\n"), &["#"]), [(1, 103)]);
    }
}
