//! Why a task did not succeed.

use crate::{build, process, tools, uml};

/// Why a task did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Command(#[from] process::CommandError),
    #[error(transparent)]
    Tools(#[from] tools::ToolsError),
    #[error(transparent)]
    Build(#[from] build::BuildError),
    #[error(transparent)]
    Uml(#[from] uml::UmlError),
    #[error("{0}")]
    Failed(String),
}
