//! The pool of sessions' identities in Cognito, and the role that it gives them.

use serde_json::{Map, Value, json};

use super::super::identities::{PAGE, PREFIX};
use super::super::signed::CallError;
use super::{Found, Kind, Part, Provisioner, TAG, object};
use crate::domain::StoreError;

impl Provisioner {
    pub(super) fn pool_name(&self) -> String {
        format!("{}-fanfare", self.options.env)
    }

    /// What a pool must be like: nobody gets in but those that this program vouches for.
    pub(super) fn wanted_pool(&self, provider: &str) -> Value {
        json!({ "developerProvider": provider, "guests": false })
    }

    pub(super) fn wanted_attachment(&self) -> Value {
        json!({ "authenticated": self.session_role_arn() })
    }

    /// The pool's id, if sessions' keys are Cognito's and it is there.
    ///
    /// # Errors
    /// [`StoreError`] if Cognito refuses or does not answer.
    pub async fn pool_id(&self) -> Result<Option<String>, StoreError> {
        if self.services.options.identities.is_none() {
            return Ok(None);
        }
        let pool = self.pool().await?;
        Ok(pool.and_then(|pool| pool["IdentityPoolId"].as_str().map(str::to_owned)))
    }

    /// What names the pool by its id can not be made before it.
    pub(super) async fn check_pool(&self, part: &Part) -> Result<(), StoreError> {
        let names_it = matches!(part.kind, Kind::Role | Kind::Attachment | Kind::Policy);
        let needs_it = names_it && self.services.options.identities.is_some();
        match needs_it && self.pool_id().await?.is_none() {
            true => Err(self.no_pool()),
            false => Ok(()),
        }
    }

    fn no_pool(&self) -> StoreError {
        let name = self.pool_name();
        StoreError::Failed(format!("there is no identity pool {name}: make it first"))
    }

    pub(super) async fn find_pool(&self) -> Result<Option<Found>, StoreError> {
        Ok(self.pool().await?.map(|pool| Found {
            is: object(json!({
                "developerProvider": pool["DeveloperProviderName"],
                "guests": pool["AllowUnauthenticatedIdentities"],
            })),
            tag: Some(tag(&pool)),
        }))
    }

    pub(super) async fn make_pool(&self, part: &Part) -> Result<(), StoreError> {
        let asked = json!({
            "IdentityPoolName": part.name,
            "AllowUnauthenticatedIdentities": part.wanted["guests"],
            "DeveloperProviderName": part.wanted["developerProvider"],
            "IdentityPoolTags": { TAG: self.options.env },
        });
        let made = self.pool_call("CreateIdentityPool", &asked).await?;
        let id = made["IdentityPoolId"].as_str().unwrap_or_default();
        // Pools are listed a moment after they are made; this one is known by its id. A second one replaces none.
        let _ = self.made_pool.set(id.to_owned());
        Ok(())
    }

    /// No guests. All else of the pool must be said again, or it would be taken away.
    pub(super) async fn mend_pool(&self, part: &Part) -> Result<(), StoreError> {
        let mut pool = self.pool().await?.ok_or_else(|| self.no_pool())?;
        pool["AllowUnauthenticatedIdentities"] = part.wanted["guests"].clone();
        self.pool_call("UpdateIdentityPool", &pool).await?;
        Ok(())
    }

    pub(super) async fn remove_pool(&self) -> Result<(), StoreError> {
        let Some(id) = self.pool_id().await? else {
            return Ok(());
        };
        let asked = json!({ "IdentityPoolId": id });
        self.pool_call("DeleteIdentityPool", &asked).await?;
        Ok(())
    }

    /// The role of the pool's identities. None is attached to a pool that is not there.
    pub(super) async fn find_attachment(&self) -> Result<Option<Found>, StoreError> {
        let Some(pool) = self.pool().await? else {
            return Ok(None);
        };
        let asked = json!({ "IdentityPoolId": pool["IdentityPoolId"] });
        let roles = self.pool_call("GetIdentityPoolRoles", &asked).await?;
        let is = roles["Roles"].as_object().cloned().unwrap_or_default();
        let found = (!is.is_empty()).then(|| Found {
            is,
            tag: Some(tag(&pool)),
        });
        Ok(found)
    }

    pub(super) async fn attach(&self, part: &Part) -> Result<(), StoreError> {
        self.set_roles(&part.wanted).await
    }

    pub(super) async fn detach(&self) -> Result<(), StoreError> {
        self.set_roles(&Map::new()).await
    }

    async fn set_roles(&self, roles: &Map<String, Value>) -> Result<(), StoreError> {
        let id = self.pool_id().await?.ok_or_else(|| self.no_pool())?;
        let asked = json!({ "IdentityPoolId": id, "Roles": roles });
        self.pool_call("SetIdentityPoolRoles", &asked).await?;
        Ok(())
    }

    /// The pool that was just made, else the configured one, else ours by its name.
    async fn pool(&self) -> Result<Option<Value>, StoreError> {
        let configured = self.services.options.identities.as_ref();
        let configured = configured.map(|pool| &pool.pool);
        let known = self.made_pool.get().or(configured);
        if let Some(id) = known.filter(|id| !id.is_empty()) {
            return self.described(id).await;
        }
        let (name, mut asked) = (self.pool_name(), json!({ "MaxResults": PAGE }));
        // Names need not be unique: one that is not ours is taken only where there is no other.
        let mut others = None;
        loop {
            let listed = self.pool_call("ListIdentityPools", &asked).await?;
            let pools = listed["IdentityPools"].as_array().into_iter().flatten();
            for pool in pools.filter(|pool| pool["IdentityPoolName"] == name.as_str()) {
                let id = pool["IdentityPoolId"].as_str().unwrap_or_default();
                match self.described(id).await? {
                    Some(pool) if tag(&pool).as_ref() == Some(&self.options.env) => {
                        return Ok(Some(pool));
                    }
                    other => others = others.or(other),
                }
            }
            match listed["NextToken"].as_str() {
                Some(next) => asked["NextToken"] = next.into(),
                None => return Ok(others),
            }
        }
    }

    async fn described(&self, id: &str) -> Result<Option<Value>, StoreError> {
        let asked = json!({ "IdentityPoolId": id });
        match self.pool_call("DescribeIdentityPool", &asked).await {
            Ok(pool) => Ok(Some(pool)),
            Err(error) if error.code() == "ResourceNotFoundException" => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn pool_call(&self, operation: &'static str, asked: &Value) -> Result<Value, CallError> {
        let signed = &self.services.signed;
        signed.json(&self.cognito, (PREFIX, operation), asked).await
    }
}

fn tag(pool: &Value) -> Option<String> {
    let tag = pool["IdentityPoolTags"][TAG].as_str();
    tag.map(str::to_owned)
}
