//! What a Towpath server keeps on disk.
