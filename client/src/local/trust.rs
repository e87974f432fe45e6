//! Whether the server is trusted.

use towpath_protocol::Escaped;
use towpath_protocol::channel::ServerFingerprint;

use crate::error::{Error, ErrorKind};
use crate::interaction::Interaction;
use crate::local::config_dir::ConfigDir;
use crate::local::known_servers::{KnownServers, ServerId, Standing};

/// How trust in a server is decided.
#[derive(Clone, Debug)]
pub(crate) struct TrustPolicy {
    /// The addresses, in the form that is recorded.
    pub(crate) aliases: Vec<String>,
    /// The only accepted key (`--fingerprint`).
    pub(crate) fingerprint: Option<ServerFingerprint>,
    /// Trust an unknown server without asking (`--trust-first-use`).
    pub(crate) first_use: bool,
}

/// Decides whether to trust `shown`, and records it when trusted.
///
/// # Errors
/// An [`Error`] with [`ErrorKind::Untrusted`] when it contradicts the records or the fingerprint
/// given, or when the user did not confirm it.
pub(crate) fn decide(
    config_dir: &ConfigDir,
    policy: &TrustPolicy,
    interaction: &dyn Interaction,
    shown: &ServerId,
) -> Result<(), Error> {
    let at = Escaped(&policy.aliases.join(", ")).to_string();
    if let Some(wanted) = policy.fingerprint.filter(|wanted| *wanted != shown.key) {
        return Err(untrusted(format!(
            "the server at {at} has the key {}, not {wanted} as --fingerprint says; nothing was sent to it",
            shown.key
        )));
    }
    let known = KnownServers::load(config_dir)?;
    let file = known.path().display().to_string();
    match known.standing(shown, &policy.aliases) {
        Standing::Known => KnownServers::remember(config_dir, shown, &policy.aliases),
        Standing::KeyChanged { recorded, line } => Err(untrusted(format!(
            "THE SERVER'S KEY CHANGED. Store {} at {at} now shows the key {}, but {file}, line {line}, records {recorded}. Somebody may be between you and the server. Nothing was sent. \
             Ask the server's administrator; only if they confirm the new key, remove that line and connect again",
            shown.store, shown.key
        ))),
        Standing::OtherStore {
            address,
            recorded,
            recorded_key,
            line,
        } => Err(untrusted(format!(
            "ANOTHER SERVER ANSWERS at {address}: store {} with the key {}, but {file}, line {line}, records store {recorded} with the key {recorded_key}. Somebody may be between you and the server. \
             Nothing was sent. Ask the server's administrator; only if they confirm that it was replaced, remove that line and connect again",
            shown.store, shown.key
        ))),
        Standing::New => {
            accept(policy, interaction, shown, &at)?;
            KnownServers::remember(config_dir, shown, &policy.aliases)
        }
    }
}

fn accept(
    policy: &TrustPolicy,
    interaction: &dyn Interaction,
    shown: &ServerId,
    at: &str,
) -> Result<(), Error> {
    if policy.fingerprint.is_some() {
        return Ok(());
    }
    if policy.first_use {
        interaction.note(&format!(
            "first use: trusting the server at {at}, store {}, key {}",
            shown.store, shown.key
        ));
        return Ok(());
    }
    if !interaction.is_interactive() {
        return Err(untrusted(format!(
            "the server at {at} is not known yet: store {}, key {}. Compare the key with what the server's administrator says, then give --fingerprint {} (or --trust-first-use to skip the comparison)",
            shown.store, shown.key, shown.key
        )));
    }
    let question = format!(
        "The server at {at} is not known yet.\n  store {}\n  key   {}\nIs this the key that its administrator gave you?",
        shown.store, shown.key
    );
    if interaction.confirm(&question)? {
        Ok(())
    } else {
        Err(untrusted(format!(
            "the server at {at} was not trusted; nothing was sent to it"
        )))
    }
}

fn untrusted(message: String) -> Error {
    Error::new(ErrorKind::Untrusted, message)
}

#[cfg(test)]
mod tests {
    use towpath_protocol::signed::StoreId;

    use super::*;
    use crate::interaction::NonInteractive;

    fn shown(store: u8, key: u8) -> ServerId {
        ServerId {
            store: StoreId::from_bytes([store; 16]),
            key: ServerFingerprint::from_bytes([key; 32]),
        }
    }

    fn policy(alias: &str) -> TrustPolicy {
        TrustPolicy {
            aliases: vec![alias.to_owned()],
            fingerprint: None,
            first_use: false,
        }
    }

    #[test]
    fn without_a_user_an_unknown_server_needs_a_flag() {
        let dir = tempfile::tempdir().unwrap();
        let config_dir = ConfigDir::open(Some(dir.path())).unwrap();
        let plain = policy("a:1");
        let refused = decide(&config_dir, &plain, &NonInteractive, &shown(1, 1)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Untrusted);
        assert!(refused.message.contains(&shown(1, 1).key.to_string()));

        let wrong = TrustPolicy {
            fingerprint: Some(shown(1, 2).key),
            ..plain.clone()
        };
        assert_eq!(
            decide(&config_dir, &wrong, &NonInteractive, &shown(1, 1))
                .unwrap_err()
                .kind,
            ErrorKind::Untrusted
        );
        let right = TrustPolicy {
            fingerprint: Some(shown(1, 1).key),
            ..plain.clone()
        };
        decide(&config_dir, &right, &NonInteractive, &shown(1, 1)).unwrap();
        decide(&config_dir, &plain, &NonInteractive, &shown(1, 1)).unwrap();
    }

    #[test]
    fn no_flag_overrides_a_changed_key() {
        let dir = tempfile::tempdir().unwrap();
        let config_dir = ConfigDir::open(Some(dir.path())).unwrap();
        let eager = TrustPolicy {
            first_use: true,
            ..policy("a:1")
        };
        decide(&config_dir, &eager, &NonInteractive, &shown(1, 1)).unwrap();
        let insisting = TrustPolicy {
            fingerprint: Some(shown(1, 2).key),
            ..eager.clone()
        };
        for (policy, server) in [
            (&eager, shown(1, 2)),
            (&insisting, shown(1, 2)),
            (&eager, shown(2, 1)),
        ] {
            let failure = decide(&config_dir, policy, &NonInteractive, &server).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Untrusted);
            assert!(failure.message.contains("line 1"), "{failure}");
        }
    }
}
