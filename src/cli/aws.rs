//! `fanfare aws`: what the `aws` backend needs on AWS.

use std::path::PathBuf;

use super::serve::ServeArgs;
use crate::config::Config;

#[cfg(feature = "aws")]
mod provision;
#[cfg(feature = "aws")]
mod remove;
#[cfg(feature = "aws")]
use self::{provision::provision, remove::remove_all};

/// Kinds of what is provisioned.
const KINDS: [&str; 6] = ["table", "stream", "pool", "role", "attachment", "policy"];

/// What the aws backend needs on AWS, or on what speaks its protocols
#[derive(Debug, Clone, clap::Args)]
pub struct AwsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Provision(ProvisionArgs),
    RemoveAll(RemoveAllArgs),
}

/// Make what is not there yet: the tables, the role of sessions' keys and the policy of the nodes; the stream if it is read
/// (aws.consume), the pool of sessions' identities with its role if they are Cognito's (aws.session_keys).
///
/// Settings come from where `fanfare serve` has them; credentials from where AWS's own tools take them. What is there
/// stays; a policy, a trust, an attached role or an expiry that is otherwise is put right. Everything made carries the tag fanfare:env.
/// Queues are made with their sessions.
///
/// Examples:
///   fanfare aws provision --env prod --region eu-west-1 --dry-run
///   fanfare aws provision --only table                 for engines without Kinesis and IAM
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ProvisionArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// The environment: env
    #[arg(long, value_name = "NAME")]
    env: Option<String>,

    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,

    /// Print everything as JSON, with what each part must be like
    #[arg(long)]
    json: bool,
}

/// Remove what `fanfare aws provision` made, and what is in it. Sessions and history are lost.
///
/// Asks for the environment's name first. What does not carry the tag fanfare:env with this name is somebody else's and
/// stays. Queues of sessions that still live are no part of it: end the sessions first, with /destroy or /cleanup.
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct RemoveAllArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// The environment: env
    #[arg(long, value_name = "NAME")]
    env: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Where, and which parts.
#[derive(Debug, Clone, clap::Args)]
struct WhichArgs {
    /// The region: region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,

    /// Only parts of this kind; may be repeated
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    only: Vec<String>,

    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,

    /// Any other setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl WhichArgs {
    fn load(&self, env: Option<&str>) -> anyhow::Result<Config> {
        let mut set = self.set.clone();
        set.extend(env.map(|env| format!("env={env}")));
        set.extend(self.region.iter().map(|region| format!("region={region}")));
        let settings = ServeArgs::of(self.config.clone(), set);
        Ok(settings.load(std::env::vars_os())?)
    }

    #[cfg(feature = "aws")]
    fn kinds(&self) -> std::collections::BTreeSet<String> {
        self.only.iter().cloned().collect()
    }
}

/// Does what is asked for.
///
/// # Errors
/// That the configuration is wrong, or what the services say.
pub fn run(args: AwsArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Provision(args) => {
            let config = args.which.load(args.env.as_deref())?;
            provision(&config, &args)
        }
        Command::RemoveAll(args) => {
            let config = args.which.load(Some(&args.env))?;
            remove_all(&config, &args)
        }
    }
}

#[cfg(not(feature = "aws"))]
fn provision(_: &Config, _: &ProvisionArgs) -> anyhow::Result<()> {
    anyhow::bail!(WITHOUT)
}

#[cfg(not(feature = "aws"))]
fn remove_all(_: &Config, _: &RemoveAllArgs) -> anyhow::Result<()> {
    anyhow::bail!(WITHOUT)
}

#[cfg(not(feature = "aws"))]
const WITHOUT: &str = "this program was built without the feature `aws`";
