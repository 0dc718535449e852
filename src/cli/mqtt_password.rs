//! `fanfare mqtt-password`: a password in, its hash out; needs no server.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};

use crate::auth::login::hash_password;

/// The longest password, in bytes: MQTT's longest.
const MOST_BYTES: usize = 65_535;

/// Hash a password for an MQTT account.
///
/// Reads the password from the first line of standard input, never from the command line, where other users of the
/// machine could see it. Prints its Argon2id hash, for `password_hash` under `[[accounts]]` in the configuration.
///
/// Example:
///   fanfare mqtt-password < password.txt
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct MqttPasswordArgs {}

/// Prints the hash.
///
/// # Errors
/// Standard input can not be read, or has no password.
pub fn run(_: MqttPasswordArgs) -> anyhow::Result<()> {
    if io::stdin().is_terminal() {
        eprintln!("Type the password and press return (it is shown):");
    }
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("can not read standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > MOST_BYTES {
        bail!("a password has 1 to {MOST_BYTES} bytes");
    }
    println!("{}", hash_password(password.as_bytes()));
    Ok(())
}
