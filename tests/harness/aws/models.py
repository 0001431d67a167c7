"""Writes what requests and answers look like, from botocore's `service-2.json`, as one small JSON file a service: `python models.py DIRECTORY`.

Kept are the protocol, the operations' inputs and outputs and every shape that they reach; texts go. Of EC2, outputs are kept of the
operations that our fake answers.
"""

import json
import pathlib
import sys

from botocore.loaders import Loader

SERVICES = ["elbv2", "ec2", "sts", "acm", "iam", "resourcegroupstaggingapi"]
EC2_ANSWERS = """
AllocateAddress AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateInternetGateway
CreateManagedPrefixList CreateRoute CreateRouteTable CreateSecurityGroup CreateSubnet CreateTags CreateVpc DeleteSecurityGroup DeleteSubnet
DeleteTags DescribeAddresses DescribeAvailabilityZones DescribeInstances DescribeManagedPrefixLists DescribeNetworkInterfaces
DescribeRouteTables DescribeSecurityGroupRules DescribeSecurityGroups DescribeSubnets DescribeVpcs DisassociateRouteTable ReleaseAddress
RevokeSecurityGroupEgress RevokeSecurityGroupIngress RunInstances StartInstances StopInstances TerminateInstances
""".split()
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
    metadata, shapes, operations, outputs = model["metadata"], {}, {}, {}
    for name, operation in model["operations"].items():
        operations[name] = operation.get("input", {}).get("shape")
        if service != "ec2" or name in EC2_ANSWERS:
            outputs[name] = operation.get("output", {}).get("shape")
        for shape in (operations[name], outputs.get(name)):
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
        "outputs": outputs,
        "shapes": shapes,
    }
    (directory / f"{service}.json").write_text(json.dumps(result, separators=(",", ":")))


if __name__ == "__main__":
    for service in SERVICES:
        write(service, pathlib.Path(sys.argv[1]))
