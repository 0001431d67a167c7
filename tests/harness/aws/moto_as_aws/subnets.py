"""EC2: the IPv6 prefixes of subnets."""

from moto.ec2.models.subnets import Subnet


def ipv6_cidr_block_association_set(self):
    # EC2's model, SubnetCidrBlockState: "State: The state of a CIDR block.", a text. moto has a structure there.
    return [
        {
            "ipv6CidrBlock": association["ipv6CidrBlock"],
            "associationId": association["associationId"],
            "ipv6CidrBlockState": {"state": "associated"},
        }
        for association in self.ipv6_cidr_block_associations.values()
        if association["ipv6CidrBlockState"]["State"] == "associated"
    ]


Subnet.ipv6_cidr_block_association_set = property(ipv6_cidr_block_association_set)
