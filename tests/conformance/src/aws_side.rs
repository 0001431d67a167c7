//! AWS as the rows see it: what there is in the data plane's form, so that one check serves both; and which rows say nothing about it.
//! Reads and Writes moto, or our fake, through a client that is not ours.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use evenkeel_e2e::nodes::CloudNodes;
use evenkeel_harness::aws::{Aws, Call, State, World};
use serde_json::{Value, json};

use crate::holding::Holding;

/// The corner of AWS that the cluster is in.
pub(crate) struct AwsSide {
    pub(crate) aws: Aws,
    pub(crate) site: World,
    pub(crate) joined: CloudNodes,
}

/// Whether a row is about traffic too, which neither moto nor our fake forwards: on AWS it looks at what there is to forward it.
pub(crate) fn has_traffic(row: u16) -> bool {
    matches!(row, 32 | 38 | 45 | 46 | 52..=55 | 59 | 64 | 74)
}

/// Why a row says nothing about AWS.
pub(crate) fn why_not(row: u16) -> Option<&'static str> {
    Some(match row {
        31 => {
            "the host name is there from the first answer on and published at once; row 25 has a cloud that takes its time"
        }
        37 => "there are no pods to scale; row 39 has changes that AWS is not told of",
        65..=69 => "neither moto nor our fake forwards traffic",
        50 | 97 => "the toy checks what calls that fail lead to",
        21 => "it publishes a host name, which has no ipMode; row 22 checks that",
        90 | 91 => {
            "one host name stands for the addresses of both families, and there is none of IPv6 alone"
        }
        108 => "AWS's rates let nobody make 500 load balancers within a row",
        _ => return None,
    })
}

impl AwsSide {
    /// The names of the nodes.
    pub(crate) fn nodes(&self) -> BTreeSet<String> {
        let nodes = self.site.nodes.iter();
        nodes.map(|node| node.private_dns_name.clone()).collect()
    }

    /// Load balancers as leases, target groups as backend sets, listeners, front-end security groups. Names are ARNs or ids; a generation is
    /// the place of the last write that names the object.
    pub(crate) async fn objects(&self) -> Result<Value> {
        let state = self.aws.quick_state().await?;
        let writes = Writes(self.aws.calls().all());
        let balancers = state.load_balancers();
        let leases = balancers.iter().map(|balancer| {
            let (arn, name) = (&balancer["LoadBalancerArn"], &balancer["LoadBalancerName"]);
            let generation = writes.last(arn, |call| call["Name"] == *name);
            object(
                arn,
                generation,
                balancer,
                json!({}),
                json!({"address": balancer["DNSName"]}),
            )
        });
        let listeners = balancers.iter().flat_map(|balancer| {
            let listeners = balancer["Listeners"].as_array().into_iter().flatten();
            listeners.map(|listener| {
                let set = &listener["DefaultActions"][0]["TargetGroupArn"];
                let (arn, port) = (&listener["ListenerArn"], &listener["Port"]);
                let generation = writes.last(arn, |call| {
                    call["LoadBalancerArn"] == balancer["LoadBalancerArn"] && call["Port"] == *port
                });
                let ranges = source_ranges(&state, balancer, port);
                let spec = json!({
                    "port": port, "protocol": listener["Protocol"], "backend_set": set, "source_ranges": ranges,
                });
                object(arn, generation, listener, spec, json!({}))
            })
        });
        let sets = state.target_groups().iter().map(|group| {
            let (arn, name) = (&group["TargetGroupArn"], &group["TargetGroupName"]);
            let generation = writes.last(arn, |call| call["Name"] == *name);
            let number = |text: &Value| text.as_str().and_then(|text| text.parse::<u32>().ok());
            let attributes = &group["Attributes"];
            let kind = match group["HealthCheckProtocol"].as_str().unwrap_or_default() {
                "HTTP" => json!({"type": "http", "path": group["HealthCheckPath"]}),
                protocol => json!({"type": protocol.to_lowercase()}),
            };
            let targets = group["Targets"].as_array().into_iter().flatten();
            let targets: Vec<_> = targets
                .filter(|target| target["TargetHealth"]["State"] != "draining")
                .map(|target| {
                    let at = &target["Target"];
                    json!({"node": self.node(&at["Id"]), "port": at["Port"]})
                })
                .collect();
            object(
                arn,
                generation,
                group,
                json!({
                    "targets": targets,
                    "health_check": {"kind": kind, "port": number(&group["HealthCheckPort"])},
                    "drain_seconds": number(&attributes["deregistration_delay.timeout_seconds"]),
                    "sticky": attributes["stickiness.enabled"] == "true",
                }),
                json!({}),
            )
        });
        let groups = state.security_groups().iter().map(|group| {
            let (id, name) = (&group["GroupId"], &group["GroupName"]);
            let generation = writes.last(id, |call| call["GroupName"] == *name);
            object(id, generation, group, json!({}), json!({}))
        });
        Ok(json!({
            "leases": leases.collect::<Vec<_>>(),
            "listeners": listeners.collect::<Vec<_>>(),
            "backend_sets": sets.collect::<Vec<_>>(),
            "security_groups": groups.collect::<Vec<_>>(),
        }))
    }

