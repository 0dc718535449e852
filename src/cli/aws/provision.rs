//! `fanfare aws provision`: the plan as it is carried out.

use std::io::Write as _;

use serde_json::{Value, json};

use super::ProvisionArgs;
use crate::app::aws::provisioning::{self, Difference, Kind, Provisioned, State};
use crate::config::Config;

pub(super) fn provision(config: &Config, args: &ProvisionArgs) -> anyhow::Result<()> {
    let all = actix_rt::System::new().block_on(bring(config, args))?;
    if args.json {
        let parts: Vec<Value> = all.iter().map(described).collect();
        print(&format!("{:#}\n", json!({ "parts": parts })))?;
    }
    let role_is_told = config.aws.session_role.is_some() || args.json;
    if !role_is_told && all.iter().any(|one| one.part.kind == Kind::Role) {
        let (account, role) = (&config.aws_account, provisioning::session_role(config));
        print(&format!(
            "set aws.session_role to arn:aws:iam::{account}:role/{role}\n"
        ))?;
    }
    let broken: Vec<&str> = all
        .iter()
        .filter(|one| one.part.kind == Kind::Table && !left(one).is_empty())
        .map(|one| one.part.name.as_str())
        .collect();
    if !broken.is_empty() && !args.dry_run {
        let names = broken.join(", ");
        anyhow::bail!("{names}: not what Fanfare can use, and not to be put right where it is");
    }
    Ok(())
}

/// Goes through the parts; tells of each as soon as it is done, so that what was made before a failure is known.
async fn bring(config: &Config, args: &ProvisionArgs) -> anyhow::Result<Vec<Provisioned>> {
    let provisioner = provisioning::provisioner(config).await;
    let parts = provisioning::parts(&provisioner, config, &args.which.kinds()).await?;
    let mut all = Vec::new();
    for part in parts {
        let one = Provisioned::bring(&provisioner, part, args.dry_run).await?;
        if !args.json {
            print(&text(&one))?;
        }
        all.push(one);
    }
    Ok(all)
}

fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(text.as_bytes())
}

/// What is otherwise and stays so.
fn left(one: &Provisioned) -> Vec<&Difference> {
    match &one.state {
        State::Differs(differences) => differences.iter().filter(|one| !one.mendable).collect(),
        State::There | State::Missing => Vec::new(),
    }
}

/// A part in a line, and one for each value that is otherwise.
fn text(one: &Provisioned) -> String {
    let what = match (&one.state, one.done) {
        (State::There, _) => "is there",
        (State::Missing, true) => "made",
        (State::Missing, false) => "would be made",
        (State::Differs(_), true) => "put right",
        (State::Differs(_), false) => "differs",
    };
    let mut text = format!("{:7} {}: {what}\n", one.part.kind.name(), one.part.name);
    if let State::Differs(differences) = &one.state {
        for difference in differences {
            let Difference {
                what,
                is,
                wanted,
                mendable,
            } = difference;
            let end = match (mendable, one.done) {
                (true, true) => "now as it must be",
                (true, false) => "would be put right",
                (false, _) => "stays as it is",
            };
            text.push_str(&format!("        {what}: {is}, must be {wanted}; {end}\n"));
        }
    }
    text
}

fn described(one: &Provisioned) -> Value {
    let state = match (&one.state, one.done) {
        (State::There, _) => "there",
        (State::Missing, true) => "made",
        (State::Missing, false) => "missing",
        (State::Differs(_), true) => "mended",
        (State::Differs(_), false) => "differs",
    };
    let differences: Vec<Value> = match &one.state {
        State::Differs(differences) => differences
            .iter()
            .map(|one| {
                json!({ "what": one.what, "is": one.is, "wanted": one.wanted, "mendable": one.mendable })
            })
            .collect(),
        State::There | State::Missing => Vec::new(),
    };
    json!({
        "kind": one.part.kind.name(),
        "name": one.part.name,
        "state": state,
        "differences": differences,
        "wanted": one.part.wanted,
    })
}
