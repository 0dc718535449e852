//! IAM: the role that sessions' keys are made of, and the policy of the nodes.

use serde_json::{Value, json};

use super::super::signed::{Answer, CallError, partition};
use super::{Found, NO_POOL, Part, Provisioner, TAG, object};
use crate::domain::StoreError;

/// The version of IAM's operations.
const VERSION: &str = "2010-05-08";

/// What a node does, and nothing else. Terraform reads the same file, CloudFormation's is compared with it.
const NODE: &str = include_str!("../../../../deploy/aws/policies/node.json");

/// What sessions may do with their queues, all of them together; STS narrows each session's keys down to its own.
const SESSION: &str = include_str!("../../../../deploy/aws/policies/session.json");

/// What sessions' identities may do: each with the queue that is tagged with it.
const IDENTITY: &str = include_str!("../../../../deploy/aws/policies/identity.json");

/// Statements of the nodes' policy for who does not have sessions' keys made by STS, not by Cognito, or no topics at AWS IoT Core.
const OF_STS: &[&str] = &["SessionKeys"];
const OF_COGNITO: &[&str] = &["Identities", "EndingIdentities"];
const OF_IOT: &[&str] = &["Connections", "Topics", "TopicFilters"];

/// Name of the policy within the session role.
const INLINE: &str = "queues";

/// Versions that IAM keeps of a policy.
const POLICY_VERSIONS: usize = 5;

/// The shortest longest life of a role's keys that IAM takes.
const LEAST_SESSION_SECONDS: u64 = 3600;

impl Provisioner {
    pub(super) fn session_role_arn(&self) -> String {
        let (partition, account) = self.owner();
        format!(
            "arn:{partition}:iam::{account}:role/{}",
            self.options.session_role
        )
    }

    pub(super) fn node_policy_name(&self) -> String {
        format!("{}-fanfare-node", self.options.env)
    }

    fn node_policy_arn(&self) -> String {
        let (partition, account) = self.owner();
        format!(
            "arn:{partition}:iam::{account}:policy/{}",
            self.node_policy_name()
        )
    }

    fn owner(&self) -> (&'static str, &str) {
        let aws = &self.services.options;
        (partition(&aws.region), &aws.account)
    }

    /// What the role must be like: of STS's keys, or of the identities in a pool.
    pub(super) fn session_role(&self, pool: Option<&str>) -> Value {
        let has_identities = self.services.options.identities.is_some();
        let (trust, policy) = match has_identities {
            true => (trust_in_pool(pool.unwrap_or(NO_POOL)), IDENTITY),
            false => (self.trust_in_account(), SESSION),
        };
        let longest = self
            .options
            .key_lifetime
            .as_secs()
            .max(LEAST_SESSION_SECONDS);
        json!({
            "trust": trust,
            "policy": self.policy(policy, pool),
            "maxSessionSeconds": longest,
        })
    }

