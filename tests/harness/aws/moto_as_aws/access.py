"""Who asks, and whether they may: signatures and policies of those whom IAM or STS gave a key.

moto checks signatures and the names of actions, and that for everybody once it is switched on. Here a key that IAM or STS made is held
to its policies, conditions and resources too; with any other key everything is allowed, so that tests that are about something else need
no policy. What a statement means is judged by ministack's evaluator; which resources and which conditions a call has is AWS's Service
Authorization Reference ("reference"), for the services that a load balancer needs.
"""

import base64
import json
from xml.sax.saxutils import escape

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import _RESTError
from moto.core.responses import ActionResult, BaseResponse
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.access_control import AssumedRoleAccessKey, IAMPolicy, IAMRequest
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.sts.responses import TokenResponse
from patching import patch
from werkzeug.exceptions import HTTPException

# What begins every hidden message, so that nothing else is taken for one.
HIDDEN = "harness-"

# reference: what a call of Elastic Load Balancing that makes something makes, with tags on it.
MADE = {"CreateLoadBalancer": "loadbalancer/net", "CreateTargetGroup": "targetgroup", "CreateListener": "listener/net"}

# EC2's kinds of resources, by what their ids begin with.
KINDS = {"sg": "security-group", "sgr": "security-group-rule", "subnet": "subnet", "vpc": "vpc", "i": "instance"}


class Refused(HTTPException):
    """An error in the service's own envelope; moto's does not fit any of them."""

    def __init__(self, service, status, code, message):
        super().__init__()
        self.code = status
        error = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
        if service == "ec2":
            self.description = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>harness</RequestID></Response>"
        else:
            self.description = (
                f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>harness</RequestId></ErrorResponse>"
            )


def key_of(self):
    """The access key of a signed request. moto sees only those of twenty characters."""
    return self.headers.get("Authorization", "").partition("Credential=")[2].split("/")[0]


def owner(key):
    """The account and the partition whose IAM or STS made a key."""
    for account, partitions in list(iam_backends.items()):
        for partition, backend in list(partitions.items()):
            if key in backend.access_keys:
                return account, backend
    return None, None


@patch(BaseResponse)
def get_current_account(original, self):
    account, _ = owner(key_of(self))
    return account or original(self)


@patch(ActionAuthenticatorMixin)
def _authenticate_and_authorize_action(original, self, iam_request_cls, resource="*"):
    key = key_of(self)
    if not key.startswith(("AKIA", "ASIA")):
        return
    service = self.headers["Authorization"].split("/")[3]
    account, backend = owner(key)
    if account and is_of_no_role(backend.access_keys[key], backend):
        return
    try:
        request = IAMRequest(
            account_id=self.current_account,
            method=self.method,
            path=self.raw_path,
            data=self.data,
            body=self.raw_body,
            headers=self.headers,
            action=self._get_action(),
        )
        request.check_signature()
    except _RESTError as error:
        raise Refused(service, error.code, error.error_type, error.message) from None
    authorize(self, service, request._access_key)


def is_of_no_role(key, backend):
    """moto lets everybody take on roles that are not there: their sessions may do everything."""
    if not key.role_arn:
        return False
    try:
        backend.get_role_by_arn(key.role_arn)
        return False
    except NotFoundException:
        return True


def authorize(self, service, who):
    statements = [parse_policy_document(IAMPolicy(policy)._policy_json) for policy in who.collect_policies()]
    for action, resource, context in asked(self, service, self._get_action()):
        ask = EvalContext(
            principal_arn=who.arn,
            principal_type="AssumedRole" if isinstance(who, AssumedRoleAccessKey) else "User",
            principal_account=self.current_account,
            action=action,
            resource_arn=resource,
            region=self.region,
            service_context={"aws:tagkeys": None} | {key.lower(): value for key, value in context.items()},
        )
        decision = evaluate(ask, statements).decision
        if decision != "Allow":
            refuse(service, who, action, resource, decision == "Deny")


def refuse(service, who, action, resource, explicit):
    why = "with an explicit deny in an identity-based policy"
    if not explicit:
        why = f"because no identity-based policy allows the {action} action"
    said = f"User: {who.arn} is not authorized to perform: {action} on resource: {resource} {why}"
    if service != "ec2":
        raise Refused(service, 403, "AccessDenied", said)
    # EC2 hides what its writes were denied for.
    if not action.startswith("ec2:Describe"):
        hidden = {
            "allowed": False,
            "explicitDeny": explicit,
            "matchedStatements": {"items": []},
            "context": {"principal": {"arn": who.arn}, "action": action, "resource": resource},
        }
        said = f"Encoded authorization failure message: {HIDDEN}{base64.urlsafe_b64encode(json.dumps(hidden).encode()).decode()}"
    raise Refused("ec2", 403, "UnauthorizedOperation", f"You are not authorized to perform this operation. {said}")


