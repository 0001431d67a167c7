//! Who we are: by the environment that workload identity gives a pod, else by the file (Decides).

use std::{fmt, path::Path, sync::Arc};

use evenkeel_core::problem::{Problem, Problems};

use super::{AzureJson, Who};
use crate::client::Credential;

/// Where the variables of the environment are looked up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// As Azure names the variables.
mod variable {
    pub(super) const TENANT: &str = "AZURE_TENANT_ID";
    pub(super) const CLIENT: &str = "AZURE_CLIENT_ID";
    pub(super) const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
    pub(super) const SECRET: &str = "AZURE_CLIENT_SECRET";
}

/// Where the webhook of workload identity mounts the token.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";

/// What `aadClientId` and `aadClientSecret` are where the machine's identity is used.
const MSI: &str = "msi";

/// Who we are. The environment goes first: workload identity is given to this very pod.
///
/// # Errors
/// What is missing.
pub fn identity(file: &AzureJson, environment: Environment<'_>) -> Result<Credential, Problems> {
    let given = |name: &str| environment(name).filter(|text| !text.trim().is_empty());
    let given = |name: &str| given(name).map(|text| Arc::<str>::from(text.trim()));
    let Who {
        client,
        secret,
        certificate,
        managed,
        user_assigned,
        workload,
        token_file,
    } = &file.who;
    let tenant = file.network_tenant.as_ref().or(file.tenant.as_ref());
    let tenant = || given(variable::TENANT).or(tenant.cloned());
    let own_client = || {
        client
            .clone()
            .filter(|client| !client.eq_ignore_ascii_case(MSI))
    };
    let mut problems = Problems::none();
    let mut need = |found: Option<Arc<str>>, place: &str, variable: &str| {
        found.unwrap_or_else(|| {
            problems.push(Problem::new(
                place,
                "",
                "is not known, and is needed to show who we are",
                format!("Set {place} in azure.json, or {variable} in the environment."),
            ));
            "".into()
        })
    };
    let credential = if *workload || given(variable::TOKEN_FILE).is_some() {
        let token_file = given(variable::TOKEN_FILE).or(token_file.clone());
        let client = given(variable::CLIENT).or(own_client());
        Credential::WorkloadIdentity {
            tenant: need(tenant(), "tenantId", variable::TENANT),
            client: need(client, "aadClientId", variable::CLIENT),
            token_file: Path::new(token_file.as_deref().unwrap_or(TOKEN_FILE)).into(),
        }
    } else if let Some(secret) = given(variable::SECRET) {
        let client = given(variable::CLIENT).or(own_client());
        Credential::Secret {
            tenant: need(tenant(), "tenantId", variable::TENANT),
            client: need(client, "aadClientId", variable::CLIENT),
            secret,
        }
    } else if *managed {
        if file.network_tenant.is_some() && file.network_tenant != file.tenant {
            problems.push(Problem::new(
                "networkResourceTenantID",
                file.network_tenant.as_deref().unwrap_or_default(),
                "is another tenant than tenantId, where a managed identity is not known",
                "Use workload identity or a service principal.",
            ));
        }
        Credential::ManagedIdentity {
            client: user_assigned.clone().or_else(|| given(variable::CLIENT)),
        }
    } else if let Some(secret) = secret
        .clone()
        .filter(|secret| !secret.eq_ignore_ascii_case(MSI))
    {
        Credential::Secret {
            tenant: need(tenant(), "tenantId", variable::TENANT),
            client: need(own_client(), "aadClientId", variable::CLIENT),
            secret,
        }
    } else if let Some(certificate) = certificate {
        problems.push(Problem::new(
            "aadClientCertPath",
            &**certificate,
            "names a certificate, which evenkeel does not show itself with",
            "Use workload identity, a managed identity, or a secret of the service principal.",
        ));
        Credential::ManagedIdentity { client: None }
    } else {
        // Nobody says anything: the machine may.
        Credential::ManagedIdentity {
            client: user_assigned.clone().or_else(|| given(variable::CLIENT)),
        }
    };
    problems.check().map(|()| credential)
}

impl fmt::Debug for Who {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who")
            .field("client", &self.client)
            .field("has_secret", &self.secret.is_some())
            .field("certificate", &self.certificate)
            .field("managed", &self.managed)
            .field("user_assigned", &self.user_assigned)
            .field("workload", &self.workload)
            .field("token_file", &self.token_file)
            .finish()
    }
}
