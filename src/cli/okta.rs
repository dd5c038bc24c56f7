//! # Purpose
//! `okta setup`: from nothing to a connection, in one command.
//!
//! # Invariants kept here
//! - Nothing is changed before the plan was shown and, where somebody is there, agreed to.
//! - The private key is on the disk before its public half is at Okta, so that a run that breaks off can be completed.
//! - The credentials file appears when the key was proven, and is never replaced.
//! - The administrator's token is revoked only when the whole connection was proven: it may be needed to complete it.
//!
//! # Not here
//! Which calls: `setup::plan`.

mod written;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::key::KeyKind;
use super::terminal::{Terminal, note};
use super::trouble::{Trouble, absolute, admin_token, block_on, ended, exit_of, organization, surroundings};
use super::{Exit, complain, say};
use crate::catalogue::ErrorCode;
use crate::config::Sources;
use crate::http::url::Base;
use crate::secrets::{Credentials, CredentialsSource, MountedFile, SecretSource, SigningKey};
use crate::setup::Surroundings;
use crate::setup::admin::Admin;
use crate::setup::files::{self, PRIVATE};
use crate::setup::found::Found;
use crate::setup::plan::{Plan, Wishes, plan};
use crate::setup::proof::{Expected, Members, Proof, Shortfall, prove_patiently};
use crate::setup::say as words;
use crate::setup::step::{Names, Step};

#[derive(Debug, Subcommand)]
pub(super) enum OktaCommand {
    /// Makes a least-privilege connection: key, application, scopes, admin role, configuration
    Setup(Box<SetupArgs>),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a command line")]
pub(super) struct SetupArgs {
    /// The organization's address, <https://example.okta.com>
    #[arg(long, value_name = "URL")]
    organization_url: Option<String>,
    /// Apono's id of this organization's integration
    #[arg(long, value_name = "ID")]
    integration_id: Option<String>,
    /// Name of the application, the admin role and the resource set
    #[arg(long, value_name = "NAME", default_value = "Apono Connector")]
    app_label: String,
    /// Where client id and private key are written [default: okta-credentials.json beside the configuration file]
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// File with the API token of a Super Administrator
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// The application's client id, where it was made by hand or by Terraform
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Only reads the directory: no membership is given or taken
    #[arg(long)]
    without_access: bool,
    /// Reaches only this group, by its exact name or id (repeatable)
    #[arg(long = "group", value_name = "NAME|ID")]
    groups: Vec<String>,
    /// Asks nothing: what is missing is an error, and the plan is carried out
    #[arg(long)]
    non_interactive: bool,
    /// Prints every call that would change something, and makes none of them
    #[arg(long)]
    dry_run: bool,
    /// Prints how it is done by hand, and makes no call
    #[arg(long, value_name = "HOW", conflicts_with = "dry_run")]
    print: Option<Print>,
    /// Revokes the administrator's token when all is done
    #[arg(long)]
    revoke_admin_token: bool,
    /// Adds the organization's table to a configuration file that exists
    #[arg(long)]
    write_config: bool,
    #[command(flatten)]
    kind: KeyKind,
    /// PEM certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_bundle_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Print {
    /// What to click in the Admin Console
    Console,
    /// A shell script
    Curl,
    /// A Terraform module
    Terraform,
}

pub(super) fn okta(command: &OktaCommand, sources: &Sources) -> Exit {
    match command {
        OktaCommand::Setup(arguments) => ended(Setup::begin(arguments, sources).and_then(Setup::run)),
    }
}

/// One run of the command.
struct Setup<'a> {
    args: &'a SetupArgs,
    sources: &'a Sources,
    terminal: Terminal,
    base: Base,
    credentials_file: PathBuf,
    key: Key,
}

/// The connector's key, and where it is.
enum Key {
    /// In the credentials file.
    Known(Credentials),
    /// In the file where it waits for its client id.
    Waiting { private: SecretString, public: Value },
    /// Not yet on the disk.
    New { private: SecretString, public: Value },
    /// None was made, because nothing is to be changed.
    None,
}

