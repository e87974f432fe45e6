//! OpenSSH's own `ssh-keygen` reads what we write and writes what we read.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use towpath_protocol::signed::{
    KeyError, Namespace, PublicKey, SignatureError, SigningKey, signer_of,
};

const MESSAGE: &[u8] = b"towpath manifest 1\nkind file\n";

/// Runs `ssh-keygen` in `dir` and feeds it `input`.
fn ssh_keygen(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("ssh-keygen")
        .args(args)
        .current_dir(dir)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need ssh-keygen: install openssh-client");
    // A refusal may close the pipe before all is written; the exit status tells.
    match child.stdin.take().unwrap().write_all(input) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe),
    }
    child.wait_with_output().unwrap()
}

fn succeed(output: Output) -> String {
    assert!(
        output.status.success(),
        "ssh-keygen: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

/// Makes a key pair `key`, `key.pub` and gives the private half.
fn generate(dir: &TempDir, kind: &[&str], passphrase: &str) -> String {
    let mut args = vec![
        "-q",
        "-N",
        passphrase,
        "-C",
        "alice@example",
        "-f",
        "key",
        "-t",
    ];
    args.extend_from_slice(kind);
    succeed(ssh_keygen(dir.path(), &args, b""));
    read(dir, "key")
}

/// Writes a private key file with the permissions that `ssh-keygen` insists on.
fn write_private(dir: &TempDir, pem: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join("ours");
    fs::write(&path, pem).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn verify(dir: &TempDir, key: &PublicKey, namespace: &str, message: &[u8], armored: &str) -> bool {
    let allowed = format!("alice {}\n", key.to_openssh());
    fs::write(dir.path().join("allowed_signers"), allowed).unwrap();
    fs::write(dir.path().join("sig"), armored).unwrap();
    let args = [
        "-Y",
        "verify",
        "-f",
        "allowed_signers",
        "-I",
        "alice",
        "-n",
        namespace,
        "-s",
        "sig",
    ];
    ssh_keygen(dir.path(), &args, message).status.success()
}

/// Signs with the key file `key` (no passphrase).
fn sign(dir: &TempDir, namespace: &str, options: &[&str]) -> String {
    let mut args = vec!["-Y", "sign", "-q", "-f", "key", "-n", namespace];
    args.extend_from_slice(options);
    succeed(ssh_keygen(dir.path(), &args, MESSAGE))
}

#[test]
fn it_accepts_our_signatures_and_no_changed_byte() {
    let dir = TempDir::new().unwrap();
    let key = SigningKey::from_seed(&[7; 32]);
    for namespace in Namespace::ALL {
        let armored = key.sign(namespace, MESSAGE);
        let verdict = |name, message: &[u8]| verify(&dir, &key.public(), name, message, &armored);
        assert!(verdict(namespace.as_str(), MESSAGE));
        assert!(!verdict("other@towpath", MESSAGE));
        let mut changed = MESSAGE.to_vec();
        changed[3] ^= 1;
        assert!(!verdict(namespace.as_str(), &changed));
    }
}

/// The commands of docs/PROTOCOL.md, on its example manifest.
#[test]
fn it_accepts_the_vectors_that_we_accept() {
    let dir = TempDir::new().unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");
    for (file, namespace) in [
        ("signed-manifest-accept.txt", "file@towpath"),
        ("signed-statement-accept-add.txt", "key@towpath"),
    ] {
        let vector = fs::read_to_string(Path::new(root).join(file)).unwrap();
        let (header, body) = vector.split_once("\n\n").unwrap();
        let signer = header
            .lines()
            .find_map(|line| line.strip_prefix("signer: "));
        let signer = PublicKey::parse_openssh(signer.unwrap()).unwrap();
        let (text, armored) = body.split_at(body.find("-----BEGIN").unwrap());
        assert!(verify(&dir, &signer, namespace, text.as_bytes(), armored));
        let other = text.replacen('1', "2", 1);
        assert!(!verify(&dir, &signer, namespace, other.as_bytes(), armored));
    }
}

#[test]
fn we_accept_its_signatures() {
    let dir = TempDir::new().unwrap();
    let key = SigningKey::from_openssh(&generate(&dir, &["ed25519"], ""), None).unwrap();
    for options in [&[][..], &["-O", "hashalg=sha512"]] {
        let armored = sign(&dir, "file@towpath", options);
        assert_eq!(signer_of(&armored), Ok(key.public()));
        let verdict = |namespace, message: &[u8]| key.public().verify(namespace, message, &armored);
        assert_eq!(verdict(Namespace::File, MESSAGE), Ok(()));
        let other = verdict(Namespace::File, b"another");
        assert_eq!(other, Err(SignatureError::Invalid));
        let other = verdict(Namespace::Login, MESSAGE);
        assert_eq!(other, Err(SignatureError::OtherNamespace));
        // Ed25519 is deterministic, so both make the same signature to the byte.
        assert_eq!(key.sign(Namespace::File, MESSAGE), armored);
    }
}

#[test]
fn we_refuse_its_signatures_of_other_kinds() {
    let dir = TempDir::new().unwrap();
    generate(&dir, &["ed25519"], "");
    let foreign = sign(&dir, "file", &[]);
    assert_eq!(signer_of(&foreign), Err(SignatureError::OtherNamespace));
    let sha256 = sign(&dir, "file@towpath", &["-O", "hashalg=sha256"]);
    assert_eq!(signer_of(&sha256), Err(SignatureError::HashAlgorithm));
    for kind in [&["ecdsa", "-b", "256"][..], &["rsa", "-b", "2048"]] {
        let dir = TempDir::new().unwrap();
        generate(&dir, kind, "");
        let armored = sign(&dir, "file@towpath", &[]);
        let verdict = signer_of(&armored);
        // An RSA signature is too long even to be looked at.
        assert!(
            matches!(verdict, Err(SignatureError::Key | SignatureError::TooLong)),
            "{kind:?}: {verdict:?}"
        );
    }
}

#[test]
fn the_armor_has_one_spelling() {
    let key = SigningKey::from_seed(&[7; 32]);
    let armored = key.sign(Namespace::File, MESSAGE);
    let body = armored.lines().collect::<Vec<_>>();
    let rewrapped = |width: usize| {
        let base64 = body[1..body.len() - 1].concat();
        let (lines, mut text) = (base64.as_bytes().chunks(width), format!("{}\n", body[0]));
        for line in lines {
            text.push_str(str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text + body[body.len() - 1] + "\n"
    };
    assert_eq!(rewrapped(70), armored);
    let spellings = [
        format!("{armored}\n"),
        format!("{armored} "),
        format!("{armored}garbage"),
        format!("\n{armored}"),
        format!("preface\n{armored}"),
        format!(" {armored}"),
        armored.trim_end().to_owned(),
        armored.replace('\n', "\r\n"),
        armored.replace('\n', "\n\n"),
        armored.replace("SSH SIGNATURE", "SSH  SIGNATURE"),
        armored.replace("SSH SIGNATURE", "OPENSSH PRIVATE KEY"),
        rewrapped(64),
        rewrapped(76),
        rewrapped(400),
    ];
    for other in spellings {
        let verdict = key.public().verify(Namespace::File, MESSAGE, &other);
        assert_eq!(verdict, Err(SignatureError::Malformed), "{other:?}");
    }
    for long in [armored.repeat(2), armored + &"\n".repeat(512)] {
        assert_eq!(signer_of(&long), Err(SignatureError::TooLong));
    }
}

#[test]
fn we_read_its_private_keys() {
    let dir = TempDir::new().unwrap();
    let pem = generate(&dir, &["ed25519"], "");
    assert_eq!(SigningKey::is_encrypted(&pem), Ok(false));
    let key = SigningKey::from_openssh(&pem, None).unwrap();
    let (public, comment) = PublicKey::parse_openssh_with_comment(&read(&dir, "key.pub")).unwrap();
    assert_eq!((public, comment.as_str()), (key.public(), "alice@example"));
    let listed = succeed(ssh_keygen(dir.path(), &["-l", "-f", "key.pub"], b""));
    assert_eq!(
        listed.split(' ').nth(1),
        Some(&*public.fingerprint().to_string())
    );
}

#[test]
fn we_read_its_encrypted_private_keys() {
    for cipher in ["aes256-ctr", "aes256-gcm@openssh.com"] {
        let dir = TempDir::new().unwrap();
        let pem = generate(&dir, &["ed25519", "-a", "2", "-Z", cipher], "correct horse");
        assert_eq!(SigningKey::is_encrypted(&pem), Ok(true));
        let open = |passphrase| SigningKey::from_openssh(&pem, passphrase);
        assert_eq!(open(None).unwrap_err(), KeyError::PassphraseWanted);
        let wrong = open(Some("wrong horse")).unwrap_err();
        assert_eq!(wrong, KeyError::WrongPassphrase);
        let key = open(Some("correct horse")).unwrap();
        let public = PublicKey::parse_openssh(&read(&dir, "key.pub")).unwrap();
        assert_eq!(key.public(), public);
    }
}

#[test]
fn we_refuse_its_other_private_keys() {
    for kind in [&["ecdsa"][..], &["rsa", "-b", "2048"]] {
        let dir = TempDir::new().unwrap();
        let pem = generate(&dir, kind, "");
        let refused = SigningKey::from_openssh(&pem, None).unwrap_err();
        assert_eq!(refused, KeyError::NotEd25519);
        let refused = PublicKey::parse_openssh(&read(&dir, "key.pub")).unwrap_err();
        assert_eq!(refused, KeyError::NotEd25519);
    }
}

#[test]
fn it_reads_our_private_keys() {
    let dir = TempDir::new().unwrap();
    let key = SigningKey::from_seed(&[9; 32]);
    write_private(&dir, &key.to_openssh("bob@example"));
    let public = succeed(ssh_keygen(dir.path(), &["-y", "-P", "", "-f", "ours"], b""));
    assert_eq!(
        public,
        format!("{} bob@example\n", key.public().to_openssh())
    );

    let pem = key
        .to_openssh_encrypted("bob", "correct horse", &[5; 20])
        .unwrap();
    write_private(&dir, &pem);
    let open = |passphrase| {
        let args = ["-y", "-P", passphrase, "-f", "ours"];
        ssh_keygen(dir.path(), &args, b"")
    };
    assert!(!open("wrong horse").status.success());
    let public = succeed(open("correct horse"));
    assert_eq!(public, format!("{} bob\n", key.public().to_openssh()));
}
