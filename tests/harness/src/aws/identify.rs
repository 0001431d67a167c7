//! Which call a request is: service, region and key from its signature, operation and parameters from header and body. Decides.

use http::HeaderMap;
use serde_json::Value;

use super::check::check;
use super::decode::decode;
use super::model::{Model, Models, Protocol};

/// A request that is understood.
#[derive(Clone, Debug)]
pub(crate) struct Identified<'a> {
    pub(crate) model: &'a Model,
    pub(crate) operation: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) parameters: Value,
    /// What AWS's model forbids in it.
    pub(crate) problems: Vec<String>,
}

/// The scope of a signature, version 4.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scope {
    access_key: String,
    region: String,
    service: String,
}

/// Understands a request, or says why it is none to AWS.
pub(crate) fn identify<'a>(
    models: &'a Models,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Identified<'a>, String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let form: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let of_form = |name: &str| {
        let found = form.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let scope = header("authorization").and_then(scope);
    let model = match (&scope, of_form("Version")) {
        (Some(scope), _) => models.by_signing_name(&scope.service).ok_or_else(|| {
            format!(
                "no model of the service {:?}: add it to models.py",
                scope.service
            )
        })?,
        // Web identities are exchanged without a signature.
        (None, Some(version)) => models.by_api_version(&version).ok_or_else(|| {
            format!("the request is not signed, and no service has the version {version:?}")
        })?,
        (None, None) => return Err("the request is neither signed nor a form".to_owned()),
    };
    let operation = match model.protocol {
        Protocol::Json => header("x-amz-target")
            .and_then(|target| target.split_once('.'))
            .filter(|(prefix, _)| Some(*prefix) == model.target_prefix.as_deref())
            .map(|(_, operation)| operation.to_owned()),
        Protocol::Query | Protocol::Ec2 => of_form("Action"),
    };
    let operation =
        operation.ok_or_else(|| format!("a request to {} names no operation", model.service))?;
    let Some(input) = model.input(&operation) else {
        return Err(format!("{} has no operation {operation:?}", model.service));
    };
    let (parameters, mut problems) = match model.protocol {
        Protocol::Json => match serde_json::from_slice(body) {
            Ok(parameters) => (parameters, Vec::new()),
            Err(error) => (Value::Null, vec![format!("the body is not JSON: {error}")]),
        },
        Protocol::Query | Protocol::Ec2 => decode(model, input, &form),
    };
    if model.protocol != Protocol::Json && of_form("Version").as_ref() != Some(&model.api_version) {
        problems.push(format!("Version: must be {}", model.api_version));
    }
    problems.extend(check(model, input, &parameters));
    let scope = scope.unwrap_or_default();
    Ok(Identified {
        model,
        operation,
        region: scope.region,
        access_key: scope.access_key,
        parameters,
        problems,
    })
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...`
fn scope(authorization: &str) -> Option<Scope> {
    let credential = authorization.split_once("Credential=")?.1;
    let mut parts = credential.split([',', ' ']).next()?.split('/');
    let access_key = parts.next()?.to_owned();
    let _date = parts.next()?;
    Some(Scope {
        access_key,
        region: parts.next()?.to_owned(),
        service: parts.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_of_a_signature_is_read() {
        let header = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/elasticloadbalancing/aws4_request, SignedHeaders=host, Signature=0";
        let expected = Scope {
            access_key: "AKIA".to_owned(),
            region: "eu-west-1".to_owned(),
            service: "elasticloadbalancing".to_owned(),
        };
        assert_eq!(scope(header), Some(expected));
        for other in [
            "Bearer token",
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101",
            "",
        ] {
            assert_eq!(scope(other), None, "{other}");
        }
    }
}