    /// Whoever the account lets assume the role may; the nodes' policy does.
    fn trust_in_account(&self) -> Value {
        let (partition, account) = self.owner();
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "AWS": format!("arn:{partition}:iam::{account}:root") },
                "Action": "sts:AssumeRole",
            }],
        })
    }

    /// What nodes do with this configuration, and nothing else.
    pub(super) fn node_policy(&self, pool: Option<&str>) -> Value {
        let mut policy = self.policy(NODE, pool);
        let keys = match self.services.options.identities {
            Some(_) => OF_STS,
            None => OF_COGNITO,
        };
        let topics = match self.options.iot_client_id {
            Some(_) => &[],
            None => OF_IOT,
        };
        let is_used = |statement: &Value| {
            let sid = statement["Sid"].as_str().unwrap_or_default();
            !keys.contains(&sid) && !topics.contains(&sid)
        };
        if let Some(statements) = policy["Statement"].as_array_mut() {
            statements.retain(is_used);
        }
        json!({ "policy": policy })
    }

    pub(super) async fn ask(
        &self,
        operation: &'static str,
        parameters: &[(&str, &str)],
    ) -> Result<Answer, CallError> {
        let asked = (operation, VERSION);
        let signed = &self.services.signed;
        signed.query(&self.iam, asked, parameters).await
    }

    /// As [`Self::ask`]; `None` if there is no such thing.
    async fn seek(
        &self,
        operation: &'static str,
        parameters: &[(&str, &str)],
    ) -> Result<Option<Answer>, CallError> {
        match self.ask(operation, parameters).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == "NoSuchEntity" => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn find_role(&self, part: &Part) -> Result<Option<Found>, StoreError> {
        let name = ("RoleName", bare(&part.name));
        let Some(role) = self.seek("GetRole", &[name]).await? else {
            return Ok(None);
        };
        let inline = [name, ("PolicyName", INLINE)];
        let policy = self.seek("GetRolePolicy", &inline).await?;
        let policy = policy.and_then(|policy| document(&policy, "PolicyDocument"));
        let longest = role.text("MaxSessionDuration");
        let longest = longest.and_then(|seconds| seconds.parse::<u64>().ok());
        Ok(Some(Found {
            is: object(json!({
                "trust": document(&role, "AssumeRolePolicyDocument"),
                "policy": policy,
                "maxSessionSeconds": longest,
            })),
            tag: Some(tag(&role)),
        }))
    }

    pub(super) async fn make_role(&self, part: &Part) -> Result<(), StoreError> {
        let path = part.name.rfind('/').map_or("", |end| &part.name[..=end]);
        let (path, trust) = (format!("/{path}"), part.wanted["trust"].to_string());
        let longest = part.wanted["maxSessionSeconds"].to_string();
        let parameters: [(&str, &str); 7] = [
            ("RoleName", bare(&part.name)),
            ("Path", &path),
            ("AssumeRolePolicyDocument", &trust),
            ("MaxSessionDuration", &longest),
            (
                "Description",
                "Fanfare makes its sessions' keys of this role",
            ),
            ("Tags.member.1.Key", TAG),
            ("Tags.member.1.Value", &self.options.env),
        ];
        self.ask("CreateRole", &parameters).await?;
        self.mend_role(part, "policy").await
    }

    pub(super) async fn mend_role(&self, part: &Part, what: &str) -> Result<(), StoreError> {
        let (name, text) = (
            ("RoleName", bare(&part.name)),
            part.wanted[what].to_string(),
        );
        let done = match what {
            "trust" => {
                let parameters = [name, ("PolicyDocument", text.as_str())];
                self.ask("UpdateAssumeRolePolicy", &parameters).await
            }
            "policy" => {
                let parameters = [
                    name,
                    ("PolicyName", INLINE),
                    ("PolicyDocument", text.as_str()),
                ];
                self.ask("PutRolePolicy", &parameters).await
            }
            _ => {
                let parameters = [name, ("MaxSessionDuration", text.as_str())];
                self.ask("UpdateRole", &parameters).await
            }
        };
        Ok(done.map(drop)?)
    }

    pub(super) async fn remove_role(&self, part: &Part) -> Result<(), StoreError> {
        let name = ("RoleName", bare(&part.name));
        let inline = [name, ("PolicyName", INLINE)];
        self.seek("DeleteRolePolicy", &inline).await?;
        Ok(self.seek("DeleteRole", &[name]).await.map(drop)?)
    }

    pub(super) async fn find_policy(&self, _: &Part) -> Result<Option<Found>, StoreError> {
        let arn = self.node_policy_arn();
        let arn = ("PolicyArn", arn.as_str());
        let Some(policy) = self.seek("GetPolicy", &[arn]).await? else {
            return Ok(None);
        };
        let version = policy.text("DefaultVersionId").unwrap_or_default();
        let version = [arn, ("VersionId", version.as_str())];
        let found = self.seek("GetPolicyVersion", &version).await?;
        let found = found.and_then(|found| document(&found, "Document"));
        Ok(Some(Found {
            is: object(json!({ "policy": found })),
            tag: Some(tag(&policy)),
        }))
    }

    pub(super) async fn make_policy(&self, part: &Part) -> Result<(), StoreError> {
        let text = part.wanted["policy"].to_string();
        let parameters: [(&str, &str); 5] = [
            ("PolicyName", part.name.as_str()),
            ("PolicyDocument", text.as_str()),
            (
                "Description",
                "What a node of Fanfare does: attach it to whoever runs one",
            ),
            ("Tags.member.1.Key", TAG),
            ("Tags.member.1.Value", &self.options.env),
        ];
        Ok(self.ask("CreatePolicy", &parameters).await.map(drop)?)
    }

    /// A new version, in the place of the oldest if there are as many as IAM keeps.
    pub(super) async fn mend_policy(&self, part: &Part) -> Result<(), StoreError> {
        let (arn, text) = (self.node_policy_arn(), part.wanted["policy"].to_string());
        let arn = ("PolicyArn", arn.as_str());
        let others = self.other_versions(arn).await?;
        if let Some(oldest) = others
            .last()
            .filter(|_| others.len() + 1 >= POLICY_VERSIONS)
        {
            let version = [arn, ("VersionId", oldest.as_str())];
            self.ask("DeletePolicyVersion", &version).await?;
        }
        let parameters = [
            arn,
            ("PolicyDocument", text.as_str()),
            ("SetAsDefault", "true"),
        ];
        Ok(self
            .ask("CreatePolicyVersion", &parameters)
            .await
            .map(drop)?)
    }

    pub(super) async fn remove_policy(&self, _: &Part) -> Result<(), StoreError> {
        let arn = self.node_policy_arn();
        let arn = ("PolicyArn", arn.as_str());
        for version in self.other_versions(arn).await? {
            let version = [arn, ("VersionId", version.as_str())];
            self.ask("DeletePolicyVersion", &version).await?;
        }
        Ok(self.seek("DeletePolicy", &[arn]).await.map(drop)?)
    }

    /// Versions of a policy that are not in force, the newest first.
    async fn other_versions(&self, arn: (&str, &str)) -> Result<Vec<String>, StoreError> {
        let listed = self.ask("ListPolicyVersions", &[arn]).await?;
        let versions = listed.texts("VersionId").into_iter();
        let in_force = listed.texts("IsDefaultVersion").into_iter();
        let mut others: Vec<String> = versions
            .zip(in_force)
            .filter(|(_, in_force)| in_force != "true")
            .map(|(version, _)| version)
            .collect();
        // v2, v10: by number.
        others.sort_by_key(|version| {
            std::cmp::Reverse(version.trim_start_matches('v').parse::<u64>().unwrap_or(0))
        });
        Ok(others)
    }
}

/// Identities of this pool may have the role, once somebody has vouched for them.
fn trust_in_pool(pool: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": "cognito-identity.amazonaws.com" },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": { "cognito-identity.amazonaws.com:aud": pool },
                "ForAnyValue:StringLike": { "cognito-identity.amazonaws.com:amr": "authenticated" },
            },
        }],
    })
}

/// A role's name without its path.
fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A policy in an answer, where it stands percent-encoded.
fn document(answer: &Answer, element: &str) -> Option<Value> {
    let text = answer.text(element)?;
    let text = percent_encoding::percent_decode_str(&text)
        .decode_utf8()
        .ok()?;
    serde_json::from_str(&text).ok()
}

/// The value of our tag, if it is there.
fn tag(answer: &Answer) -> Option<String> {
    let mut tags = answer.texts("Key").into_iter().zip(answer.texts("Value"));
    tags.find(|(key, _)| key == TAG).map(|(_, value)| value)
}
