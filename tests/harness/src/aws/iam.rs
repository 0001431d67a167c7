//! Users with a policy, for the emulator that checks signatures and policies. Writes to it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Aws, Client};

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret: String,
}

/// Keys that end, of a role that was taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `AWS_ACCESS_KEY_ID`
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret: String,
    /// `AWS_SESSION_TOKEN`
    pub token: String,
}

/// A policy that allows everything.
#[must_use]
pub fn everything() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    })
}

impl Aws {
    /// Makes a user who may do these actions (`elasticloadbalancing:Describe*`) on everything. Only [`super::Kind::MinistackWithAuth`]
    /// and [`super::Kind::Moto`] hold them to it.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn create_user(&self, name: &str, actions: &[&str]) -> Result<AccessKey> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        });
        self.create_user_with_policy(name, &policy).await
    }

    /// Makes a user with this policy. [`super::Kind::Moto`] judges all of it, [`super::Kind::MinistackWithAuth`] the actions: what is
    /// conditional on tags it denies also where it must not.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn create_user_with_policy(&self, name: &str, policy: &Value) -> Result<AccessKey> {
        // Users are an account's, and other regions of it are other tests'.
        let name = format!("{name}-{}", self.region());
        self.client()
            .call("iam", "CreateUser", json!({"UserName": name}))
            .await?;
        let parameters = json!({
            "UserName": name,
            "PolicyName": "actions",
            "PolicyDocument": policy.to_string(),
        });
        self.client()
            .call("iam", "PutUserPolicy", parameters)
            .await?;
        let made = self
            .client()
            .call("iam", "CreateAccessKey", json!({"UserName": name}))
            .await?;
        let part = |name: &str| -> Result<String> {
            let value: &Value = &made["AccessKey"][name];
            let text = value
                .as_str()
                .with_context(|| format!("no {name}: {made}"))?;
            Ok(text.to_owned())
        };
        Ok(AccessKey {
            id: part("AccessKeyId")?,
            secret: part("SecretAccessKey")?,
        })
    }

    /// Makes a role with this policy in the account of `client`, which may be another one; returns its ARN.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn create_role(&self, client: &Client, name: &str, policy: &Value) -> Result<String> {
        let name = format!("{name}-{}", self.region());
        let anybody = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}],
        });
        let parameters = json!({"RoleName": name, "AssumeRolePolicyDocument": anybody.to_string()});
        let made = client.call("iam", "CreateRole", parameters).await?;
        let parameters = json!({
            "RoleName": name,
            "PolicyName": "actions",
            "PolicyDocument": policy.to_string(),
        });
        client.call("iam", "PutRolePolicy", parameters).await?;
        let arn = made["Role"]["Arn"].as_str();
        Ok(arn.with_context(|| format!("no ARN: {made}"))?.to_owned())
    }

    /// Keys of a role, as an instance or a pod is given them.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn session(&self, role: &str) -> Result<Session> {
        let parameters = json!({"RoleArn": role, "RoleSessionName": "harness"});
        let made = self.client().call("sts", "AssumeRole", parameters).await?;
        let part = |name: &str| -> Result<String> {
            let text = made["Credentials"][name].as_str();
            Ok(text
                .with_context(|| format!("no {name}: {made}"))?
                .to_owned())
        };
        Ok(Session {
            id: part("AccessKeyId")?,
            secret: part("SecretAccessKey")?,
            token: part("SessionToken")?,
        })
    }
}
