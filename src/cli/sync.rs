//! # Purpose
//! `sync`: shows what a directory run would do, carries out exactly that, and approves what the breaker holds.
//!
//! # Invariants kept here
//! - While a daemon has the state, it is asked; without one, the same parts are put together here and nothing is run.
//! - A plan that is shown or written is whole: what was read adds up to its hash.
//!
//! # Not here
//! Planning: `directory`. Whose turn it is: `app::directory`.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use http::StatusCode;
use owo_colors::{OwoColorize, Style};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::desk::{Client, DeskError, not_here};
use super::runtime::threads;
use super::status::failing_lines;
use super::{Exit, bars, complain, say, say_lines};
use crate::app::{App, Outside, StartError};
use crate::catalogue::ErrorCode;
use crate::config::{Settings, Sources, load};
use crate::directory::ApplyRefusal;
use crate::directory::plan::{Operation, PlanHash};
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, PlannedOperation};
use crate::domain::IntegrationId;
use crate::telemetry::chain;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(super) struct SyncArgs {
    /// Shows what a run would do (reads everything, changes nothing)
    #[arg(long, group = "what")]
    plan: bool,
    /// Carries out the plan in this file, if it is still what there is to do
    #[arg(long, value_name = "FILE", group = "what")]
    apply: Option<PathBuf>,
    /// Agrees to the held removals with this hash, and runs
    #[arg(long, value_name = "HASH", group = "what")]
    approve: Option<String>,
    /// Writes the plan to this file as well, as JSON
    #[arg(long, value_name = "FILE", requires = "plan")]
    out: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Of this integration; needed where several organizations are configured
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
}

/// A plan as it is written and read back.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    /// What `plan` found: counts, hash, what the breaker holds.
    #[serde(flatten)]
    summary: Summary,
    /// In the order of execution.
    plan: Vec<PlannedOperation>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    integration: IntegrationId,
    reach: String,
    okta: Value,
    operations: std::collections::BTreeMap<String, u64>,
    held: Vec<Value>,
    hash: String,
    held_hash: Option<String>,
    approved: bool,
}

