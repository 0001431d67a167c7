"""Beside AWS's API: one region of one account read or emptied in one request, for tests that do so thousands of times.

`GET /moto-api/harness/state?account=&region=` answers what the client that is not ours reads with boto3, as far as load balancers, target
groups and security groups go. `POST /moto-api/harness/empty?account=&region=&keep=ID,ID` takes away what was made in a world since it
was built: load balancers, listeners, target groups, security groups and addresses but those to keep, their rules, the tests' own tags.
"""

import json
from urllib.parse import parse_qs, urlparse

from load_balancers import STATE_TAG
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.moto_api._internal import urls
from patching import LOCK
from target_groups import HEALTH_TAG, refresh_use


def backends(full_url):
    query = {key: values[0] for key, values in parse_qs(urlparse(full_url).query).items()}
    account, region = query["account"], query["region"]
    return query, elbv2_backends[account][region], ec2_backends[account][region]


def state(request, full_url, headers):
    with LOCK:
        _, elbv2, ec2 = backends(full_url)
        refresh_use(elbv2)
        for balancer in elbv2.load_balancers.values():
            balancer.ec2 = ec2
            balancer.activate()
        found = {
            "LoadBalancers": [load_balancer(elbv2, item) for item in elbv2.load_balancers.values()],
            "TargetGroups": [target_group(elbv2, ec2, item) for item in elbv2.target_groups.values()],
            "SecurityGroups": [security_group(ec2, item) for item in security_groups(ec2)],
            "SecurityGroupRules": [
                rule(group, item, egress)
                for group in security_groups(ec2)
                for egress, items in ((False, group.ingress_rules), (True, group.egress_rules))
                for item in items
            ],
        }
        return 200, {}, json.dumps(found, default=str)


def empty(request, full_url, headers):
    with LOCK:
        query, elbv2, ec2 = backends(full_url)
        keep = set(query.get("keep", "").split(","))
        elbv2.reset()
        for groups in ec2.groups.values():
            for group in list(groups.values()):
                if group.id in keep:
                    group.ingress_rules = []
                elif group.name != "default":
                    del groups[group.id]
        ec2.addresses[:] = [address for address in ec2.addresses if address.allocation_id in keep]
        for address in ec2.addresses:
            address.association_id = None
        for tags in ec2.tags.values():
            tags.pop(HEALTH_TAG, None)
            tags.pop(STATE_TAG, None)
        return 200, {}, json.dumps({})


def load_balancer(elbv2, item):
    return {
        "LoadBalancerArn": item.arn,
        "LoadBalancerName": item.name,
        "DNSName": item.dns_name,
        "Type": item.type,
        "Scheme": item.scheme,
        "IpAddressType": item.ip_address_type,
        "VpcId": item.vpc_id,
        "State": {"Code": item.state},
        "SecurityGroups": item.security_groups or [],
        "EnablePrefixForIpv6SourceNat": item.enable_prefix_for_ipv6_source_nat,
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": item.enforce_security_group_inbound_rules_on_private_link_traffic,
        "AvailabilityZones": [
            {
                "ZoneName": zone.zone_name,
                "SubnetId": zone.subnet_id,
                "LoadBalancerAddresses": zone.load_balancer_addresses,
                "SourceNatIpv6Prefixes": zone.source_nat_ipv6_prefixes,
            }
            for zone in item.availability_zones
        ],
        "Attributes": item.attrs,
        "Tags": elbv2.tagging_service.get_tag_dict_for_resource(item.arn),
        "Listeners": sorted((listener(elbv2, found) for found in item.listeners.values()), key=lambda found: found["Port"]),
    }


def listener(elbv2, item):
    found = {
        "ListenerArn": item.arn,
        "LoadBalancerArn": item.load_balancer_arn,
        "Port": int(item.port),
        "Protocol": item.protocol,
        "DefaultActions": [action.data for action in item.default_actions],
        "Attributes": item.attributes,
        "Tags": elbv2.tagging_service.get_tag_dict_for_resource(item.arn),
        "AllCertificates": [
            {"CertificateArn": certificate, "IsDefault": index == 0} for index, certificate in enumerate(item.certificates)
        ],
        "SslPolicy": item.ssl_policy,
        "AlpnPolicy": item.alpn_policy,
    }
    return {key: value for key, value in found.items() if value is not None}


def target_group(elbv2, ec2, item):
    found = {
        "TargetGroupArn": item.arn,
        "TargetGroupName": item.name,
        "Protocol": item.protocol,
        "Port": int(item.port),
        "VpcId": item.vpc_id,
        "TargetType": item.target_type,
        "IpAddressType": item.ip_address_type,
        "HealthCheckProtocol": item.health_check_protocol,
        "HealthCheckPort": item.health_check_port,
        "HealthCheckPath": item.health_check_path,
        "HealthCheckIntervalSeconds": int(item.health_check_interval_seconds),
        "HealthCheckTimeoutSeconds": int(item.health_check_timeout_seconds),
        "HealthyThresholdCount": int(item.healthy_threshold_count),
        "UnhealthyThresholdCount": int(item.unhealthy_threshold_count),
        "Matcher": getattr(item, "matcher", None),
        "LoadBalancerArns": item.load_balancer_arns,
        "Attributes": item.attributes,
        "Tags": elbv2.tagging_service.get_tag_dict_for_resource(item.arn),
        "Targets": [health(item.health_for(target, ec2)) for _, target in sorted(item.targets.items())],
    }
    return {key: value for key, value in found.items() if value is not None}


def health(item):
    known = {key: value for key, value in item.target_health.items() if value is not None}
    return {"Target": item.target, "HealthCheckPort": item.health_check_port, "TargetHealth": known}


def security_groups(ec2):
    return [group for groups in ec2.groups.values() for group in groups.values()]


def security_group(ec2, item):
    return {
        "GroupId": item.id,
        "GroupName": item.name,
        "Description": item.description,
        "VpcId": item.vpc_id,
        "Tags": dict(ec2.tags.get(item.id, {})),
    }


def rule(group, item, egress):
    found = {
        "SecurityGroupRuleId": item.id,
        "GroupId": group.id,
        "IsEgress": egress,
        "IpProtocol": item.ip_protocol,
        "FromPort": item.from_port,
        "ToPort": item.to_port,
        "CidrIpv4": item.ip_range.get("CidrIp"),
        "CidrIpv6": item.ip_range.get("CidrIpv6"),
        "PrefixListId": item.prefix_list_id,
        "ReferencedGroupInfo": {"GroupId": item.source_group["GroupId"]} if "GroupId" in item.source_group else None,
        "Description": item.description,
    }
    return {key: value for key, value in found.items() if value is not None}


urls.url_paths["{0}/moto-api/harness/state"] = state
urls.url_paths["{0}/moto-api/harness/empty"] = empty
