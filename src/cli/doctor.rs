//! `fanfare doctor`: looks whether everything is there that a server needs, and says what to do where it is not.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::serve::ServeArgs;
use crate::config::{Backend, Config};
use crate::observe::findings::{Finding, Level};

mod certificate;
mod machine;
mod ports;
mod settings;

/// Look whether a server can work here, and say what to do where it can not.
///
/// Looks at the settings, this machine's limits, the ports and the certificate. For the embedded backend: at the data
/// directory and the speed of its disk. For backend = "aws": at the disk for messages that AWS does not take in time, at
/// credentials, the clock, each service, tables, the role of sessions' keys, and permissions. Nothing is changed; a file is
/// written beside the data and removed again.
///
/// Exit code 0: no line says fail. 1: one does.
///
/// Examples:
///   fanfare doctor --config /etc/fanfare.toml
///   FANFARE_BACKEND=aws FANFARE_ENV=prod fanfare doctor --json
#[derive(Debug, Clone, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct DoctorArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,

    /// Any other setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// A finding says fail; the findings themselves have been printed.
#[derive(Debug, thiserror::Error)]
#[error("{0} of {1} findings say fail")]
struct Failed(usize, usize);

/// Looks, and prints what it finds.
///
/// # Errors
/// Something does not work.
pub fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let findings = match ServeArgs::of(args.config, args.set).load(std::env::vars_os()) {
        Ok(config) => examine(&config)?,
        Err(error) => {
            let advice = "every setting and its range: config/fanfare.toml";
            vec![Finding::fail("settings", error.to_string(), advice)]
        }
    };
    let text: String = match args.json {
        true => format!("{:#}\n", as_json(&findings)),
        false => findings.iter().map(line).collect(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    match count(&findings, Level::Fail) {
        0 => Ok(()),
        failed => Err(Failed(failed, findings.len()).into()),
    }
}

fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let mut findings = settings::examine(config);
    findings.extend(certificate::examine(config));
    findings.push(machine::open_files(config));
    findings.extend(ports::examine(config));
    match config.backend {
        Backend::Embedded => findings.extend(machine::data_directory(config)),
        Backend::Aws => {
            findings.extend(machine::spill_folder(config));
            findings.extend(services(config)?);
        }
    }
    Ok(findings)
}

#[cfg(feature = "aws")]
fn services(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let looking = crate::app::aws::provisioning::examine(config);
    Ok(actix_rt::System::new().block_on(looking))
}

#[cfg(not(feature = "aws"))]
fn services(_: &Config) -> anyhow::Result<Vec<Finding>> {
    // The settings have been found wanting already.
    Ok(Vec::new())
}

fn count(findings: &[Finding], level: Level) -> usize {
    let such = findings.iter().filter(|finding| finding.level == level);
    such.count()
}

/// A finding as people read it; advice stands in a line of its own.
fn line(finding: &Finding) -> String {
    let Finding {
        level,
        subject,
        found,
        advice,
    } = finding;
    let mut line = format!("{level:4}  {subject}: {found}\n");
    if let Some(advice) = advice {
        line.push_str(&format!("      → {advice}\n"));
    }
    line
}

fn as_json(findings: &[Finding]) -> Value {
    let described: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "level": finding.level.to_string(),
                "subject": finding.subject,
                "found": finding.found,
                "advice": finding.advice,
            })
        })
        .collect();
    let [ok, warn, fail] =
        [Level::Ok, Level::Warn, Level::Fail].map(|level| count(findings, level));
    json!({ "ok": ok, "warn": warn, "fail": fail, "findings": described })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_advice_another() {
        let check = |finding: Finding, expect: &str| assert_eq!(line(&finding), expect);
        check(Finding::ok("clock", "right"), "ok    clock: right\n");
        check(
            Finding::fail("port 80", "taken", "take another"),
            "fail  port 80: taken\n      → take another\n",
        );
    }

    #[test]
    fn json_counts_what_it_lists() {
        let found = as_json(&[
            Finding::ok("a", "b"),
            Finding::warn("c", "d", "e"),
            Finding::fail("f", "g", "h"),
        ]);
        assert_eq!(
            (&found["ok"], &found["warn"], &found["fail"]),
            (&json!(1), &json!(1), &json!(1))
        );
        assert_eq!(found["findings"][2]["level"], "fail");
        assert_eq!(found["findings"][0]["advice"], Value::Null);
    }
}
