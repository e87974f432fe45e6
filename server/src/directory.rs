//! The paths of the files in the server directory.

use std::path::{Path, PathBuf};

/// The files of a server, made by `towpathd init`.
#[derive(Debug, Clone)]
pub struct ServerDirectory {
    root: PathBuf,
}

impl ServerDirectory {
    /// The server directory at `root`; nothing is read.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.root.join("cert.pem")
    }

    /// The certificate's private key, PKCS #8 PEM, mode 0600.
    pub fn private_key(&self) -> PathBuf {
        self.root.join("key.pem")
    }

    /// The age identity that opens stored files, mode 0600.
    pub fn storage_key(&self) -> PathBuf {
        self.root.join("storage.key")
    }

    /// The user registry.
    pub fn users(&self) -> PathBuf {
        self.root.join("users.json")
    }

    /// The stored files.
    pub fn files(&self) -> PathBuf {
        self.root.join("server_files")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The configuration; it may be absent.
    pub fn config(&self) -> PathBuf {
        self.root.join("towpathd.toml")
    }
}
