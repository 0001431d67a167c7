"""Listeners: ports, protocols, certificates, policies, attributes."""

from moto.core.responses import ActionResult
from moto.elbv2.exceptions import DuplicateListenerError, ListenerNotFoundError, LoadBalancerNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeAction
from moto.elbv2.responses import ELBV2Response
from moto.elbv2.ssl_policies import SSL_POLICIES
from patching import client_error, patch
from target_groups import refresh_use

ALPN_POLICIES = {"None", "HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred"}


def check_listener(backend, balancer, protocol, certificates, ssl_policy, alpn_policy, actions):
    if protocol == "TLS" and not certificates:
        raise client_error("ValidationError", "A certificate must be specified for TLS listeners")
    if protocol != "TLS" and (certificates or ssl_policy):
        raise client_error(
            "InvalidConfigurationRequest", f"A certificate or security policy cannot be specified for {protocol} listeners"
        )
    if ssl_policy and ssl_policy not in SSL_POLICIES:
        # model: SSLPolicyNotFound, "The specified SSL policy does not exist."
        raise client_error("SSLPolicyNotFound", f"SSL policy '{ssl_policy}' not found")
    for certificate in certificates:
        # model: CertificateNotFound, "The specified certificate does not exist."
        if not backend._certificate_exists(certificate):
            raise client_error("CertificateNotFound", f"Certificate '{certificate}' not found")
    if alpn_policy and not set(alpn_policy) <= ALPN_POLICIES:
        raise client_error("ALPNPolicyNotFound", f"The specified ALPN policy '{alpn_policy[0]}' is not supported")
    refresh_use(backend)
    for action in actions:
        for arn in backend._get_target_group_arns_from(action_data=action.data):
            group = backend.target_groups.get(arn)
            if group is None:
                continue
            # guide, "Listener protocols": TLS listeners forward to TCP and TLS groups, the others to groups of their own kind.
            if group.protocol not in {"TLS": ("TCP", "TLS"), "TCP": ("TCP", "TCP_UDP"), "UDP": ("UDP", "TCP_UDP")}.get(
                protocol, (protocol,)
            ):
                raise client_error(
                    "IncompatibleProtocols",
                    f"The {protocol} listener and the {group.protocol} target group '{arn}' have incompatible protocols",
                )
            # model: TargetGroupAssociationLimit, "You've reached the limit on the number of load balancers per target group."
            if [other for other in group.load_balancer_arns if other != balancer.arn]:
                raise client_error(
                    "TargetGroupAssociationLimit",
                    f"The following target groups cannot be associated with more than one load balancer: {arn}",
                )


@patch(ELBv2Backend)
def create_listener(
    original, self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, alpn_policy=None, tags=None
):
    balancer = self.load_balancers.get(load_balancer_arn)
    if balancer is None:
        raise LoadBalancerNotFoundError()
    certificates = [certificate] if certificate else []
    settings = (protocol, certificates, ssl_policy, sorted(alpn_policy or []), repr(actions))
    for listener in balancer.listeners.values():
        # model: "This operation is idempotent [...] If you attempt to create multiple listeners with the same settings, each
        # call succeeds."; DuplicateListener, "A listener with the specified port already exists."
        if port is not None and int(listener.port) == int(port):
            if getattr(listener, "settings", None) == settings:
                return listener
            raise DuplicateListenerError()
    self._validate_port_and_protocol(balancer.type, port, protocol)
    check_listener(self, balancer, protocol, certificates, ssl_policy, alpn_policy, [FakeAction(dict(a)) for a in actions])
    listener = original(
        self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, alpn_policy=alpn_policy, tags=tags
    )
    listener.settings = settings
    settle_tls(listener)
    return listener


def settle_tls(listener):
    # moto gives every listener a security policy and an empty ALPN list; AWS gives them to TLS listeners alone.
    if listener.protocol == "TLS":
        listener.ssl_policy = listener.ssl_policy or "ELBSecurityPolicy-2016-08"
        listener.alpn_policy = listener.alpn_policy or None
    else:
        listener.ssl_policy = listener.alpn_policy = listener.certificate = None
        listener.certificates = []
    # model, ListenerAttribute: tcp.idle_timeout.seconds exists for TCP listeners.
    listener.attributes = {k: v for k, v in listener.attributes.items() if listener.protocol == "TCP" or not k.startswith("tcp.")}


