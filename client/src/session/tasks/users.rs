//! Managing users: listing, adding and removing them, and changing their roles.

use towpath_protocol::signed::UserName;
use towpath_protocol::{Refusal, Reply, Request, Role, UserEntry};

use crate::error::Error;
use crate::session::job::{Job, Output};
use crate::session::task::{Context, Step, Task, unexpected};

/// A request about users, and the text of its result.
#[derive(Debug)]
pub(crate) struct ManageUsers {
    request: Option<Request>,
    label: String,
}

impl ManageUsers {
    /// Creates a task that lists all users.
    pub(crate) fn list() -> Self {
        Self::new(Request::Users, "users".to_owned())
    }

    /// Creates a task that adds a user; `request` must be [`Request::AddUser`].
    pub(crate) fn add(request: Request, name: &UserName) -> Self {
        Self::new(request, format!("user {name}"))
    }

    /// Creates a task that removes `user`.
    pub(crate) fn remove(user: UserName) -> Self {
        let label = format!("user {user}");
        Self::new(Request::RemoveUser { user }, label)
    }

    /// Creates a task that changes the role of `user`.
    pub(crate) fn set_role(user: UserName, role: Role) -> Self {
        let label = format!("user {user}");
        Self::new(Request::SetRole { user, role }, label)
    }

    fn new(request: Request, label: String) -> Self {
        Self {
            request: Some(request),
            label,
        }
    }
}

impl Task for ManageUsers {
    fn label(&self) -> String {
        self.label.clone()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(request) = self.request.take() else {
            return Step::failed(unexpected(&self.label));
        };
        match cx.request(request) {
            Ok(()) => Step::Running,
            Err(failure) => Step::failed(failure),
        }
    }

    fn handle_reply(&mut self, result: Result<Reply, Refusal>, cx: &mut Context<'_>) -> Step {
        let text = match result {
            Ok(Reply::Users(users)) => users.iter().map(line).collect(),
            Ok(Reply::UserAdded { uid }) => format!("{} added, uid {uid}\n", self.label),
            Ok(Reply::UserRemoved) => format!("{} removed; their files stay\n", self.label),
            Ok(Reply::RoleSet) => format!("{}: role changed\n", self.label),
            Ok(_) => return Step::failed(unexpected(&self.label)),
            Err(refusal) => return Step::failed(Error::refused(&self.label, &refusal)),
        };
        cx.job(Job::Print(text.into_bytes()));
        Step::Running
    }

    fn handle_output(&mut self, output: Output, _cx: &mut Context<'_>) -> Step {
        match output {
            Output::Done(result) => Step::Done(result),
            _ => Step::failed(unexpected(&self.label)),
        }
    }
}

fn line(user: &UserEntry) -> String {
    let keys = match user.keys {
        1 => "1 key".to_owned(),
        n => format!("{n} keys"),
    };
    format!(
        "{:<32} {:<10} {} {keys}\n",
        user.name.as_str(),
        user.role,
        user.uid
    )
}
