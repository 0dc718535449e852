//! From files, variables and flags to a [`Config`], or to everything that is wrong with them at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys::{LISTS, NOT_SETTINGS, SECRET_KEYS, SWITCHES, TEXTS};
use super::{Config, limits};

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Settings by flag: how the flag is called, key, value.
    pub settings: Vec<(String, String, String)>,
}

/// Something wrong with the configuration: where, what, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// Everything wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// Settings from one place.
struct Layer {
    source: String,
    settings: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}

/// Puts the layers on top of each other and checks the result.
///
/// # Errors
/// [`Problems`]: unknown keys, wrong types and values out of range, each with its place and what is allowed there.
pub fn load(
    flags: &Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Problems> {
    let defaults = defaults();
    let mut layers = Vec::new();
    let mut problems = Vec::new();
    if let Some(path) = &flags.file {
        layers.push(file(path)?);
    }
    for (name, value) in variables {
        match variable(&defaults, &name, &value) {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
    }
    for (flag, key, value) in &flags.settings {
        layers.push(Layer {
            source: flag.clone(),
            settings: nest(key, typed(&defaults, key, value)),
        });
    }
    for layer in &layers {
        unknown(&defaults, layer, &mut problems);
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let base = Layer {
        source: "default".to_owned(),
        settings: defaults,
    };
    let figment = layers.into_iter().fold(Figment::from(base), Figment::merge);
    check(&figment)?;
    figment
        .extract()
        .map_err(|error| Problem(error.to_string()).into())
}

/// The defaults as the layers are written. Keys without a default are there, with an empty value.
fn defaults() -> Dict {
    let value = Value::serialize(Config::default()).expect("a configuration can be serialized");
    value.into_dict().expect("a configuration is a table")
}

fn file(path: &Path) -> Result<Layer, Problem> {
    let source = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Problem(format!("{source}: {error}")))?;
    let settings =
        Toml::from_str(&text).map_err(|error| Problem(format!("{source}: {}", bare(&error))))?;
    Ok(Layer { source, settings })
}

/// What a TOML error says without the line it quotes, which may hold a secret.
fn bare(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join(", ")
}

/// A variable's layer; `None` if it is none of ours.
fn variable(defaults: &Dict, name: &OsString, value: &OsString) -> Result<Option<Layer>, Problem> {
    let Some(name) = name.to_str() else {
        return Ok(None);
    };
    let Some(rest) = name.strip_prefix("FANFARE_") else {
        return Ok(None);
    };
    let other = |known: &&str| *known == name || (known.ends_with('_') && name.starts_with(*known));
    if NOT_SETTINGS.iter().any(other) {
        return Ok(None);
    }
    let source = format!("environment variable {name}");
    let Some(value) = value.to_str() else {
        return Err(Problem(format!("{source}: the value is not UTF-8")));
    };
    let rest = rest.to_ascii_lowercase();
    // A key without a section comes first: `aws_account` is none of `[aws]`.
    let sections = defaults.iter().filter(|_| !defaults.contains_key(&rest));
    let section = sections
        .filter(|(_, value)| value.as_dict().is_some())
        .find_map(|(section, _)| {
            let key = rest.strip_prefix(section.as_str())?.strip_prefix('_')?;
            Some(format!("{section}.{key}"))
        });
    let key = section.unwrap_or(rest);
    let settings = nest(&key, typed(defaults, &key, value));
    Ok(Some(Layer { source, settings }))
}

/// A text as the type that the key's default has. What does not read as that type stays a text, so that the
/// complaint can show it.
fn typed(defaults: &Dict, key: &str, text: &str) -> Value {
    let default = match key.split_once('.') {
        Some((section, key)) => defaults
            .get(section)
            .and_then(Value::as_dict)
            .and_then(|section| section.get(key)),
        None => defaults.get(key),
    };
    let number = || text.trim().parse::<u64>().ok().map(Value::from);
    let switch = || text.trim().parse::<bool>().ok().map(Value::from);
    let read = match default {
        Some(Value::Num(..)) => number(),
        Some(Value::Bool(..)) => switch(),
        Some(Value::Array(..)) => Some(list_of(text)),
        _ => None,
    };
    read.unwrap_or_else(|| Value::from(text))
}

/// Texts with commas between them.
fn list_of(text: &str) -> Value {
    let texts = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    Value::from(texts.map(Value::from).collect::<Vec<_>>())
}

fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((section, key)) => Dict::from([(section.to_owned(), Value::from(nest(key, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

/// Complains about each key of a layer that the defaults do not have.
fn unknown(defaults: &Dict, layer: &Layer, problems: &mut Vec<Problem>) {
    let mut complain = |what: String| problems.push(Problem(format!("{}: {what}", layer.source)));
    for (key, value) in &layer.settings {
        match (defaults.get(key), value.as_dict()) {
            (None, _) => complain(format!(
                "there is no key {key}; there are {}",
                list(defaults)
            )),
            (Some(Value::Dict(_, known)), Some(section)) => {
                for inner in section.keys().filter(|inner| !known.contains_key(*inner)) {
                    let keys = list(known);
                    complain(format!("there is no key {key}.{inner}; [{key}] has {keys}"));
                }
            }
            (Some(Value::Dict(_, known)), None) => {
                complain(format!("{key} is a section; its keys are {}", list(known)));
            }
            (Some(_), _) => {}
        }
    }
}

fn list(known: &Dict) -> String {
    let names = known.iter().map(|(key, value)| match value {
        Value::Dict(..) => format!("[{key}]"),
        _ => key.clone(),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Holds every value to what is allowed for its key.
fn check(figment: &Figment) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for key in leaves(&defaults()).keys() {
        let value = match figment.find_value(key) {
            Ok(Value::Empty(..)) | Err(_) => continue,
            Ok(value) => value,
        };
        if let Err(allowed) = fits(key, &value) {
            let place = figment.find_metadata(key);
            let place = place.map_or("default", |place| place.name.as_ref());
            let found = match key.as_str() {
                secret if SECRET_KEYS.contains(&secret) => "something else".to_owned(),
                _ if value.as_array().is_some() => "another list".to_owned(),
                _ => shown(&value),
            };
            let text = format!("{place}: {key}: found {found}; allowed: {allowed}");
            problems.push(Problem(text));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Problems(problems)),
    }
}

/// Whether a value is allowed for a key; the error says what is.
fn fits(key: &str, value: &Value) -> Result<(), String> {
    if let Some((_, least, most, unit)) = limits::SETTINGS.iter().find(|(name, ..)| *name == key) {
        let range = u128::from(*least)..=u128::from(*most);
        return match whole(value) {
            Some(number) if range.contains(&number) => Ok(()),
            _ => Err(format!("a whole number from {least} to {most}, {unit}")),
        };
    }
    if let Some(text) = TEXTS.iter().find(|text| text.key == key) {
        return match value.as_str() {
            Some(value) if (text.check)(value) => Ok(()),
            _ => Err(text.allowed.to_owned()),
        };
    }
    if let Some(list) = LISTS.iter().find(|list| list.key == key) {
        return match (list.check)(value) {
            true => Ok(()),
            false => Err(list.allowed.to_owned()),
        };
    }
    match (SWITCHES.contains(&key), value.to_bool()) {
        (true, Some(_)) => Ok(()),
        (true, None) => Err("true or false".to_owned()),
        (false, _) => Err("nothing: the key has no rule".to_owned()),
    }
}

/// A whole number, whichever of the integer types it has.
fn whole(value: &Value) -> Option<u128> {
    value.to_num()?.to_u128_lossy()
}

/// A value as a complaint shows it.
fn shown(value: &Value) -> String {
    match (value.as_str(), whole(value)) {
        (Some(text), _) => format!("the text {text:?}"),
        (None, Some(number)) => number.to_string(),
        (None, None) => value.to_actual().to_string(),
    }
}

/// Every key with its value, sections in front: `http.listen`.
fn leaves(settings: &Dict) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (key, value) in settings {
        match value {
            Value::Dict(_, section) => {
                let inner = section.iter();
                all.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value.clone())));
            }
            value => drop(all.insert(key.clone(), value.clone())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        pairs.iter().map(pair).collect()
    }

    fn from_toml(text: &str, pairs: &[(&str, &str)]) -> Result<Config, Problems> {
        let mut file = tempfile::Builder::new()
            .suffix(".toml")
            .tempfile()
            .expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let flags = Flags {
            file: Some(file.path().to_owned()),
            ..Flags::default()
        };
        load(&flags, variables(pairs))
    }

    fn loads(pairs: &[(&str, &str)]) -> Config {
        load(&Flags::default(), variables(pairs)).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn without_anything_there_are_the_defaults() {
        assert_eq!(loads(&[]), Config::default());
    }

    #[test]
    fn the_annotated_file_says_the_same_as_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fanfare.toml");
        let text = std::fs::read_to_string(&path).expect("the file is there");
        let said = file(&path).map(|layer| leaves(&layer.settings));
        let said = said.unwrap_or_else(|problem| panic!("{problem}"));
        for (key, default) in leaves(&defaults()) {
            let name = key.rsplit('.').next().unwrap_or_default();
            if matches!(default, Value::Empty(..)) {
                assert!(
                    text.contains(&format!("\n# {name} = ")),
                    "{key} is not told"
                );
                continue;
            }
            let found = said.get(&key).unwrap_or_else(|| panic!("{key} is missing"));
            // Tags tell where a value comes from and are no part of it.
            let plain = |value: &Value| (whole(value), value.to_bool(), shown(value));
            assert_eq!(plain(found), plain(&default), "{key}");
        }
        assert!(from_toml(&text, &[]).is_ok_and(|config| config == Config::default()));
    }

    #[test]
    fn every_key_has_a_rule_and_every_rule_a_key() {
        let known = leaves(&defaults());
        for (key, value) in &known {
            let number = limits::SETTINGS.iter().any(|(name, ..)| name == key);
            let text = TEXTS.iter().any(|text| text.key == key);
            let switch = SWITCHES.contains(&key.as_str());
            let list = LISTS.iter().any(|list| list.key == key);
            let rules = [number, text, switch, list]
                .map(u8::from)
                .iter()
                .sum::<u8>();
            assert_eq!(rules, 1, "{key}");
            assert_eq!(number, matches!(value, Value::Num(..)), "{key}");
        }
        let numbers = limits::SETTINGS.iter().map(|(key, ..)| *key);
        let texts = TEXTS.iter().map(|text| text.key);
        let lists = LISTS.iter().map(|list| list.key);
        let others = SWITCHES.iter().copied().chain(lists);
        for key in numbers.chain(texts).chain(others) {
            assert!(known.contains_key(key), "{key} is no setting");
        }
    }

    #[test]
    fn later_layers_win() {
        let toml = "region = \"a-1\"\n[http]\nworkers = 1\nkeep_alive = 11\nmax_connections = 7\n";
        let mut flags = Flags::default();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), toml).expect("written");
        flags.file = Some(file.path().to_owned());
        let flag = |key: &str, value: &str| ("--set".to_owned(), key.to_owned(), value.to_owned());
        flags.settings = vec![flag("http.keep_alive", "33"), flag("env", "live")];
        let pairs = [
            ("FANFARE_HTTP_WORKERS", "2"),
            ("FANFARE_HTTP_KEEP_ALIVE", "22"),
        ];
        let config =
            load(&flags, variables(&pairs)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(
            (config.region.as_str(), config.env.as_str()),
            ("a-1", "live")
        );
        assert_eq!((config.http.workers, config.http.max_connections), (2, 7));
        assert_eq!(config.http.keep_alive.as_secs(), 33);
    }

    #[test]
    fn variables_name_every_key() {
        let config = loads(&[
            ("FANFARE_AWS_ACCOUNT", "123456789012"),
            ("FANFARE_OPERATOR_ACCESS_KEY", "1234"),
            ("FANFARE_OPERATOR_SECRET_KEY", "true"),
            ("FANFARE_HISTORY_USER_MESSAGE_TTL", "5"),
            ("FANFARE_STORE_MIN_FREE_BYTES", "8388608"),
            ("FANFARE_BENCH_ENABLED", "true"),
            ("FANFARE_BACKEND", "aws"),
            ("FANFARE_AWS_PATIENCE", "7"),
            ("FANFARE_LOG_FORMAT", "json"),
            ("FANFARE_ENDPOINT", "not a setting"),
            ("FANFARE_TEST_ANYTHING", "not a setting"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(config.aws_account, "123456789012");
        assert_eq!(config.operator_access_key.as_deref(), Some("1234"));
        let secret = config.operator_secret_key.expect("a secret");
        assert_eq!(
            secret.expose(),
            "true",
            "a secret that looks like something else"
        );
        assert_eq!(config.history.user_message_ttl.as_secs(), 5);
        assert_eq!(config.store.min_free_bytes, 8 << 20);
        assert!(config.bench.enabled);
        assert_eq!(config.backend, super::super::Backend::Aws);
        assert_eq!(config.aws.patience.as_secs(), 7);
        assert_eq!(config.log.format, super::super::LogFormat::Json);
    }

    /// The complaint has all these parts, and is the only one.
    fn check_refused(found: Result<Config, Problems>, parts: &[&str]) {
        let problems = found.expect_err("a complaint");
        assert_eq!(problems.0.len(), 1, "{problems}");
        for part in parts {
            assert!(problems.0[0].0.contains(part), "{problems} lacks {part}");
        }
    }

    #[test]
    fn variables_that_do_not_fit_are_named_with_what_is_allowed() {
        let check = |name: &str, value: &str, parts: &[&str]| {
            let found = load(&Flags::default(), variables(&[(name, value)]));
            check_refused(found, &[parts, &[name]].concat());
        };
        check(
            "FANFARE_NO_SUCH_KEY",
            "1",
            &["no_such_key", "region", "[http]"],
        );
        check("FANFARE_HTTP_LISTENN", "1", &["http.listenn", "keep_alive"]);
        check("FANFARE_HTTP", "1", &["http is a section"]);
        check(
            "FANFARE_HTTP_LISTEN",
            "nonsense",
            &["http.listen", "\"nonsense\"", "127.0.0.1:8080"],
        );
        check(
            "FANFARE_HISTORY_USER_MESSAGE_TTL",
            "soon",
            &["history.user_message_ttl", "\"soon\"", "seconds"],
        );
        check("FANFARE_SESSIONS_TTL", "-1", &["sessions.ttl", "from 0"]);
        check(
            "FANFARE_SESSIONS_RETENTION",
            "59",
            &["sessions.retention", "60 to 1209600"],
        );
        check("FANFARE_AWS_ACCOUNT", "12", &["aws_account", "12 digits"]);
        check("FANFARE_BACKEND", "azure", &["backend", "embedded or aws"]);
        check("FANFARE_AWS_HOLD", "1", &["aws.hold", "hold_bytes"]);
        check(
            "FANFARE_AWS_SQS_ENDPOINT",
            "localhost:9324",
            &["aws.sqs_endpoint", "http://"],
        );
        check(
            "FANFARE_AWS_SESSION_ROLE",
            "role",
            &["aws.session_role", "arn:aws:iam::"],
        );
        check(
            "FANFARE_AWS_SESSION_KEYS",
            "iam",
            &["aws.session_keys", "sts or cognito"],
        );
        check(
            "FANFARE_AWS_IDENTITY_POOL",
            "prod-fanfare",
            &["aws.identity_pool", "us-east-1:"],
        );
        check(
            "FANFARE_AWS_DEVELOPER_PROVIDER",
            "a b",
            &["aws.developer_provider", "dots, hyphens"],
        );
        check(
            "FANFARE_BENCH_ENABLED",
            "yes",
            &["bench.enabled", "true or false"],
        );
        check("FANFARE_LOG_FILTER", "a=b=c", &["log.filter", "level"]);
        check("FANFARE_LOG_FORMAT", "xml", &["log.format", "text or json"]);
        check(
            "FANFARE_SESSIONS_QUEUE_PREFIX",
            "a b",
            &["sessions.queue_prefix", "hyphens"],
        );
        check("FANFARE_OPERATOR_SECRET_KEY", "", &["operator_secret_key"]);
    }

    #[test]
    fn files_that_do_not_fit_are_named_with_what_is_allowed() {
        let check = |toml: &str, parts: &[&str]| {
            check_refused(from_toml(toml, &[]), &[parts, &[".toml"]].concat())
        };
        check("nonsense = 1", &["nonsense", "region"]);
        check("[http]\nport = 1", &["http.port", "listen"]);
        check("[nonsense]\na = 1", &["nonsense"]);
        check("http = 1", &["http is a section"]);
        check(
            "[http]\nworkers = \"2\"",
            &["http.workers", "the text \"2\"", "whole number"],
        );
        check("[http]\nworkers = 2.5", &["http.workers", "whole number"]);
        check("aws_account = 123456789012", &["aws_account", "quotes"]);
        check("[http]\nworkers = ", &["line 2"]);
        check("[region]\na = 1", &["region", "map"]);
    }

    #[test]
    fn lists_are_read_as_what_they_are() {
        let config = loads(&[("FANFARE_GUESTS_ALLOW", "/game/*, /chat")]);
        assert_eq!(config.guests.allow, ["/game/*", "/chat"]);
        let toml = "[[roles]]\nname = \"a\"\npolicy = \"x.json\"\n[[accounts]]\nusername = \"u\"\n\
                    password_hash = \"c4nary\"\npolicy = \"{}\"";
        let config = from_toml(toml, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.roles[0].name, "a");
        assert_eq!(config.accounts[0].password_hash.expose(), "c4nary");
        assert!(!format!("{config:?}").contains("c4nary"));
        let check = |toml: &str, part: &str| check_refused(from_toml(toml, &[]), &[part, ".toml"]);
        check("[guests]\nallow = \"x\"", "guests.allow");
        check("[guests]\nallow = [\"\"]", "guests.allow");
        check("[guests]\nallow = [7]", "guests.allow");
        check("[[roles]]\nname = \"a\"", "roles: found another list");
        check(
            "[[roles]]\nname = \"a b\"\npolicy = \"x\"",
            "1 to 64 letters",
        );
        check(
            "[[roles]]\nname = \"a\"\npolicy = \"x\"\nother = 1",
            "roles",
        );
        check(
            "[[accounts]]\nusername = \"+\"\npassword_hash = \"c4nary\"\npolicy = \"x\"",
            "accounts",
        );
        let wrong = "[[accounts]]\nusername = \"u\"\npassword_hash = [\"c4nary\"]\npolicy = \"x\"";
        let problems = from_toml(wrong, &[]).expect_err("a complaint").to_string();
        assert!(!problems.contains("c4nary"), "{problems}");
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let pairs = [("FANFARE_SESSIONS_TTL", "x"), ("FANFARE_HTTP_WORKERS", "x")];
        let problems = load(&Flags::default(), variables(&pairs)).expect_err("complaints");
        assert_eq!(problems.0.len(), 2, "{problems}");
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let flags = Flags {
            file: Some("/nonexistent/fanfare.toml".into()),
            ..Flags::default()
        };
        check_refused(load(&flags, variables(&[])), &["/nonexistent/fanfare.toml"]);
    }

    #[test]
    fn no_complaint_shows_a_secret() {
        for toml in [
            "operator_secret_key = 12345678901",
            "operator_secret_key = \"12345678901\nx\"",
            "operator_secret_key_2 = 12345678901",
        ] {
            let problems = from_toml(toml, &[]).expect_err("a complaint").to_string();
            assert!(!problems.contains("12345678901"), "{problems}");
        }
    }
}
