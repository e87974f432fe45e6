//! What the commands do, one task for each file or question.

mod get;
mod keys;
mod list;
mod put;
mod remove;
mod users;

pub use get::{Get, GetTree};
pub use keys::{AddKey, ListKeys, Whoami};
pub use list::List;
pub use put::{Put, PutTree};
pub use remove::{Export, Remove};
pub use users::ManageUsers;
