//! Answers as EC2 writes them.

use std::collections::BTreeSet;

use super::*;
use crate::client::ec2::parse;

#[test]
fn subnets() {
    let reply: SubnetsReply = parse(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeSubnetsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</requestId>
    <subnetSet>
        <item>
            <subnetId>subnet-9d4a7b6c</subnetId>
            <state>available</state>
            <vpcId>vpc-1a2b3c4d</vpcId>
            <cidrBlock>10.0.1.0/24</cidrBlock>
            <ipv6CidrBlockAssociationSet>
                <item>
                    <ipv6CidrBlock>2001:db8:1234:1a00::/64</ipv6CidrBlock>
                    <associationId>subnet-cidr-assoc-1</associationId>
                    <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>
                </item>
                <item>
                    <ipv6CidrBlock>2001:db8:1234:1b00::/64</ipv6CidrBlock>
                    <ipv6CidrBlockState><state>disassociated</state></ipv6CidrBlockState>
                </item>
            </ipv6CidrBlockAssociationSet>
            <availableIpAddressCount>251</availableIpAddressCount>
            <availabilityZone>us-east-1a</availabilityZone>
            <tagSet><item><key>Name</key><value>a &amp; b</value></item><item><key>kubernetes.io/role/elb</key><value/></item></tagSet>
        </item>
        <item>
            <subnetId>subnet-2</subnetId><vpcId>vpc-1a2b3c4d</vpcId><availableIpAddressCount>7</availableIpAddressCount>
            <availabilityZone>us-east-1b</availabilityZone><outpostArn>arn:aws:outposts:x</outpostArn><tagSet/>
            <ipv6CidrBlockAssociationSet/>
        </item>
    </subnetSet>
    <nextToken>more</nextToken>
</DescribeSubnetsResponse>"#,
    )
    .expect("it is understood");
    assert_eq!(reply.next_token.as_deref(), Some("more"));
    let [first, second] = <[SubnetReply; 2]>::try_from(reply.subnets.item)
        .expect("two")
        .map(SubnetReply::subnet);
    assert_eq!(
        (&*first.id, &*first.vpc, &*first.zone),
        ("subnet-9d4a7b6c", "vpc-1a2b3c4d", "us-east-1a")
    );
    assert_eq!(first.free_addresses, 251);
    assert_eq!(
        first.prefix.map(|prefix| prefix.to_string()).as_deref(),
        Some("10.0.1.0/24")
    );
    assert_eq!(
        first.ipv6,
        ["2001:db8:1234:1a00::/64".parse().expect("a prefix")]
    );
    assert_eq!(first.tags.get("Name").map(|name| &**name), Some("a & b"));
    assert_eq!(
        first
            .tags
            .get("kubernetes.io/role/elb")
            .map(|value| &**value),
        Some("")
    );
    assert_eq!((&*first.locale, &*second.locale), ("", "outpost"));
    assert_eq!(
        (second.prefix, second.ipv6.len(), second.tags.len()),
        (None, 0, 0)
    );
}

#[test]
fn rules_are_ungrouped() {
    let reply: GroupsReply = parse(
        r#"<DescribeSecurityGroupsResponse><securityGroupInfo><item>
            <ownerId>123456789012</ownerId><groupId>sg-1</groupId><groupName>ek-shop</groupName><groupDescription>x</groupDescription>
            <vpcId>vpc-1</vpcId>
            <ipPermissions>
              <item>
                <ipProtocol>tcp</ipProtocol><fromPort>80</fromPort><toPort>80</toPort>
                <groups><item><userId>1</userId><groupId>sg-2</groupId></item></groups>
                <ipRanges><item><cidrIp>10.0.0.0/8</cidrIp><description>hand</description></item><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges>
                <ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges>
                <prefixListIds><item><prefixListId>pl-1</prefixListId></item></prefixListIds>
              </item>
              <item><ipProtocol>-1</ipProtocol><groups/><ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges><ipv6Ranges/><prefixListIds/></item>
              <item><ipProtocol>icmp</ipProtocol><fromPort>3</fromPort><toPort>4</toPort><ipRanges><item><cidrIp>10.0.0.0/8</cidrIp></item></ipRanges></item>
            </ipPermissions>
            <ipPermissionsEgress><item><ipProtocol>-1</ipProtocol><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item></ipPermissionsEgress>
            <tagSet><item><key>k</key><value>v</value></item></tagSet>
        </item></securityGroupInfo></DescribeSecurityGroupsResponse>"#,
    )
    .expect("it is understood");
    let group = &reply.groups.item[0];
    assert_eq!((group.id().as_str(), &*group.name()), ("sg-1", "ek-shop"));
    let rules: BTreeSet<String> = group.rules().iter().map(ToString::to_string).collect();
    let expected = [
        "-1 -1 from 10.0.0.0/8",
        "icmp 3-4 from 10.0.0.0/8",
        "tcp 80 from 0.0.0.0/0",
        "tcp 80 from 10.0.0.0/8",
        "tcp 80 from ::/0",
        "tcp 80 from pl-1",
        "tcp 80 from sg-2",
    ];
    assert_eq!(rules, expected.map(str::to_owned).into());
}

