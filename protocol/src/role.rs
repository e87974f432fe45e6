//! What each role may do.

use std::fmt;
use std::str::FromStr;

use crate::signed::name::UserId;

/// The role of a user, which decides what the server lets them do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything, users and roles included.
    Admin,
    /// Uploads, downloads, and deletes what they own.
    Maintainer,
    /// Downloads and lists.
    Guest,
}

/// Something that a user asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish a file where there is none. Overwriting is deleting and uploading: both must be
    /// allowed.
    Upload,
    /// Read any file.
    Download,
    /// See which files there are.
    List,
    /// Delete the file of this owner.
    Delete {
        /// The uid that the file's current manifest names.
        owner: UserId,
    },
    /// Add and remove users, invite, reset passwords and keys.
    ManageUsers,
    /// Give a user another role.
    ChangeRoles,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Maintainer, Self::Guest];

    /// Whether a user `me` of this role may do `action`.
    ///
    /// | role | upload | download | list | delete | manage users | change roles |
    /// |---|---|---|---|---|---|---|
    /// | admin | yes | all | yes | any file | yes | yes |
    /// | maintainer | yes | all | yes | own files | no | no |
    /// | guest | no | all | yes | no | no | no |
    #[must_use]
    pub fn allows(self, action: Action, me: UserId) -> bool {
        match (self, action) {
            (Self::Admin, _) => true,
            (Self::Maintainer, Action::Upload | Action::Download | Action::List) => true,
            (Self::Maintainer, Action::Delete { owner }) => owner == me,
            (Self::Maintainer, Action::ManageUsers | Action::ChangeRoles) => false,
            (Self::Guest, Action::Download | Action::List) => true,
            (
                Self::Guest,
                Action::Upload | Action::Delete { .. } | Action::ManageUsers | Action::ChangeRoles,
            ) => false,
        }
    }

    /// The role's name as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Maintainer => "maintainer",
            Self::Guest => "guest",
        }
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of admin, maintainer and guest")]
pub struct RoleError;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(RoleError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as the documentation has it.
    const TABLE: &str = "\
| role | upload | download | list | delete | manage users | change roles |
|---|---|---|---|---|---|---|
| admin | yes | all | yes | any file | yes | yes |
| maintainer | yes | all | yes | own files | no | no |
| guest | no | all | yes | no | no | no |
";

    #[test]
    fn every_cell_of_the_table() {
        let me = UserId::from_bytes([1; 16]);
        let other = UserId::from_bytes([2; 16]);
        let mut cells = 0;
        for (row, role) in TABLE.lines().skip(2).zip(Role::ALL) {
            let row: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(row[0].parse(), Ok(role));
            assert_eq!(role.to_string(), row[0]);
            let plain = |cell: &str| match cell {
                "yes" | "all" => true,
                "no" => false,
                other => panic!("{other:?} is no plain cell"),
            };
            for (cell, action) in [
                (row[1], Action::Upload),
                (row[2], Action::Download),
                (row[3], Action::List),
                (row[5], Action::ManageUsers),
                (row[6], Action::ChangeRoles),
            ] {
                assert_eq!(role.allows(action, me), plain(cell), "{role} {action:?}");
                cells += 1;
            }
            let (own, others) = match row[4] {
                "any file" => (true, true),
                "own files" => (true, false),
                "no" => (false, false),
                other => panic!("{other:?} is no cell about deleting"),
            };
            assert_eq!(role.allows(Action::Delete { owner: me }, me), own);
            assert_eq!(role.allows(Action::Delete { owner: other }, me), others);
            cells += 1;
        }
        assert_eq!(cells, 18);
    }

    #[test]
    fn names_of_roles() {
        for bad in ["", "Admin", "admin ", "root", "guests"] {
            assert_eq!(bad.parse::<Role>(), Err(RoleError));
        }
    }
}
