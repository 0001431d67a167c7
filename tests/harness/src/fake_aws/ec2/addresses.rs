//! Elastic IPs. Decides.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::refusal::{Answer, refuse};
use super::super::turn::{Ask, Turn};
use super::filters::Filters;
use super::tags;

/// An Elastic IP.
#[derive(Clone, Debug)]
pub struct Address {
    /// `eipalloc-...`
    pub allocation: String,
    /// The address.
    pub public: Ipv4Addr,
    /// The load balancer's interface that has it.
    pub interface: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

pub(in super::super) fn allocate(turn: &mut Turn<'_>) -> Answer {
    let number = u32::try_from(turn.state.addresses.len()).unwrap_or(u32::MAX);
    // RFC 5737, "IPv4 Address Blocks Reserved for Documentation".
    let public = Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 113, 1)).wrapping_add(number));
    let address = Address {
        tags: tags::of_new(turn, "elastic-ip")?,
        allocation: turn.ids.ec2("eipalloc"),
        public,
        interface: None,
    };
    let allocation = address.allocation.clone();
    turn.state.addresses.insert(allocation.clone(), address);
    Ok(json!({"AllocationId": allocation, "PublicIp": public.to_string(), "Domain": "vpc"}))
}

fn show(address: &Address) -> Value {
    json!({
        "AllocationId": address.allocation,
        "PublicIp": address.public.to_string(),
        "Domain": "vpc",
        "NetworkInterfaceId": address.interface,
        "AssociationId": address.interface.as_ref().map(|id| id.replace("eni-", "eipassoc-")),
        "Tags": pairs(&address.tags),
    })
}

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(ask.asked, &["allocation-id", "public-ip", "domain"])?;
    let wanted = ask.asked.texts("AllocationIds");
    for id in &wanted {
        if ask.state.addresses.get(id).is_none() {
            return Err(not_there(id));
        }
    }
    let all = ask.state.addresses.values().filter(|address| {
        (wanted.is_empty() || wanted.contains(&&*address.allocation))
            && filters.pass(&address.tags, |name| {
                vec![match name {
                    "allocation-id" => address.allocation.clone(),
                    "public-ip" => address.public.to_string(),
                    _ => "vpc".to_owned(),
                }]
            })
    });
    Ok(json!({"Addresses": all.map(show).collect::<Value>()}))
}

fn not_there(id: &str) -> super::super::refusal::Refusal {
    refuse(
        "InvalidAllocationID.NotFound",
        format!("The allocation ID '{id}' does not exist"),
    )
}

/// EC2 API reference, ReleaseAddress: "you must disassociate the Elastic IP address before you can release it. Otherwise, Amazon EC2 returns
/// an error (InvalidIPAddress.InUse)."
pub(in super::super) fn release(turn: &mut Turn<'_>) -> Answer {
    let id = turn.asked.required("AllocationId");
    super::interfaces::let_go(turn, |one| one.allocation.as_deref() == Some(id));
    let address = turn.state.addresses.get(id).ok_or_else(|| not_there(id))?;
    if address.interface.is_some() {
        return Err(refuse(
            "InvalidIPAddress.InUse",
            format!("Address {} is in use.", address.public),
        ));
    }
    turn.state.addresses.remove(id);
    Ok(json!({}))
}
