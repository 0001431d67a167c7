"""Load balancers: names, zones, addresses, attributes, deletion."""

from moto.core.responses import ActionResult
from moto.elbv2 import models
from moto.elbv2.exceptions import DuplicateLoadBalancerName, LoadBalancerNotFoundError, SubnetNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer
from moto.elbv2.responses import ELBV2Response
from patching import at_most_20, client_error, patch, tag_of

STATE_TAG = "harness/load-balancer-state"


@patch(models)
def make_arn_for_load_balancer(original, *args, **kwargs):
    # guide: the ARN of a Network Load Balancer is loadbalancer/net/NAME/ID, its listeners' listener/net/NAME/ID/ID.
    return original(*args, **kwargs).replace(":loadbalancer/app/", ":loadbalancer/net/")


def load_balancer_settings(name, security_groups, subnet_ids, subnet_mappings, scheme, kind, ip_address_type):
    mappings = [{"SubnetId": subnet} for subnet in subnet_ids or []] + list(subnet_mappings or [])
    wanted = sorted(tuple(sorted(mapping.items())) for mapping in mappings)
    return (kind, scheme, ip_address_type, sorted(security_groups or []), wanted)


@patch(ELBv2Backend)
def create_load_balancer(
    original,
    self,
    name,
    security_groups,
    subnet_ids,
    subnet_mappings=None,
    scheme=None,
    loadbalancer_type=None,
    ip_address_type="ipv4",
    tags=None,
):
    # model: "The default is an Internet-facing load balancer."
    scheme = scheme or "internet-facing"
    settings = load_balancer_settings(
        name, security_groups, subnet_ids, subnet_mappings, scheme, loadbalancer_type, ip_address_type
    )
    for balancer in self.load_balancers.values():
        if balancer.name == name:
            # model: "This operation is idempotent [...] If you attempt to create multiple load balancers with the same
            # settings, each call succeeds"; DuplicateLoadBalancerName: "A load balancer with the specified name already exists."
            if getattr(balancer, "settings", None) == settings:
                return balancer
            raise DuplicateLoadBalancerName()
    subnets = [self.known_subnet(subnet) for subnet in subnet_ids or []]
    subnets += [self.known_subnet(mapping.get("SubnetId")) for mapping in subnet_mappings or []]
    one_subnet_per_zone(subnets)
    for group in security_groups or []:
        # model: InvalidSecurityGroup, "The specified security group does not exist."
        if self.ec2_backend.get_security_group_from_id(group) is None:
            raise client_error("InvalidSecurityGroup", f"Security group {group} does not exist")
    for subnet in subnets:
        # model: InvalidSubnet, "The specified subnet is out of available addresses."; guide: an internet-facing load balancer needs 8.
        if scheme == "internet-facing" and subnet.available_ip_address_count < 8:
            raise client_error("InvalidSubnet", f"Not enough IP space available in {subnet.id}")
    addresses = self.elastic_addresses(subnet_mappings or [])
    balancer = original(
        self, name, security_groups, subnet_ids, subnet_mappings, scheme, loadbalancer_type, ip_address_type, tags
    )
    balancer.settings = settings
    # guide: the DNS name is NAME-ID.elb.REGION.amazonaws.com.
    balancer.dns_name = f"{name}-{balancer.arn.rsplit('/', 1)[1]}.elb.{self.region_name}.amazonaws.com"
    # model, LoadBalancerAttribute: the keys of Network Load Balancers with their defaults.
    balancer.attrs = {
        "access_logs.s3.enabled": "false",
        "access_logs.s3.bucket": "",
        "access_logs.s3.prefix": "",
        "deletion_protection.enabled": "false",
        "dns_record.client_routing_policy": "any_availability_zone",
        "ipv6.deny_all_igw_traffic": "true" if scheme == "internal" else "false",
        "load_balancing.cross_zone.enabled": "false",
        "secondary_ips.auto_assigned.per_subnet": "0",
        "zonal_shift.config.enabled": "false",
    }
    balancer.without_groups = not security_groups
    balancer.enforce_security_group_inbound_rules_on_private_link_traffic = "on" if security_groups else None
    for address in addresses:
        address.association_id = f"eipassoc-{balancer.arn.rsplit('/', 1)[1]}"
    balancer.map_subnets(subnet_mappings or [], self.ec2_backend)
    return balancer


