//! Passwords and passphrases in files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::interaction::Interaction;
use crate::limits::MAX_SECRET_FILE;
use crate::local::upload::STANDARD;

/// Reads a secret from the first line of a file, or of standard input for `-`. The line may end in
/// LF or CR LF.
///
/// # Errors
/// A local [`Error`] when it cannot be read, is too long, or is not UTF-8.
pub(crate) fn read_secret(
    path: &Path,
    interaction: &dyn Interaction,
) -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_SECRET_FILE).unwrap_or(0) + 1,
    ));
    let name = path.display();
    let fail = |e: io::Error| Error::io("read", path.display(), &e);
    if path == Path::new(STANDARD) {
        io::stdin()
            .lock()
            .take(MAX_SECRET_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    } else {
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.is_file() && meta.mode() & 0o077 != 0 {
            interaction.warn(&format!(
                "{name} can be read by others (mode {:o}); run `chmod 600` on it",
                meta.permissions().mode() & 0o777
            ));
        }
        file.take(MAX_SECRET_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    }
    if bytes.len() as u64 > MAX_SECRET_FILE {
        return Err(Error::local(format!(
            "{name} is longer than {MAX_SECRET_FILE} bytes: it is not a password file"
        )));
    }
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text =
        std::str::from_utf8(line).map_err(|_| Error::local(format!("{name} is not UTF-8 text")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interaction::NonInteractive;

    #[test]
    fn a_secret_is_the_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, secret) in [
            ("pass word\n", "pass word"),
            ("x\r\ny\n", "x"),
            ("", ""),
            (" s ", " s "),
        ] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(
                read_secret(file.path(), &NonInteractive).unwrap().as_str(),
                secret
            );
        }
        std::fs::write(file.path(), vec![b'x'; 5000]).unwrap();
        assert!(read_secret(file.path(), &NonInteractive).is_err());
        std::fs::write(file.path(), [0xff]).unwrap();
        assert!(read_secret(file.path(), &NonInteractive).is_err());
    }
}
