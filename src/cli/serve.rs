//! `fanfare serve`: the program itself, from its configuration to its end.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::dev_tls::{self, DevTlsError};
use super::exit;
use crate::app::{Addresses, App, DRAIN, Settings, StartError};
use crate::auth::Rulebook;
use crate::config::{self, Backend, Config, Flags, OperatorKeys, Problem, Problems};
use crate::observe::{logging, metrics};

/// Serve.
///
/// Settings come from the defaults, then --config, then environment variables FANFARE_SECTION_KEY, then flags;
/// config/fanfare.toml lists them all. Without operator keys a public development pair is used, as long as
/// everything listens on loopback only.
///
/// The rights of guests, roles and accounts are read again when their files change, and at SIGHUP.
///
/// SIGTERM or Ctrl-C ends it in order: waiting long polls are answered, requests are finished, everything is
/// committed. A second one ends it at once; what was acknowledged is on disk in any case.
///
/// Examples:
///   fanfare serve
///   fanfare serve --listen 127.0.0.1:9000 --data /var/lib/fanfare
///   fanfare serve --dev-tls
///   fanfare serve --config fanfare.toml --set sessions.key_lifetime=3600
#[derive(Debug, Clone, Default, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ServeArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    config: Option<PathBuf>,

    /// Address and port of HTTP: http.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// The data directory: store.dir
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Serve HTTPS on 8443 and MQTT in TLS on 8883, too, with a self-signed certificate for this machine
    #[arg(long)]
    dev_tls: bool,

    /// Any other setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Check the configuration and end
    #[arg(long)]
    check: bool,
}

/// How often the files that rights come from are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// There is no certificate for `--dev-tls`.
    #[error(transparent)]
    DevTls(#[from] DevTlsError),
    /// Something is in the way of the start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process lacks something that every process has.
    #[error("{0}")]
    System(String),
}

impl ServeError {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Start(StartError::Certificate(_)) => exit::CONFIGURATION,
            Self::DevTls(_) => exit::FAILED,
            Self::Start(StartError::Listen(..)) => exit::UNAVAILABLE,
            Self::Start(error) if error.is_in_use() => exit::IN_USE,
            Self::Start(_) => exit::STORE,
            Self::System(_) => exit::FAILED,
        }
    }
}

/// Serves until the process is asked to end.
///
/// # Errors
/// [`ServeError`].
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let mut config = args.load(std::env::vars_os())?;
    if args.dev_tls {
        dev_tls::set_up(&mut config).map_err(ServeError::from)?;
    }
    let operator = config.operator_keys().map_err(unusable)?;
    config.certificate().map_err(unusable)?;
    config.check_backend().map_err(unusable)?;
    let book = Rulebook::of(&config).map_err(ServeError::from)?;
    if args.check {
        say("the configuration is usable");
        return Ok(());
    }
    logging::start(config.log.format, &config.log.filter).map_err(ServeError::System)?;
    let recorder = metrics::record().map_err(|error| ServeError::System(error.to_string()))?;
    let settings = Settings::of(&config, &operator, Arc::new(book));
    actix_rt::System::new().block_on(async {
        let mut signals = Signals::watch()?;
        let mut hangup = watch(SignalKind::hangup())?;
        actix_rt::spawn(metrics::keep_up(recorder.clone()));
        let app = App::start(settings, recorder, Arc::new(store_failed)).await;
        let app = app.map_err(ServeError::from)?;
        say(&greeting(&config, &operator, app.http, app.others));
        let mut watched = Watched::new(&config, args.config.as_deref());
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = signals.next() => break,
                _ = hangup.recv() => reload(&args, &app, &mut watched),
                _ = look.tick() => if watched.changed() {
                    reload(&args, &app, &mut watched);
                },
            }
        }
        tracing::info!("draining; a second signal ends at once");
        end(app, signals).await;
        Ok(())
    })
}

