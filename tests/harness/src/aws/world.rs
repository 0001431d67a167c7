//! What a cluster finds in its account: a VPC with subnets in several zones, nodes, an Elastic IP, a certificate. Writes, through boto3.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Client;

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldOptions {
    /// The cluster's name, in the tags `kubernetes.io/cluster/NAME`.
    pub cluster: String,
    /// Zones with a public and a private subnet each; three at most exist everywhere.
    pub zones: usize,
    /// Nodes, spread over the zones' private subnets.
    pub nodes: usize,
    /// Subnets with IPv6 too.
    pub dual_stack: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            cluster: "kestrel".to_owned(),
            zones: 3,
            nodes: 3,
            dual_stack: false,
        }
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct World {
    /// The cluster's name.
    pub cluster: String,
    /// The VPC, 10.40.0.0/16.
    pub vpc_id: String,
    /// The zones: `eu-west-1a`, ...
    pub zones: Vec<String>,
    /// One a zone, with a way to the internet gateway, tagged `kubernetes.io/role/elb`: 10.40.0.0/20, 10.40.16.0/20, ...
    pub public_subnets: Vec<String>,
    /// One a zone, tagged `kubernetes.io/role/internal-elb`: 10.40.128.0/20, ...
    pub private_subnets: Vec<String>,
    /// The nodes' security group, tagged `kubernetes.io/cluster/NAME: owned`.
    pub node_security_group: String,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The allocation of an Elastic IP that nothing uses.
    pub allocation_id: String,
    /// A certificate's ARN.
    pub certificate_arn: String,
}

/// A node's instance.
#[derive(Clone, Debug)]
pub struct Node {
    /// `i-...`
    pub instance_id: String,
    /// `eu-west-1a`
    pub zone: String,
    /// In its private subnet.
    pub private_ip: String,
    /// `ip-10-40-128-4.eu-west-1.compute.internal`
    pub private_dns_name: String,
}

impl Node {
    /// `spec.providerID` of the Node object.
    #[must_use]
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.instance_id)
    }
}

impl World {
    /// Builds it.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn build(client: &Client, options: &WorldOptions) -> Result<Self> {
        let builder = Builder { client, options };
        let vpc_id = builder.vpc().await?;
        let zones = builder.zones().await?;
        let public_subnets = builder
            .subnets(&vpc_id, &zones, 0, "kubernetes.io/role/elb")
            .await?;
        let private_subnets = builder
            .subnets(&vpc_id, &zones, 8, "kubernetes.io/role/internal-elb")
            .await?;
        builder.internet(&vpc_id, &public_subnets).await?;
        let node_security_group = builder.node_security_group(&vpc_id).await?;
        let mut world = Self {
            cluster: options.cluster.clone(),
            nodes: Vec::new(),
            allocation_id: builder
                .text(
                    "ec2",
                    "AllocateAddress",
                    json!({"Domain": "vpc"}),
                    "/AllocationId",
                )
                .await?,
            certificate_arn: builder
                .text(
                    "acm",
                    "RequestCertificate",
                    json!({"DomainName": "shop.example.org"}),
                    "/CertificateArn",
                )
                .await?,
            vpc_id,
            zones,
            public_subnets,
            private_subnets,
            node_security_group,
        };
        world.add_nodes(client, options.nodes).await?;
        Ok(world)
    }

    /// Adds nodes, one zone after the other; returns them.
    ///
    /// # Errors
    /// When the emulator refuses.
    pub async fn add_nodes(&mut self, client: &Client, count: usize) -> Result<Vec<Node>> {
        let before = self.nodes.len();
        let mut made = Vec::new();
        for (index, subnet) in self.private_subnets.iter().enumerate() {
            let zones = self.private_subnets.len();
            let here = (before..before + count)
                .filter(|node| node % zones == index)
                .count();
            if here == 0 {
                continue;
            }
            let cluster = format!("kubernetes.io/cluster/{}", self.cluster);
            let parameters = json!({
                "ImageId": "ami-0abcdef1234567890",
                "InstanceType": "m6i.large",
                "MinCount": here,
                "MaxCount": here,
                "SubnetId": subnet,
                "SecurityGroupIds": [self.node_security_group],
                "TagSpecifications": tagged("instance", &[(&cluster, "owned"), ("Name", "node")]),
            });
            let reply = client.call("ec2", "RunInstances", parameters).await?;
            for instance in reply["Instances"].as_array().into_iter().flatten() {
                made.push(Node {
                    instance_id: text(instance, "/InstanceId")?,
                    zone: self.zones[index].clone(),
                    private_ip: text(instance, "/PrivateIpAddress")?,
                    private_dns_name: text(instance, "/PrivateDnsName")?,
                });
            }
        }
        self.nodes.extend(made.iter().cloned());
        Ok(made)
    }

    /// The state that AWS shows of a node's targets from now on: `unhealthy`, `initial`, `draining`; `healthy` again.
    ///
    /// # Errors
    /// When the emulator refuses. Only [`super::Kind::Moto`] looks at it.
    pub async fn set_health(&self, client: &Client, node: &Node, health: &str) -> Result<()> {
        tag(client, &node.instance_id, "harness/health", health).await
    }

    /// The state of all load balancers of the VPC from now on: `provisioning`, `failed`, `active_impaired`; `active` again.
    ///
    /// # Errors
    /// As [`World::set_health`].
    pub async fn set_load_balancer_state(&self, client: &Client, state: &str) -> Result<()> {
        tag(client, &self.vpc_id, "harness/load-balancer-state", state).await
    }
}