impl Key {
    fn public(&self) -> Value {
        match self {
            Self::Known(credentials) => credentials.key.public_jwk().clone(),
            Self::Waiting { public, .. } | Self::New { public, .. } => public.clone(),
            Self::None => json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "e": "AQAB",
                "kid": "{key id of the key that this host makes}", "n": "{its modulus}",
            }),
        }
    }

    fn client_id(&self) -> Option<&str> {
        match self {
            Self::Known(credentials) => Some(&credentials.client_id),
            Self::Waiting { .. } | Self::New { .. } | Self::None => None,
        }
    }
}

impl<'a> Setup<'a> {
    fn begin(args: &'a SetupArgs, sources: &'a Sources) -> Result<Self, Trouble> {
        let terminal = Terminal::new(args.non_interactive);
        let url = match &args.organization_url {
            Some(url) => url.clone(),
            None => terminal.line("Okta organization (https://example.okta.com)", "--organization-url")?,
        };
        let base = organization(&url)?;
        let credentials_file = args
            .credentials_file
            .as_deref()
            .map_or_else(|| absolute(&sources.path()).with_file_name("okta-credentials.json"), absolute);
        let mut setup = Self { args, sources, terminal, base, credentials_file, key: Key::None };
        setup.key = setup.find_key()?;
        setup.check_configuration()?;
        Ok(setup)
    }

    fn find_key(&self) -> Result<Key, Trouble> {
        let file = MountedFile::new(&self.credentials_file);
        if file.version().is_some() {
            let credentials = CredentialsSource::Secret { file, key_id: None }.load()?;
            if let Some(wanted) = self.args.client_id.as_ref().filter(|id| **id != credentials.client_id) {
                let text = format!(
                    "{} belongs to the client {}, not to {wanted}; name another with --credentials-file",
                    self.credentials_file.display(),
                    credentials.client_id
                );
                return Err(Trouble::usage(text));
            }
            return Ok(Key::Known(credentials));
        }
        let waiting = MountedFile::new(files::pending(&self.credentials_file));
        if waiting.version().is_some() {
            let private = waiting.read()?;
            let public = SigningKey::parse(private.expose_secret(), None)?.public_jwk().clone();
            return Ok(Key::Waiting { private, public });
        }
        if self.args.dry_run {
            return Ok(Key::None);
        }
        let made = self.args.kind.generate()?;
        Ok(Key::New { private: made.private_jwk, public: made.public_jwk })
    }

    fn run(self) -> Result<Exit, Trouble> {
        if let Some(how) = self.args.print {
            return self.print(how);
        }
        let by_hand = self.args.client_id.is_some() && self.args.admin_token_file.is_none();
        let surroundings = surroundings(self.args.ca_bundle_file.as_deref(), self.sources)?;
        match &self.args.client_id {
            Some(client) if by_hand => {
                let client = client.clone();
                block_on(self.finish_by_hand(&client, &surroundings))
            }
            Some(_) | None => {
                if !self.terminal.is_interactive() && !self.args.non_interactive && !self.args.dry_run {
                    let text = "standard input is no terminal; say --non-interactive to go ahead without being asked";
                    return Err(Trouble::usage(text));
                }
                let token = admin_token(self.args.admin_token_file.as_ref(), self.terminal)?;
                let admin = Admin::new(self.base.clone(), &token, &surroundings)?;
                block_on(self.through_the_api(admin, &surroundings))
            }
        }
    }

    fn wishes(&self, groups: BTreeSet<String>) -> Wishes {
        let client_id = self.key.client_id().map(ToOwned::to_owned).or_else(|| self.args.client_id.clone());
        Wishes {
            label: self.args.app_label.clone(),
            client_id,
            origin: self.base.origin(),
            access: !self.args.without_access,
            groups,
            public_jwk: self.key.public(),
        }
    }