/// Nothing was planned or done.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error("the connector's parts cannot be put together")]
    Start(#[source] StartError),
    #[error("{0}")]
    Refused(String),
    #[error("the world has moved: {0} [{code}]", code = ErrorCode::PlanMoved)]
    Moved(String),
    #[error("several organizations are configured ({0}); name one with --integration [{code}]", code = ErrorCode::WhichOrganization)]
    Which(String),
    #[error("no directory of integration {0} is reconciled (okta.directory.enabled) [{code}]", code = ErrorCode::WhichOrganization)]
    Unknown(IntegrationId),
    #[error("{} is not a plan of this program, or was changed [{code}]", path.display(), code = ErrorCode::PlanFile)]
    NotAPlan { path: PathBuf },
    #[error("{} cannot be read or written [{code}]", path.display(), code = ErrorCode::PlanFile)]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the plan cannot be read [{code}]", code = ErrorCode::PlanFile)]
    Unreadable(#[source] serde_json::Error),
    #[error("another run has made another plan meanwhile; try again [{code}]", code = ErrorCode::PlanMoved)]
    Overtaken,
}

impl From<&SyncError> for Exit {
    fn from(error: &SyncError) -> Self {
        match error {
            SyncError::Desk(error) => Self::from(error),
            SyncError::Start(error) => Self::from(error),
            SyncError::Refused(_) => Self::Unavailable,
            SyncError::Moved(_) | SyncError::Overtaken => Self::TryLater,
            SyncError::Which(_) | SyncError::Unknown(_) | SyncError::NotAPlan { .. } => Self::Usage,
            SyncError::File { .. } => Self::Io,
            SyncError::Unreadable(_) => Self::Bug,
        }
    }
}

/// Who plans.
enum Planner {
    /// A daemon that runs.
    Running(Box<Client>),
    /// Its parts, put together here.
    Here(Box<App>),
}

pub(super) fn sync(arguments: &SyncArgs, sources: &Sources) -> Exit {
    let settings = match load(sources) {
        Ok(loaded) => loaded.settings,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let color = super::wants_color(sources, io::stdout().is_terminal());
    runtime.block_on(act(arguments, settings, color)).unwrap_or_else(|error| {
        complain(&chain(&error).to_string());
        Exit::from(&error)
    })
}

async fn act(arguments: &SyncArgs, settings: Settings, color: bool) -> Result<Exit, SyncError> {
    let planner = Planner::find(settings).await?;
    let integration = planner.integration(arguments.integration.as_ref()).await?;
    let bars = bars::wanted(arguments.json);
    if let Some(path) = &arguments.apply {
        let hash = read_plan(path, &integration)?;
        let work = planner.apply(&integration, &hash);
        let run = Box::pin(planner.while_waiting(&integration, bars, work)).await?;
        return planner.tell_run(&integration, run, arguments.json).await;
    }
    if let Some(hash) = &arguments.approve {
        let work = planner.approve(&integration, hash);
        let run = Box::pin(planner.while_waiting(&integration, bars, work)).await?;
        return planner.tell_run(&integration, run, arguments.json).await;
    }
    let document = Box::pin(planner.while_waiting(&integration, bars, planner.plan(&integration))).await?;
    let text = serde_json::to_string_pretty(&document).map_err(SyncError::Unreadable)?;
    if let Some(path) = &arguments.out {
        fs::write(path, &text).map_err(|source| SyncError::File { path: path.clone(), source })?;
    }
    if arguments.json {
        say(&text);
    } else {
        print(&document, color);
        say_lines(&failing_lines(&planner.failing(&integration).await?));
    }
    Ok(verdict(&document.summary))
}

fn verdict(summary: &Summary) -> Exit {
    if !summary.held.is_empty() {
        Exit::TryLater
    } else if summary.operations.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    }
}

/// The hash of a plan that was written, if it is whole and of this integration.
fn read_plan(path: &PathBuf, integration: &IntegrationId) -> Result<String, SyncError> {
    let text = fs::read(path).map_err(|source| SyncError::File { path: path.clone(), source })?;
    let not_a_plan = || SyncError::NotAPlan { path: path.clone() };
    let document: Document = serde_json::from_slice(&text).map_err(|_| not_a_plan())?;
    let hash = hash_of(&document.plan).map_err(SyncError::Unreadable)?;
    let is_whole = hash == document.summary.hash && document.summary.integration == *integration;
    if is_whole { Ok(hash) } else { Err(not_a_plan()) }
}

fn hash_of(plan: &[PlannedOperation]) -> Result<String, serde_json::Error> {
    let mut hash = PlanHash::default();
    plan.iter().try_for_each(|one| hash.add(&one.operation))?;
    Ok(hash.finish())
}

impl Planner {
    async fn find(settings: Settings) -> Result<Self, SyncError> {
        if let Some(client) = Client::to_daemon(&settings.state)? {
            return Ok(Self::Running(Box::new(client)));
        }
        if settings.state.database.is_some() {
            // To plan here would be to join the fleet, to whose members things fall.
            return Err(not_here(&settings.state).await.into());
        }
        let outside = Outside::real(&settings).map_err(SyncError::Start)?;
        let app = App::build(settings, outside).await.map_err(SyncError::Start)?;
        Ok(Self::Here(Box::new(app)))
    }

    async fn integration(&self, named: Option<&IntegrationId>) -> Result<IntegrationId, SyncError> {
        let all: Vec<IntegrationId> = match self {
            Self::Running(client) => client.read(&["directories"], &[]).await?,
            Self::Here(app) => app.directories().collect(),
        };
        match (named, &all[..]) {
            (Some(named), all) if all.contains(named) => Ok(named.clone()),
            (Some(named), _) => Err(SyncError::Unknown(named.clone())),
            (None, [one]) => Ok(one.clone()),
            (None, all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                Err(SyncError::Which(all.join(", ")))
            }
        }
    }

    async fn plan(&self, integration: &IntegrationId) -> Result<Document, SyncError> {
        let summary = match self {
            Self::Running(client) => client.ask(&["directories", integration.as_str(), "plan"]).await?,
            Self::Here(app) => app.plan(integration).await.map_err(SyncError::Refused)?,
        };
        let summary: Summary = serde_json::from_value(summary).map_err(SyncError::Unreadable)?;
        let mut plan: Vec<PlannedOperation> = Vec::new();
        loop {
            let more: Vec<PlannedOperation> = match self {
                Self::Running(client) => {
                    let skip = [("skip", plan.len().to_string())];
                    client.read(&["directories", integration.as_str(), "operations"], &skip).await?
                }
                Self::Here(app) => {
                    let skip = i64::try_from(plan.len()).unwrap_or(i64::MAX);
                    app.operations(integration, skip).await.map_err(SyncError::Refused)?
                }
            };
            if more.is_empty() {
                break;
            }
            plan.extend(more);
        }
        if hash_of(&plan).map_err(SyncError::Unreadable)? != summary.hash {
            return Err(SyncError::Overtaken);
        }
        Ok(Document { summary, plan })
    }

    async fn apply(&self, integration: &IntegrationId, hash: &str) -> Result<Value, SyncError> {
        match self {
            Self::Running(client) => {
                match client.ask(&["directories", integration.as_str(), "apply", hash]).await {
                    Err(DeskError::Refused { status: StatusCode::CONFLICT, message }) => {
                        Err(SyncError::Moved(message))
                    }
                    asked => Ok(asked?),
                }
            }
            Self::Here(app) => match app.apply(integration, hash).await.map_err(SyncError::Refused)? {
                Ok(run) => serde_json::to_value(run).map_err(SyncError::Unreadable),
                Err(error @ ApplyRefusal::Moved { .. }) => Err(SyncError::Moved(error.to_string())),
                Err(error @ ApplyRefusal::Run(_)) => Err(SyncError::Refused(chain(&error).to_string())),
            },
        }
    }

    async fn approve(&self, integration: &IntegrationId, hash: &str) -> Result<Value, SyncError> {
        match self {
            Self::Running(client) => {
                Ok(client.ask(&["directories", integration.as_str(), "approve", hash]).await?)
            }
            Self::Here(app) => app.approve(integration, hash).await.map_err(SyncError::Refused),
        }
    }

    /// The objects that an operation fails for.
    async fn failing(&self, integration: &IntegrationId) -> Result<Failing, SyncError> {
        match self {
            Self::Running(client) => {
                Ok(client.read(&["directories", integration.as_str(), "failing"], &[]).await?)
            }
            Self::Here(app) => app.failing(integration).await.map_err(SyncError::Refused),
        }
    }

    /// How far the run is. Whoever cannot be asked now is asked again.
    async fn progress(&self, integration: &IntegrationId) -> Option<Progress> {
        match self {
            Self::Running(client) => {
                client.read(&["directories", integration.as_str(), "progress"], &[]).await.ok().flatten()
            }
            Self::Here(app) => app.progress(integration),
        }
    }

    async fn while_waiting<T>(
        &self,
        integration: &IntegrationId,
        wanted: bool,
        work: impl Future<Output = T>,
    ) -> T {
        bars::while_waiting(wanted, async || self.progress(integration).await, work).await
    }

    /// What a run did, and what it could not do.
    async fn tell_run(
        &self,
        integration: &IntegrationId,
        mut run: Value,
        json: bool,
    ) -> Result<Exit, SyncError> {
        let failing = self.failing(integration).await?;
        if json {
            run["failing"] = serde_json::to_value(&failing).map_err(SyncError::Unreadable)?;
            say(&run.to_string());
        } else {
            let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            say(&format!("{}: {}", text("outcome"), text("message")));
            say_lines(&failing_lines(&failing));
        }
        Ok(verdict_of(&run))
    }
}

fn verdict_of(run: &Value) -> Exit {
    match run["outcome"].as_str() {
        Some("completed") => Exit::Done,
        Some("held") => Exit::TryLater,
        Some(_) | None => Exit::Unavailable,
    }
}

/// The kinds of operations, in the order of execution, with what they are called and what takes away.
const KINDS: [(&str, &str, bool); 10] = [
    ("deactivate_user", "users to deactivate", true),
    ("remove_members", "groups that lose members", true),
    ("delete_group", "groups to delete", true),
    ("release_group", "groups to let go", true),
    ("update_user", "users to update", false),
    ("create_user", "users to create", false),
    ("recreate_user", "users to create anew, in place of what they were", true),
    ("create_group", "groups to create", false),
    ("update_group", "groups to update", false),
    ("add_members", "groups that gain members", false),
];

fn print(document: &Document, color: bool) {
    let Document { summary, plan } = document;
    let style = |style: Style| if color { style } else { Style::new() };
    let (takes, gives, quiet) =
        (style(Style::new().red()), style(Style::new().green()), style(Style::new().dimmed()));
    for (name, title, removes) in KINDS {
        let of_kind: Vec<_> = plan.iter().filter(|one| one.operation.name() == name).collect();
        if of_kind.is_empty() {
            continue;
        }
        let paint = if removes { takes } else { gives };
        say(&format!("{} {}", of_kind.len().style(paint), title.style(paint)));
        for one in of_kind {
            let held = if one.held { " (held)" } else { "" };
            say(&format!("  {}{held}", line(&one.operation)));
        }
    }
    for held in &summary.held {
        let (removed, present) = (&held["tally"]["removed"], &held["tally"]["present"]);
        let text = format!(
            "the breaker holds: {removed} of {present} {} ({})",
            word(held, "kind"),
            word(held, "reason")
        );
        say(&text.style(takes).to_string());
    }
    if let Some(hash) = &summary.held_hash {
        say(&format!("approve it with: apono-connector sync --approve {hash}"));
    }
    if summary.operations.is_empty() {
        say("nothing to do");
    }
    say(&format!("plan {}", summary.hash).style(quiet).to_string());
}

fn word(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().replace('_', " ")
}

/// One operation in one line: whom, and what changes from what to what.
fn line(operation: &Operation) -> String {
    match operation {
        Operation::DeactivateUser { okta, scim } => format!("{okta} ({scim})"),
        Operation::RemoveMembers { okta, users, .. } => {
            let users: Vec<_> = users.iter().map(|(user, _)| user.as_str()).collect();
            format!("{okta}: - {}", users.join(", "))
        }
        Operation::DeleteGroup { okta, name, .. } | Operation::CreateGroup { okta, name } => {
            format!("{okta} {name:?}")
        }
        Operation::ReleaseGroup { okta, users, .. } => {
            format!("{okta}, with {} members of ours", users.len())
        }
        Operation::UpdateUser { okta, old, new, adopt, .. } => {
            let mut changes = Vec::new();
            if old.active != new.active {
                changes.push(format!("active: {:?} -> {:?}", old.active, new.active));
            }
            if old.external_id != new.external_id {
                changes.push(format!("externalId: {:?} -> {:?}", old.external_id, new.external_id));
            }
            let paths: std::collections::BTreeSet<_> =
                old.attributes.keys().chain(new.attributes.keys()).collect();
            for path in paths {
                let (before, after) = (old.attributes.get(path), new.attributes.get(path));
                if before != after {
                    let shown = |value: Option<&Value>| value.map_or("none".to_owned(), ToString::to_string);
                    changes.push(format!("{path}: {} -> {}", shown(before), shown(after)));
                }
            }
            format!("{okta}{}: {}", if *adopt { ", taken on" } else { "" }, changes.join("; "))
        }
        Operation::CreateUser { okta, new } | Operation::RecreateUser { okta, new, .. } => {
            let name = new.attributes.iter().find(|(path, _)| path.attribute() == "userName");
            format!("{okta} {}", name.map_or_else(String::new, |(_, name)| name.to_string()))
        }
        Operation::UpdateGroup { okta, old, new, adopt, .. } => {
            let taken = if *adopt { ", taken on" } else { "" };
            format!("{okta}{taken}: {:?} -> {:?}", old.name, new.name)
        }
        Operation::AddMembers { okta, users } => {
            let users: Vec<_> = users.iter().map(crate::domain::OktaUserId::as_str).collect();
            format!("{okta}: + {}", users.join(", "))
        }
    }
}
