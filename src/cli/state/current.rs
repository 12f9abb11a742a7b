//! What a workspace holds now.

use super::author::AUTHOR;
use crate::cli::admin::store_access::refused;
use crate::cli::failure::Failure;
use crate::control::{AppDetails, Control, ControlError};
use crate::domain::ids::WorkspaceId;
use crate::model::member::Member;
use crate::model::page::Page;
use crate::model::source::Source;
use crate::model::workspace::Workspace;

/// Rows read at once.
const PAGE: u32 = 1_000;

/// A workspace with all that it holds.
pub(super) struct Current {
    pub(super) workspace: Workspace,
    pub(super) apps: Vec<AppDetails>,
    pub(super) sources: Vec<Source>,
    /// Those who have joined, and those who are invited.
    pub(super) members: Vec<Member>,
}

impl Current {
    /// Reads the workspace with this id or name.
    pub(super) async fn read(control: &Control, named: &str) -> Result<Self, Failure> {
        let workspace = find(control, named).await?;
        let read = async {
            Ok(Self {
                apps: apps(control, &workspace.id).await?,
                sources: sources(control, &workspace.id).await?,
                members: members(control, &workspace.id).await?,
                workspace,
            })
        };
        read.await.map_err(refused)
    }
}

async fn find(control: &Control, named: &str) -> Result<Workspace, Failure> {
    let found = control.workspaces.named(&AUTHOR, named).await.map_err(refused)?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::input(format_args!(
            "workspace `{named}` not found; name its id or its name"
        ))),
        (Some(_), Some(_)) => Err(Failure::input(format_args!(
            "more than one workspace is named `{named}`; name its id"
        ))),
    }
}

async fn apps(control: &Control, workspace: &WorkspaceId) -> Result<Vec<AppDetails>, ControlError> {
    let mut all: Vec<AppDetails> = Vec::new();
    loop {
        let after = all.last().map_or(String::new(), |last| last.app.id.to_string());
        let page = Page {
            after: &after,
            limit: PAGE,
        };
        let next = control.apps.list(&AUTHOR, workspace, page).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

async fn sources(control: &Control, workspace: &WorkspaceId) -> Result<Vec<Source>, ControlError> {
    let mut all: Vec<Source> = Vec::new();
    loop {
        let after = all.last().map_or(String::new(), |last| last.id.to_string());
        let page = Page {
            after: &after,
            limit: PAGE,
        };
        let next = control.sources.list(&AUTHOR, workspace, page).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

async fn members(control: &Control, workspace: &WorkspaceId) -> Result<Vec<Member>, ControlError> {
    let mut all: Vec<Member> = Vec::new();
    loop {
        let after = all.last().map_or(String::new(), |last| last.id.to_string());
        let page = Page {
            after: &after,
            limit: PAGE,
        };
        let next = control.members.list(&AUTHOR, workspace, page).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}
