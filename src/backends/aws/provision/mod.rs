//! What must be there before a node starts: looking, making, putting right and removing.
//!
//! Each [`Part`] is described by a few named values. What is found is described in the same way, so that what differs is
//! the difference of two descriptions. Whatever is made here carries the tag [`TAG`]; only what carries it is ever removed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::signed::{Place, partition};
use super::{Services, identities, service, tables};
use crate::domain::StoreError;

mod examine;
mod iam;
mod pool;
mod stream;
mod table;

/// The tag of everything that is made here; its value is the environment.
pub const TAG: &str = "fanfare:env";

/// What stands in a plan for the id of the pool of identities before it is there.
const NO_POOL: &str = "(id of the identity pool)";

/// What is to be made, beside what the nodes' own [`AwsOptions`](super::AwsOptions) say.
#[derive(Debug, Clone)]
pub struct ProvisionOptions {
    /// The environment.
    pub env: String,
    /// What the names of sessions' queues start with.
    pub queue_prefix: String,
    /// Name of the stream.
    pub stream: String,
    /// Its shards.
    pub shards: u32,
    /// Name of the role that sessions' keys are made of, with its path.
    pub session_role: String,
    /// How long keys of that role may live.
    pub key_lifetime: Duration,
    /// What nodes' client ids at AWS IoT Core begin with, if topics go there.
    pub iot_client_id: Option<String>,
    /// The table of the stream's leases.
    pub leases_table: String,
    /// Where IAM is, if not at AWS's own endpoint.
    pub iam_endpoint: Option<String>,
}

/// Where things are provisioned.
#[derive(Debug, Clone)]
pub struct Provisioner {
    services: Arc<Services>,
    options: ProvisionOptions,
    /// Id of the pool of identities that was made here.
    made_pool: OnceLock<String>,
    cognito: Place,
    kinesis: Place,
    iam: Place,
    sts: Place,
}

/// Kinds of parts, as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table in DynamoDB.
    Table,
    /// The stream in Kinesis.
    Stream,
    /// The pool of sessions' identities in Cognito.
    Pool,
    /// A role in IAM.
    Role,
    /// The role that a pool gives its identities.
    Attachment,
    /// A policy in IAM.
    Policy,
}

impl Kind {
    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Stream => "stream",
            Self::Pool => "pool",
            Self::Role => "role",
            Self::Attachment => "attachment",
            Self::Policy => "policy",
        }
    }
}

/// Something that must be there.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it must be like.
    pub wanted: Map<String, Value>,
    table: Option<tables::Table>,
}

/// What was found under a part's name.
#[derive(Debug, Clone, Default)]
struct Found {
    /// What it is like.
    is: Map<String, Value>,
    /// The value of its [`TAG`]: `Some(None)` if it has none, `None` if the service knows no tags.
    tag: Option<Option<String>>,
}

/// One value that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub what: String,
    /// As it is.
    pub is: Value,
    /// As it must be.
    pub wanted: Value,
    /// Whether provisioning can put it right.
    pub mendable: bool,
}

/// A part as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it must be.
    There,
    /// It is not there.
    Missing,
    /// Something of it is otherwise.
    Differs(Vec<Difference>),
}

/// Whether a part may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// There is nothing.
    Missing,
    /// It was made here.
    Ours,
    /// Somebody else made it; the text says how that is known.
    Foreign(String),
}

impl Provisioner {
    /// Nothing is asked yet.
    pub fn new(options: ProvisionOptions, services: Arc<Services>) -> Self {
        let aws = &services.options;
        let kinesis = aws.kinesis_endpoint.as_deref();
        let iam = options.iam_endpoint.as_deref();
        Self {
            made_pool: OnceLock::new(),
            cognito: identities::place(aws),
            kinesis: Place::of("kinesis", &aws.region, kinesis),
            iam: Place::of("iam", &aws.region, iam),
            sts: Place::of("sts", &aws.region, aws.sts_endpoint.as_deref()),
            options,
            services,
        }
    }

