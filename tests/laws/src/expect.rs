//! What must be true of a cloud once a scene has settled (Reads).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::{
    engine::Ask,
    group::Group,
    ids::{GroupKey, NodeName, ServiceUid},
    ports::PortKey,
    published::PublishedPort,
};

use crate::{
    operator::Operator,
    rig::{Abilities, Object, Picture, Rig, World},
};

/// What is compared between two clouds that should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Every object, without what the cloud chooses.
    pub objects: Vec<String>,
    /// What clients meet, whatever the addresses.
    pub frontends: BTreeMap<(ServiceUid, PortKey), BTreeSet<NodeName>>,
}

impl State {
    /// Demands that the other is the same.
    ///
    /// # Errors
    /// With the difference.
    pub fn expect(&self, other: &Self) -> Result<(), String> {
        let missing: Vec<_> = self
            .objects
            .iter()
            .filter(|object| !other.objects.contains(object))
            .collect();
        let extra: Vec<_> = other
            .objects
            .iter()
            .filter(|object| !self.objects.contains(object))
            .collect();
        if !missing.is_empty() || !extra.is_empty() {
            return Err(format!(
                "missing objects {missing:#?}, left over {extra:#?}"
            ));
        }
        if self.objects != other.objects {
            return Err(format!(
                "objects exist twice: {:#?} became {:#?}",
                self.objects, other.objects
            ));
        }
        if self.frontends != other.frontends {
            return Err(format!(
                "clients should meet {:#?} and meet {:#?}",
                self.frontends, other.frontends
            ));
        }
        Ok(())
    }
}

impl<R: Rig> Operator<'_, R> {
    /// Demands that no group failed, waits or was refused, and that what had to go is gone.
    ///
    /// # Errors
    /// With what is left.
    pub fn expect_clean(&self) -> Result<(), String> {
        for (key, report) in &self.reports {
            if !report.settled() {
                return Err(format!("{key} has not settled: {}", self.tell(key)));
            }
        }
        let asked = self.scene.asks(&self.rig.cluster());
        match self.owned.iter().find(|key| !asked.contains_key(*key)) {
            None => Ok(()),
            Some(key) => Err(format!("{key} is not reported as gone: {}", self.tell(key))),
        }
    }

    /// Demands that the cloud is as the scene asks: each port of an accepted group is exactly one frontend with exactly the
    /// targets it should have, or is reported as not served; nothing else is served; and that is what is published.
    ///
    /// # Errors
    /// With the difference.
    pub async fn expect_served(&self) -> Result<(), String> {
        let picture = self.world.picture().await;
        let mut members = BTreeSet::new();
        let mut expected = BTreeSet::new();
        for (key, ask) in self.scene.asks(&self.rig.cluster()) {
            let Ask::Serve(group) = ask else { continue };
            let Some(ports) = self.published(&key, &group)? else {
                continue;
            };
            members.extend(group.members.into_iter().map(|member| member.service.uid));
            expected.extend(ports.into_iter().map(|port| (port.service.uid, port.port)));
        }
        let nodes = self.scene.node_set();
        let eligible: BTreeSet<_> = nodes.eligible().map(|node| node.name.clone()).collect();
        let allowed: BTreeSet<_> = nodes.kept().map(|node| node.name.clone()).collect();
        for (member, port) in &expected {
            let mut found = picture
                .frontends
                .iter()
                .filter(|(f, _)| f.member == *member && f.port == *port);
            let (Some((_, targets)), None) = (found.next(), found.next()) else {
                return Err(format!(
                    "{member} {port} is not exactly one frontend in {picture:#?}"
                ));
            };
            // Where no node may stay, those that are there stay: a target set is never emptied.
            let follows = eligible.is_subset(targets) && targets.is_subset(&allowed);
            if !eligible.is_empty() && !follows {
                return Err(format!(
                    "{member} {port} has targets {targets:?}; the nodes are {eligible:?}, allowed to stay {allowed:?}"
                ));
            }
        }
        let asked = |member: &ServiceUid, port: PortKey| expected.contains(&(member.clone(), port));
        match picture
            .frontends
            .keys()
            .find(|f| members.contains(&f.member) && !asked(&f.member, f.port))
        {
            Some(extra) => Err(format!("nobody asks for {extra:?}")),
            None => Ok(()),
        }
    }

    /// The ports that a group says it serves, checked against what is asked. None for a group that is rejected or refused.
    fn published(
        &self,
        key: &GroupKey,
        group: &Group,
    ) -> Result<Option<BTreeSet<PublishedPort>>, String> {
        let report = self
            .reports
            .get(key)
            .ok_or_else(|| format!("{key} was never run"))?;
        if report.problems.is_some() || !report.refusals.is_empty() {
            return Ok(None);
        }
        let mut wanted: BTreeSet<PublishedPort> = group
            .ports()
            .0
            .into_iter()
            .map(|(port, (member, _))| PublishedPort {
                service: member.service.clone(),
                port,
            })
            .collect();
        for error in &report.port_errors {
            wanted.remove(&PublishedPort {
                service: error.service.clone(),
                port: error.port,
            });
        }
        if wanted.is_empty() {
            return Err(format!("{key} is accepted and none of its ports is served"));
        }
        let published = report
            .published
            .as_ref()
            .ok_or_else(|| format!("{key} publishes nothing"))?;
        if published.ports.iter().cloned().collect::<BTreeSet<_>>() != wanted {
            return Err(format!(
                "{key} publishes {:?}, not {wanted:?}",
                published.ports
            ));
        }
        if published.ingress.is_empty() {
            return Err(format!("{key} publishes no address"));
        }
        Ok(Some(wanted))
    }

    /// What is compared between two clouds.
    pub async fn state(&self) -> State {
        let objects = self.world.objects().await;
        let mut objects: Vec<String> = objects
            .iter()
            .map(|object| format!("{:?}", object.content()))
            .collect();
        objects.sort();
        State {
            objects,
            frontends: by_port(&self.world.picture().await),
        }
    }

    /// Our live objects of one group.
    pub async fn objects_of(&self, key: &GroupKey) -> Vec<Object> {
        let (cluster, identity) = (self.rig.cluster(), key.identity());
        let ours =
            |object: &Object| object.is_of(&cluster) && object.group.as_deref() == Some(&*identity);
        let mut objects: Vec<_> = self
            .world
            .objects()
            .await
            .into_iter()
            .filter(ours)
            .collect();
        objects.sort();
        objects
    }

    /// Live objects of our cluster.
    pub async fn ours(&self) -> BTreeSet<Object> {
        let cluster = self.rig.cluster();
        self.world
            .objects()
            .await
            .into_iter()
            .filter(|object| object.is_of(&cluster))
            .collect()
    }

    /// Live objects that are not ours.
    pub async fn foreign(&self) -> BTreeSet<Object> {
        let cluster = self.rig.cluster();
        self.world
            .objects()
            .await
            .into_iter()
            .filter(|object| !object.is_of(&cluster))
            .collect()
    }
}

