//! The first process of a user-mode Linux: sets up the system, runs the suite, halts.
//!
//! The root file system is the host's (hostfs), so nothing is written outside `/run`, which
//! is made of memory, and the two files that carry the result.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::utsname::uname;

use super::limits;

/// Modules in the order of their dependencies; those built in or already there are no error.
const MODULES: [&str; 8] = [
    "crypto/hmac",
    "lib/crc-ccitt",
    "net/ipv6/ipv6",
    "net/ipv4/udp_tunnel",
    "net/ipv6/ip6_udp_tunnel",
    "net/sctp/sctp",
    "drivers/net/veth",
    "net/sched/sch_netem",
];

/// Runs this program again with `arguments`, writes its exit status to `status` and halts.
///
/// Comes back only if the machine cannot be halted; as init that is a kernel panic, which
/// ends a user-mode Linux too.
pub fn run(status: &Path, limit: Duration, arguments: &[OsString]) {
    let code = match prepare().and_then(|()| suite(limit, arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("init: {error}");
            70
        }
    };
    if let Err(error) = write_synced(status, code) {
        eprintln!("init: {}: {error}", status.display());
    }
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("init: cannot halt: {error}");
}

fn prepare() -> std::io::Result<()> {
    let none = None::<&str>;
    for (kind, target, options) in [
        ("proc", "/proc", None),
        ("sysfs", "/sys", None),
        ("tmpfs", "/run", Some("size=90%")),
    ] {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), options)?;
    }
    // The host's /dev/shm is hidden by the guest's devtmpfs; programs may want one.
    fs::create_dir_all("/dev/shm")?;
    mount(
        Some("tmpfs"),
        "/dev/shm",
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    let system = uname()?;
    let modules = PathBuf::from("/usr/lib/uml/modules")
        .join(system.release())
        .join("kernel");
    for name in MODULES {
        let path = modules.join(name).with_extension("ko");
        if !path.exists() {
            continue; // Built into this kernel; if it is truly absent, the suite's probe fails.
        }
        match finit_module(&File::open(&path)?, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => {
                return Err(std::io::Error::other(format!(
                    "{}: {error}",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

fn suite(limit: Duration, arguments: &[OsString]) -> std::io::Result<i32> {
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("TMPDIR", "/run")
        .env("HOME", "/run")
        .spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or(70));
        }
        if started.elapsed() > limit {
            child.kill()?;
            eprintln!("init: the suite was ended after {} s", limit.as_secs());
            return Ok(124);
        }
        thread::sleep(limits::POLL);
    }
}

fn write_synced(path: &Path, code: i32) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{code}")?;
    file.sync_all()
}
