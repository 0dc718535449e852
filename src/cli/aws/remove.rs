//! `fanfare aws remove-all`: says what, asks, removes.

use std::io::{BufRead as _, Write as _};

use anyhow::bail;

use super::RemoveAllArgs;
use crate::app::aws::provisioning::{self, Kind, Part, Provisioner, Removal, TAG};
use crate::config::Config;

pub(super) fn remove_all(config: &Config, args: &RemoveAllArgs) -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async {
        let provisioner = provisioning::provisioner(config).await;
        let kinds = args.which.kinds();
        let parts = provisioning::parts(&provisioner, config, &kinds).await?;
        let mut ours = Vec::new();
        for part in parts.iter().rev() {
            let name = named(part);
            match provisioner.is_ours(part).await? {
                Removal::Ours => ours.push(part),
                Removal::Missing => say(&format!("{name}: is not there"))?,
                Removal::Foreign(why) => say(&format!("{name}: stays: {why}"))?,
            }
        }
        if ours.is_empty() {
            say(&format!(
                "nothing to remove: nothing has the tag {TAG} = {}",
                args.env
            ))?;
            return Ok(());
        }
        for part in &ours {
            say(&format!("{}: would be removed", named(part)))?;
        }
        if !args.yes {
            ask(&args.env)?;
        }
        for part in &ours {
            provisioner.remove(part).await?;
            say(&format!("{}: removed", named(part)))?;
        }
        tell_queues(&provisioner, config, &ours).await
    })
}

/// Queues of sessions that nobody ended are no part of what was made: nobody looks after them from now on.
async fn tell_queues(
    provisioner: &Provisioner,
    config: &Config,
    removed: &[&Part],
) -> anyhow::Result<()> {
    if !removed.iter().any(|part| part.kind == Kind::Table) {
        return Ok(());
    }
    let (queues, prefix) = (provisioner.queues().await?, config.queue_prefix());
    if queues > 0 {
        let many = match queues {
            1000 => "1000 or more".to_owned(),
            queues => queues.to_string(),
        };
        say(&format!(
            "left: {many} queues of sessions that nobody ended; their names start with {prefix}-"
        ))?;
    }
    Ok(())
}

fn named(part: &Part) -> String {
    format!("{:10} {}", part.kind.name(), part.name)
}

/// Whoever means it types the environment's name.
fn ask(env: &str) -> anyhow::Result<()> {
    print!("This can not be undone. Type the name of the environment to go on: ");
    std::io::stdout().flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() != env {
        bail!("nothing was removed: that is not {env}");
    }
    Ok(())
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
