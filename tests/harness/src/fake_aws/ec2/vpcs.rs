//! Operations of VPCs, subnets, gateways, routes and prefix lists. Decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::paging;
use super::super::refusal::{Answer, Refusal, bad_value, refuse};
use super::super::turn::{Ask, Turn};
use super::filters::{Filters, Wanted};
use super::network::{Gateway, PrefixList, RouteTable, Subnet, Vpc};
use super::rules::canonical;
use super::tags;

const VPCS: Wanted<'static> = Wanted {
    name: "VpcIds",
    prefix: "vpc",
    malformed: "InvalidVpcID.Malformed",
    missing: "InvalidVpcID.NotFound",
    noun: "vpc",
};

const SUBNETS: Wanted<'static> = Wanted {
    name: "SubnetIds",
    prefix: "subnet",
    malformed: "InvalidSubnetID.Malformed",
    missing: "InvalidSubnetID.NotFound",
    noun: "subnet",
};

const TABLES: Wanted<'static> = Wanted {
    name: "RouteTableIds",
    prefix: "rtb",
    malformed: "InvalidRouteTableID.Malformed",
    missing: "InvalidRouteTableID.NotFound",
    noun: "routeTable",
};

const LISTS: Wanted<'static> = Wanted {
    name: "PrefixListIds",
    prefix: "pl",
    malformed: "InvalidPrefixListId.Malformed",
    missing: "InvalidPrefixListID.NotFound",
    noun: "prefix list",
};

/// The zones of every region here, with their ids' last part.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// EC2 API reference, AvailabilityZone: `ZoneType` is `availability-zone`, `local-zone` or `wavelength-zone`.
pub(in super::super) fn zones(ask: &Ask<'_>) -> Answer {
    let region = &ask.place.region;
    let all = (1..).zip(ZONES).map(|(number, letter)| {
        json!({
            "RegionName": region,
            "GroupName": region,
            "NetworkBorderGroup": region,
            "ZoneName": format!("{region}{letter}"),
            "ZoneId": format!("{}-az{number}", region.replace('-', "")),
            "ZoneType": "availability-zone",
            "State": "available",
            "OptInStatus": "opt-in-not-required",
            "Messages": [],
        })
    });
    Ok(json!({"AvailabilityZones": all.collect::<Value>()}))
}

fn block(text: &str) -> Result<(Ipv4Addr, u8), Refusal> {
    let malformed = || bad_value(format!("CIDR block {text} is malformed"));
    let (address, length) = text.split_once('/').ok_or_else(malformed)?;
    let address = address.parse().map_err(|_| malformed())?;
    let length = length.parse().map_err(|_| malformed())?;
    // VPC guide, "VPC CIDR blocks": between /16 and /28.
    match length {
        16..=28 => Ok((address, length)),
        _ => Err(refuse(
            "InvalidVpc.Range",
            format!("The CIDR '{text}' is invalid."),
        )),
    }
}

pub(in super::super) fn written((address, length): (Ipv4Addr, u8)) -> String {
    format!("{address}/{length}")
}

/// CreateVpc, CreateSecurityGroup: a VPC comes with a main route table and with a security group called `default`.
pub(in super::super) fn create_vpc(turn: &mut Turn<'_>) -> Answer {
    let tags = tags::of_new(turn, "vpc")?;
    let id = turn.ids.ec2("vpc");
    let number = u16::try_from(turn.state.vpcs.len()).unwrap_or(u16::MAX);
    let ipv6 = turn.asked.flag("AmazonProvidedIpv6CidrBlock") == Some(true);
    let vpc = Vpc {
        block: block(turn.asked.text("CidrBlock").unwrap_or("10.0.0.0/16"))?,
        ipv6: ipv6.then(|| Ipv6Addr::new(0x2600, 0x1f00, number, 0, 0, 0, 0, 0)),
        id: id.clone(),
        tags,
    };
    let table = RouteTable {
        id: turn.ids.ec2("rtb"),
        vpc: id.clone(),
        routes: vec![(written(vpc.block), "local".to_owned())],
        associations: BTreeMap::from([(turn.ids.ec2("rtbassoc"), None)]),
        tags: BTreeMap::new(),
    };
    turn.state.route_tables.insert(table.id.clone(), table);
    super::security_groups::make(
        turn,
        "default",
        "default VPC security group",
        &id,
        BTreeMap::new(),
    );
    let shown = show_vpc(&vpc);
    turn.state.vpcs.insert(id, vpc);
    Ok(json!({"Vpc": shown}))
}