def decode_authorization_message(self):
    # STS's model: "Decodes additional information about the authorization status of a request from an encoded message". moto has none.
    message = self._get_param("EncodedMessage")
    if not message.startswith(HIDDEN):
        raise Refused("sts", 400, "InvalidAuthorizationMessageException", "Message is not valid")
    return ActionResult({"DecodedMessage": base64.urlsafe_b64decode(message.removeprefix(HIDDEN)).decode()})


TokenResponse.decode_authorization_message = decode_authorization_message


def asked(self, service, operation):
    """All that has to be allowed for a call: action, resource, conditions."""
    action = f"{service}:{operation}"
    if action == "sts:GetCallerIdentity":
        return []
    if service == "elasticloadbalancing":
        return asked_of_elb(self, action, operation)
    if service == "ec2":
        return asked_of_ec2(self, action, operation)
    return [(action, values(self, "RoleArn")[0] if values(self, "RoleArn") else "*", {})]


def asked_of_elb(self, action, operation):
    if operation.startswith("Describe"):
        return [(action, "*", {})]
    tags = pairs(self, "Tags.member.")
    removed = values(self, "TagKeys.member.")
    request = of_request(tags) | ({"aws:TagKeys": removed} if removed else {})
    arns = values(self, "ResourceArns.member.")
    # A listener is named beside nothing else, but a target group in an action of a listener is no resource of the call.
    for name in ("LoadBalancerArn", "ListenerArn", "TargetGroupArn"):
        arns = arns or values(self, name)
    tagging = elbv2_backends[self.current_account][self.region].tagging_service
    on_tags = {arn: of_resource(tagging.get_tag_dict_for_resource(arn)) for arn in arns}
    made = MADE.get(operation)
    if not made:
        return [(action, arn, request | on_tags[arn]) for arn in arns]
    begin = f"arn:{self.partition}:elasticloadbalancing:{self.region}:{self.current_account}:{made}"
    if operation == "CreateListener":
        of_balancer = arns[0].split(":loadbalancer/net/")[1]
        new, all_ = f"{begin}/{of_balancer}/*", [(action, arns[0], request | on_tags[arns[0]])]
    else:
        new = f"{begin}/{values(self, 'Name')[0]}/*"
        all_ = [(action, new, request)]
    if tags:
        all_.append(("elasticloadbalancing:AddTags", new, request | {"elasticloadbalancing:CreateAction": operation}))
    return all_


def asked_of_ec2(self, action, operation):
    if operation.startswith("Describe"):
        return [(action, "*", {})]
    ec2 = ec2_backends[self.current_account][self.region]

    def arn(kind, name):
        return f"arn:{self.partition}:ec2:{self.region}:{self.current_account}:{kind}/{name}"

    def existing(name):
        return arn(KINDS.get(name.split("-")[0], "unknown"), name), of_resource(ec2.tags.get(name, {}))

    if operation in ("CreateTags", "DeleteTags"):
        request = of_request(pairs(self, "Tag."))
        return [(action, found, request | tags) for found, tags in map(existing, values(self, "ResourceId."))]
    all_ = []
    if operation == "CreateSecurityGroup":
        request = of_request(pairs(self, "TagSpecification.1.Tag."))
        vpc, tags = existing(values(self, "VpcId")[0])
        all_ = [(action, arn("security-group", "*"), request), (action, vpc, request | tags)]
    else:
        all_ = [(action, found, tags) for found, tags in map(existing, values(self, "GroupId"))]
    for kind in values(self, "TagSpecification.1.ResourceType"):
        request = of_request(pairs(self, "TagSpecification.1.Tag."))
        all_.append(("ec2:CreateTags", arn(kind, "*"), request | {"ec2:CreateAction": operation}))
    return all_ or [(action, "*", {})]


def of_request(tags):
    context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    return context | ({"aws:TagKeys": list(tags)} if tags else {})


def of_resource(tags):
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def values(self, name):
    """The values of a parameter, or of a list whose name ends with a dot."""
    found = self.querystring
    if not name.endswith("."):
        return list(found.get(name, []))
    return [found[key][0] for key in found if key.startswith(name) and key[len(name) :].isdigit()]


def pairs(self, name):
    found = self.querystring
    numbers = {key[len(name) :].split(".")[0] for key in found if key.startswith(name)}
    get = lambda number, part: found.get(f"{name}{number}.{part}", [""])[0]  # noqa: E731
    return {get(number, "Key"): get(number, "Value") for number in numbers}
