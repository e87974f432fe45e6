//! Every bound of the protocol, with its reason.

// Formats: names, manifests, signatures, keys, statements.

/// Longest part of a path, in bytes: leaves room in the 255 bytes of a file name for `.age` and for the suffix of a temporary file.
pub const MAX_PART_LEN: usize = 200;

/// Longest path, in bytes: well inside the 4,096 of `PATH_MAX` wherever the store lies.
pub const MAX_PATH_LEN: usize = 1_024;

/// Longest user name, in bytes: what Unix tools take for a login name.
pub const MAX_USER_NAME_LEN: usize = 32;

/// Largest file, in bytes: what a signed 64-bit file offset can reach.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Permission bits that a manifest may carry: never set-user-id, set-group-id or sticky, which a stranger must not choose.
pub const MODE_MASK: u32 = 0o777;

/// Longest canonical manifest, in bytes: the longest path and numbers come to about 1,500.
pub const MAX_MANIFEST_LEN: usize = 2_048;

/// Longest armored SSHSIG, in bytes: an Ed25519 one comes to about 310.
pub const MAX_SIGNATURE_LEN: usize = 512;

/// Most manifests that one `compromise` statement keeps: the statement still fits in one control message.
pub const MAX_KEPT_MANIFESTS: usize = 256;

/// Longest canonical key statement, in bytes: 70 for each kept manifest and less than 512 for the rest.
pub const MAX_STATEMENT_LEN: usize = 512 + MAX_KEPT_MANIFESTS * 70;

/// Longest OpenSSH public key line, in bytes: an Ed25519 key takes 80, the rest is comment.
pub const MAX_PUBLIC_KEY_LINE_LEN: usize = 1_024;

/// Longest OpenSSH private key file, in bytes: an Ed25519 one takes about 420 and its comment.
pub const MAX_PRIVATE_KEY_LEN: usize = 16_384;

/// Most bcrypt-pbkdf rounds of a private key: a minute of work; `ssh-keygen` writes 16 or 24 unless told otherwise.
pub const MAX_KDF_ROUNDS: u32 = 4_096;

/// bcrypt-pbkdf rounds of the private keys that we write: what OpenSSH uses since 9.4.
pub const KDF_ROUNDS: u32 = 24;