fn show_vpc(vpc: &Vpc) -> Value {
    let ipv6 = vpc.ipv6.map(|block| {
        json!({
            "AssociationId": vpc.id.replace("vpc-", "vpc-cidr-assoc-6"),
            "Ipv6CidrBlock": format!("{block}/56"),
            "Ipv6CidrBlockState": {"State": "associated"},
        })
    });
    json!({
        "VpcId": vpc.id,
        "State": "available",
        "IsDefault": false,
        "CidrBlock": written(vpc.block),
        "CidrBlockAssociationSet": [{
            "AssociationId": vpc.id.replace("vpc-", "vpc-cidr-assoc-4"),
            "CidrBlock": written(vpc.block),
            "CidrBlockState": {"State": "associated"},
        }],
        "Ipv6CidrBlockAssociationSet": ipv6.into_iter().collect::<Value>(),
        "Tags": pairs(&vpc.tags),
    })
}

pub(in super::super) fn describe_vpcs(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(ask.asked, &["vpc-id", "cidr", "state", "is-default"])?;
    let ids = VPCS.ids(ask.asked, |id| ask.state.vpcs.get(id).is_some())?;
    let wanted = ask.state.vpcs.iter().filter(|(id, vpc)| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && filters.pass(&vpc.tags, |name| {
                vec![match name {
                    "vpc-id" => vpc.id.clone(),
                    "cidr" => written(vpc.block),
                    "is-default" => "false".to_owned(),
                    _ => "available".to_owned(),
                }]
            })
    });
    paging::ec2(ask.asked, "VpcIds", "Vpcs", wanted, show_vpc)
}

