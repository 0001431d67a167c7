//! One function per kind of step, each harmless to repeat (Writes).
//!
//! A create that finds the object there is success where that object is ours, and a conflict of owners where it is not; a
//! deletion that finds nothing is success. A write whose fate is unknown is a Conflict: the index looks before the next
//! plan. What the effects say is written through to the index.

mod listeners;
mod load_balancers;
mod security_groups;
mod shared;
mod target_groups;
mod zones;

use std::{collections::BTreeSet, sync::Arc};

use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ids::GroupKey,
    ticket::Ticket,
};

pub use security_groups::Held;
pub use zones::Otherwise;

use crate::{
    Aws,
    client::Client,
    errors::{self, code},
    model::{
        CloudId, Effect, Observed, Pairs, SeenListener, SeenLoadBalancer, SeenSecurityGroup,
        SeenTargetGroup, Step, Told, step::Object,
    },
};

/// What a step is done with.
struct Doing<'a> {
    aws: &'a Aws,
    /// Of the group.
    identity: &'a str,
    key: &'a GroupKey,
    client: &'a Client,
    seen: &'a Observed,
    ticket: &'a Ticket,
}

/// Does one step.
///
/// # Errors
/// When AWS refuses, does not answer, or its answer is lost.
pub async fn apply(
    aws: &Aws,
    key: &GroupKey,
    step: &Step,
    seen: &Observed,
    ticket: &Ticket,
) -> Result<Effect, CloudError> {
    let identity = key.identity();
    let doing = Doing {
        aws,
        identity: &identity,
        key,
        client: &aws.client,
        seen,
        ticket,
    };
    // Others that plan meanwhile count it.
    let _making = aws.index.makes(&identity, step);
    let written = async {
        aws.holder.before_write(aws, ticket).await?;
        doing.step(step).await
    };
    match written.await {
        Ok(told) => {
            let effect = Effect {
                step: step.clone(),
                told,
            };
            aws.index.learn(&identity, &effect);
            if lists_openings(&effect.step) {
                aws.facts.lists(&identity, aws.index.openings(&identity));
            }
            Ok(effect)
        }
        Err(error) => {
            if error.class == ErrorClass::Conflict {
                aws.index.doubt();
            }
            Err(error)
        }
    }
}

/// Whether a step may change which openings the target groups of its group list.
fn lists_openings(step: &Step) -> bool {
    match step {
        Step::CreateTargetGroup(_) | Step::Delete(Object::TargetGroup(_)) => true,
        Step::Tag { object, .. } => matches!(object, Object::TargetGroup(_)),
        _ => false,
    }
}

