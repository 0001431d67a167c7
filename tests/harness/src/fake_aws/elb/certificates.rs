//! Certificates of TLS listeners. Decides.

use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::paging;
use super::super::refusal::{Answer, Refusal, misconfigured, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::listeners::{Listener, get, not_there};

/// CertificateNotFound, errors of the ELB API reference: "The specified certificate does not exist."
pub(super) fn check(state: &State, arn: &str) -> Result<(), Refusal> {
    match state.certificates.get(arn) {
        Some(_) => Ok(()),
        None => Err(refuse(
            "CertificateNotFound",
            format!("Certificate '{arn}' not found"),
        )),
    }
}

fn given(asked: &Value) -> Vec<&str> {
    let all = asked.list("Certificates").iter();
    all.filter_map(|one| one.text("CertificateArn")).collect()
}

fn of_tls<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut Listener, Refusal> {
    let listener = state.listeners.get_mut(arn).ok_or_else(|| not_there(arn))?;
    match &*listener.protocol {
        "TLS" => Ok(listener),
        other => Err(misconfigured(format!(
            "{other} listeners have no certificates"
        ))),
    }
}

/// ELB API reference, AddListenerCertificates: "If the certificate in already in the certificate list, the call is successful but the
/// certificate is not added again."
pub(in super::super) fn add(turn: &mut Turn<'_>) -> Answer {
    let given = given(turn.asked);
    for certificate in &given {
        check(turn.state, certificate)?;
    }
    let listener = of_tls(turn.state, turn.asked.required("ListenerArn"))?;
    for certificate in &given {
        if !listener
            .certificates
            .iter()
            .any(|there| there == certificate)
        {
            listener.certificates.push((*certificate).to_owned());
        }
    }
    let balancer = listener.load_balancer.clone();
    let most = turn.settings.quotas.certificates;
    let of_balancer = turn
        .state
        .listeners
        .values()
        .filter(|one| one.load_balancer == balancer);
    let count: usize = of_balancer
        .map(|one| one.certificates.len().saturating_sub(1))
        .sum();
    if count > most {
        return Err(refuse(
            "TooManyCertificates",
            format!(
                "You've reached the limit on the number of certificates per load balancer: {most}"
            ),
        ));
    }
    let shown = given
        .iter()
        .map(|arn| json!({"CertificateArn": arn, "IsDefault": false}));
    Ok(json!({"Certificates": shown.collect::<Value>()}))
}

/// ELB API reference, RemoveListenerCertificates, with its error OperationNotPermitted; Network Load Balancer guide, "Server certificates":
/// the default certificate can be replaced only.
pub(in super::super) fn remove(turn: &mut Turn<'_>) -> Answer {
    let given = given(turn.asked);
    let listener = of_tls(turn.state, turn.asked.required("ListenerArn"))?;
    let default = listener.certificates.first();
    if default.is_some_and(|default| given.contains(&&**default)) {
        return Err(refuse(
            "OperationNotPermitted",
            "Default certificate cannot be removed",
        ));
    }
    listener
        .certificates
        .retain(|there| !given.contains(&&**there));
    Ok(json!({}))
}

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let listener = get(ask.state, ask.asked.required("ListenerArn"))?;
    let default = listener.certificates.first();
    let mut all: Vec<_> = listener
        .certificates
        .iter()
        .map(|arn| (&**arn, arn))
        .collect();
    all.sort_unstable();
    paging::elb(
        ask.asked,
        "Certificates",
        all.into_iter(),
        |arn| json!({"CertificateArn": arn, "IsDefault": Some(arn) == default}),
    )
}
