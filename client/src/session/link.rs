//! The transport and the network paths of a connection, for the statistics.

use std::fmt;

use towpath_io_mio::PathInfo;

/// Displayed as `transport=kernel paths=10.0.0.1:9260(active,primary),…`.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    transport: &'static str,
    paths: Vec<PathInfo>,
}

impl Link {
    pub(crate) fn new(transport: &'static str) -> Self {
        Self {
            transport,
            paths: Vec::new(),
        }
    }

    /// A path appeared or changed.
    pub(crate) fn update(&mut self, path: PathInfo) {
        if path.primary {
            for other in &mut self.paths {
                other.primary = false;
            }
        }
        let known = self
            .paths
            .iter_mut()
            .find(|known| (known.remote, known.local) == (path.remote, path.local));
        match known {
            Some(known) => *known = path,
            None => self.paths.push(path),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport={} paths=", self.transport)?;
        if self.paths.is_empty() {
            return f.write_str("-");
        }
        for (index, path) in self.paths.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let primary = if path.primary { ",primary" } else { "" };
            write!(f, "{comma}{}({}{primary})", path.remote, path.state)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towpath_io_mio::PathState;

    use super::*;

    fn path(remote: &str, state: PathState, primary: bool) -> PathInfo {
        PathInfo {
            remote: remote.parse().unwrap(),
            local: None,
            state,
            primary,
            srtt: Duration::ZERO,
            rto: Duration::ZERO,
            cwnd: 0,
            mtu: 0,
        }
    }

    #[test]
    fn a_path_is_listed_once_with_its_newest_state_and_one_path_is_primary() {
        let mut link = Link::new("udp");
        assert_eq!(link.to_string(), "transport=udp paths=-");
        link.update(path("10.0.0.1:9899", PathState::Active, true));
        link.update(path("10.0.1.1:9899", PathState::Unconfirmed, false));
        link.update(path("10.0.1.1:9899", PathState::Active, true));
        assert_eq!(
            link.to_string(),
            "transport=udp paths=10.0.0.1:9899(active),10.0.1.1:9899(active,primary)"
        );
    }
}
