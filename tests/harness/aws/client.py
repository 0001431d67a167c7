"""An AWS client that is not ours, for assertions and for building test worlds: `python client.py PORT`.

Listens on 127.0.0.1. `POST /call` makes one call through boto3, with all pages where it has pages; `POST /dump` reads a whole region.
Bodies and answers are JSON; an error of AWS's comes back as `{"error": {"code": ..., "message": ...}}`.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Whoever runs the tests may have an account and a proxy of their own.
for variable in list(os.environ):
    if variable.startswith("AWS_") or variable.lower().endswith("_proxy"):
        del os.environ[variable]

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Who asks must see what is there, at once.
CONFIG = Config(retries={"total_max_attempts": 1}, max_pool_connections=8)
LOCK = threading.Lock()
CLIENTS = {}
POOL = ThreadPoolExecutor(4)
GONE = ("LoadBalancerNotFound", "ListenerNotFound", "TargetGroupNotFound")


def client(where, service):
    key = (*where.values(), service)
    with LOCK:
        if key not in CLIENTS:
            made = boto3.client(
                service,
                endpoint_url=where["endpoint"],
                region_name=where["region"],
                aws_access_key_id=where["access_key"],
                aws_secret_access_key=where["secret_key"],
                config=CONFIG,
            )

            def in_account(request, **_):
                # moto's own header; the other emulator takes the access key for the account.
                request.headers["x-moto-account-id"] = where["account"]

            made.meta.events.register("before-sign", in_account)
            CLIENTS[key] = made
        return CLIENTS[key]


def call(where, service, operation, parameters):
    made = client(where, service)
    method = next(name for name, api in made.meta.method_to_api_mapping.items() if api == operation)
    if made.can_paginate(method):
        return made.get_paginator(method).paginate(**parameters).build_full_result()
    result = getattr(made, method)(**parameters)
    result.pop("ResponseMetadata", None)
    return result


def by_key(items):
    return {item["Key"]: item["Value"] for item in items}


def optional(where, *arguments):
    """What one of the emulators does not know is null."""
    try:
        return call(where, *arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("InvalidAction", "UnknownOperation", "501"):
            return {}
        raise


def tags(where, arn):
    found = call(where, "elbv2", "DescribeTags", {"ResourceArns": [arn]})["TagDescriptions"]
    return by_key(found[0]["Tags"]) if found else {}


def more_of(read, where, items, mapped=map):
    """Reads more of each. A region is read in many calls: what has gone since it was listed is left out."""

    def still(item):
        try:
            return read(where, item)
        except ClientError as error:
            if error.response["Error"]["Code"] in GONE:
                return None
            raise

    return [item for item in mapped(still, items) if item]


def listener(where, found):
    arn = found["ListenerArn"]
    attributes = optional(where, "elbv2", "DescribeListenerAttributes", {"ListenerArn": arn})
    certificates = optional(where, "elbv2", "DescribeListenerCertificates", {"ListenerArn": arn})
    return {
        **found,
        "Attributes": by_key(attributes.get("Attributes", [])),
        "AllCertificates": certificates.get("Certificates", []),
        "Tags": tags(where, arn),
    }


def load_balancer(where, found):
    arn = found["LoadBalancerArn"]
    attributes = call(where, "elbv2", "DescribeLoadBalancerAttributes", {"LoadBalancerArn": arn})
    listeners = call(where, "elbv2", "DescribeListeners", {"LoadBalancerArn": arn})["Listeners"]
    return {
        **found,
        "Attributes": by_key(attributes["Attributes"]),
        "Tags": tags(where, arn),
        "Listeners": sorted(more_of(listener, where, listeners), key=lambda item: item["Port"]),
    }


def target_group(where, found):
    arn = found["TargetGroupArn"]
    attributes = call(where, "elbv2", "DescribeTargetGroupAttributes", {"TargetGroupArn": arn})
    health = call(where, "elbv2", "DescribeTargetHealth", {"TargetGroupArn": arn})["TargetHealthDescriptions"]
    return {
        **found,
        "Attributes": by_key(attributes["Attributes"]),
        "Tags": tags(where, arn),
        "Targets": sorted(health, key=lambda item: (item["Target"]["Id"], item["Target"]["Port"])),
    }


def dump(where):
    load_balancers = call(where, "elbv2", "DescribeLoadBalancers", {})["LoadBalancers"]
    target_groups = call(where, "elbv2", "DescribeTargetGroups", {})["TargetGroups"]
    return {
        "LoadBalancers": more_of(load_balancer, where, load_balancers, POOL.map),
        "TargetGroups": more_of(target_group, where, target_groups, POOL.map),
        "SecurityGroups": with_tags(call(where, "ec2", "DescribeSecurityGroups", {})["SecurityGroups"]),
        "SecurityGroupRules": with_tags(optional(where, "ec2", "DescribeSecurityGroupRules", {}).get("SecurityGroupRules", [])),
        "Subnets": with_tags(call(where, "ec2", "DescribeSubnets", {})["Subnets"]),
        "Addresses": with_tags(call(where, "ec2", "DescribeAddresses", {})["Addresses"]),
    }


def with_tags(items):
    return [{**item, "Tags": by_key(item.get("Tags", []))} for item in items]


def answer(path, body):
    where = body["where"]
    try:
        if path == "/dump":
            return {"ok": dump(where)}
        return {"ok": call(where, body["service"], body["operation"], body["parameters"])}
    except ClientError as error:
        found = error.response["Error"]
        return {"error": {"code": found.get("Code", ""), "message": found.get("Message", "")}}
    except (BotoCoreError, StopIteration) as error:
        return {"error": {"code": type(error).__name__, "message": str(error)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(json.dumps(answer(self.path, body), default=str).encode())

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
