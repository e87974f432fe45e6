//! The server's TLS identity: `cert.pem` and `key.pem`, created by `towpathd init` or supplied by
//! the organisation.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::directory::ServerDirectory;

/// A certificate chain and its private key.
pub struct TlsIdentity {
    /// The certificate chain, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

/// Why the server's identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TlsIdentityError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// A file has invalid content.
    #[error("{}: {reason}", path.display())]
    Bad {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// The private key can be read by others.
    #[error(
        "{}: others can read this private key (mode {mode:04o}); run `chmod 600` on it, and replace it if someone may have read it",
        path.display()
    )]
    Exposed {
        /// Path of the file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key could not be made.
    #[error("cannot make a certificate: {0}")]
    Generate(String),
}

impl TlsIdentity {
    /// Generates an Ed25519 key and a self-signed certificate in new files; existing ones are never
    /// overwritten.
    ///
    /// Clients trust the key itself, by its fingerprint, so the certificate's name and dates carry
    /// no meaning.
    ///
    /// # Errors
    /// When a file exists or cannot be written, or the key cannot be made.
    pub fn create(directory: &ServerDirectory) -> Result<(), TlsIdentityError> {
        let make = || -> Result<(String, Zeroizing<String>), rcgen::Error> {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
            let mut params = rcgen::CertificateParams::new(vec!["towpath.invalid".to_owned()])?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, "Towpath server");
            let certificate = params.self_signed(&key)?;
            Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
        };
        let (certificate, key) =
            make().map_err(|error| TlsIdentityError::Generate(error.to_string()))?;
        write_new(&directory.private_key(), key.as_bytes(), 0o600)?;
        write_new(&directory.certificate(), certificate.as_bytes(), 0o644)
    }

    /// Reads `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// When one is missing, is not PEM, holds nothing of its kind, or others can read the key.
    pub fn load(directory: &ServerDirectory) -> Result<Self, TlsIdentityError> {
        let path = directory.certificate();
        let text = fs::read(&path).map_err(io_error(&path))?;
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(&path, format!("not a PEM certificate: {error}")))?;
        if chain.is_empty() {
            return Err(bad(&path, "holds no certificate".to_owned()));
        }
        let path = directory.private_key();
        let mode = fs::metadata(&path)
            .map_err(io_error(&path))?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(TlsIdentityError::Exposed { path, mode });
        }
        let text = Zeroizing::new(fs::read(&path).map_err(io_error(&path))?);
        let key = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| bad(&path, format!("not a PEM private key: {error}")))?;
        Ok(Self { chain, key })
    }
}

fn bad(path: &Path, reason: String) -> TlsIdentityError {
    TlsIdentityError::Bad {
        path: path.to_owned(),
        reason,
    }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> TlsIdentityError {
    let path = path.to_owned();
    |source| TlsIdentityError::Io { path, source }
}

/// Writes a file that must not exist yet, and syncs it.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsIdentityError> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(io_error(path))?;
    file.write_all(content).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, ServerDirectory) {
        let dir = tempfile::tempdir().unwrap();
        let directory = ServerDirectory::new(dir.path());
        (dir, directory)
    }

    #[test]
    fn what_is_created_loads_and_is_private() {
        let (_dir, directory) = directory();
        TlsIdentity::create(&directory).unwrap();
        let identity = TlsIdentity::load(&directory).unwrap();
        assert_eq!(identity.chain.len(), 1);
        let mode = fs::metadata(directory.private_key())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_existing_identity_is_never_overwritten() {
        let (_dir, directory) = directory();
        TlsIdentity::create(&directory).unwrap();
        let before = fs::read(directory.private_key()).unwrap();
        assert!(matches!(
            TlsIdentity::create(&directory),
            Err(TlsIdentityError::Io { .. })
        ));
        assert_eq!(fs::read(directory.private_key()).unwrap(), before);
    }

    #[test]
    fn an_exposed_key_is_refused() {
        let (_dir, directory) = directory();
        TlsIdentity::create(&directory).unwrap();
        fs::set_permissions(directory.private_key(), fs::Permissions::from_mode(0o640)).unwrap();
        let error = TlsIdentity::load(&directory).err().unwrap();
        assert!(matches!(
            error,
            TlsIdentityError::Exposed { mode: 0o640, .. }
        ));
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn damaged_files_say_which_and_never_what() {
        let (_dir, directory) = directory();
        TlsIdentity::create(&directory).unwrap();
        fs::write(directory.private_key(), "secret rubbish").unwrap();
        let message = TlsIdentity::load(&directory).err().unwrap().to_string();
        assert!(message.contains("key.pem") && !message.contains("rubbish"));
        fs::write(directory.certificate(), "").unwrap();
        let message = TlsIdentity::load(&directory).err().unwrap().to_string();
        assert!(message.contains("cert.pem"));
    }
}
