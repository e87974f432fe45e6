//! A listing in pages, each requested after the last one is processed.

use towpath_protocol::signed::FilePath;
use towpath_protocol::{ListEntry, Refusal, Reply, Request};

use crate::error::Error;
use crate::limits::LIST_PAGE;
use crate::session::task::unexpected;

/// The pages of a listing of everything whose path starts with a prefix.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) prefix: String,
    last: Option<FilePath>,
    more: bool,
}

impl Pages {
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            prefix,
            last: None,
            more: true,
        }
    }

    /// The request for the next page.
    pub(crate) fn request(&self) -> Request {
        Request::List {
            prefix: self.prefix.clone(),
            after: self.last.clone(),
            limit: LIST_PAGE,
        }
    }

    /// Whether there is a further page.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// Takes a page; `label` names the listing in errors.
    ///
    /// # Errors
    /// The server refused, or its entries do not ascend: repeated entries could keep the client in
    /// an endless loop.
    pub(crate) fn take(
        &mut self,
        result: Result<Reply, Refusal>,
        label: &str,
    ) -> Result<Vec<ListEntry>, Error> {
        let (entries, more) = match result {
            Ok(Reply::List { entries, more }) => (entries, more),
            Ok(_) => return Err(unexpected(label)),
            Err(refusal) => return Err(Error::refused(label, &refusal)),
        };
        if more && entries.is_empty() {
            return Err(unexpected(label));
        }
        for entry in &entries {
            if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
                return Err(unexpected(label));
            }
            self.last = Some(entry.path.clone());
        }
        self.more = more;
        Ok(entries)
    }

    /// Whether `path` is the file that the prefix names or is below the directory that it names,
    /// rather than a longer name with the same start.
    pub(crate) fn covers(&self, path: &FilePath) -> bool {
        match path.as_str().strip_prefix(self.prefix.as_str()) {
            Some(rest) => {
                self.prefix.is_empty()
                    || self.prefix.ends_with('/')
                    || rest.is_empty()
                    || rest.starts_with('/')
            }
            None => false,
        }
    }
}