    /// Everything that must be there, in the order in which it is made. What names the pool of identities by its id is not
    /// as it must be before the pool is there.
    ///
    /// # Errors
    /// [`StoreError`] if Cognito is asked for the pool, and refuses or does not answer.
    pub async fn parts(&self) -> Result<Vec<Part>, StoreError> {
        let pool = self.pool_id().await?;
        Ok(self.parts_with(pool.as_deref()))
    }

    fn parts_with(&self, pool: Option<&str>) -> Vec<Part> {
        let tables = tables::all(&self.services);
        let tables = tables.into_iter().map(|table| Part {
            kind: Kind::Table,
            name: table.name.clone(),
            wanted: object(table::wanted(&table)),
            table: Some(table),
        });
        let part = |kind, name: &str, wanted: Value| Part {
            kind,
            name: name.to_owned(),
            wanted: object(wanted),
            table: None,
        };
        let options = &self.options;
        let stream = json!({ "shards": options.shards });
        let reads_stream = self.services.options.stream.is_some();
        let stream = reads_stream.then(|| part(Kind::Stream, &options.stream, stream));
        let identities = self.services.options.identities.as_ref();
        let pool_name = self.pool_name();
        let identity_pool =
            identities.map(|one| part(Kind::Pool, &pool_name, self.wanted_pool(&one.provider)));
        let role = part(Kind::Role, &options.session_role, self.session_role(pool));
        let attachment =
            identities.map(|_| part(Kind::Attachment, &pool_name, self.wanted_attachment()));
        let policy = self.node_policy(pool);
        let policy = part(Kind::Policy, &self.node_policy_name(), policy);
        let parts = tables.chain(stream).chain(identity_pool).chain([role]);
        parts.chain(attachment).chain([policy]).collect()
    }

    /// The account that the credentials belong to, which names in policies must have.
    ///
    /// # Errors
    /// [`StoreError`] if STS refuses or does not answer.
    pub async fn account(&self) -> Result<String, StoreError> {
        let asked = ("GetCallerIdentity", "2011-06-15");
        let answer = self.services.signed.query(&self.sts, asked, &[]).await?;
        let none = || StoreError::Failed("GetCallerIdentity: no account in the answer".into());
        answer.text("Account").ok_or_else(none)
    }