    async fn through_the_api(self, admin: Admin, surroundings: &Surroundings) -> Result<Exit, Trouble> {
        let who = admin.whoami().await?;
        note(&format!("{}: looking as {who}", self.base.origin()));
        let mut groups = BTreeSet::new();
        for name in &self.args.groups {
            groups.insert(admin.group(name).await?.id);
        }
        let wishes = self.wishes(groups);
        let found = admin.look(&wishes.label, wishes.client_id.as_deref()).await?;
        let (users, groups) = admin.shows().await?;
        let plan = plan(&found, &wishes)?;
        for warning in &plan.warnings {
            complain(&format!("warning: {warning}"));
        }
        let mut names = Names::of(&found, words::unknown);
        if self.args.dry_run {
            return Ok(self.dry_run(&plan, &names));
        }
        self.agree(&plan)?;
        let expected = Expected { scopes: wishes.scopes(), users, groups, members: wishes.access };
        if let (false, Key::New { private, .. }) = (plan.steps.is_empty(), &self.key) {
            let file = files::pending(&self.credentials_file);
            files::create(&file, private.expose_secret(), PRIVATE, surroundings.entropy.as_ref())?;
        }
        for step in &plan.steps {
            admin.perform(step, &mut names).await?;
            note(&format!("done: {}", words::sentence(step)));
        }
        let client = client_id(&found, &names);
        let credentials = self.credentials(&client)?;
        let proof = prove_patiently(&self.base, &credentials, &expected, surroundings).await?;
        self.write(&client, surroundings)?;
        self.judge(&proof, &proof.shortfalls(&expected), "the administrator's token was not revoked: ")?;
        if self.args.revoke_admin_token || self.terminal.agrees("Revoke the administrator's token now?") {
            admin.perform(&Step::RevokeToken, &mut names).await?;
            note("done: revoke the administrator's token; remove its file");
        }
        self.next_command();
        Ok(Exit::Done)
    }

    fn dry_run(&self, plan: &Plan, names: &Names) -> Exit {
        let steps = self.all_steps(plan);
        if steps.is_empty() {
            say("nothing would be changed");
            return Exit::Done;
        }
        say(words::calls(&steps, names, &self.base.origin()).trim_end());
        note("nothing was changed");
        Exit::Differs
    }

    /// With the one that ends the token, where that was asked for beforehand.
    fn all_steps(&self, plan: &Plan) -> Vec<Step> {
        let last = self.args.revoke_admin_token.then_some(Step::RevokeToken);
        plan.steps.iter().cloned().chain(last).collect()
    }

    fn agree(&self, plan: &Plan) -> Result<(), Trouble> {
        if plan.steps.is_empty() {
            note("everything is there already");
            return Ok(());
        }
        note(&format!("In {}:\n{}", self.base.origin(), words::list(&self.all_steps(plan)).trim_end()));
        if self.args.non_interactive || self.terminal.agrees("Do this?") {
            return Ok(());
        }
        Err(Trouble::usage("nothing was changed"))
    }

    /// The application was made by hand; the key that waits is proven with its client id.
    async fn finish_by_hand(self, client: &str, surroundings: &Surroundings) -> Result<Exit, Trouble> {
        if self.args.dry_run {
            return Err(Trouble::usage("--dry-run needs --admin-token-file"));
        }
        if matches!(self.key, Key::New { .. }) {
            let text = format!(
                "{} is not there: no public key of this host was given out; begin with --print console, curl or terraform",
                files::pending(&self.credentials_file).display()
            );
            return Err(Trouble::usage(text));
        }
        let credentials = self.credentials(client)?;
        let wishes = self.wishes(BTreeSet::new());
        let expected =
            Expected { scopes: wishes.scopes(), users: true, groups: true, members: wishes.access };
        let proof = prove_patiently(&self.base, &credentials, &expected, surroundings).await?;
        self.write(client, surroundings)?;
        let mut short = proof.shortfalls(&expected);
        // Nobody is there to say whether the organization is empty.
        short.retain(|shortfall| !matches!(shortfall, Shortfall::Unseen(_)));
        self.judge(&proof, &short, "")?;
        self.next_command();
        Ok(Exit::Done)
    }

