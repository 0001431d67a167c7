"""Pages of lists, of elbv2 and of EC2, and tags."""

from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.responses.route_tables import RouteTables
from moto.ec2.responses.security_groups import SecurityGroups
from moto.ec2.responses.subnets import Subnets
from moto.ec2.responses.vpcs import VPCs
from moto.elbv2.models import ELBv2Backend
from moto.elbv2.responses import ELBV2Response
from patching import at_most_20, client_error, patch


def page(params, items, key):
    """model, PageSize: 1 to 400; without it AWS fills pages of 400. Markers are the last item's ARN."""
    marker, size = params.get("Marker"), int(params.get("PageSize") or 400)
    arns = [item.arn for item in items]
    if marker and marker not in arns:
        raise client_error("ValidationError", "Invalid marker")
    start = arns.index(marker) + 1 if marker else 0
    result = {key: items[start : start + size]}
    if len(items) > start + size:
        result["NextMarker"] = arns[start + size - 1]
    return ActionResult(result)


@patch(ELBV2Response)
def describe_load_balancers(original, self):  # noqa: F811
    params = self._get_params()
    found = self.elbv2_backend.describe_load_balancers(params.get("LoadBalancerArns", []), params.get("Names", []))
    return page(params, list(found), "LoadBalancers")


@patch(ELBV2Response)
def describe_target_groups(original, self):  # noqa: F811
    params = self._get_params()
    found = self.elbv2_backend.describe_target_groups(
        params.get("LoadBalancerArn"), params.get("TargetGroupArns", []), params.get("Names", [])
    )
    return page(params, list(found), "TargetGroups")


@patch(ELBV2Response)
def describe_listeners(original, self):  # noqa: F811
    params = self._get_params()
    arn, arns = params.get("LoadBalancerArn"), params.get("ListenerArns", [])
    if not arn and not arns:
        return original(self)
    return page(params, list(self.elbv2_backend.describe_listeners(arn, arns)), "Listeners")


@patch(ELBv2Backend)
def describe_tags(original, self, resource_arns):
    # model: "You can specify up to 20 resources in a single call."; *NotFound of one fails all.
    at_most_20(resource_arns)
    for arn in resource_arns:
        self._get_resource_by_arn(arn)
    return original(self, resource_arns)


@patch(ELBv2Backend)
def add_tags(original, self, resource_arns, tags):
    # guide: 50 tags a resource. moto's limit is 10.
    given = self.tagging_service.flatten_tag_list(tags)
    if len(given) < len(tags):
        raise client_error("DuplicateTagKeys", "A tag key was specified more than once")
    for arn in resource_arns:
        self._get_resource_by_arn(arn)
        if len({**self.tagging_service.get_tag_dict_for_resource(arn), **given}) > 50:
            raise client_error("TooManyTags", "The maximum number of tags is 50")
    for arn in resource_arns:
        self.tagging_service.tag_resource(arn, tags)


@patch(ELBv2Backend)
def iter_tagged_resources(original, self):
    # The tagging API finds listeners too.
    yield from list(original(self))
    for balancer in list(self.load_balancers.values()):
        for listener in list(balancer.listeners.values()):
            tags = self.tagging_service.get_tag_dict_for_resource(listener.arn)
            yield TaggedResource(arn=listener.arn, tags=tags, resource_type="elasticloadbalancing:listener")


def paged(owner, operation, key):
    """EC2's model, MaxResults: "The maximum number of items to return for this request."; all without it. moto takes it and returns all."""

    def patched(original, self):
        result = original(self)
        most, token = self._get_int_param("MaxResults"), self._get_param("NextToken")
        if most is None:
            return result
        if token and not token.isdigit():
            raise EC2ClientError("InvalidPaginationToken", f"The pagination token {token} is not valid")
        items, start = list(result.result[key]), int(token or 0)
        page = {key: items[start : start + most]}
        if len(items) > start + most:
            page["NextToken"] = str(start + most)
        return ActionResult(page)

    patched.__name__ = operation
    patch(owner)(patched)


paged(SecurityGroups, "describe_security_groups", "SecurityGroups")
paged(SecurityGroups, "describe_security_group_rules", "SecurityGroupRules")
paged(Subnets, "describe_subnets", "Subnets")
paged(RouteTables, "describe_route_tables", "RouteTables")
paged(VPCs, "describe_vpcs", "Vpcs")
paged(ElasticNetworkInterfaces, "describe_network_interfaces", "NetworkInterfaces")