async fn tag(client: &Client, resource: &str, key: &str, value: &str) -> Result<()> {
    let parameters = json!({"Resources": [resource], "Tags": [{"Key": key, "Value": value}]});
    client.call("ec2", "CreateTags", parameters).await?;
    Ok(())
}

struct Builder<'a> {
    client: &'a Client,
    options: &'a WorldOptions,
}

impl Builder<'_> {
    async fn vpc(&self) -> Result<String> {
        let parameters = json!({
            "CidrBlock": "10.40.0.0/16",
            "AmazonProvidedIpv6CidrBlock": self.options.dual_stack,
            "TagSpecifications": tagged("vpc", &[("Name", "world")]),
        });
        self.text("ec2", "CreateVpc", parameters, "/Vpc/VpcId")
            .await
    }

    async fn zones(&self) -> Result<Vec<String>> {
        let reply = self
            .client
            .call("ec2", "DescribeAvailabilityZones", json!({}))
            .await?;
        let zones = reply["AvailabilityZones"].as_array().into_iter().flatten();
        zones
            .take(self.options.zones)
            .map(|zone| text(zone, "/ZoneName"))
            .collect()
    }

    async fn subnets(
        &self,
        vpc_id: &str,
        zones: &[String],
        first: usize,
        role: &str,
    ) -> Result<Vec<String>> {
        let blocks = match self.options.dual_stack {
            true => self.ipv6_block(vpc_id).await?,
            false => None,
        };
        let cluster = format!("kubernetes.io/cluster/{}", self.options.cluster);
        let mut made = Vec::new();
        for (index, zone) in zones.iter().enumerate() {
            let number = first + index;
            let mut parameters = json!({
                "VpcId": vpc_id,
                "AvailabilityZone": zone,
                "CidrBlock": format!("10.40.{}.0/20", number * 16),
                "TagSpecifications": tagged("subnet", &[(role, "1"), (&cluster, "shared"), ("Name", &format!("{role} {zone}"))]),
            });
            if let Some(prefix) = &blocks {
                parameters["Ipv6CidrBlock"] = json!(format!("{prefix}{number:02x}::/64"));
            }
            made.push(
                self.text("ec2", "CreateSubnet", parameters, "/Subnet/SubnetId")
                    .await?,
            );
        }
        Ok(made)
    }

    /// The VPC's /56 up to the two digits that say which /64.
    async fn ipv6_block(&self, vpc_id: &str) -> Result<Option<String>> {
        let reply = self
            .client
            .call("ec2", "DescribeVpcs", json!({"VpcIds": [vpc_id]}))
            .await?;
        let block = text(
            &reply,
            "/Vpcs/0/Ipv6CidrBlockAssociationSet/0/Ipv6CidrBlock",
        )?;
        let prefix = block
            .strip_suffix("00::/56")
            .with_context(|| format!("{block} is no /56"))?;
        Ok(Some(prefix.to_owned()))
    }

    async fn internet(&self, vpc_id: &str, subnets: &[String]) -> Result<()> {
        let gateway = self
            .text(
                "ec2",
                "CreateInternetGateway",
                json!({}),
                "/InternetGateway/InternetGatewayId",
            )
            .await?;
        let parameters = json!({"InternetGatewayId": gateway, "VpcId": vpc_id});
        self.client
            .call("ec2", "AttachInternetGateway", parameters)
            .await?;
        let table = self
            .text(
                "ec2",
                "CreateRouteTable",
                json!({"VpcId": vpc_id}),
                "/RouteTable/RouteTableId",
            )
            .await?;
        let route = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
        self.client.call("ec2", "CreateRoute", route).await?;
        for subnet in subnets {
            let parameters = json!({"RouteTableId": table, "SubnetId": subnet});
            self.client
                .call("ec2", "AssociateRouteTable", parameters)
                .await?;
        }
        Ok(())
    }

    async fn node_security_group(&self, vpc_id: &str) -> Result<String> {
        let cluster = format!("kubernetes.io/cluster/{}", self.options.cluster);
        let parameters = json!({
            "GroupName": "nodes",
            "Description": "the nodes",
            "VpcId": vpc_id,
            "TagSpecifications": tagged("security-group", &[(&cluster, "owned"), ("Name", "nodes")]),
        });
        self.text("ec2", "CreateSecurityGroup", parameters, "/GroupId")
            .await
    }

    async fn text(
        &self,
        service: &str,
        operation: &str,
        parameters: Value,
        pointer: &str,
    ) -> Result<String> {
        let reply = self.client.call(service, operation, parameters).await?;
        text(&reply, pointer).with_context(|| format!("the answer to {operation}"))
    }
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    let found = found.with_context(|| format!("no {pointer} in {value}"))?;
    Ok(found.to_owned())
}

fn tagged(resource: &str, tags: &[(&str, &str)]) -> Value {
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    json!([{"ResourceType": resource, "Tags": tags}])
}
