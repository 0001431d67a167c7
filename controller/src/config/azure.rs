//! Options of the `azure` provider (Decides).
//!
//! Whoever has the configuration of the cloud's own controller, `azure.json`, names that file, and what it says need not be said again; options go
//! before its fields. Secrets are no options: they come from that file or from the environment.

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use evenkeel_azure::{
    Context, Limits, PRIORITIES,
    azure_json::{AzureJson, ConfiguredPools, Who},
    client::{ClientConfig, Cloud, Rates},
    desired::wrong_tag,
    model::Pairs,
};
use evenkeel_core::{
    ids::Cluster,
    net::Cidr,
    problem::{Problem, Problems},
};

use super::{
    CloudConfig, Surroundings,
    cloud::{self, Wrong, checked, endpoint},
    sources::{Given, Sources},
    word,
};

/// What the `azure` provider runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct AzureConfig {
    /// How Azure is asked, and as whom.
    pub client: ClientConfig,
    /// The cluster's place, as options and file say; nothing that is needed is missing. Without who we are.
    pub said: AzureJson,
    /// Prefixes of the nodes' subnets.
    pub node_prefixes: Vec<Cidr>,
    /// What Azure allows.
    pub limits: Limits,
}

impl AzureConfig {
    /// What decisions rest on.
    pub fn context(&self, cluster: &Cluster) -> Context {
        let said = &self.said;
        let text = |text: Option<&Arc<str>>| text.cloned().unwrap_or_default();
        Context {
            cluster: cluster.clone(),
            subscription: text(said.subscription_of_network()),
            resource_group: text(said.group_of_load_balancers()),
            location: text(said.location.as_ref()),
            virtual_network: said.network_id().unwrap_or_default().into(),
            subnet: text(said.subnet.as_ref()),
            node_prefixes: self.node_prefixes.clone(),
            load_balancer: said.load_balancer.clone(),
            security_group: said.security_group_id().map(Into::into),
            tags: said.tags.clone(),
            disable_outbound_snat: said.disable_outbound_snat,
            shared_probe: said.shared_probe,
            priorities: PRIORITIES,
            limits: self.limits,
        }
    }

    /// The options from which the same place comes out again, with their values.
    pub(super) fn published(&self) -> Vec<(&'static str, Vec<String>)> {
        let said = &self.said;
        let one = |text: Option<&Arc<str>>| text.iter().map(ToString::to_string).collect();
        let word = |on| vec![if on { "on" } else { "off" }.to_owned()];
        let standard = Limits::default();
        let (mut limits, mut usual) = (self.limits, standard);
        let changed = Limits::NAMES.iter().filter_map(|name| {
            let (limit, usual) = (*limits.named(name)?, *usual.named(name)?);
            (limit != usual).then(|| format!("{name}={limit}"))
        });
        let tags = said.tags.iter();
        vec![
            ("azure-cloud", vec![said.cloud.name().to_owned()]),
            ("azure-endpoint", one(said.endpoint.as_ref())),
            ("azure-authority", one(self.client.authority.as_ref())),
            ("azure-subscription-id", one(said.subscription_of_network())),
            ("azure-resource-group", one(said.group_of_load_balancers())),
            ("azure-location", one(said.location.as_ref())),
            ("azure-vnet", one(said.network.as_ref())),
            (
                "azure-vnet-resource-group",
                one(said.network_group.as_ref().or(said.resource_group.as_ref())),
            ),
            (
                "azure-vnet-subscription-id",
                one(said.subscription.as_ref()),
            ),
            ("azure-subnet", one(said.subnet.as_ref())),
            (
                "azure-node-prefix",
                self.node_prefixes.iter().map(ToString::to_string).collect(),
            ),
            ("azure-security-group", one(said.security_group.as_ref())),
            (
                "azure-security-group-resource-group",
                one(said
                    .security_group_group
                    .as_ref()
                    .or(said.resource_group.as_ref())),
            ),
            ("azure-load-balancer", one(said.load_balancer.as_ref())),
            ("azure-outbound", word(!said.disable_outbound_snat)),
            ("azure-shared-probe", word(said.shared_probe)),
            (
                "azure-tag",
                tags.map(|(key, value)| format!("{key}={value}")).collect(),
            ),
            ("azure-limit", changed.collect()),
        ]
    }