/// Takes up what the files say about guests, roles and accounts. What can not be understood changes nothing (M19).
fn reload(args: &ServeArgs, app: &App, watched: &mut Watched) {
    let loaded = args.load(std::env::vars_os());
    let book = loaded.and_then(|config| {
        *watched = Watched::new(&config, args.config.as_deref());
        Ok(Rulebook::of(&config)?)
    });
    let outcome = match book {
        Ok(book) => {
            app.replace(Arc::new(book));
            tracing::info!(
                "the rights of guests, roles and accounts are as the configuration says now"
            );
            "taken"
        }
        Err(error) => {
            // What was in the way may be gone the next time somebody looks.
            tracing::error!(%error, "the configuration has changed and is not usable; the old rights stay in force");
            "refused"
        }
    };
    ::metrics::counter!("fanfare_policy_reloads_total", "outcome" => outcome).increment(1);
}

/// The files that rights come from, and how they looked when they were read.
struct Watched(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

impl Watched {
    fn new(config: &Config, file: Option<&Path>) -> Self {
        let policies = config
            .roles
            .iter()
            .map(|role| &role.policy)
            .chain(config.accounts.iter().map(|account| &account.policy))
            .chain(&config.guests.anonymous_policy)
            .filter(|policy| !policy.trim_start().starts_with('{'))
            .map(PathBuf::from);
        let files = file.map(Path::to_owned).into_iter().chain(policies);
        Self(files.map(|path| (path.clone(), look(&path))).collect())
    }

    /// Whether one of them looks otherwise; each difference is told once.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.0 {
            let now = look(path);
            changed |= *seen != now;
            *seen = now;
        }
        changed
    }
}

fn look(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl ServeArgs {
    /// Settings for whoever serves nothing.
    pub(super) fn of(config: Option<PathBuf>, set: Vec<String>) -> Self {
        Self {
            config,
            set,
            ..Self::default()
        }
    }

    pub(super) fn load(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ServeError> {
        let mut flags = Flags {
            file: self.config.clone(),
            ..Flags::default()
        };
        let mut add = |flag: &str, key: &str, value: &str| {
            let setting = (flag.to_owned(), key.to_owned(), value.to_owned());
            flags.settings.push(setting);
        };
        for setting in &self.set {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                unusable(Problem(format!("--set {setting}: write it as KEY=VALUE")))
            })?;
            if config::keys::SECRET_KEYS.contains(&key) {
                let text = format!(
                    "--set {key}: other users of the machine can see it there; use the environment variable or \
                     {key}_file"
                );
                return Err(unusable(Problem(text)));
            }
            add("--set", key, value);
        }
        if let Some(listen) = &self.listen {
            add("--listen", "http.listen", listen);
        }
        if let Some(data) = &self.data {
            add("--data", "store.dir", data);
        }
        Ok(config::load(&flags, variables)?)
    }
}

fn unusable(problem: Problem) -> ServeError {
    ServeError::Configuration(problem.into())
}

/// Runs on the committing thread. What the disk holds is unknown now, so nothing more may be answered: the next
/// start recovers what was acknowledged.
fn store_failed(error: &str) {
    eprintln!("fanfare: the store has failed, ending: {error}");
    process::exit(i32::from(exit::STORE));
}