    /// How a part is.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn look(&self, part: &Part) -> Result<State, StoreError> {
        let Some(found) = self.find(part).await? else {
            return Ok(State::Missing);
        };
        let differences: Vec<Difference> = part
            .wanted
            .iter()
            .filter(|(name, wanted)| found.is.get(*name) != Some(wanted))
            .map(|(name, wanted)| Difference {
                what: name.clone(),
                is: found.is.get(name).cloned().unwrap_or_default(),
                wanted: wanted.clone(),
                mendable: is_mendable(part.kind, name) && !wanted.is_null(),
            })
            .collect();
        Ok(match differences.is_empty() {
            true => State::There,
            false => State::Differs(differences),
        })
    }

    /// Makes a part that is missing.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn make(&self, part: &Part) -> Result<(), StoreError> {
        self.check_pool(part).await?;
        match part.kind {
            Kind::Table => {
                let table = part.table.as_ref().expect("a table's part has its table");
                tables::create(&self.services, table, (TAG, &self.options.env)).await
            }
            Kind::Stream => self.make_stream(part).await,
            Kind::Pool => self.make_pool(part).await,
            Kind::Role => self.make_role(part).await,
            Kind::Attachment => self.attach(part).await,
            Kind::Policy => self.make_policy(part).await,
        }
    }

    /// Puts right what can be of a part that differs.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn mend(&self, part: &Part, differences: &[Difference]) -> Result<(), StoreError> {
        self.check_pool(part).await?;
        for difference in differences.iter().filter(|difference| difference.mendable) {
            match (part.kind, difference.what.as_str()) {
                (Kind::Table, _) => {
                    let table = part.table.as_ref().expect("a table's part has its table");
                    tables::expire(&self.services, table).await?;
                }
                (Kind::Pool, _) => self.mend_pool(part).await?,
                (Kind::Role, what) => self.mend_role(part, what).await?,
                (Kind::Attachment, _) => self.attach(part).await?,
                (Kind::Policy, _) => self.mend_policy(part).await?,
                (Kind::Stream, what) => unreachable!("a stream's {what} is not mendable"),
            }
        }
        Ok(())
    }

    /// Whether a part is there, and was made here.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn is_ours(&self, part: &Part) -> Result<Removal, StoreError> {
        let env = &self.options.env;
        let Some(found) = self.find(part).await? else {
            return Ok(Removal::Missing);
        };
        Ok(match found.tag {
            Some(Some(tag)) if tag == *env => Removal::Ours,
            Some(Some(tag)) => Removal::Foreign(format!("its tag {TAG} says {tag}")),
            Some(None) => Removal::Foreign(format!("it has no tag {TAG}")),
            // An engine without tags: the environment is in the name, or nobody knows.
            None if part.name.starts_with(&format!("{env}-")) => Removal::Ours,
            None => Removal::Foreign(format!("its name does not start with {env}-")),
        })
    }

    /// Removes a part.
    ///
    /// # Errors
    /// [`StoreError`] if a service refuses or does not answer.
    pub async fn remove(&self, part: &Part) -> Result<(), StoreError> {
        match part.kind {
            Kind::Table => table::remove(&self.services, &part.name).await,
            Kind::Stream => self.remove_stream(part).await,
            Kind::Pool => self.remove_pool().await,
            Kind::Role => self.remove_role(part).await,
            Kind::Attachment => self.detach().await,
            Kind::Policy => self.remove_policy(part).await,
        }
    }

    /// How many queues of this environment's sessions there are, at most 1000.
    ///
    /// # Errors
    /// [`StoreError`] if SQS refuses or does not answer.
    pub async fn queues(&self) -> Result<usize, StoreError> {
        let call = self.services.sqs.list_queues();
        let call = call.queue_name_prefix(format!("{}-", self.options.queue_prefix));
        let pauses = service::Pauses::lasting(self.services.options.patience);
        let found = service::persist("ListQueues", pauses, || call.clone().send()).await;
        let found = found.map_err(|error| service::trouble("ListQueues", error))?;
        Ok(found.queue_urls.unwrap_or_default().len())
    }

    async fn find(&self, part: &Part) -> Result<Option<Found>, StoreError> {
        match part.kind {
            Kind::Table => table::find(&self.services, &part.name).await,
            Kind::Stream => self.find_stream(part).await,
            Kind::Pool => self.find_pool().await,
            Kind::Role => self.find_role(part).await,
            Kind::Attachment => self.find_attachment().await,
            Kind::Policy => self.find_policy(part).await,
        }
    }

    /// A policy file with this configuration's names in it, and the id of the pool of identities.
    fn policy(&self, template: &str, pool: Option<&str>) -> Value {
        let (aws, options) = (&self.services.options, &self.options);
        let role = self.session_role_arn();
        let names: [(&str, &str); 12] = [
            ("partition", partition(&aws.region)),
            ("region", &aws.region),
            ("account", &aws.account),
            ("sessions_table", &aws.sessions_table),
            ("messages_table", &aws.messages_table),
            ("leases_table", &options.leases_table),
            ("queue_prefix", &options.queue_prefix),
            ("stream", &options.stream),
            ("session_role", &role),
            ("identity_pool", pool.unwrap_or(NO_POOL)),
            ("identity", "${cognito-identity.amazonaws.com:sub}"),
            (
                "iot_client_id",
                options.iot_client_id.as_deref().unwrap_or_default(),
            ),
        ];
        let mut text = template.to_owned();
        for (name, value) in names {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        serde_json::from_str(&text).expect("the policy files are JSON, a test reads them")
    }
}

