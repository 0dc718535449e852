//! `fanfare aws`: what the `aws` backend needs on AWS.

use std::path::PathBuf;

use super::serve::ServeArgs;
use crate::config::Config;

/// What the aws backend needs on AWS, or on what speaks its protocols
#[derive(Debug, Clone, clap::Args)]
pub struct AwsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Provision(ProvisionArgs),
}

/// Make the tables that are not there yet.
///
/// Settings come from where `fanfare serve` has them; credentials from where AWS's own tools take them. What is there
/// stays as it is. Queues are made with their sessions; the role of aws.session_role is yours to make.
///
/// Examples:
///   fanfare aws provision --dry-run
///   FANFARE_ENV=prod FANFARE_REGION=eu-west-1 fanfare aws provision
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ProvisionArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,

    /// Any other setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// Does what is asked for.
///
/// # Errors
/// That the configuration is wrong, or what DynamoDB says.
pub fn run(args: AwsArgs) -> anyhow::Result<()> {
    let Command::Provision(args) = args.command;
    let settings = ServeArgs::of(args.config, args.set);
    let config = settings.load(std::env::vars_os())?;
    provision(&config, args.dry_run)
}

#[cfg(not(feature = "aws"))]
fn provision(_: &Config, _: bool) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without the feature `aws`")
}

#[cfg(feature = "aws")]
fn provision(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    use crate::app::aws::{Provisioned, provision};

    let plan = actix_rt::System::new().block_on(provision(config, dry_run))?;
    let line = |done: &Provisioned| match done {
        Provisioned::There(name) => format!("table {name}: is there\n"),
        Provisioned::Missing(name) => format!("table {name}: would be made\n"),
        Provisioned::Made(name) => format!("table {name}: made, with its ttl on\n"),
    };
    let text: String = plan.iter().map(line).collect();
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
    Ok(())
}