def known_subnet(self, subnet_id):
    # model: SubnetNotFound, "The specified subnet does not exist."; moto answers with EC2's code.
    try:
        return self.ec2_backend.get_subnet(subnet_id)
    except Exception as error:
        raise SubnetNotFoundError() from error


def elastic_addresses(self, mappings):
    # model: AllocationIdNotFound, "The specified allocation ID does not exist."; ResourceInUse of an address in use.
    found = []
    for allocation in [mapping["AllocationId"] for mapping in mappings if "AllocationId" in mapping]:
        address = next((a for a in self.ec2_backend.addresses if a.allocation_id == allocation), None)
        if address is None:
            raise client_error("AllocationIdNotFound", f"The allocation IDs '{allocation}' do not exist")
        if address.association_id:
            raise client_error("ResourceInUse", f"The allocation IDs '{allocation}' are not available for use")
        found.append(address)
    return found


def one_subnet_per_zone(subnets):
    # model: "You can specify only one subnet per Availability Zone."
    zones = [subnet.availability_zone for subnet in subnets]
    if len(zones) != len(set(zones)):
        raise client_error(
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        )


def map_subnets(self, mappings, ec2):
    # model, LoadBalancerAddress: what SubnetMappings asked for comes back with the zones; moto forgets it.
    self.mappings = {mapping["SubnetId"]: mapping for mapping in mappings}
    public = {address.allocation_id: address.public_ip for address in ec2.addresses}
    self.public_addresses = public


def availability_zones(self):
    zones = []
    for subnet in self.subnets:
        zone = models.AvailabilityZone(subnet)
        mapping = getattr(self, "mappings", {}).get(subnet.id, {})
        address = {
            "IpAddress": self.public_addresses.get(mapping["AllocationId"]) if "AllocationId" in mapping else None,
            "AllocationId": mapping.get("AllocationId"),
            "PrivateIPv4Address": mapping.get("PrivateIPv4Address"),
            "IPv6Address": mapping.get("IPv6Address"),
        }
        given = {key: value for key, value in address.items() if value}
        zone.load_balancer_addresses = [given] if given else []
        prefix = mapping.get("SourceNatIpv6Prefix")
        zone.source_nat_ipv6_prefixes = [prefix] if prefix else []
        zones.append(zone)
    return zones


@patch(FakeLoadBalancer)
def activate(original, self):
    state = tag_of(self.ec2, self.vpc_id, STATE_TAG) if getattr(self, "ec2", None) else None
    self.state = state or "active"


@patch(ELBv2Backend)
def describe_load_balancers(original, self, arns, names):
    # model: "You can specify up to 20 load balancers in a single call."; LoadBalancerNotFound as soon as one is unknown.
    at_most_20(arns)
    at_most_20(names)
    for balancer in self.load_balancers.values():
        balancer.ec2 = self.ec2_backend
        balancer.activate()
    if not arns and not names:
        return list(self.load_balancers.values())
    wanted = [b for b in self.load_balancers.values() if b.arn in (arns or []) or b.name in (names or [])]
    if len(wanted) < len(set(arns or [])) + len(set(names or [])):
        missing = [n for n in names or [] if n not in [b.name for b in wanted]]
        missing += [a for a in arns or [] if a not in [b.arn for b in wanted]]
        raise client_error("LoadBalancerNotFound", f"Load balancers '{missing}' not found")
    return wanted


