//! The server: what `towpathd` does.
