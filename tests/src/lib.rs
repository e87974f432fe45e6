//! Test harness of Towpath.
