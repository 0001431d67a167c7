//! Network interfaces: those of load balancers, which stay for a while when these are gone, and those of instances. Decides.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::paging;
use super::super::refusal::Answer;
use super::super::settings::Settings;
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::filters::{Filters, Wanted};
use crate::cloud::Settle;

/// A load balancer's interface in one subnet.
#[derive(Clone, Debug)]
pub struct Interface {
    /// `eni-...`
    pub id: String,
    /// Network Load Balancer guide, "Network interfaces": `ELB net/NAME/ID`.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// Its zone.
    pub zone: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The Elastic IP that it has.
    pub allocation: Option<String>,
    /// Its security groups.
    pub groups: BTreeSet<String>,
    /// When its load balancer let go of it.
    pub released_at: Option<Timestamp>,
}

/// Takes away those of the interfaces that are meant whose time is over, with all that they hold: before a call that they may hold up.
pub(in super::super) fn let_go(turn: &mut Turn<'_>, meant: impl Fn(&Interface) -> bool) {
    let released: Vec<_> = turn
        .state
        .interfaces
        .values()
        .filter(|one| meant(one))
        .filter_map(|one| Some((one.id.clone(), one.released_at?)))
        .collect();
    let settle = turn.settings.times.interface_release;
    for (id, since) in released {
        if turn.patience.is_over(&id, since, settle, turn.now) {
            drop_one(turn.state, &id);
        }
    }
}

fn drop_one(state: &mut State, id: &str) {
    let Some(interface) = state.interfaces.remove(id) else {
        return;
    };
    if let Some(subnet) = state.subnets.get_mut(&interface.subnet) {
        subnet.taken.remove(&interface.address);
    }
    let allocation = interface.allocation.as_deref();
    if let Some(address) = allocation.and_then(|id| state.addresses.get_mut(id)) {
        address.interface = None;
    }
}

/// Takes away the interfaces whose time is over, where no call has to wait for that.
pub(in super::super) fn forget_released(state: &mut State, settings: &Settings, now: Timestamp) {
    let settle = settings.times.interface_release;
    let over = |one: &&Interface| {
        one.released_at
            .is_some_and(|since| now >= since + settle.after)
    };
    let all = state.interfaces.values().filter(over);
    let all: Vec<_> = all.map(|one| one.id.clone()).collect();
    for id in all.iter().filter(|_| settle.calls == 0) {
        drop_one(state, id);
    }
}

/// A load balancer lets go of its interface.
pub(in super::super) fn release(turn: &mut Turn<'_>, id: &str) {
    let now = turn.now;
    if let Some(interface) = turn.state.interfaces.get_mut(id) {
        interface.released_at = Some(now);
    }
    if turn.settings.times.interface_release == Settle::AT_ONCE {
        drop_one(turn.state, id);
    }
}

const INTERFACES: Wanted<'static> = Wanted {
    name: "NetworkInterfaceIds",
    prefix: "eni",
    malformed: "InvalidNetworkInterfaceID.Malformed",
    missing: "InvalidNetworkInterfaceID.NotFound",
    noun: "networkInterface",
};

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let known = [
        "group-id",
        "subnet-id",
        "vpc-id",
        "description",
        "network-interface-id",
    ];
    let filters = Filters::of(ask.asked, &known)?;
    let mut all: Vec<(String, Value)> = Vec::new();
    for one in ask.state.interfaces.values() {
        all.push((one.id.clone(), show(one)));
    }
    for instance in ask.state.instances.values() {
        if instance.state != "terminated" {
            all.push((
                instance.interface.clone(),
                super::instances::show_interface(ask.state, instance),
            ));
        }
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let there = |id: &str| all.iter().any(|(there, _)| there == id);
    let ids = INTERFACES.ids(ask.asked, there)?;
    let wanted = all.iter().filter(|(id, shown)| {
        let text = |name: &str| vec![shown[name].as_str().unwrap_or_default().to_owned()];
        ids.as_ref().is_none_or(|ids| ids.contains(&&**id))
            && filters.pass(&Default::default(), |name| match name {
                "group-id" => shown["Groups"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|group| Some(group["GroupId"].as_str()?.to_owned()))
                    .collect(),
                "subnet-id" => text("SubnetId"),
                "vpc-id" => text("VpcId"),
                "description" => text("Description"),
                _ => text("NetworkInterfaceId"),
            })
    });
    paging::ec2(
        ask.asked,
        "NetworkInterfaceIds",
        "NetworkInterfaces",
        wanted.map(|(id, shown)| (&**id, shown)),
        Value::clone,
    )
}

fn show(one: &Interface) -> Value {
    let groups = one.groups.iter();
    json!({
        "NetworkInterfaceId": one.id,
        "Description": one.description,
        "InterfaceType": "network_load_balancer",
        "RequesterManaged": true,
        "RequesterId": "amazon-elb",
        "Status": "in-use",
        "VpcId": one.vpc,
        "SubnetId": one.subnet,
        "AvailabilityZone": one.zone,
        "PrivateIpAddress": one.address.to_string(),
        "Groups": groups.map(|id| json!({"GroupId": id})).collect::<Value>(),
    })
}