@patch(ELBV2Response)
def create_listener(original, self):  # noqa: F811
    # The default security policy belongs to TLS listeners: see settle_tls.
    params = self._get_params()
    certificates = params.get("Certificates", [])
    listener = self.elbv2_backend.create_listener(
        load_balancer_arn=params.get("LoadBalancerArn"),
        protocol=params.get("Protocol"),
        port=params.get("Port"),
        ssl_policy=params.get("SslPolicy"),
        certificate=certificates[0].get("CertificateArn") if certificates else None,
        actions=params.get("DefaultActions", []),
        alpn_policy=params.get("AlpnPolicy", []),
        tags=params.get("Tags"),
    )
    return ActionResult({"Listeners": [listener]})


@patch(ELBV2Response)
def modify_listener(original, self):
    # model: "Any properties that you do not specify remain unchanged. Changing the protocol from [...] TLS to TCP, removes the security
    # policy and default certificate properties." moto knows HTTP, HTTPS and TCP alone, and no ALPN.
    params = self._get_params()
    backend = self.elbv2_backend
    listener = backend.describe_listeners(None, [params["ListenerArn"]])[0]
    balancer = backend.load_balancers[listener.load_balancer_arn]
    protocol = params.get("Protocol") or listener.protocol
    port = int(params.get("Port") or listener.port)
    if any(int(other.port) == port for other in balancer.listeners.values() if other is not listener):
        raise DuplicateListenerError()
    backend._validate_port_and_protocol(balancer.type, str(port), protocol)
    given = [c["CertificateArn"] for c in params.get("Certificates", [])]
    keeps = protocol == "TLS" and listener.protocol == "TLS"
    certificates = given or (listener.certificates[:1] if keeps else [])
    policy = params.get("SslPolicy") or (listener.ssl_policy if keeps else None)
    alpn = params["AlpnPolicy"] if "AlpnPolicy" in params else (listener.alpn_policy if keeps else None)
    actions = [FakeAction(action) for action in params.get("DefaultActions", [])] or listener.default_actions
    backend._validate_actions(actions)
    check_listener(backend, balancer, protocol, certificates, policy, alpn, actions)
    listener.protocol, listener.port, listener.ssl_policy, listener.alpn_policy = protocol, port, policy, alpn
    listener.certificates = certificates + [c for c in listener.certificates[1:] if c not in certificates]
    listener.certificate = certificates[0] if certificates else None
    listener.default_actions = actions
    listener._default_rule[0].actions = actions
    listener.settings = None
    settle_tls(listener)
    return ActionResult({"Listeners": [listener]})


@patch(ELBv2Backend)
def delete_listener(original, self, listener_arn):
    listener = original(self, listener_arn)
    self.tagging_service.delete_all_tags_for_resource(listener_arn)
    return listener


@patch(ELBv2Backend)
def describe_listeners(original, self, load_balancer_arn, listener_arns):
    listeners = original(self, load_balancer_arn, listener_arns)
    if listener_arns and len(listeners) < len(set(listener_arns)):
        raise ListenerNotFoundError()
    return listeners


@patch(ELBv2Backend)
def add_listener_certificates(original, self, arn, certificates):
    # model: "If the certificate in already in the certificate list, the call is successful but the certificate is not added again."
    listener = self.describe_listeners(None, [arn])[0]
    for certificate in certificates:
        if not self._certificate_exists(certificate["CertificateArn"]):
            raise client_error("CertificateNotFound", f"Certificate '{certificate['CertificateArn']}' not found")
    fresh = [c for c in certificates if c["CertificateArn"] not in listener.certificates]
    original(self, arn, fresh)
    return [c["CertificateArn"] for c in certificates]


@patch(ELBv2Backend)
def remove_listener_certificates(original, self, arn, certificates):
    listener = self.describe_listeners(None, [arn])[0]
    # model: OperationNotPermitted of this call; guide: the default certificate is replaced, not removed.
    if listener.certificate in [c["CertificateArn"] for c in certificates]:
        raise client_error("OperationNotPermitted", "Default certificate cannot be removed")
    return original(self, arn, certificates)


@patch(ELBv2Backend)
def modify_listener_attributes(original, self, listener_arn, attrs):
    listener = self.describe_listeners(None, [listener_arn])[0]
    for attribute in attrs:
        key, value = attribute["Key"], attribute["Value"]
        if key not in listener.attributes:
            raise client_error(
                "InvalidConfigurationRequest", f"Listener attribute key '{key}' is not supported for {listener.protocol}"
            )
        # model: "The valid range is 60-6000 seconds."
        if key == "tcp.idle_timeout.seconds" and not (value.isdigit() and 60 <= int(value) <= 6000):
            raise client_error("ValidationError", f"'{key}' must be between 60 and 6000, not '{value}'")
    return original(self, listener_arn, attrs)
