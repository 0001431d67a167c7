//! Instances. Decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::paging;
use super::super::refusal::{Answer, Refusal, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::filters::{Filters, Wanted};
use super::tags;

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `i-...`
    pub id: String,
    /// The reservation of the call that started it.
    pub reservation: String,
    /// `m6i.large`
    pub kind: String,
    /// `running`, `stopped`, `terminated`.
    pub state: String,
    /// Its VPC.
    pub vpc: String,
    /// Its subnet.
    pub subnet: String,
    /// Its zone.
    pub zone: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its primary interface.
    pub interface: String,
    /// The security groups of that.
    pub groups: BTreeSet<String>,
    /// Whether it answers health checks, and since when.
    pub answers: (bool, Timestamp),
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

const INSTANCES: Wanted<'static> = Wanted {
    name: "InstanceIds",
    prefix: "i",
    malformed: "InvalidInstanceID.Malformed",
    missing: "InvalidInstanceID.NotFound",
    noun: "instance",
};

/// Instances run at once: nobody here waits for them.
pub(in super::super) fn run(turn: &mut Turn<'_>) -> Answer {
    let tags = tags::of_new(turn, "instance")?;
    let subnet = turn.asked.text("SubnetId").unwrap_or_default();
    let count = turn.asked.number("MaxCount").unwrap_or(1);
    let reservation = turn.ids.ec2("r");
    let mut made = Vec::new();
    let groups = turn.asked.texts("SecurityGroupIds");
    let groups: BTreeSet<_> = groups.into_iter().map(str::to_owned).collect();
    super::security_groups::check_there(turn.state, &groups)?;
    for _ in 0..count {
        let there = turn.state.subnets.get_mut(subnet).ok_or_else(|| {
            refuse(
                "InvalidSubnetID.NotFound",
                format!("The subnet ID '{subnet}' does not exist"),
            )
        })?;
        // Client error codes, InsufficientFreeAddressesInSubnet.
        let address = there.take().ok_or_else(|| {
            refuse(
                "InsufficientFreeAddressesInSubnet",
                format!("There are not enough free addresses in subnet '{subnet}'"),
            )
        })?;
        let instance = Instance {
            id: turn.ids.ec2("i"),
            reservation: reservation.clone(),
            kind: turn
                .asked
                .text("InstanceType")
                .unwrap_or("m1.small")
                .to_owned(),
            state: "running".to_owned(),
            vpc: there.vpc.clone(),
            subnet: subnet.to_owned(),
            zone: there.zone.clone(),
            address,
            interface: turn.ids.ec2("eni"),
            groups: groups.clone(),
            answers: (true, turn.now),
            tags: tags.clone(),
        };
        made.push(show(turn.state, &turn.place.region, &instance));
        turn.state.instances.insert(instance.id.clone(), instance);
    }
    Ok(json!({"ReservationId": reservation, "OwnerId": turn.place.account, "Instances": made}))
}

fn named_groups(state: &State, groups: &BTreeSet<String>) -> Value {
    let named = groups.iter().map(|id| {
        let name = state.security_groups.get(id).map(|group| &group.name);
        json!({"GroupId": id, "GroupName": name})
    });
    named.collect()
}

pub(super) fn show_interface(state: &State, instance: &Instance) -> Value {
    json!({
        "NetworkInterfaceId": instance.interface,
        "Description": "",
        "Status": "in-use",
        "VpcId": instance.vpc,
        "SubnetId": instance.subnet,
        "PrivateIpAddress": instance.address.to_string(),
        "Groups": named_groups(state, &instance.groups),
        "Attachment": {
            "AttachmentId": instance.interface.replace("eni-", "eni-attach-"),
            "DeviceIndex": 0,
            "Status": "attached",
            "DeleteOnTermination": true,
        },
    })
}

/// EC2 user guide, "Amazon EC2 instance hostname types": `ip-10-0-0-4.REGION.compute.internal`, in us-east-1 `ip-10-0-0-4.ec2.internal`.
fn private_name(region: &str, address: Ipv4Addr) -> String {
    let dashes = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ip-{dashes}.ec2.internal"),
        _ => format!("ip-{dashes}.{region}.compute.internal"),
    }
}