/// What clients meet, whatever the addresses.
pub fn by_port(picture: &Picture) -> BTreeMap<(ServiceUid, PortKey), BTreeSet<NodeName>> {
    let mut ports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (frontend, targets) in &picture.frontends {
        ports
            .entry((frontend.member.clone(), frontend.port))
            .or_default()
            .extend(targets.iter().cloned());
    }
    ports
}

/// Demands that nothing that is there before and after was ever missing in between: no frontend, no target, and that no
/// target set was emptied. A port whose address is another one afterwards was replaced, which has to be gapless only where
/// the provider says so.
///
/// # Errors
/// With the moment and what was missing.
pub fn expect_undisturbed(
    before: &Picture,
    history: &[Picture],
    after: &Picture,
    abilities: Abilities,
) -> Result<(), String> {
    let lasting = |now: &BTreeSet<NodeName>,
                   then: &BTreeSet<NodeName>,
                   found: Option<&BTreeSet<NodeName>>| {
        let Some(found) = found else {
            return Err("is missing".to_owned());
        };
        if found.is_empty() && !now.is_empty() && !then.is_empty() {
            return Err("has no targets".to_owned());
        }
        match now.intersection(then).find(|node| !found.contains(node)) {
            Some(node) => Err(format!("lacks its target {node}")),
            None => Ok(()),
        }
    };
    let moment = |number: usize, picture: &Picture| {
        format!("at write {} of {}: {picture:#?}", number + 1, history.len())
    };
    for (frontend, targets) in &before.frontends {
        if let Some(later) = after.frontends.get(frontend) {
            for (number, picture) in history.iter().enumerate() {
                lasting(targets, later, picture.frontends.get(frontend))
                    .map_err(|what| format!("{frontend:?} {what} {}", moment(number, picture)))?;
            }
        }
    }
    if abilities.gapless_replacement {
        let later = by_port(after);
        for (port, targets) in &by_port(before) {
            let Some(later) = later.get(port) else {
                continue;
            };
            for (number, picture) in history.iter().enumerate() {
                lasting(targets, later, by_port(picture).get(port)).map_err(|what| {
                    format!("{} {} {what} {}", port.0, port.1, moment(number, picture))
                })?;
            }
        }
    }
    Ok(())
}
