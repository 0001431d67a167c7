"""Target groups: names, attributes, targets by port, health."""

import ipaddress

from moto.elbv2.exceptions import DuplicateTargetGroupName, LoadBalancerNotFoundError, TargetGroupNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup
from patching import at_most_20, client_error, patch, tag_of

HEALTH_TAG = "harness/health"


SETTINGS = (
    "vpc_id protocol port healthcheck_protocol healthcheck_port healthcheck_path healthcheck_interval_seconds "
    "healthcheck_timeout_seconds healthcheck_enabled healthy_threshold_count unhealthy_threshold_count matcher target_type "
    "ip_address_type"
).split()


@patch(ELBv2Backend)
def create_target_group(original, self, name, **kwargs):
    settings = [str(kwargs.get(key)) for key in SETTINGS]
    for group in self.target_groups.values():
        if group.name == name:
            # model: "This operation is idempotent [...] If you attempt to create multiple target groups with the same
            # settings, each call succeeds."
            if getattr(group, "settings", None) == settings:
                return group
            raise DuplicateTargetGroupName()
    if kwargs.get("healthcheck_protocol") in ("UDP", "TCP_UDP", "TLS"):
        # model: "The GENEVE, TLS, UDP, TCP_UDP, QUIC, and TCP_QUIC protocols are not supported for health checks."
        raise client_error("ValidationError", f"Health check protocol '{kwargs['healthcheck_protocol']}' is not supported")
    if kwargs.get("healthcheck_protocol") in ("HTTP", "HTTPS") and kwargs.get("protocol") in NETWORK:
        # model: path, matcher and time-out of HTTP checks have defaults of their own: "/", 200-399, 6 seconds.
        kwargs["healthcheck_path"] = kwargs.get("healthcheck_path") or "/"
        kwargs["matcher"] = kwargs.get("matcher") or {"HttpCode": "200-399"}
        kwargs["healthcheck_timeout_seconds"] = kwargs.get("healthcheck_timeout_seconds") or 6
    group = original(self, name, **kwargs)
    group.settings = settings
    group.attributes = target_group_defaults(group)
    return group


NETWORK = ("TCP", "UDP", "TCP_UDP", "TLS")


def target_group_defaults(group):
    # model, TargetGroupAttribute: the keys of Network Load Balancers with their defaults.
    datagrams = group.protocol in ("UDP", "TCP_UDP")
    attributes = {
        "deregistration_delay.timeout_seconds": "300",
        "deregistration_delay.connection_termination.enabled": "true" if datagrams else "false",
        "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
        "preserve_client_ip.enabled": "true" if datagrams or group.target_type == "instance" else "false",
        "proxy_protocol_v2.enabled": "false",
        "stickiness.enabled": "false",
        "stickiness.type": "source_ip",
        "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
        "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
    }
    if not datagrams:
        attributes["target_health_state.unhealthy.connection_termination.enabled"] = "true"
        attributes["target_health_state.unhealthy.draining_interval_seconds"] = "0"
    return attributes


@patch(ELBv2Backend)
def modify_target_group_attributes(original, self, target_group_arn, attributes):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        raise TargetGroupNotFoundError()
    for key, value in attributes.items():
        # ValidationError of an unknown key or value: all or nothing. moto stores what it does not know.
        if key not in target_group_defaults(group):
            raise client_error("ValidationError", f"Target group attribute key '{key}' is not recognized")
        if key.endswith(".enabled") and value not in ("true", "false", "use_load_balancer_configuration"):
            raise client_error("ValidationError", f"Target group attribute '{key}' must be true or false, not '{value}'")
    # guide, "Client IP preservation": it cannot be disabled for UDP and TCP_UDP.
    if attributes.get("preserve_client_ip.enabled") == "false" and group.protocol in ("UDP", "TCP_UDP"):
        raise client_error(
            "InvalidConfigurationRequest", f"You cannot disable client IP preservation for {group.protocol} target groups"
        )
    if attributes.get("stickiness.enabled") == "true" and group.protocol == "TLS":
        raise client_error("InvalidConfigurationRequest", "You cannot enable stickiness on target groups with the TLS protocol")
    delay = attributes.get("deregistration_delay.timeout_seconds")
    if delay == "3600":
        # model: "The range is 0-3600 seconds."; moto's range ends before 3600.
        attributes = dict(attributes)
        group.attributes["deregistration_delay.timeout_seconds"] = attributes.pop("deregistration_delay.timeout_seconds")
    return original(self, target_group_arn, attributes)


def target_key(group, target):
    return (target["Id"], int(target.get("Port") or group.port))


