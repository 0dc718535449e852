//! `fanfare policy explain`: which statement decides; needs no server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;

use crate::auth::policy;
use crate::config::limits::policy as limits;
use crate::domain::policy::{
    Access, Action, ConnectAttribute, Context, Decision, Document, Layer, Realm,
};

/// Look at policies.
#[derive(clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    Explain(ExplainArgs),
}

/// Say whether policies allow something, and which statement decides.
///
/// Exit code 0: allowed; 1: not allowed. What a policy has that can not be understood is an error.
///
/// Example:
///   fanfare policy explain --policy player.json --action iot:Publish --topic rooms/1 --client-id me
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
struct ExplainArgs {
    /// A policy; may be repeated, any of them may allow
    #[arg(long, value_name = "FILE", required = true)]
    policy: Vec<PathBuf>,

    /// A session policy, which must allow, too
    #[arg(long, value_name = "FILE")]
    session_policy: Option<PathBuf>,

    /// iot:Connect, iot:Publish, iot:RetainPublish, iot:Subscribe, iot:Receive, iot:GetRetainedMessage or
    /// iot:ListRetainedMessages
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Action,

    /// The topic, or the filter of iot:Subscribe; iot:Connect takes the client id
    #[arg(long, value_name = "TOPIC", default_value = "")]
    topic: String,

    /// The client id
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// Where the client connects from
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<IpAddr>,

    /// The client asks for a persistent session
    #[arg(long)]
    persistent: bool,

    /// The client has a will
    #[arg(long)]
    last_will: bool,

    /// `${fanfare:account}`
    #[arg(long, value_name = "ID")]
    account: Option<String>,

    /// `${fanfare:user}`
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// `${fanfare:session}`
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// `${cognito-identity.amazonaws.com:sub}`
    #[arg(long, value_name = "ID")]
    identity: Option<String>,

    /// The region in ARNs
    #[arg(long, default_value = "us-east-1")]
    region: String,

    /// The account number in ARNs
    #[arg(long, default_value = "000000000000")]
    aws_account: String,
}

/// The policies do not allow it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(String);

/// Explains.
///
/// # Errors
/// A file can not be read or understood; [`NotAllowed`].
pub fn run(args: PolicyArgs) -> anyhow::Result<()> {
    let PolicyCommand::Explain(args) = args.command;
    let decision = decide(&args)?;
    match decision {
        Decision::Allowed { .. } => println!("{decision}"),
        _ => return Err(NotAllowed(decision.to_string()).into()),
    }
    Ok(())
}

fn decide(args: &ExplainArgs) -> anyhow::Result<Decision> {
    let own = args.policy.iter();
    let own: Vec<_> = own
        .map(|path| document(path, limits::CONFIGURED_BYTES))
        .collect::<anyhow::Result<_>>()?;
    let session = args.session_policy.iter();
    let session: Vec<_> = session
        .map(|path| document(path, limits::SESSION_BYTES))
        .collect::<anyhow::Result<_>>()?;
    let mut layers = vec![Layer {
        documents: &own,
        grants: None,
    }];
    if !session.is_empty() {
        layers.push(Layer {
            documents: &session,
            grants: None,
        });
    }
    let resource = match (args.action, &args.client_id) {
        (Action::Connect, Some(client_id)) => client_id,
        _ => &args.topic,
    };
    Ok(Access::of(&layers, &context(args)).decide(args.action, resource))
}

fn context(args: &ExplainArgs) -> Context {
    let text = |value: &Option<String>| value.as_deref().map(Arc::from);
    let attributes = [
        (args.persistent, ConnectAttribute::PersistentConnect),
        (args.last_will, ConnectAttribute::LastWill),
    ];
    Context {
        realm: Realm {
            region: args.region.as_str().into(),
            account: args.aws_account.as_str().into(),
        },
        client_id: text(&args.client_id),
        source_ip: args.source_ip,
        attributes: attributes
            .into_iter()
            .filter_map(|(given, attribute)| given.then_some(attribute))
            .collect(),
        identity: text(&args.identity),
        account: text(&args.account),
        user: text(&args.user),
        session: text(&args.session),
    }
}

fn document(path: &Path, most: usize) -> anyhow::Result<Arc<Document>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    let document = policy::parse(&name, &text, most);
    let document = document.map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(Arc::new(document))
}

fn action(text: &str) -> Result<Action, String> {
    Action::named(text).ok_or_else(|| {
        let names = Action::ALL.map(Action::name).join(", ");
        format!("there are {names}")
    })
}