impl Doing<'_> {
    async fn step(&self, step: &Step) -> Result<Told, CloudError> {
        match step {
            Step::CreateBackendGroup => self.create_backend_group().await,
            Step::AdmitNodes(instances) => self.admit_nodes(instances).await,
            Step::OpenNodes {
                openings,
                groups,
                rules,
            } => self.open_nodes(openings, groups, rules).await,
            Step::CloseNodes(rules) => self.close_nodes(rules).await,
            Step::CreateSecurityGroup { name, marks, tags } => {
                self.create_security_group(name, marks, tags).await
            }
            Step::Authorize { group, rules } => self.authorize(group, rules).await,
            Step::Revoke { group, rules } => self.revoke(group, rules).await,
            Step::CreateLoadBalancer(new) => self.create_load_balancer(new).await,
            Step::SetSubnets {
                load_balancer,
                subnets,
                source_nat,
            } => {
                let arn = &self.load_balancer(load_balancer)?.arn;
                let set = self
                    .client
                    .set_subnets(arn, subnets, *source_nat, self.ticket);
                set.await.map(|()| Told::Nothing)
            }
            Step::SetSecurityGroups {
                load_balancer,
                groups,
                private_link_rules,
            } => {
                let arn = &self.load_balancer(load_balancer)?.arn;
                let set =
                    self.client
                        .set_security_groups(arn, groups, *private_link_rules, self.ticket);
                set.await.map(|()| Told::Nothing)
            }
            Step::SetAddressType {
                load_balancer,
                address_type,
            } => {
                let arn = &self.load_balancer(load_balancer)?.arn;
                let set = self
                    .client
                    .set_address_type(arn, *address_type, self.ticket);
                set.await.map(|()| Told::Nothing)
            }
            Step::CreateTargetGroup(new) => self.create_target_group(new).await,
            Step::SetHealthCheck {
                target_group,
                health_check,
            } => {
                let arn = &self.target_group(target_group)?.arn;
                let set = self.client.set_health_check(arn, health_check, self.ticket);
                set.await.map(|()| Told::Nothing)
            }
            Step::Register {
                target_group,
                targets,
            } => self.register(target_group, targets).await,
            Step::Deregister {
                target_group,
                targets,
            } => self.deregister(target_group, targets).await,
            Step::CreateListener(new) => self.create_listener(new).await,
            Step::SetListener(new) => self.set_listener(new).await,
            Step::SetCertificates {
                load_balancer,
                port,
                add,
                remove,
            } => {
                self.set_certificates(load_balancer, *port, add, remove)
                    .await
            }
            Step::SetAttributes { object, attributes } => {
                self.set_attributes(object, attributes).await
            }
            Step::Tag {
                object,
                set,
                remove,
            } => self.tag(object, set, remove).await,
            Step::Delete(object) => self.delete(object).await,
        }
    }

    async fn set_attributes(
        &self,
        object: &Object,
        attributes: &Pairs,
    ) -> Result<Told, CloudError> {
        let (client, ticket) = (self.client, self.ticket);
        match object {
            Object::LoadBalancer(name) => {
                let arn = &self.load_balancer(name)?.arn;
                client
                    .set_load_balancer_attributes(arn, attributes, ticket)
                    .await?;
            }
            Object::TargetGroup(name) => {
                let arn = &self.target_group(name)?.arn;
                client
                    .set_target_group_attributes(arn, attributes, ticket)
                    .await?;
            }
            Object::Listener(name, port) => {
                let arn = &self.listener(name, *port)?.arn;
                client
                    .set_listener_attributes(arn, attributes, ticket)
                    .await?;
            }
            Object::SecurityGroup(_) => {
                return Err(errors::stale("apply", "a security group has no attributes"));
            }
        }
        Ok(Told::Nothing)
    }

    async fn tag(
        &self,
        object: &Object,
        set: &Pairs,
        remove: &BTreeSet<Arc<str>>,
    ) -> Result<Told, CloudError> {
        let (client, ticket) = (self.client, self.ticket);
        if let Object::SecurityGroup(name) = object {
            let id = &self.security_group(name)?.id;
            if !set.is_empty() {
                client.create_tags(id, set, ticket).await?;
            }
            if !remove.is_empty() {
                client.delete_tags(id, remove, ticket).await?;
            }
            return Ok(Told::Nothing);
        }
        let arn = match object {
            Object::LoadBalancer(name) => &self.load_balancer(name)?.arn,
            Object::TargetGroup(name) => &self.target_group(name)?.arn,
            Object::Listener(name, port) => &self.listener(name, *port)?.arn,
            Object::SecurityGroup(_) => unreachable!("done above"),
        };
        if !set.is_empty() {
            client.add_tags(arn, set, ticket).await?;
        }
        if !remove.is_empty() {
            client.remove_tags(arn, remove, ticket).await?;
        }
        Ok(Told::Nothing)
    }

    /// What was not seen is gone already.
    async fn delete(&self, object: &Object) -> Result<Told, CloudError> {
        let (client, ticket, seen) = (self.client, self.ticket, self.seen);
        let deleted = match object {
            Object::LoadBalancer(name) => match seen.load_balancers.get(name) {
                Some(lb) => client.delete_load_balancer(real(&lb.arn)?, ticket).await,
                None => Ok(()),
            },
            Object::TargetGroup(name) => match seen.target_groups.get(name) {
                Some(group) => {
                    let deleted = client.delete_target_group(real(&group.arn)?, ticket).await;
                    self.note_use(deleted)
                }
                None => Ok(()),
            },
            Object::Listener(name, port) => match seen.listeners.get(&(name.clone(), *port)) {
                Some(listener) => client.delete_listener(real(&listener.arn)?, ticket).await,
                None => Ok(()),
            },
            Object::SecurityGroup(name) => match seen.security_groups.get(name) {
                Some(group) => self.delete_security_group(real(&group.id)?).await,
                None => Ok(()),
            },
        };
        let index = &self.aws.index;
        match deleted {
            Err(error) if error.code.as_deref().is_some_and(code::is_gone) => {
                match index.is_unproven(self.identity, object) {
                    // It was made a moment ago, and nobody has deleted it: AWS does not know it everywhere yet.
                    true => Err(CloudError {
                        class: ErrorClass::Transient,
                        ..error
                    }),
                    false => Ok(Told::Nothing),
                }
            }
            Err(error) if error.class == ErrorClass::Conflict => {
                index.is_not_just_made(self.identity, object);
                Err(error)
            }
            deleted => deleted.map(|()| Told::Nothing),
        }
    }

    fn load_balancer(&self, name: &str) -> Result<&SeenLoadBalancer, CloudError> {
        let found = self.seen.load_balancers.get(name);
        let found = found.ok_or_else(|| missing("load balancer", name))?;
        real(&found.arn).map(|_| found)
    }

    fn target_group(&self, name: &str) -> Result<&SeenTargetGroup, CloudError> {
        let found = self.seen.target_groups.get(name);
        let found = found.ok_or_else(|| missing("target group", name))?;
        real(&found.arn).map(|_| found)
    }

    fn listener(&self, load_balancer: &str, port: u16) -> Result<&SeenListener, CloudError> {
        let found = self.seen.listeners.get(&(load_balancer.into(), port));
        let found = found.ok_or_else(|| missing("listener", &format!("{load_balancer}:{port}")))?;
        real(&found.arn).map(|_| found)
    }

    fn security_group(&self, name: &str) -> Result<&SeenSecurityGroup, CloudError> {
        let found = self.seen.security_groups.get(name);
        let found = found.ok_or_else(|| missing("security group", name))?;
        real(&found.id).map(|_| found)
    }
}

fn missing(kind: &str, name: &str) -> CloudError {
    errors::stale(
        "apply",
        format!("the {kind} `{name}` is not there; look again"),
    )
}

/// Only a rehearsal has objects that are foretold.
fn real(id: &CloudId) -> Result<&CloudId, CloudError> {
    match id.is_foretold() {
        false => Ok(id),
        true => Err(errors::stale(
            "apply",
            "the object was foretold and never read; look again",
        )),
    }
}