#[test]
fn groups_of_the_primary_interface() {
    let reply: InstancesReply = parse(
        r#"<DescribeInstancesResponse><reservationSet><item><groupSet/><instancesSet>
            <item>
              <instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState><vpcId>vpc-1</vpcId>
              <groupSet><item><groupId>sg-1</groupId><groupName>a</groupName></item></groupSet>
              <networkInterfaceSet>
                <item><groupSet><item><groupId>sg-9</groupId></item></groupSet><attachment><deviceIndex>1</deviceIndex></attachment></item>
                <item><groupSet><item><groupId>sg-2</groupId></item><item><groupId>sg-1</groupId></item></groupSet>
                  <attachment><deviceIndex>0</deviceIndex></attachment></item>
              </networkInterfaceSet>
            </item>
            <item><instanceId>i-2</instanceId><instanceState><name>terminated</name></instanceState></item>
            <item><instanceId>i-3</instanceId><instanceState><name>stopped</name></instanceState>
              <groupSet><item><groupId>sg-1</groupId></item></groupSet></item>
        </instancesSet></item></reservationSet></DescribeInstancesResponse>"#,
    )
    .expect("it is understood");
    let found: Vec<_> = reply.instances().collect();
    let ids: Vec<_> = found.iter().map(InstanceReply::id).collect();
    assert_eq!(ids, ["i-1".into(), "i-3".into()]);
    assert_eq!(found[0].groups(), ["sg-1".into(), "sg-2".into()].into());
    assert_eq!(found[1].groups(), ["sg-1".into()].into());
    assert_eq!(found[0].vpc().as_deref(), Some("vpc-1"));
}

#[test]
fn routes_to_the_internet() {
    let reply: RouteTablesReply = parse(
        r#"<DescribeRouteTablesResponse><routeTableSet>
            <item><routeTableId>rtb-1</routeTableId>
              <routeSet><item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId></item>
                <item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><gatewayId>igw-1</gatewayId></item></routeSet>
              <associationSet><item><subnetId>subnet-1</subnetId><main>false</main></item></associationSet></item>
            <item><routeTableId>rtb-2</routeTableId>
              <routeSet><item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><natGatewayId>nat-1</natGatewayId></item></routeSet>
              <associationSet><item><main>true</main></item></associationSet></item>
        </routeTableSet></DescribeRouteTablesResponse>"#,
    )
    .expect("it is understood");
    let told: Vec<_> = reply
        .route_tables
        .item
        .iter()
        .map(|table| {
            (
                table.is_public(),
                table.is_main(),
                table.subnets().collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(true, false, vec!["subnet-1"]), (false, true, vec![])]
    );
}

#[test]
fn prefixes_of_a_vpc() {
    let reply: VpcsReply = parse(
        r#"<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/16</cidrBlock>
            <cidrBlockAssociationSet>
              <item><cidrBlock>10.0.0.0/16</cidrBlock><cidrBlockState><state>associated</state></cidrBlockState></item>
              <item><cidrBlock>100.64.0.0/16</cidrBlock><cidrBlockState><state>associated</state></cidrBlockState></item>
              <item><cidrBlock>10.9.0.0/16</cidrBlock><cidrBlockState><state>disassociated</state></cidrBlockState></item>
            </cidrBlockAssociationSet>
            <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8::/56</ipv6CidrBlock>
              <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState></item></ipv6CidrBlockAssociationSet>
        </item></vpcSet></DescribeVpcsResponse>"#,
    )
    .expect("it is understood");
    let prefixes = reply.vpcs.item[0].prefixes();
    let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.0/16", "100.64.0.0/16", "2001:db8::/56"]);
}

#[test]
fn what_is_not_there_is_empty() {
    let reply: VpcsReply =
        parse("<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>").expect("empty");
    assert!(reply.vpcs.item.is_empty());
    assert!(parse::<VpcsReply>("<html><body>Bad gateway").is_err());
}