fn show(state: &State, region: &str, instance: &Instance) -> Value {
    let code = match &*instance.state {
        "running" => 16,
        "stopped" => 80,
        _ => 48,
    };
    let gone = instance.state == "terminated";
    let interfaces = (!gone).then(|| show_interface(state, instance));
    // EC2 user guide, "Instance lifecycle": a terminated instance stays visible for a while, without network.
    json!({
        "InstanceId": instance.id,
        "InstanceType": instance.kind,
        "State": {"Code": code, "Name": instance.state},
        "Placement": {"AvailabilityZone": instance.zone, "Tenancy": "default"},
        "VpcId": (!gone).then_some(&instance.vpc),
        "SubnetId": (!gone).then_some(&instance.subnet),
        "PrivateIpAddress": (!gone).then(|| instance.address.to_string()),
        "PrivateDnsName": if gone { String::new() } else { private_name(region, instance.address) },
        "SecurityGroups": if gone { json!([]) } else { named_groups(state, &instance.groups) },
        "NetworkInterfaces": interfaces.into_iter().collect::<Value>(),
        "Tags": pairs(&instance.tags),
    })
}

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let known = [
        "instance-id",
        "vpc-id",
        "subnet-id",
        "private-dns-name",
        "private-ip-address",
        "instance-state-name",
        "instance.group-id",
        "availability-zone",
    ];
    let filters = Filters::of(ask.asked, &known)?;
    let there = |id: &str| ask.state.instances.get(id).is_some();
    let ids = INSTANCES.ids(ask.asked, there)?;
    let ids: Option<BTreeSet<_>> = ids.map(|ids| ids.into_iter().collect());
    let region = &ask.place.region;
    let wanted = ask.state.instances.iter().filter(|(id, instance)| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && filters.pass(&instance.tags, |name| match name {
                "instance-id" => vec![instance.id.clone()],
                "vpc-id" => vec![instance.vpc.clone()],
                "subnet-id" => vec![instance.subnet.clone()],
                "private-dns-name" => vec![private_name(region, instance.address)],
                "private-ip-address" => vec![instance.address.to_string()],
                "instance-state-name" => vec![instance.state.clone()],
                "availability-zone" => vec![instance.zone.clone()],
                _ => instance.groups.iter().cloned().collect(),
            })
    });
    let mut page = paging::ec2(ask.asked, "InstanceIds", "Instances", wanted, |instance| {
        json!([instance.reservation, show(ask.state, region, instance)])
    })?;
    let mut reservations: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in page["Instances"].as_array_mut().into_iter().flatten() {
        let reservation = one[0].as_str().unwrap_or_default().to_owned();
        reservations
            .entry(reservation)
            .or_default()
            .push(one[1].take());
    }
    let reservations = reservations.into_iter().map(|(id, instances)| {
        json!({"ReservationId": id, "OwnerId": ask.place.account, "Instances": instances})
    });
    Ok(json!({
        "Reservations": reservations.collect::<Value>(),
        "NextToken": page["NextToken"],
    }))
}

fn change(turn: &mut Turn<'_>, name: &str, to: &str) -> Result<Value, Refusal> {
    let there = |id: &str| turn.state.instances.get(id).is_some();
    let ids = INSTANCES.ids(turn.asked, there)?.unwrap_or_default();
    let mut changed = Vec::new();
    for id in ids {
        let now = turn.now;
        let Some(instance) = turn.state.instances.get_mut(id) else {
            continue;
        };
        if instance.state == "terminated" && to != "terminated" {
            // Client error codes, IncorrectInstanceState.
            return Err(refuse(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in a state from which it can be changed."),
            ));
        }
        let was = std::mem::replace(&mut instance.state, to.to_owned());
        instance.answers = (to == "running", now);
        if to == "terminated" && was != "terminated" {
            let (subnet, address) = (instance.subnet.clone(), instance.address);
            if let Some(subnet) = turn.state.subnets.get_mut(&subnet) {
                subnet.taken.remove(&address);
            }
            super::super::elb::targets::instance_gone(turn, id);
        }
        changed.push(json!({
            "InstanceId": id,
            "PreviousState": {"Name": was},
            "CurrentState": {"Name": to},
        }));
    }
    Ok(json!({name: changed}))
}

pub(in super::super) fn terminate(turn: &mut Turn<'_>) -> Answer {
    change(turn, "TerminatingInstances", "terminated")
}

pub(in super::super) fn stop(turn: &mut Turn<'_>) -> Answer {
    change(turn, "StoppingInstances", "stopped")
}

pub(in super::super) fn start(turn: &mut Turn<'_>) -> Answer {
    change(turn, "StartingInstances", "running")
}