    /// None where the provider does not run, or where there is a problem.
    pub(super) fn read(
        sources: &Sources,
        around: &Surroundings,
        cloud: &CloudConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut running = sources.texts("provider").iter();
        if !running.any(|given| given.text == evenkeel_azure::NAME) {
            return None;
        }
        let mut limits = Limits::default();
        let mut said = match sources.given("azure-config") {
            None => AzureJson::default(),
            Some(given) => {
                let said = file(given, around, problems)?;
                limits.rules = said.most_rules;
                said
            }
        };
        not_built(&said, problems);
        typed_over(&mut said, sources, problems);
        let variable = |name: &str| match name {
            "AZURE_CLIENT_ID" => sources.text("azure-client-id").map(str::to_owned),
            "AZURE_TENANT_ID" => sources.text("azure-tenant-id").map(str::to_owned),
            _ => None,
        };
        let client = said.client(&|name| variable(name).or_else(|| around.outside.variable(name)));
        let client = client.map_err(|wrong| problems.extend(wrong)).ok();
        let authority = checked(sources, "azure-authority", problems, endpoint);
        let rates = rates(sources.texts("azure-rate"), problems);
        read_limits(&mut limits, sources.texts("azure-limit"), problems);
        let node_prefixes = prefixes(sources.texts("azure-node-prefix"), problems);
        for (found, key) in [
            (said.subscription_of_network(), "subscription-id"),
            (said.group_of_load_balancers(), "resource-group"),
            (said.location.as_ref(), "location"),
            (said.network.as_ref(), "vnet"),
            (said.subnet.as_ref(), "subnet"),
        ] {
            if found.is_none() {
                problems.push(missing(key));
            }
        }
        said.who = Who::default();
        let client = client?;
        Some(Self {
            said,
            node_prefixes,
            limits,
            client: ClientConfig {
                authority: authority.map(|url| trimmed(&url)).or(client.authority),
                authorities: cloud.ca_file.as_deref().map(Arc::from),
                rates,
                ..client
            },
        })
    }
}

fn file(given: &Given, around: &Surroundings, problems: &mut Problems) -> Option<AzureJson> {
    let Given { place, text } = given;
    let read = around.outside.read(Path::new(text)).map_err(|error| {
        let advice = "Name the azure.json of the cloud's own controller, or leave it out and give the options.";
        Problem::new(place, text, format!("cannot be read: {error}"), advice)
    });
    let said = AzureJson::read(&problems.take(read)?, text);
    said.map_err(|wrong| problems.extend(wrong)).ok()
}

/// What changes what is served, and is not done here.
fn not_built(said: &AzureJson, problems: &mut Problems) {
    let mut wrong = |field: &str, value: &str, message: &str, advice: &str| {
        problems.push(Problem::new(field, value, message, advice));
    };
    if said.configured_pools != ConfiguredPools::None {
        wrong(
            "preConfiguredBackendPoolLoadBalancerTypes",
            "",
            "is not supported",
            "Leave it out: evenkeel has pools of its own, and keeps their members.",
        );
    }
    if said.shared_probe
        && (said.shared_probe_port, &*said.shared_probe_path) != (10_256, "/healthz")
    {
        wrong(
            "clusterServiceSharedLoadBalancerHealthProbePort",
            &format!("{}{}", said.shared_probe_port, said.shared_probe_path),
            "must be 10256 and the path /healthz, where kube-proxy answers",
            "Leave port and path out; where something else answers, leave the mode out.",
        );
    }
}

