//! Jobs that only the command line uses: keys, proofs, and printing.

use std::path::Path;
use std::sync::Arc;

use towpath_protocol::KeyEntry;
use towpath_protocol::signed::{KeyStatement, SignedManifest, SignedStatement, StoreId, UserName};

use crate::error::Error;
use crate::local::proof;
use crate::session::runner::JobRunner;

impl JobRunner {
    pub(crate) fn print(&self, text: &[u8]) -> Result<(), Error> {
        self.interaction.print(text).map_err(|e| Error::output(&e))
    }

    pub(crate) fn sign_statement(&self, statement: KeyStatement) -> Result<SignedStatement, Error> {
        let key = match &self.settings.new_key {
            Some(key) => Arc::clone(key),
            None => self.key()?,
        };
        SignedStatement::sign(statement, &key)
            .map_err(|e| Error::local(format!("the key statement cannot be signed: {e}")))
    }

    pub(crate) fn show_keys(
        &self,
        user: &UserName,
        keys: &[KeyEntry],
        store: StoreId,
    ) -> Result<(), Error> {
        let text = self.with_pins(store, |pins| {
            Ok(proof::key_table(user, keys, |key| pins.knows(user, key)))
        })?;
        self.print(text.as_bytes())
    }

    pub(crate) fn export(
        &self,
        signed: &SignedManifest,
        directory: &Path,
        store: StoreId,
    ) -> Result<(), Error> {
        self.check(signed, &signed.manifest().path, store)?;
        let status = self.record(store, |pins| pins.record(signed, self.settings.allowed))?;
        let text = proof::export(signed, directory)?;
        self.tell_status(signed.manifest(), status);
        self.print(text.as_bytes())
    }
}