@patch(FakeTargetGroup)
def register(original, self, targets):
    # model: "You can register each EC2 instance or IP address with the same target group multiple times using different ports.";
    # InvalidTarget: "The specified target does not exist [...]". moto knows targets by Id alone and takes any instance.
    for target in targets:
        if self.target_type == "instance":
            if not target["Id"].startswith("i-"):
                raise client_error("ValidationError", f"Instance ID '{target['Id']}' is not valid")
            instance = self.ec2_backend.get_instance_by_id(target["Id"])
            if instance is None:
                raise client_error("InvalidTarget", f"The following targets do not exist: '{target['Id']}'")
            if instance.state != "running":
                raise client_error("InvalidTarget", f"The following targets are not in a running state: '{target['Id']}'")
        else:
            try:
                ipaddress.ip_address(target["Id"])
            except ValueError as error:
                raise client_error("ValidationError", f"The IP address '{target['Id']}' is not valid") from error
    for target in targets:
        key = target_key(self, target)
        self.targets[key] = {"Id": key[0], "Port": key[1]}
        if "AvailabilityZone" in target:
            self.targets[key]["AvailabilityZone"] = target["AvailabilityZone"]
        self.deregistered_targets.pop(key, None)


@patch(FakeTargetGroup)
def deregister(original, self, targets):
    # model: "If the specified target does not exist, the action returns successfully."; "If you specified a port override when you
    # registered a target, you must specify both the target ID and the port when you deregister it."
    for target in targets:
        key = target_key(self, target)
        if key in self.targets:
            self.deregistered_targets[key] = self.targets.pop(key)


@patch(FakeTargetGroup)
def deregister_terminated_instances(original, self, instance_ids):
    for key in [k for k in self.targets if k[0] in instance_ids]:
        self.terminated_targets[key] = self.targets.pop(key)


@patch(FakeTargetGroup)
def health_for(original, self, target, ec2_backend):
    # model, TargetHealth: the states and reasons. moto calls everything healthy.
    key = target_key(self, target)

    def status(state, reason=None, description=None):
        return FakeHealthStatus(key[0], key[1], self.checked_port(key[1]), state, reason, description)

    if key in self.terminated_targets:
        return status("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
    if key not in self.targets:
        return status("unused", "Target.NotRegistered", "Target is not registered to the target group")
    if not self.in_use:
        return status("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
    instance = ec2_backend.get_instance_by_id(key[0]) if key[0].startswith("i-") else None
    if instance is not None and instance.state == "stopped":
        return status("unused", "Target.InvalidState", "Target is in the stopped state")
    told = tag_of(ec2_backend, key[0], HEALTH_TAG)
    reasons = {
        "initial": ("Elb.RegistrationInProgress", "Target registration is in progress"),
        "unhealthy": ("Target.FailedHealthChecks", "Health checks failed"),
        "draining": ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
    }
    return status(told or "healthy", *reasons.get(told, (None, None)))


def checked_port(self, port):
    return str(port) if self.health_check_port == "traffic-port" else self.health_check_port


def refresh_use(backend):
    """`LoadBalancerArns` of a target group: those whose listeners point at it. moto adds, repeats and never takes away."""
    used = {arn: [] for arn in backend.target_groups}
    for balancer in backend.load_balancers.values():
        for listener in balancer.listeners.values():
            for action in listener.default_actions:
                for group in backend._get_target_group_arns_from(action_data=action.data):
                    if balancer.arn not in used.get(group, [balancer.arn]):
                        used[group].append(balancer.arn)
    for arn, balancers in used.items():
        backend.target_groups[arn].load_balancer_arns = balancers
        backend.target_groups[arn].in_use = bool(balancers)


@patch(ELBv2Backend)
def describe_target_health(original, self, target_group_arn, targets):
    refresh_use(self)
    return original(self, target_group_arn, targets)


@patch(ELBv2Backend)
def describe_target_groups(original, self, load_balancer_arn, target_group_arns, names):
    at_most_20(target_group_arns)
    at_most_20(names)
    refresh_use(self)
    if load_balancer_arn and not target_group_arns and not names:
        # moto fails where a load balancer has no target group; AWS answers with an empty list.
        if load_balancer_arn not in self.load_balancers:
            raise LoadBalancerNotFoundError()
        groups = [g for g in self.target_groups.values() if load_balancer_arn in g.load_balancer_arns]
        return sorted(groups, key=lambda group: group.name)
    return original(self, load_balancer_arn, target_group_arns, names)


@patch(ELBv2Backend)
def delete_target_group(original, self, target_group_arn):
    group = original(self, target_group_arn)
    self.tagging_service.delete_all_tags_for_resource(target_group_arn)
    return group


@patch(ELBv2Backend)
def modify_target_group(original, self, arn, *args, **kwargs):
    group = original(self, arn, *args, **kwargs)
    codes = args[7] if len(args) > 7 else kwargs.get("http_codes")
    if group.health_check_protocol == "TCP":
        group.health_check_path, group.matcher = None, None
    else:
        # moto takes a matcher for HTTP groups alone; Network Load Balancers have it for HTTP checks.
        group.health_check_path = group.health_check_path or "/"
        group.matcher = {"HttpCode": codes} if codes else getattr(group, "matcher", None) or {"HttpCode": "200-399"}
    return group


FakeTargetGroup.checked_port = checked_port
FakeTargetGroup.in_use = False