@patch(ELBv2Backend)
def delete_load_balancer(original, self, arn):
    balancer = self.load_balancers.get(arn)
    # model: "You can't delete a load balancer if deletion protection is enabled. If the load balancer does not exist or
    # has already been deleted, the call succeeds."; OperationNotPermitted.
    if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
        raise client_error(
            "OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    if balancer:
        # model: "Deleting a load balancer also deletes its listeners."
        for listener in balancer.listeners:
            self.tagging_service.delete_all_tags_for_resource(listener)
        self.tagging_service.delete_all_tags_for_resource(arn)
        for mapping in getattr(balancer, "mappings", {}).values():
            for address in self.ec2_backend.addresses:
                if address.allocation_id and address.allocation_id == mapping.get("AllocationId"):
                    address.association_id = None
    return original(self, arn)


@patch(ELBv2Backend)
def set_subnets(original, self, arn, subnets, subnet_mappings):
    # model: "[Network Load Balancers and Gateway Load Balancers] You can specify subnets from one or more Availability Zones."; moto
    # asks for two.
    balancer = self.load_balancers.get(arn)
    if balancer is None:
        raise LoadBalancerNotFoundError()
    found = [self.known_subnet(subnet) for subnet in subnets]
    found += [self.known_subnet(mapping.get("SubnetId")) for mapping in subnet_mappings]
    one_subnet_per_zone(found)
    kept = {m["AllocationId"] for m in getattr(balancer, "mappings", {}).values() if "AllocationId" in m}
    fresh = [m for m in subnet_mappings if m.get("AllocationId") not in kept]
    for address in self.elastic_addresses(fresh):
        address.association_id = f"eipassoc-{arn.rsplit('/', 1)[1]}"
    balancer.subnets = found
    balancer.map_subnets(subnet_mappings, self.ec2_backend)
    return balancer.availability_zones


@patch(ELBv2Backend)
def set_security_groups(original, self, arn, sec_groups):
    balancer = self.load_balancers.get(arn)
    # model: "You can't perform this operation on a Network Load Balancer unless you specified a security group for the load balancer
    # when you created it."
    if balancer is not None and balancer.without_groups and sec_groups:
        raise client_error(
            "InvalidConfigurationRequest",
            "You cannot set security groups on a Network Load Balancer that was created without one",
        )
    return original(self, arn, sec_groups)


@patch(ELBv2Backend)
def modify_load_balancer_attributes(original, self, arn, attrs):
    for key, value in attrs.items():
        if key.endswith(".enabled") and value not in ("true", "false"):
            raise client_error("ValidationError", f"Load balancer attribute '{key}' must be true or false, not '{value}'")
        if key.startswith(("routing.", "idle_timeout", "client_keep_alive", "waf.", "connection_logs")):
            raise client_error(
                "InvalidConfigurationRequest", f"Load balancer attribute key '{key}' is not supported for network load balancers"
            )
    return original(self, arn, attrs)


@patch(ELBV2Response)
def set_security_groups(original, self):  # noqa: F811
    # model: the answer and the load balancer say how traffic from PrivateLink is treated.
    params = self._get_params()
    backend = self.elbv2_backend
    backend.set_security_groups(params["LoadBalancerArn"], params.get("SecurityGroups", []))
    balancer = backend.load_balancers[params["LoadBalancerArn"]]
    key = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"
    enforced = params.get(key) or balancer.enforce_security_group_inbound_rules_on_private_link_traffic
    balancer.enforce_security_group_inbound_rules_on_private_link_traffic = enforced
    return ActionResult({"SecurityGroupIds": balancer.security_groups, key: enforced})


@patch(ELBV2Response)
def create_load_balancer(original, self):  # noqa: F811
    # model, LoadBalancer: whether source NAT prefixes are used comes back; moto forgets it.
    result = original(self)
    balancer = self.elbv2_backend.load_balancers[result.result["LoadBalancers"][0].arn]
    balancer.enable_prefix_for_ipv6_source_nat = self._get_params().get("EnablePrefixForIpv6SourceNat") or "off"
    return result


@patch(ELBV2Response)
def set_subnets(original, self):  # noqa: F811
    params = self._get_params()
    backend = self.elbv2_backend
    zones = backend.set_subnets(params["LoadBalancerArn"], params.get("Subnets", []), params.get("SubnetMappings", []))
    balancer = backend.load_balancers[params["LoadBalancerArn"]]
    balancer.ip_address_type = params.get("IpAddressType") or balancer.ip_address_type
    prefix = params.get("EnablePrefixForIpv6SourceNat") or balancer.enable_prefix_for_ipv6_source_nat
    balancer.enable_prefix_for_ipv6_source_nat = prefix
    return ActionResult(
        {"AvailabilityZones": zones, "IpAddressType": balancer.ip_address_type, "EnablePrefixForIpv6SourceNat": prefix}
    )


ELBv2Backend.known_subnet = known_subnet
ELBv2Backend.elastic_addresses = elastic_addresses
FakeLoadBalancer.map_subnets = map_subnets
FakeLoadBalancer.availability_zones = property(availability_zones)
