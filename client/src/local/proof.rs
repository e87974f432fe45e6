//! Proof of authorship for `ssh-keygen` and `b3sum`, and the table of keys.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use towpath_protocol::Escaped;
use towpath_protocol::KeyEntry;
use towpath_protocol::signed::{Content, Fingerprint, KeyAction, SignedManifest, UserName};

use crate::error::Error;
use crate::limits::MAX_KNOWN_SERVERS;

/// Writes `NAME.manifest`, `NAME.sig`, `NAME.b3` and a line in `allowed_signers` to `directory`,
/// and returns the commands that check them.
///
/// # Errors
/// A local [`Error`].
pub(crate) fn export(signed: &SignedManifest, directory: &Path) -> Result<String, Error> {
    fs::create_dir_all(directory)
        .map_err(|e| Error::io("create the directory", directory.display(), &e))?;
    let manifest = signed.manifest();
    let name = manifest.path.file_name();
    let file = |extension: &str| directory.join(format!("{name}.{extension}"));
    write(&file("manifest"), signed.text())?;
    write(&file("sig"), signed.signature())?;
    if let Content::File { hash, .. } = manifest.content {
        write(&file("b3"), &format!("{hash}  {name}\n"))?;
    }
    let signers = directory.join("allowed_signers");
    let line = format!(
        "{} namespaces=\"file@towpath\" {}\n",
        manifest.name,
        signed.signer().to_openssh()
    );
    append_line(&signers, &line)?;
    let shell = |path: PathBuf| {
        format!(
            "'{}'",
            Escaped(&path.display().to_string())
                .to_string()
                .replace('\'', "'\\''")
        )
    };
    Ok(format!(
        "ssh-keygen -Y verify -f {} -I {} -n file@towpath -s {} < {}\nb3sum --check {}\n",
        shell(signers),
        manifest.name,
        shell(file("sig")),
        shell(file("manifest")),
        shell(file("b3")),
    ))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|e| Error::io("write", path.display(), &e))
}

/// Adds the line unless the file has it.
fn append_line(path: &Path, line: &str) -> Result<(), Error> {
    let fail = |e: io::Error| Error::io("write", path.display(), &e);
    let mut present = String::new();
    match File::open(path) {
        Ok(file) => {
            file.take(MAX_KNOWN_SERVERS)
                .read_to_string(&mut present)
                .map_err(fail)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e)),
    }
    if present.lines().any(|l| l == line.trim_end()) {
        return Ok(());
    }
    let separator = if present.is_empty() || present.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{separator}{line}").as_bytes()))
        .map_err(fail)
}

/// One line for each key: fingerprint, status, comment.
pub(crate) fn key_table(
    user: &UserName,
    keys: &[KeyEntry],
    pinned: impl Fn(&Fingerprint) -> bool,
) -> String {
    let mut text = String::new();
    for entry in keys {
        let key = entry.key.fingerprint();
        let standing = if pinned(&key) { "pinned" } else { "not pinned" };
        let origin = match entry
            .statement
            .as_ref()
            .map(|signed| (signed.signer() == &entry.key, signed.statement()))
        {
            Some((true, statement))
                if statement.action == KeyAction::Add && statement.name == *user =>
            {
                "proved"
            }
            Some(_) => "bad proof",
            None => "by administrator",
        };
        // Writing to a string cannot fail.
        writeln!(
            text,
            "{key} {standing:<10} {origin:<16} {}",
            Escaped(&entry.comment)
        )
        .unwrap_or(());
    }
    text
}
