//! The operations that are known. Decides.

use super::ec2::{addresses, instances, interfaces, security_groups, tags as ec2_tags, vpcs};
use super::elb::{
    attributes, certificates, listeners, load_balancers, tags, target_groups, targets,
};
use super::others;
use super::refusal::Answer;
use super::turn::{Ask, Turn};

/// What an operation does.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Read(fn(&Ask<'_>) -> Answer),
    Write(fn(&mut Turn<'_>) -> Answer),
}

/// The operation of this name.
pub(super) fn find(service: &str, operation: &str) -> Option<Operation> {
    use Operation::{Read, Write};
    Some(match (service, operation) {
        ("elbv2", "DescribeLoadBalancers") => Read(load_balancers::describe),
        ("elbv2", "CreateLoadBalancer") => Write(load_balancers::create),
        ("elbv2", "DeleteLoadBalancer") => Write(load_balancers::delete),
        ("elbv2", "SetSubnets") => Write(load_balancers::set_subnets),
        ("elbv2", "SetSecurityGroups") => Write(load_balancers::set_security_groups),
        ("elbv2", "SetIpAddressType") => Write(load_balancers::set_address_type),
        ("elbv2", "DescribeLoadBalancerAttributes") => Read(attributes::describe_load_balancer),
        ("elbv2", "ModifyLoadBalancerAttributes") => Write(attributes::modify_load_balancer),
        ("elbv2", "DescribeTargetGroups") => Read(target_groups::describe),
        ("elbv2", "CreateTargetGroup") => Write(target_groups::create),
        ("elbv2", "ModifyTargetGroup") => Write(target_groups::modify),
        ("elbv2", "DeleteTargetGroup") => Write(target_groups::delete),
        ("elbv2", "DescribeTargetGroupAttributes") => Read(attributes::describe_target_group),
        ("elbv2", "ModifyTargetGroupAttributes") => Write(attributes::modify_target_group),
        ("elbv2", "RegisterTargets") => Write(targets::register),
        ("elbv2", "DeregisterTargets") => Write(targets::deregister),
        ("elbv2", "DescribeTargetHealth") => Read(targets::describe_health),
        ("elbv2", "DescribeListeners") => Read(listeners::describe),
        ("elbv2", "CreateListener") => Write(listeners::create),
        ("elbv2", "ModifyListener") => Write(listeners::modify),
        ("elbv2", "DeleteListener") => Write(listeners::delete),
        ("elbv2", "DescribeListenerAttributes") => Read(attributes::describe_listener),
        ("elbv2", "ModifyListenerAttributes") => Write(attributes::modify_listener),
        ("elbv2", "DescribeListenerCertificates") => Read(certificates::describe),
        ("elbv2", "AddListenerCertificates") => Write(certificates::add),
        ("elbv2", "RemoveListenerCertificates") => Write(certificates::remove),
        ("elbv2", "DescribeTags") => Read(tags::describe),
        ("elbv2", "AddTags") => Write(tags::add),
        ("elbv2", "RemoveTags") => Write(tags::remove),
        ("ec2", "DescribeAvailabilityZones") => Read(vpcs::zones),
        ("ec2", "CreateVpc") => Write(vpcs::create_vpc),
        ("ec2", "DescribeVpcs") => Read(vpcs::describe_vpcs),
        ("ec2", "CreateSubnet") => Write(vpcs::create_subnet),
        ("ec2", "DescribeSubnets") => Read(vpcs::describe_subnets),
        ("ec2", "DeleteSubnet") => Write(vpcs::delete_subnet),
        ("ec2", "CreateInternetGateway") => Write(vpcs::create_gateway),
        ("ec2", "AttachInternetGateway") => Write(vpcs::attach_gateway),
        ("ec2", "CreateRouteTable") => Write(vpcs::create_route_table),
        ("ec2", "CreateRoute") => Write(vpcs::create_route),
        ("ec2", "AssociateRouteTable") => Write(vpcs::associate_route_table),
        ("ec2", "DisassociateRouteTable") => Write(vpcs::disassociate_route_table),
        ("ec2", "DescribeRouteTables") => Read(vpcs::describe_route_tables),
        ("ec2", "CreateManagedPrefixList") => Write(vpcs::create_prefix_list),
        ("ec2", "DescribeManagedPrefixLists") => Read(vpcs::describe_prefix_lists),
        ("ec2", "AllocateAddress") => Write(addresses::allocate),
        ("ec2", "DescribeAddresses") => Read(addresses::describe),
        ("ec2", "ReleaseAddress") => Write(addresses::release),
        ("ec2", "DescribeNetworkInterfaces") => Read(interfaces::describe),
        ("ec2", "RunInstances") => Write(instances::run),
        ("ec2", "StartInstances") => Write(instances::start),
        ("ec2", "StopInstances") => Write(instances::stop),
        ("ec2", "TerminateInstances") => Write(instances::terminate),
        ("ec2", "DescribeInstances") => Read(instances::describe),
        ("ec2", "CreateSecurityGroup") => Write(security_groups::create),
        ("ec2", "DescribeSecurityGroups") => Read(security_groups::describe),
        ("ec2", "DescribeSecurityGroupRules") => Read(security_groups::describe_rules),
        ("ec2", "AuthorizeSecurityGroupIngress") => Write(security_groups::authorize_ingress),
        ("ec2", "AuthorizeSecurityGroupEgress") => Write(security_groups::authorize_egress),
        ("ec2", "RevokeSecurityGroupIngress") => Write(security_groups::revoke_ingress),
        ("ec2", "RevokeSecurityGroupEgress") => Write(security_groups::revoke_egress),
        ("ec2", "DeleteSecurityGroup") => Write(security_groups::delete),
        ("ec2", "CreateTags") => Write(ec2_tags::create),
        ("ec2", "DeleteTags") => Write(ec2_tags::delete),
        ("sts", "GetCallerIdentity") => Read(others::caller),
        ("sts", "AssumeRole") => Write(others::assume_role),
        ("sts", "DecodeAuthorizationMessage") => Read(others::decode_message),
        ("acm", "RequestCertificate") => Write(others::request_certificate),
        ("resourcegroupstaggingapi", "GetResources") => Read(others::resources),
        _ => return None,
    })
}