    fn credentials(&self, client: &str) -> Result<Credentials, Trouble> {
        match &self.key {
            Key::Known(credentials) => Ok(credentials.clone()),
            Key::Waiting { private, .. } | Key::New { private, .. } => {
                let key = SigningKey::parse(private.expose_secret(), None)?;
                Ok(Credentials { client_id: client.to_owned(), key })
            }
            Key::None => Err(Trouble::new(Exit::Bug, ErrorCode::Defect, "there is no key")),
        }
    }

    /// Tells what was proven; what falls short is an error.
    fn judge(&self, proof: &Proof, short: &[Shortfall], token: &str) -> Result<(), Trouble> {
        if let Some(first) = short.first() {
            for shortfall in short {
                complain(&shortfall.to_string());
            }
            let text =
                format!("the connection is not complete; {token}mend what is told above, and run this again");
            return Err(Trouble::new(exit_of(short), first.code(), text));
        }
        if let Some(unseen) = proof.unseen() {
            complain(&format!(
                "warning: a token was fetched, but it sees {unseen}; if there are any, give the application its admin role [{}]",
                ErrorCode::RoleMissing
            ));
            return Ok(());
        }
        let members = match proof.members {
            Members::Changeable => ", and may change members",
            Members::NotTried if !self.args.without_access => {
                "; there is no group in which it could be tried whether it may change members"
            }
            Members::NotTried | Members::Refused(_) | Members::Failed(_) => "",
        };
        note(&format!("done: a token was fetched with the new key; it sees users and groups{members}"));
        Ok(())
    }

    /// Writes the files.
    fn write(&self, client: &str, surroundings: &Surroundings) -> Result<(), Trouble> {
        let private = match &self.key {
            Key::Waiting { private, .. } | Key::New { private, .. } => private,
            Key::Known(_) | Key::None => {
                return self.write_configuration(surroundings);
            }
        };
        let text = files::credentials_text(client, private);
        let entropy = surroundings.entropy.as_ref();
        files::create(&self.credentials_file, text.expose_secret(), PRIVATE, entropy)?;
        files::remove(&files::pending(&self.credentials_file))?;
        note(&format!(
            "done: client id and private key are in {}, which only you can read; give it to the connector's user if that is another",
            self.credentials_file.display()
        ));
        self.write_configuration(surroundings)
    }

    fn print(self, how: Print) -> Result<Exit, Trouble> {
        let is_id = |group: &&String| !(group.starts_with("00g") && group.len() == 20);
        if let Some(name) = self.args.groups.iter().find(is_id) {
            let text = format!("--group {name}: with --print a group is named by its id (00g…)");
            return Err(Trouble::usage(text));
        }
        if let Key::New { private, .. } = &self.key {
            let file = files::pending(&self.credentials_file);
            files::create(&file, private.expose_secret(), PRIVATE, &crate::entropy::SystemEntropy)?;
            note(&format!("the private key waits in {}", file.display()));
        }
        let wishes = Wishes { client_id: None, ..self.wishes(self.args.groups.iter().cloned().collect()) };
        match how {
            Print::Console => say(words::console(&wishes).trim_end()),
            Print::Curl => {
                let steps = plan(&Found::default(), &wishes)?.steps;
                say(words::curl(&steps, &wishes.origin).trim_end());
            }
            Print::Terraform => {
                say(words::terraform().trim_end());
                note(&format!("terraform.tfvars.json:\n{:#}", words::terraform_variables(&wishes)));
            }
        }
        let config = self.sources.file.as_ref();
        let config = config.map(|path| format!(" --config {}", absolute(path).display())).unwrap_or_default();
        let more = if self.args.without_access { " --without-access" } else { "" };
        note(&format!(
            "then: apono-connector okta setup --organization-url {} --integration-id {} --credentials-file {}{config}{more} --client-id CLIENT_ID",
            wishes.origin,
            self.args.integration_id.as_deref().unwrap_or("INTEGRATION_ID"),
            self.credentials_file.display()
        ));
        Ok(Exit::Done)
    }
}

/// The client id of the application that was found or made.
fn client_id(found: &Found, names: &Names) -> String {
    let known = found.applications.first().map(|application| application.client_id.clone());
    known.unwrap_or_else(|| names.application.clone())
}
