//! Users with a policy, for the emulator that checks signatures and policies. Writes to it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Aws;

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret: String,
}

impl Aws {
    /// Makes a user who may do these actions (`elasticloadbalancing:Describe*`) on everything; conditions and resources are not
    /// judged by any emulator. Only [`super::Kind::MinistackWithAuth`] holds them to it.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn create_user(&self, name: &str, actions: &[&str]) -> Result<AccessKey> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        });
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
}
