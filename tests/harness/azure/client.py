"""An Azure client that is not ours, for assertions and for walking a lifecycle: `python client.py PORT`.

Listens on 127.0.0.1. `POST /call` makes one call through azure-mgmt-network, waits for its operation and reads all pages. Bodies and answers
are JSON; an error of Azure's comes back as `{"error": {"status": ..., "code": ..., "message": ...}}`.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Whoever runs the tests may have an account and a proxy of their own.
for variable in list(os.environ):
    if variable.startswith("AZURE_") or variable.lower().endswith("_proxy"):
        del os.environ[variable]

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.polling import LROPoller
from azure.mgmt.network import NetworkManagementClient, models

LOCK = threading.Lock()
CLIENTS = {}


class Credential:
    def get_token(self, *_, **__):
        return AccessToken("none", 2**33)


class Bearer(SansIOHTTPPolicy):
    """The client's own policy sends tokens over TLS alone."""

    def __init__(self, token):
        self.token = token

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {self.token}"


def client(where):
    key = (where["endpoint"], where["subscription"], where["token"])
    with LOCK:
        if key not in CLIENTS:
            CLIENTS[key] = NetworkManagementClient(
                Credential(),
                where["subscription"],
                base_url=where["endpoint"],
                authentication_policy=Bearer(where["token"]),
                retry_total=0,
                # Between polls, in seconds: the fake's operations go by its own clock.
                polling_interval=0,
            )
        return CLIENTS[key]


TYPES = {
    "load_balancers": models.LoadBalancer,
    "load_balancer_backend_address_pools": models.BackendAddressPool,
    "public_ip_addresses": models.PublicIPAddress,
    "network_security_groups": models.NetworkSecurityGroup,
    "security_rules": models.SecurityRule,
}


def plain(value):
    if hasattr(value, "serialize"):
        return value.serialize(keep_readonly=True)
    return value


def call(body):
    group = body["group"]
    method = getattr(getattr(client(body), group), body["method"])
    arguments = body["arguments"]
    if body["method"] == "begin_create_or_update":
        # Through the client's own models: what they do not know does not get out.
        arguments[-1] = TYPES[group].deserialize(arguments[-1])
    result = method(*arguments, headers=body["headers"])
    if isinstance(result, LROPoller):
        result = result.result()
    if hasattr(result, "by_page"):
        return [plain(item) for item in result]
    return plain(result)


def answer(body):
    try:
        return {"ok": call(body)}
    except HttpResponseError as error:
        found = error.error
        code = getattr(found, "code", None) or type(error).__name__
        return {"error": {"status": error.status_code, "code": code, "message": str(error)}}
    except (AzureError, AttributeError, TypeError, ValueError) as error:
        return {"error": {"status": 0, "code": type(error).__name__, "message": str(error)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(json.dumps(answer(body), default=str).encode())

    def reply(self, data):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