/// What can be put right where it is. A table's keys and indexes are what they were made with; a stream's shards are
/// changed while it is in use, which is its owner's to time.
fn is_mendable(kind: Kind, what: &str) -> bool {
    match kind {
        Kind::Table => what == "ttl",
        Kind::Stream => false,
        Kind::Pool => what == "guests",
        Kind::Role | Kind::Attachment | Kind::Policy => true,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("a part is described by an object, not by {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::aws::{AwsOptions, IdentityOptions};

    async fn provisioner(identities: Option<IdentityOptions>) -> Provisioner {
        let nowhere = || Some("http://127.0.0.1:9".to_owned());
        let services = Services::connect(AwsOptions {
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            sqs_endpoint: nowhere(),
            dynamodb_endpoint: nowhere(),
            sts_endpoint: nowhere(),
            kinesis_endpoint: nowhere(),
            cognito_endpoint: None,
            stream: None,
            sessions_table: "e-sessions".into(),
            messages_table: "e-messages".into(),
            session_role: String::new(),
            identities,
            patience: Duration::from_millis(100),
            hold_bytes: 1000,
            spill_bytes: 0,
            sweep_interval: Duration::from_secs(1),
            user_message_ttl: Duration::from_secs(1),
        });
        let options = ProvisionOptions {
            env: "e".into(),
            queue_prefix: "e-fanfare".into(),
            stream: "e-stream".into(),
            shards: 1,
            session_role: "path/e-role".into(),
            key_lifetime: Duration::from_secs(900),
            iot_client_id: Some("node-".into()),
            leases_table: "e-leases".into(),
            iam_endpoint: nowhere(),
        };
        Provisioner::new(options, services.await)
    }

    fn text(parts: &[Part], name: &str, kind: Kind) -> String {
        let is_it = |part: &&Part| part.name == name && part.kind == kind;
        let part = parts.iter().find(is_it).expect("it is there");
        Value::from(part.wanted.clone()).to_string()
    }

    #[actix::test]
    async fn policies_have_every_name_put_in() {
        let provisioner = provisioner(None).await;
        let parts = provisioner.parts().await.expect("nobody is asked");
        let role = text(&parts, "path/e-role", Kind::Role);
        let policy = text(&parts, "e-fanfare-node", Kind::Policy);
        assert!(
            !role.contains('$') && !policy.contains('$'),
            "{role} {policy}"
        );
        assert!(role.contains("arn:aws:sqs:eu-west-1:123456789012:e-fanfare-*"));
        assert!(policy.contains("arn:aws:iam::123456789012:role/path/e-role"));
        assert!(policy.contains("table/e-sessions/index/*"));
        assert!(policy.contains("client/node-*"));
        assert!(!policy.contains("cognito"), "nobody needs what it allows");
        // IAM takes no role whose keys live shorter at most.
        assert!(role.contains("\"maxSessionSeconds\":3600"), "{role}");
    }

    #[actix::test]
    async fn identities_reach_the_queue_that_is_tagged_with_them() {
        let provisioner = provisioner(Some(IdentityOptions {
            pool: String::new(),
            provider: "e.fanfare".into(),
        }));
        let provisioner = provisioner.await;
        let pool = "eu-west-1:1";
        let parts = provisioner.parts_with(Some(pool));
        let role = text(&parts, "path/e-role", Kind::Role);
        let condition = r#""StringEquals":{"aws:ResourceTag/fanfare:identity":"${cognito-identity.amazonaws.com:sub}"}"#;
        assert!(role.contains(condition), "{role}");
        assert!(role.contains(r#""cognito-identity.amazonaws.com:aud":"eu-west-1:1""#));
        assert!(role.contains(r#""cognito-identity.amazonaws.com:amr":"authenticated""#));
        let attachment = text(&parts, "e-fanfare", Kind::Attachment);
        assert!(attachment.contains("arn:aws:iam::123456789012:role/path/e-role"));
        let policy = text(&parts, "e-fanfare-node", Kind::Policy);
        assert!(policy.contains("identitypool/eu-west-1:1"), "{policy}");
        assert!(!policy.contains("sts:"), "nobody needs what it allows");
    }

    #[test]
    fn what_can_not_be_changed_where_it_is_is_left() {
        let check = |kind, what, expect| assert_eq!(is_mendable(kind, what), expect);
        check(Kind::Table, "ttl", true);
        check(Kind::Table, "keys", false);
        check(Kind::Table, "indexes", false);
        check(Kind::Stream, "shards", false);
        check(Kind::Pool, "guests", true);
        check(Kind::Pool, "developerProvider", false);
        check(Kind::Role, "trust", true);
        check(Kind::Policy, "policy", true);
    }
}