/// Options go before fields.
fn typed_over(said: &mut AzureJson, sources: &Sources, problems: &mut Problems) {
    let clouds = Cloud::ALL.map(|cloud| (cloud.name(), cloud));
    if let Some(cloud) = word(sources, "azure-cloud", &clouds, problems) {
        said.cloud = cloud;
    }
    if let Some(url) = checked(sources, "azure-endpoint", problems, endpoint) {
        said.endpoint = Some(trimmed(&url));
    }
    let text = |key| sources.text(key).map(Arc::<str>::from);
    if let Some(subscription) = text("azure-subscription-id") {
        said.subscription
            .get_or_insert_with(|| subscription.clone());
        said.network_subscription = Some(subscription);
    }
    if let Some(group) = text("azure-resource-group") {
        said.resource_group.get_or_insert_with(|| group.clone());
        said.load_balancer_group = Some(group);
    }
    for (field, typed) in [
        (&mut said.subscription, text("azure-vnet-subscription-id")),
        (&mut said.location, text("azure-location")),
        (&mut said.network, text("azure-vnet")),
        (&mut said.network_group, text("azure-vnet-resource-group")),
        (&mut said.subnet, text("azure-subnet")),
        (
            &mut said.security_group_group,
            text("azure-security-group-resource-group"),
        ),
    ] {
        if typed.is_some() {
            *field = typed;
        }
    }
    for (field, key) in [
        (&mut said.security_group, "azure-security-group"),
        (&mut said.load_balancer, "azure-load-balancer"),
    ] {
        if let Some(typed) = checked(sources, key, problems, name) {
            *field = Some(typed.into());
        }
    }
    let on = [("on", true), ("off", false)];
    if let Some(outbound) = word(sources, "azure-outbound", &on, problems) {
        said.disable_outbound_snat = !outbound;
    }
    if let Some(shared) = word(sources, "azure-shared-probe", &on, problems) {
        said.shared_probe = shared;
    }
    tags(&mut said.tags, sources.texts("azure-tag"), problems);
}

fn missing(key: &str) -> Problem {
    Problem::new(
        format!("--azure-{key}"),
        "",
        "must be said for the provider azure",
        "Give it, or name with --azure-config the azure.json that says it.",
    )
}

/// Without the slash that may end it.
fn trimmed(url: &str) -> Arc<str> {
    url.trim_end_matches('/').into()
}

/// "Naming rules and restrictions for Azure resources": load balancers and network security groups have 1 to 80 characters.
fn name(text: &str) -> Option<Wrong> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let good = text.len() <= 80
        && text.bytes().all(inner)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !text.ends_with(['.', '-']);
    (!good).then_some((
        "must be a name of 1 to 80 letters, digits, hyphens, periods and underscores",
        "Write the name alone, without the id before it.",
    ))
}

/// Reads `team=edge`.
fn tags(tags: &mut Pairs, given: &[Given], problems: &mut Problems) {
    for one in given {
        let Some((key, value)) = cloud::pair(one, problems) else {
            continue;
        };
        if let Some(wrong) = wrong_tag(key, value) {
            let advice = "Choose another key or value.";
            problems.push(Problem::new(&one.place, &one.text, wrong, advice));
        }
        tags.insert(key.into(), value.into());
    }
}

/// Reads `writes=4:100`.
fn rates(given: &[Given], problems: &mut Problems) -> Rates {
    let mut rates = Rates::default();
    for one in given {
        cloud::rate(one, &Rates::NAMES, |name| rates.named(name), problems);
    }
    rates
}

/// Reads `rules=1500`.
fn read_limits(limits: &mut Limits, given: &[Given], problems: &mut Problems) {
    for Given { place, text } in given {
        let read = text.split_once('=').and_then(|(name, number)| {
            let number = number.trim().parse().ok().filter(|number| *number > 0)?;
            Some((limits.named(name.trim())?, number))
        });
        match read {
            Some((limit, number)) => *limit = number,
            None => problems.push(Problem::new(
                place,
                text,
                format!("must be one of {} with a number", Limits::NAMES.join(", ")),
                "Write it as rules=1500, with what Azure allows your subscription.",
            )),
        }
    }
}

/// Reads `10.20.0.0/20`.
fn prefixes(given: &[Given], problems: &mut Problems) -> Vec<Cidr> {
    let read = given.iter().filter_map(|Given { place, text }| {
        let read = text.parse().map_err(|_| {
            Problem::new(
                place,
                text,
                "must be a prefix of IPv4 or IPv6",
                "Write it as 10.20.0.0/20, as the subnets of the nodes have it.",
            )
        });
        problems.take(read)
    });
    read.collect()
}
