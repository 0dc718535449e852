//! The command line: one file per subcommand.

use clap::{Parser, Subcommand};

pub mod aws;
pub mod bench;
pub mod client;
pub mod cost;
pub mod decrypt;
mod dev_tls;
mod dial;
mod disk;
pub mod doctor;
pub mod exit;
pub mod history;
pub mod mqtt;
pub mod mqtt_password;
pub mod notify;
pub mod policy;
pub mod serve;
pub mod session;
mod shown;
pub mod tail;
mod trust;

/// Relays messages to game clients, chat rooms and signed-in users, over AWS's own wire protocols.
///
/// Without a command it serves: HTTP on 127.0.0.1:8080, data in ./data, until SIGTERM or Ctrl-C.
#[derive(Parser)]
#[command(name = "fanfare", version, args_conflicts_with_subcommands = true, after_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Session(session::SessionArgs),
    Notify(notify::NotifyArgs),
    Tail(tail::TailArgs),
    History(history::HistoryArgs),
    Decrypt(decrypt::DecryptArgs),
    Mqtt(mqtt::MqttArgs),
    Policy(policy::PolicyArgs),
    MqttPassword(mqtt_password::MqttPasswordArgs),
    Bench(bench::BenchArgs),
    Aws(aws::AwsArgs),
    Doctor(doctor::DoctorArgs),
    Cost(cost::CostArgs),
}

/// Runs what the command line asks for.
///
/// # Errors
/// What went wrong; [`exit::code`] makes an exit code of it.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Session(args)) => session::run(args),
        Some(Command::Notify(args)) => notify::run(args),
        Some(Command::Tail(args)) => tail::run(args),
        Some(Command::History(args)) => history::run(args),
        Some(Command::Decrypt(args)) => decrypt::run(args),
        Some(Command::Mqtt(args)) => mqtt::run(args),
        Some(Command::Policy(args)) => policy::run(args),
        Some(Command::MqttPassword(args)) => mqtt_password::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Aws(args)) => aws::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Cost(args)) => cost::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_what_happens_without_a_command() {
        let cli = Cli::try_parse_from(["fanfare", "--listen", "127.0.0.1:0"]).expect("valid");
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["fanfare", "serve", "--listen", "127.0.0.1:0"]);
        assert!(matches!(
            cli.expect("valid").command,
            Some(Command::Serve(_))
        ));
    }
}
