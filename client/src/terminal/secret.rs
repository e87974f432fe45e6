//! A secret typed at a terminal.

use std::fs::File;
use std::io::{self, Read};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use zeroize::Zeroizing;

/// The longest line that a terminal gives at once (`MAX_CANON` of Linux).
const LONGEST: usize = 4_096;

/// Reads a line of `tty` without showing it. `prompt` shows the prompt, once the echo is off: what
/// is typed as soon as it appears must not show. What was typed before is discarded.
///
/// `settings` are the terminal's, and hold again in the end.
///
/// # Errors
/// What the terminal says; end of input before a line.
pub(super) fn read(
    tty: &File,
    settings: &Termios,
    prompt: impl FnOnce() -> io::Result<()>,
) -> io::Result<Zeroizing<String>> {
    let mut hidden = settings.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    hidden
        .local_flags
        .insert(LocalFlags::ECHONL | LocalFlags::ICANON);
    termios::tcsetattr(tty, SetArg::TCSAFLUSH, &hidden)?;
    let typed = prompt().and_then(|()| line(tty));
    termios::tcsetattr(tty, SetArg::TCSANOW, settings)?;
    typed
}

fn line(mut tty: &File) -> io::Result<Zeroizing<String>> {
    // Whole from the start: a buffer that grew would leave a copy behind.
    let mut bytes = Zeroizing::new([0; LONGEST]);
    let mut filled = 0;
    while !bytes[..filled].contains(&b'\n') {
        match tty.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let text = str::from_utf8(&bytes[..filled])
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "what was typed is not UTF-8"))?;
    let text = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::pty::openpty;

    use super::*;

    #[test]
    fn the_echo_is_off_before_the_prompt_shows() {
        let pty = openpty(None, None).unwrap();
        let (mut keyboard, tty) = (File::from(pty.master), File::from(pty.slave));
        let settings = termios::tcgetattr(&tty).unwrap();
        assert!(settings.local_flags.contains(LocalFlags::ECHO));
        keyboard.write_all(b"typed too early\n").unwrap();
        // The kernel passes it on in its own time.
        let mut arrived = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
        poll(&mut arrived, PollTimeout::NONE).unwrap();
        let secret = read(&tty, &settings, || {
            let now = termios::tcgetattr(&tty)?;
            assert!(!now.local_flags.contains(LocalFlags::ECHO), "it echoes");
            keyboard.write_all("päss word\n".as_bytes())
        });
        assert_eq!(*secret.unwrap(), "päss word");
        let after = termios::tcgetattr(&tty).unwrap();
        assert!(after.local_flags.contains(LocalFlags::ECHO));
        // A prompt that fails gives the terminal back too.
        assert!(read(&tty, &settings, || Err(io::ErrorKind::BrokenPipe.into())).is_err());
        let after = termios::tcgetattr(&tty).unwrap();
        assert!(after.local_flags.contains(LocalFlags::ECHO));
    }
}