/// Drains, unless it takes too long or a second signal comes.
async fn end(app: App, mut signals: Signals) {
    tokio::select! {
        () = app.drain() => tracing::info!("drained"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!("requests are cut off: draining took too long"),
        number = signals.next() => process::exit(128 + number),
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> Result<Self, ServeError> {
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }

    /// The number of the next that ends it.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

fn watch(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(|error| ServeError::System(format!("no signals: {error}")))
}

/// Prints to standard output. That nobody reads it is no reason to end.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// What listens where, whose keys are used, and a first call to copy.
fn greeting(
    config: &Config,
    operator: &OperatorKeys,
    http: SocketAddr,
    others: Addresses,
) -> String {
    let mut host = http;
    if http.ip().is_unspecified() {
        host.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let (keys, user) = if operator.development {
        let (access, secret) = config::DEVELOPMENT_KEYS;
        let keys = format!("the public development pair {access} / {secret} (for loopback only)");
        (keys, format!("{access}:{secret}"))
    } else {
        let access = &operator.access_key;
        (
            access.clone(),
            format!("{access}:$FANFARE_OPERATOR_SECRET_KEY"),
        )
    };
    let listening = [
        ("mqtt", others.mqtt),
        ("https", others.https),
        ("mqtts", others.mqtts),
    ];
    let line = |(name, address): (&str, Option<SocketAddr>)| {
        Some(format!("listening {name} {}\n", address?))
    };
    let state = match config.backend {
        Backend::Embedded => format!("data            {}", config.store.dir.display()),
        Backend::Aws => format!("backend         aws, {}", config.sessions_table()),
    };
    let others: String = listening.into_iter().filter_map(line).collect();
    let pages = [
        ("try it          ", "/ in a browser", config.demo()),
        ("console         ", "/console", config.console()),
    ];
    let pages = pages.iter().filter(|(.., is_there)| *is_there);
    let pages: String = pages
        .map(|(what, page, _)| format!("{what}http://{host}{page}\n"))
        .collect();
    format!(
        "listening http {http}\n\
         {others}\
         {state}\n\
         {pages}\
         operator keys   {keys}\n\
         create a session:\n  \
         curl --aws-sigv4 aws:amz:{region}:execute-api --user \"{user}\" http://{host}/create/1/my-session/7",
        region = config.region,
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn load(arguments: &[&str]) -> Result<Config, ServeError> {
        let program = Program::try_parse_from([&["serve"], arguments].concat()).expect("valid");
        program.args.load(Vec::new())
    }

    #[test]
    fn flags_set_what_they_say() {
        let config = load(&[
            "--listen",
            "[::1]:7",
            "--data",
            "/d",
            "--set",
            "sessions.ttl=9",
        ]);
        let config = config.expect("usable");
        assert_eq!(config.http.listen.to_string(), "[::1]:7");
        assert_eq!(config.store.dir, PathBuf::from("/d"));
        assert_eq!(config.sessions.ttl.as_secs(), 9);
    }

    #[test]
    fn flags_that_do_not_fit_are_named() {
        let check = |arguments: &[&str], part: &str| {
            let error = load(arguments).expect_err("a complaint");
            assert_eq!(error.code(), exit::CONFIGURATION);
            assert!(error.to_string().contains(part), "{error}");
        };
        check(&["--listen", "here"], "--listen: http.listen");
        check(&["--set", "x"], "KEY=VALUE");
        check(&["--set", "x.y=1"], "no key x");
        check(&["--set", "sessions.ttl=x"], "--set: sessions.ttl");
        check(&["--set", "operator_secret_key=canary"], "other users");
        check(&["--set", "operator_secret_key_2=canary"], "other users");
    }

    #[test]
    fn the_greeting_shows_no_secret_but_the_public_one() {
        let http = "0.0.0.0:81".parse().expect("an address");
        let mut config = Config::default();
        let keys = config.operator_keys().expect("the development pair");
        let text = greeting(&config, &keys, http, Addresses::default());
        assert!(text.starts_with("listening http 0.0.0.0:81\n"), "{text}");
        assert!(text.contains("fanfare-dev-secret") && text.contains("http://127.0.0.1:81/"));
        config.operator_access_key = Some("AKID".into());
        config.operator_secret_key = Some(config::Secret::new("canary"));
        let keys = config.operator_keys().expect("a pair");
        let text = greeting(&config, &keys, http, Addresses::default());
        assert!(
            !text.contains("canary") && !text.contains("dev-secret"),
            "{text}"
        );
        assert!(text.contains("AKID:$FANFARE_OPERATOR_SECRET_KEY"), "{text}");
        assert!(
            text.contains("try it          http://127.0.0.1:81/"),
            "{text}"
        );
        config.demo.enabled = config::DemoEnabled::Off;
        let text = greeting(&config, &keys, http, Addresses::default());
        assert!(!text.contains("try it"), "{text}");
        assert!(text.contains("http://127.0.0.1:81/console\n"), "{text}");
        config.console.enabled = false;
        let text = greeting(&config, &keys, http, Addresses::default());
        assert!(!text.contains("/console"), "{text}");
    }
}