    /// Takes load balancers with their listeners, target groups and security groups away behind the controller's back.
    pub(crate) async fn remove(&self, holding: &Holding) -> Result<()> {
        for (kind, service, operation, parameter) in [
            ("leases", "elbv2", "DeleteLoadBalancer", "LoadBalancerArn"),
            (
                "backend_sets",
                "elbv2",
                "DeleteTargetGroup",
                "TargetGroupArn",
            ),
            ("security_groups", "ec2", "DeleteSecurityGroup", "GroupId"),
        ] {
            for object in holding.kind(kind) {
                let parameters = json!({parameter: object["name"]});
                let client = self.aws.client();
                client.call(service, operation, parameters).await?;
            }
        }
        Ok(())
    }

    /// Starts an instance that joins the cluster; returns the node's name.
    pub(crate) async fn add_node(&mut self) -> Result<String> {
        let made = self.site.add_nodes(self.aws.client(), 1).await?;
        let node = made.first().context("no instance")?;
        self.joined.join(node).await?;
        Ok(node.private_dns_name.clone())
    }

    /// Takes a node out of the cluster.
    pub(crate) async fn remove_node(&mut self, name: &str) -> Result<()> {
        self.joined.leave(name).await?;
        self.site.nodes.retain(|node| node.private_dns_name != name);
        Ok(())
    }

    /// An Elastic IP per public subnet, by its allocation's id.
    pub(crate) async fn elastic_ips(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for _ in &self.site.public_subnets {
            let asked = json!({"Domain": "vpc"});
            let made = self
                .aws
                .client()
                .call("ec2", "AllocateAddress", asked)
                .await?;
            let id = made["AllocationId"].as_str().context("an allocation")?;
            all.push(id.to_owned());
        }
        Ok(all)
    }

    /// The Elastic IPs that load balancers use.
    pub(crate) async fn used_elastic_ips(&self) -> Result<BTreeSet<String>> {
        let state = self.aws.quick_state().await?;
        let of = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let balancers = state.load_balancers().iter();
        let zones = balancers.flat_map(|balancer| of(balancer, "AvailabilityZones"));
        let addresses = zones.flat_map(|zone| of(&zone, "LoadBalancerAddresses"));
        Ok(addresses
            .filter_map(|address| address["AllocationId"].as_str().map(str::to_owned))
            .collect())
    }

    /// How many calls that write were answered.
    pub(crate) fn writes(&self) -> usize {
        let calls = self.aws.calls().all();
        calls.iter().filter(|call| !call.is_read()).count()
    }

    /// The node of an instance.
    fn node(&self, instance: &Value) -> Value {
        let mut nodes = self.site.nodes.iter();
        let node = nodes.find(|node| *instance == *node.instance_id);
        node.map_or_else(|| instance.clone(), |node| json!(node.private_dns_name))
    }
}

/// What was written, in order.
struct Writes(Vec<Call>);

impl Writes {
    /// The place of the last write that has an id among its parameters, or that made the object.
    fn last(&self, id: &Value, made: impl Fn(&Value) -> bool) -> usize {
        let id = id.to_string();
        let names =
            |call: &Call| call.parameters.to_string().contains(&id) || made(&call.parameters);
        let last = self
            .0
            .iter()
            .rposition(|call| !call.is_read() && call.error.is_none() && names(call));
        last.map_or(0, |place| place + 1)
    }
}

fn object(name: &Value, generation: usize, of: &Value, spec: Value, status: Value) -> Value {
    let mark = |key: &str| &of["Tags"][format!("evenkeel.dev/{key}")];
    json!({
        "name": name,
        "generation": generation,
        "marks": {"group": mark("group"), "member": mark("member")},
        "spec": spec,
        "status": status,
    })
}

/// Whom a load balancer's security groups let in on a port; null is everyone.
fn source_ranges(state: &State, balancer: &Value, port: &Value) -> Value {
    let groups = balancer["SecurityGroups"].as_array().into_iter().flatten();
    let rules = groups
        .filter_map(Value::as_str)
        .flat_map(|id| state.ingress_rules(id))
        .filter(|rule| rule["FromPort"] == *port);
    let ranges: BTreeSet<_> = rules
        .filter_map(|rule| rule["CidrIpv4"].as_str().or(rule["CidrIpv6"].as_str()))
        .collect();
    match ranges.contains("0.0.0.0/0") {
        true => Value::Null,
        false => json!(ranges),
    }
}
