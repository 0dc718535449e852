//! `fanfare aws provision`: the plan as it is carried out.

use std::io::Write as _;

use serde_json::{Value, json};

use super::ProvisionArgs;
use crate::app::aws::provisioning::{self, Difference, Kind, Provisioned, State};
use crate::config::Config;

pub(super) fn provision(config: &Config, args: &ProvisionArgs) -> anyhow::Result<()> {
    let (all, to_be_set) = actix_rt::System::new().block_on(bring(config, args))?;
    if args.json {
        let parts: Vec<Value> = all.iter().map(described).collect();
        print(&format!("{:#}\n", json!({ "parts": parts })))?;
    }
    for (key, value) in to_be_set.iter().filter(|_| !args.json) {
        print(&format!("set {key} to {value}\n"))?;
    }
    let broken: Vec<&str> = all
        .iter()
        .filter(|one| matches!(one.part.kind, Kind::Table | Kind::Pool) && !left(one).is_empty())
        .map(|one| one.part.name.as_str())
        .collect();
    if !broken.is_empty() && !args.dry_run {
        let names = broken.join(", ");
        anyhow::bail!("{names}: not what Fanfare can use, and not to be put right where it is");
    }
    Ok(())
}

/// Goes through the parts; tells of each as soon as it is done, so that what was made before a failure is known. And
/// settings that say what was made.
async fn bring(
    config: &Config,
    args: &ProvisionArgs,
) -> anyhow::Result<(Vec<Provisioned>, Vec<(&'static str, String)>)> {
    let provisioner = provisioning::provisioner(config).await;
    let kinds = args.which.kinds();
    let mut parts = provisioning::parts(&provisioner, config, &kinds).await?;
    let mut all: Vec<Provisioned> = Vec::new();
    while let Some(part) = parts.get(all.len()).cloned() {
        let one = Provisioned::bring(&provisioner, part, args.dry_run).await?;
        if !args.json {
            print(&text(&one))?;
        }
        if one.part.kind == Kind::Pool && one.done {
            // What comes after it names it by its id.
            parts = provisioning::parts(&provisioner, config, &kinds).await?;
        }
        all.push(one);
    }
    let made = |kind| all.iter().any(|one| one.part.kind == kind);
    let to_be_set = match made(Kind::Role) || made(Kind::Pool) {
        true => provisioning::to_be_set(&provisioner, config).await?,
        false => Vec::new(),
    };
    Ok((all, to_be_set))
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
    let mut text = format!("{:10} {}: {what}\n", one.part.kind.name(), one.part.name);
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
