"""Writes `schema.json`, what requests to Microsoft.Network 2024-03-01 may look like: `python schema.py > schema.json`.

Two descriptions of the same version, each made by its own people's generator out of the vendor's specification, complete each other:

- the crate azure_mgmt_network 0.21.0 (source fetched by cargo, never compiled): fields, types, what is required, values of enumerations;
- PyPI's azure-mgmt-network 28.0.0 (`pip install -r requirements.txt`): what only the server writes.

Where one of them knows a field that the other does not, this fails.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from azure.mgmt.network import models as python

CRATE, VERSION, MODULE = "azure_mgmt_network", "0.21.0", "package_2024_03"
# What a request may carry, by the crate's name.
ROOTS = ["LoadBalancer", "BackendAddressPool", "PublicIpAddress", "PublicIpPrefix", "NetworkSecurityGroup", "SecurityRule", "TagsObject"]
# Types that our requests name by id alone, and that would bring the rest of the network with them.
BY_ID_ALONE = {"Subnet", "NetworkInterface", "PrivateEndpoint", "VirtualNetworkTap", "NatGateway", "FlowLog", "ServiceEndpointPolicy", "RouteTable"}


def source():
    """The crate's models, by cargo, which checks what it fetches."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "lib.rs").write_text("")
        (place / "Cargo.toml").write_text(
            f'[package]\nname = "models"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
            f'[dependencies]\n{CRATE} = {{ version = "={VERSION}", default-features = false }}\n[workspace]\n'
        )
        found = subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=place, check=True, capture_output=True)
        packages = json.loads(found.stdout)["packages"]
        manifest = next(package["manifest_path"] for package in packages if package["name"] == CRATE)
        return (pathlib.Path(manifest).parent / "src" / MODULE / "models.rs").read_text()


def block(text, start):
    """What stands between the braces of the item at `start`."""
    begin = text.index("{", start)
    depth = 0
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin + 1 : at]


def enumerations(text, prefix=""):
    found = {}
    for match in re.finditer(r"pub enum (\w+) \{", text):
        body = block(text, match.start())
        values = re.findall(r'(?:#\[serde\(rename = "([^"]+)"\)\]\s*)?(\w+),', re.sub(r"#\[serde\(skip[^\]]*\]\s*UnknownValue\(String\),", "", body))
        found[prefix + match[1]] = [renamed or name for renamed, name in values]
    return found


def crate():
    text = re.sub(r'#\[doc = "(?:[^"\\]|\\.)*"\]', "", source())
    enums, structs = {}, {}
    for match in re.finditer(r"^pub mod (\w+) \{", text, re.M):
        enums.update(enumerations(block(text, match.start()), match[1] + "::"))
    top = re.sub(r"(?ms)^pub mod \w+ \{.*?^\}", "", text)
    enums.update(enumerations(top))
    for match in re.finditer(r"^pub struct (\w+) \{", top, re.M):
        body = block(top, match.start())
        fields = re.findall(r"((?:#\[(?:[^\[\]]|\[[^\]]*\])*\]\s*)*)pub (\w+): ([^\n]+),", body)
        structs[match[1]] = [(re.search(r'rename = "([^"]+)"', attributes), "flatten" in attributes, name, kind) for attributes, name, kind in fields]
    return structs, enums


def fields(structs, enums, name):
    """The fields of a struct by their names on the wire, with those of the structs that are flattened into it."""
    result = {}
    for renamed, flat, field, kind in structs[name]:
        if flat:
            result.update(fields(structs, enums, kind))
            continue
        required, many = True, False
        while inner := re.fullmatch(r"(Option|Vec|Box)<(.*)>", kind):
            required = required and inner[1] == "Box"
            many = many or inner[1] == "Vec"
            kind = inner[2]
        wire = renamed[1] if renamed else field.removesuffix("_")
        one = {}
        if kind in enums:
            one["enum"] = enums[kind]
        elif kind in structs:
            one["of"] = kind
        else:
            one["is"] = {"String": "string", "bool": "boolean", "i32": "integer", "i64": "integer", "serde_json::Value": "map"}[kind]
        if many:
            one["many"] = True
        if required:
            one["required"] = True
        result[wire] = one
    return result


def reached(structs, enums, name, found):
    if name in found:
        return
    found[name] = {}
    if name in BY_ID_ALONE:
        found[name] = {"id": {"is": "string"}}
        return
    found[name] = fields(structs, enums, name)
    for field in found[name].values():
        if "of" in field:
            reached(structs, enums, field["of"], found)


def flags(types, name, model, seen):
    """Marks what only the server writes, walking down both descriptions at once."""
    if (name, model) in seen or name in BY_ID_ALONE:
        return
    seen.add((name, model))
    cls = getattr(python, model)
    known = set()
    for attribute, entry in cls._attribute_map.items():
        path = entry["key"].split(".")
        at = name
        for part in path[:-1]:
            known.add((at, part))
            at = types[at][part]["of"]
        known.add((at, path[-1]))
        if path[-1] not in types[at]:
            sys.exit(f"{model}.{entry['key']} is not in the crate's {at}")
        field = types[at][path[-1]]
        if cls._validation.get(attribute, {}).get("readonly"):
            field["readonly"] = True
        inner = entry["type"].strip("[]{}")
        if "of" in field and hasattr(python, inner):
            flags(types, field["of"], inner, seen)
    for at in {at for at, _ in known}:
        for field in types[at]:
            if (at, field) not in known:
                sys.exit(f"the crate's {at}.{field} is not in {model}")


def main():
    structs, enums = crate()
    types = {}
    for root in ROOTS:
        reached(structs, enums, root, types)
    seen = set()
    for root in ROOTS:
        flags(types, root, root.replace("Ip", "IP"), seen)
    lines = [f"{json.dumps(name)}: {json.dumps(types[name])}" for name in sorted(types)]
    print("{\n" + ",\n".join(lines) + "\n}")


main()
