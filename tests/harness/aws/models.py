"""Writes what requests must look like, from botocore's `service-2.json`, as one small JSON file a service: `python models.py DIRECTORY`.

Kept are the protocol, the operations' inputs and every shape that an input reaches; texts and outputs go.
"""

import json
import pathlib
import sys

from botocore.loaders import Loader

SERVICES = ["elbv2", "ec2", "sts", "acm", "iam", "resourcegroupstaggingapi"]
KEPT = ["type", "members", "required", "enum", "min", "max", "pattern", "member", "key", "value", "locationName"]


def reached(shapes, name, found):
    if name in found:
        return
    shape = {key: shapes[name][key] for key in KEPT if key in shapes[name]}
    found[name] = shape
    shape["members"] = {key: reference(member) for key, member in shape.get("members", {}).items()}
    for key in ("member", "key", "value"):
        if key in shape:
            shape[key] = reference(shape[key])
    inner = list(shape["members"].values()) + [shape[key] for key in ("member", "key", "value") if key in shape]
    for member in inner:
        reached(shapes, member["shape"], found)


def reference(member):
    return {key: member[key] for key in ("shape", "locationName", "queryName") if key in member}


def write(service, directory):
    # The loader takes the newest of a service's dated folders.
    model = Loader().load_service_model(service, "service-2")
    metadata, shapes, operations = model["metadata"], {}, {}
    for name, operation in model["operations"].items():
        shape = operation.get("input", {}).get("shape")
        operations[name] = shape
        if shape:
            reached(model["shapes"], shape, shapes)
    result = {
        "service": service,
        "signing_name": metadata.get("signingName") or metadata["endpointPrefix"],
        "api_version": metadata["apiVersion"],
        "protocol": metadata["protocol"],
        "target_prefix": metadata.get("targetPrefix"),
        "namespace": metadata.get("xmlNamespace"),
        "operations": operations,
        "shapes": shapes,
    }
    (directory / f"{service}.json").write_text(json.dumps(result, separators=(",", ":")))


if __name__ == "__main__":
    for service in SERVICES:
        write(service, pathlib.Path(sys.argv[1]))