pub(in super::super) fn create_subnet(turn: &mut Turn<'_>) -> Answer {
    let tags = tags::of_new(turn, "subnet")?;
    let vpc = turn.asked.required("VpcId");
    VPCS.check(vpc)?;
    let Some(vpc) = turn.state.vpcs.get(vpc).cloned() else {
        return Err(refuse(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    };
    let region = &turn.place.region;
    let zone = turn.asked.text("AvailabilityZone").map(str::to_owned);
    let zone = zone.unwrap_or_else(|| format!("{region}a"));
    if !ZONES
        .iter()
        .any(|letter| zone == format!("{region}{letter}"))
    {
        return Err(bad_value(format!(
            "Value ({zone}) for parameter availabilityZone is invalid."
        )));
    }
    let ipv6 = turn.asked.text("Ipv6CidrBlock").map(|text| {
        let address = text.strip_suffix("/64").and_then(|text| text.parse().ok());
        address.ok_or_else(|| bad_value(format!("CIDR block {text} is malformed")))
    });
    let subnet = Subnet {
        id: turn.ids.ec2("subnet"),
        vpc: vpc.id.clone(),
        zone,
        block: block(turn.asked.text("CidrBlock").unwrap_or_default())?,
        ipv6: ipv6.transpose()?,
        taken: BTreeSet::new(),
        tags,
    };
    // Client error codes, InvalidSubnet.Conflict.
    let (first, length) = subnet.block;
    let apart = |other: &Subnet| {
        let bits = 32 - u32::from(length.min(other.block.1));
        u32::from(first) >> bits != u32::from(other.block.0) >> bits
    };
    if turn
        .state
        .subnets
        .any(|other| other.vpc == vpc.id && !apart(other))
    {
        return Err(refuse(
            "InvalidSubnet.Conflict",
            format!(
                "The CIDR '{}' conflicts with another subnet",
                written(subnet.block)
            ),
        ));
    }
    let shown = show_subnet(&subnet);
    turn.state.subnets.insert(subnet.id.clone(), subnet);
    Ok(json!({"Subnet": shown}))
}

fn show_subnet(subnet: &Subnet) -> Value {
    let ipv6 = subnet.ipv6.map(|block| {
        json!({
            "AssociationId": subnet.id.replace("subnet-", "subnet-cidr-assoc-"),
            "Ipv6CidrBlock": format!("{block}/64"),
            "Ipv6CidrBlockState": {"State": "associated"},
        })
    });
    json!({
        "SubnetId": subnet.id,
        "VpcId": subnet.vpc,
        "State": "available",
        "AvailabilityZone": subnet.zone,
        "CidrBlock": written(subnet.block),
        "Ipv6CidrBlockAssociationSet": ipv6.into_iter().collect::<Value>(),
        "AvailableIpAddressCount": subnet.free(),
        "Tags": pairs(&subnet.tags),
    })
}

pub(in super::super) fn describe_subnets(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(
        ask.asked,
        &[
            "vpc-id",
            "subnet-id",
            "availability-zone",
            "state",
            "cidr-block",
        ],
    )?;
    let ids = SUBNETS.ids(ask.asked, |id| ask.state.subnets.get(id).is_some())?;
    let wanted = ask.state.subnets.iter().filter(|(id, subnet)| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && filters.pass(&subnet.tags, |name| {
                vec![match name {
                    "vpc-id" => subnet.vpc.clone(),
                    "subnet-id" => subnet.id.clone(),
                    "availability-zone" => subnet.zone.clone(),
                    "cidr-block" => written(subnet.block),
                    _ => "available".to_owned(),
                }]
            })
    });
    paging::ec2(ask.asked, "SubnetIds", "Subnets", wanted, show_subnet)
}

/// EC2 API reference, DeleteSubnet: "You must terminate all running instances in the subnet before you can delete the subnet." Interfaces of
/// load balancers count alike: client error codes, DependencyViolation.
pub(in super::super) fn delete_subnet(turn: &mut Turn<'_>) -> Answer {
    let id = turn.asked.required("SubnetId");
    SUBNETS.check(id)?;
    if turn.state.subnets.get(id).is_none() {
        return Err(refuse(
            "InvalidSubnetID.NotFound",
            format!("The subnet ID '{id}' does not exist"),
        ));
    }
    super::interfaces::let_go(turn, |one| one.subnet == id);
    let mut instances = turn.state.instances.values();
    let used = instances.any(|instance| instance.subnet == id && instance.state != "terminated")
        || turn.state.interfaces.values().any(|one| one.subnet == id);
    if used {
        return Err(refuse(
            "DependencyViolation",
            format!("The subnet '{id}' has dependencies and cannot be deleted."),
        ));
    }
    turn.state.subnets.remove(id);
    Ok(json!({}))
}

pub(in super::super) fn create_gateway(turn: &mut Turn<'_>) -> Answer {
    let gateway = Gateway {
        tags: tags::of_new(turn, "internet-gateway")?,
        id: turn.ids.ec2("igw"),
        vpc: None,
    };
    let id = gateway.id.clone();
    turn.state.gateways.insert(id.clone(), gateway);
    Ok(json!({"InternetGateway": {"InternetGatewayId": id, "Attachments": []}}))
}

pub(in super::super) fn attach_gateway(turn: &mut Turn<'_>) -> Answer {
    let id = turn.asked.required("InternetGatewayId");
    let vpc = turn.asked.required("VpcId");
    if turn.state.vpcs.get(vpc).is_none() {
        return Err(refuse(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    }
    let gateway = turn.state.gateways.get_mut(id).ok_or_else(|| {
        refuse(
            "InvalidInternetGatewayID.NotFound",
            format!("The internetGateway ID '{id}' does not exist"),
        )
    })?;
    gateway.vpc = Some(vpc.to_owned());
    Ok(json!({}))
}

fn table<'a>(turn: &'a mut Turn<'_>, id: &str) -> Result<&'a mut RouteTable, Refusal> {
    turn.state.route_tables.get_mut(id).ok_or_else(|| {
        refuse(
            "InvalidRouteTableID.NotFound",
            format!("The routeTable ID '{id}' does not exist"),
        )
    })
}

pub(in super::super) fn create_route_table(turn: &mut Turn<'_>) -> Answer {
    let tags = tags::of_new(turn, "route-table")?;
    let vpc = turn.asked.required("VpcId");
    let Some(vpc) = turn.state.vpcs.get(vpc) else {
        return Err(refuse(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    };
    let table = RouteTable {
        id: turn.ids.ec2("rtb"),
        vpc: vpc.id.clone(),
        routes: vec![(written(vpc.block), "local".to_owned())],
        associations: BTreeMap::new(),
        tags,
    };
    let shown = show_table(&table);
    turn.state.route_tables.insert(table.id.clone(), table);
    Ok(json!({"RouteTable": shown}))
}

pub(in super::super) fn create_route(turn: &mut Turn<'_>) -> Answer {
    let destination = turn.asked.text("DestinationCidrBlock");
    let destination = destination.or(turn.asked.text("DestinationIpv6CidrBlock"));
    let gateway = turn.asked.required("GatewayId").to_owned();
    if turn.state.gateways.get(&gateway).is_none() {
        return Err(refuse(
            "InvalidInternetGatewayID.NotFound",
            format!("The internetGateway ID '{gateway}' does not exist"),
        ));
    }
    // CreateRoute, DestinationCidrBlock: "We modify the specified CIDR block to its canonical form".
    let destination = canonical(destination.unwrap_or_default())?;
    let asked = turn.asked;
    let table = table(turn, asked.required("RouteTableId"))?;
    if table.routes.iter().any(|(there, _)| *there == destination) {
        return Err(refuse(
            "RouteAlreadyExists",
            format!("The route identified by {destination} already exists."),
        ));
    }
    table.routes.push((destination, gateway));
    Ok(json!({"Return": true}))
}

pub(in super::super) fn associate_route_table(turn: &mut Turn<'_>) -> Answer {
    let subnet = turn.asked.required("SubnetId").to_owned();
    if turn.state.subnets.get(&subnet).is_none() {
        return Err(refuse(
            "InvalidSubnetID.NotFound",
            format!("The subnet ID '{subnet}' does not exist"),
        ));
    }
    // Client error codes, Resource.AlreadyAssociated: a subnet has one table.
    let taken = turn.state.route_tables.any(|table| {
        let mut subnets = table.associations.values();
        subnets.any(|other| other.as_deref() == Some(&*subnet))
    });
    if taken {
        return Err(refuse(
            "Resource.AlreadyAssociated",
            format!(
                "the specified association for subnet {subnet} conflicts with an existing association"
            ),
        ));
    }
    let id = turn.ids.ec2("rtbassoc");
    let asked = turn.asked;
    let table = table(turn, asked.required("RouteTableId"))?;
    table.associations.insert(id.clone(), Some(subnet));
    Ok(json!({"AssociationId": id, "AssociationState": {"State": "associated"}}))
}

pub(in super::super) fn disassociate_route_table(turn: &mut Turn<'_>) -> Answer {
    let id = turn.asked.required("AssociationId");
    let holds = |table: &RouteTable| table.associations.contains_key(id);
    let holder = turn.state.route_tables.find(holds);
    let holder = holder.map(|table| table.id.clone()).ok_or_else(|| {
        refuse(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{id}' does not exist"),
        )
    })?;
    table(turn, &holder)?.associations.remove(id);
    Ok(json!({}))
}

fn show_table(table: &RouteTable) -> Value {
    let route = |(destination, gateway): &(String, String)| {
        let key = match destination.contains(':') {
            true => "DestinationIpv6CidrBlock",
            false => "DestinationCidrBlock",
        };
        let origin = match &**gateway {
            "local" => "CreateRouteTable",
            _ => "CreateRoute",
        };
        json!({key: destination, "GatewayId": gateway, "Origin": origin, "State": "active"})
    };
    let association = |(id, subnet): (&String, &Option<String>)| {
        json!({
            "RouteTableAssociationId": id,
            "RouteTableId": table.id,
            "SubnetId": subnet,
            "Main": subnet.is_none(),
            "AssociationState": {"State": "associated"},
        })
    };
    json!({
        "RouteTableId": table.id,
        "VpcId": table.vpc,
        "Routes": table.routes.iter().map(route).collect::<Value>(),
        "Associations": table.associations.iter().map(association).collect::<Value>(),
        "Tags": pairs(&table.tags),
    })
}

pub(in super::super) fn describe_route_tables(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(
        ask.asked,
        &[
            "vpc-id",
            "route-table-id",
            "association.subnet-id",
            "association.main",
        ],
    )?;
    let there = |id: &str| ask.state.route_tables.get(id).is_some();
    let ids = TABLES.ids(ask.asked, there)?;
    let wanted = ask.state.route_tables.iter().filter(|(id, table)| {
        let subnets = table.associations.values();
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && filters.pass(&table.tags, |name| match name {
                "vpc-id" => vec![table.vpc.clone()],
                "route-table-id" => vec![table.id.clone()],
                "association.main" => subnets
                    .clone()
                    .map(|one| one.is_none().to_string())
                    .collect(),
                _ => subnets.clone().flatten().cloned().collect(),
            })
    });
    paging::ec2(
        ask.asked,
        "RouteTableIds",
        "RouteTables",
        wanted,
        show_table,
    )
}

pub(in super::super) fn create_prefix_list(turn: &mut Turn<'_>) -> Answer {
    let entries = turn.asked.list("Entries").iter();
    let entries: Result<Vec<_>, _> = entries
        .map(|entry| canonical(entry.required("Cidr")))
        .collect();
    let list = PrefixList {
        id: turn.ids.ec2("pl"),
        name: turn.asked.required("PrefixListName").to_owned(),
        most: turn.asked.number("MaxEntries").unwrap_or_default(),
        entries: entries?,
        tags: tags::of_new(turn, "prefix-list")?,
    };
    let shown = show_prefix_list(&list);
    turn.state.prefix_lists.insert(list.id.clone(), list);
    Ok(json!({"PrefixList": shown}))
}

fn show_prefix_list(list: &PrefixList) -> Value {
    json!({
        "PrefixListId": list.id,
        "PrefixListName": list.name,
        "AddressFamily": "IPv4",
        "State": "create-complete",
        "MaxEntries": list.most,
        "Version": 1,
        "Tags": pairs(&list.tags),
    })
}

pub(in super::super) fn describe_prefix_lists(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(
        ask.asked,
        &["prefix-list-id", "prefix-list-name", "owner-id"],
    )?;
    let there = |id: &str| ask.state.prefix_lists.get(id).is_some();
    let ids = LISTS.ids(ask.asked, there)?;
    let wanted = ask.state.prefix_lists.iter().filter(|(id, list)| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
            && filters.pass(&list.tags, |name| {
                vec![match name {
                    "prefix-list-id" => list.id.clone(),
                    "prefix-list-name" => list.name.clone(),
                    _ => ask.place.account.clone(),
                }]
            })
    });
    paging::ec2(
        ask.asked,
        "PrefixListIds",
        "PrefixLists",
        wanted,
        show_prefix_list,
    )
}
