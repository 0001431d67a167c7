"""EC2: rules and deletion of security groups, release of Elastic IPs."""

import ipaddress

from moto.core.responses import ActionResult
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models.elastic_ip_addresses import ElasticAddressBackend
from moto.ec2.models.security_groups import SecurityGroupBackend, SecurityGroupRule
from moto.ec2.responses.security_groups import SecurityGroups
from moto.elbv2 import models
from patching import patch


@patch(ElasticAddressBackend)
def release_address(original, self, address=None, allocation_id=None):
    # EC2's model: "You must disassociate the Elastic IP address before you can release it. Otherwise, Amazon EC2 returns an error
    # (InvalidIPAddress.InUse)." moto leaves an address releasable that a load balancer holds.
    held = [a for a in self.addresses if a.association_id and (a.allocation_id == allocation_id or a.public_ip == address)]
    if held and not held[0].eni and not held[0].instance:
        raise EC2ClientError("InvalidIPAddress.InUse", f"Address {held[0].public_ip} is in use.")
    return original(self, address=address, allocation_id=allocation_id)


@patch(SecurityGroupBackend)
def delete_security_group(original, self, name=None, group_id=None):
    # EC2's model: "If you attempt to delete a security group that is associated with an instance or network interface, is referenced
    # by another security group in the same VPC, [...] the operation fails with DependencyViolation." Load balancers have interfaces.
    group = self.get_security_group_from_id(group_id) if group_id else None
    if group is not None and users_of(self, group):
        raise DependencyViolationError(f"resource {group_id} has a dependent object")
    return original(self, name=name, group_id=group_id)


def users_of(ec2, group):
    interfaces = [eni.id for eni in ec2.enis.values() if group.id in [g.id for g in eni.group_set]]
    balancers = [
        balancer.arn
        for balancer in models.elbv2_backends[ec2.account_id][ec2.region_name].load_balancers.values()
        if group.id in (balancer.security_groups or [])
    ]
    groups = [
        other.id
        for others in ec2.groups.values()
        for other in others.values()
        if other.id != group.id
        for rule in other.ingress_rules + other.egress_rules
        if rule.source_group.get("GroupId") == group.id
    ]
    return interfaces + balancers + groups


def description(self):
    # EC2's model: IpRange, UserIdGroupPair and PrefixListId each have a description. moto shows that of ranges alone.
    return self.ip_range.get("Description") or self.source_group.get("Description") or self.prefix_list_description


@patch(SecurityGroupRule)
def __init__(original, self, *args, **kwargs):
    original(self, *args, **kwargs)
    prefix_list = args[7] if len(args) > 7 else kwargs.get("prefix_list_id")
    self.prefix_list_description = (prefix_list or {}).get("Description")


def meant(rule):
    ports = (None, None) if rule.ip_protocol == "-1" else (rule.from_port, rule.to_port)
    return (rule.ip_protocol, ports, rule.cidr_ipv4, rule.cidr_ipv6, rule.source_group.get("GroupId"), rule.prefix_list_id)


@patch(SecurityGroupRule)
def __eq__(original, self, other):
    # EC2's model, RevokeSecurityGroupIngress: "If the security group rule has a description, you do not need to specify the description to
    # revoke the rule." moto compares the descriptions of group sources, also for duplicates.
    return meant(self) == meant(other)


def canonical(ip_ranges):
    """EC2's model: "if you specify 100.68.0.18/18 for the CIDR block, Amazon Web Services canonicalizes the CIDR block to 100.68.0.0/18"."""
    if isinstance(ip_ranges, list):
        for given in ip_ranges:
            for key in ("CidrIp", "CidrIpv6"):
                if isinstance(given, dict) and key in given:
                    try:
                        given[key] = str(ipaddress.ip_network(given[key], strict=False))
                    except ValueError:
                        pass
    return ip_ranges


def rules_of_one_call(name, backend_name):
    def patched(original, self):
        # model, AuthorizeSecurityGroup*: all rules of a call come back; InvalidPermission.Duplicate adds none of them. moto returns
        # those of the last permission and keeps the ones before a duplicate.
        self.error_on_dryrun()
        rules, before = [], []
        for given in self._process_rules_from_querystring():
            group = self.ec2_backend.get_security_group_by_name_or_id(given["group_name_or_id"], given.get("vpc_id"))
            if group is not None and not before:
                before = [(group, list(group.ingress_rules), list(group.egress_rules))]
            given["ip_ranges"] = canonical(given.get("ip_ranges"))
            try:
                rules += getattr(self.ec2_backend, backend_name)(**given)[0]
            except Exception:
                for group, ingress, egress in before:
                    group.ingress_rules, group.egress_rules = ingress, egress
                raise
        return ActionResult({"Return": True, "SecurityGroupRules": rules})

    patched.__name__ = name
    patch(SecurityGroups)(patched)


def with_canonical_ranges(name):
    def patched(original, self, *args, **kwargs):
        if "ip_ranges" in kwargs:
            kwargs["ip_ranges"] = canonical(kwargs["ip_ranges"])
        return original(self, *args, **kwargs)

    patched.__name__ = name
    patch(SecurityGroupBackend)(patched)


for direction in ("ingress", "egress"):
    rules_of_one_call(f"authorize_security_group_{direction}", f"authorize_security_group_{direction}")
    with_canonical_ranges(f"revoke_security_group_{direction}")

SecurityGroupRule.description = property(description)
