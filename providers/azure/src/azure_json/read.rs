//! The file's fields, one by one, with all that is wrong with them (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::problem::{Problem, Problems};
use serde_json::{Map, Value};

use super::{AzureJson, ConfiguredPools, Pools, Who};
use crate::{client::Cloud, model::Pairs};

/// The file by its names in small letters; what nobody asked for is left at the end.
struct Fields<'a> {
    place: &'a str,
    /// With the names as they stand in the file.
    left: BTreeMap<String, (String, Value)>,
    problems: Problems,
}

impl Fields<'_> {
    fn take(&mut self, name: &str) -> Option<Value> {
        let (_, value) = self.left.remove(&name.to_ascii_lowercase())?;
        (!value.is_null()).then_some(value)
    }

    fn wrong(&mut self, name: &str, value: &Value, message: &str, advice: &str) {
        let value = match value {
            _ if name.to_ascii_lowercase().contains("secret") => String::new(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let field = format!("{}: {name}", self.place);
        self.problems
            .push(Problem::new(field, value, message, advice));
    }

    /// An empty text is none, as for the cloud controller.
    fn text(&mut self, name: &str) -> Option<Arc<str>> {
        match self.take(name)? {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.trim().into()),
            other => {
                self.wrong(name, &other, "must be a text", "Write it in quotes.");
                None
            }
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.take(name) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                let advice = "Write it without quotes.";
                self.wrong(name, &other, "must be true or false", advice);
                default
            }
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, name: &str, default: T) -> T {
        let Some(value) = self.take(name) else {
            return default;
        };
        let number = value.as_u64().and_then(|number| number.try_into().ok());
        number.unwrap_or_else(|| {
            let advice = "Write another number, or leave it out.";
            self.wrong(name, &value, "must be a number, and not so large", advice);
            default
        })
    }

    /// One of some words, in any case.
    fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        let mut known = words.iter();
        if let Some((_, meant)) = known.find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            return *meant;
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("must be one of {}", all.join(", "));
        let advice = "Write one of these, or leave it out.";
        self.wrong(name, &Value::from(&*text), &message, advice);
        default
    }

    /// What is not built is refused where it is asked for.
    fn refuse(&mut self, name: &str, message: &str) {
        let Some(value) = self.take(name) else {
            return;
        };
        let empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !empty {
            self.wrong(name, &value, message, "Leave it out.");
        }
    }

    fn list(&mut self, name: &str) -> Option<Vec<Arc<str>>> {
        let text = self.text(name)?;
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(Arc::from).collect())
    }

    /// `tags`, which is a text, and `tagsMap`.
    fn tags(&mut self) -> Pairs {
        let mut tags = Pairs::new();
        for pair in self.list("tags").unwrap_or_default() {
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() && !value.contains('=') => {
                    tags.insert(name.trim().into(), value.trim().into());
                }
                _ => {
                    let pair = Value::from(&*pair);
                    let advice = "Write tags as a=b,c=d, or use tagsMap.";
                    self.wrong("tags", &pair, "must be a name, =, and a value", advice);
                }
            }
        }
        match self.take("tagsMap") {
            None => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    match value {
                        Value::String(text) => {
                            tags.insert(name.into(), text.into());
                        }
                        other => self.wrong(
                            &format!("tagsMap.{name}"),
                            &other,
                            "must be a text",
                            "Write it in quotes.",
                        ),
                    }
                }
            }
            Some(other) => {
                let advice = "Write it as {\"name\": \"value\"}.";
                self.wrong("tagsMap", &other, "must be a map of texts", advice);
            }
        }
        tags
    }
}

/// JSON, or YAML. The error is the line: the file has secrets in it, and none of it is shown.
fn parse(text: &str) -> Result<Map<String, Value>, u64> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.line() as u64);
    }
    let options = serde_saphyr::options! { strict_booleans: true };
    let map = serde_saphyr::from_str_with_options::<Option<Map<String, Value>>>(text, options);
    map.map(Option::unwrap_or_default)
        .map_err(|error| error.location().map_or(1, |place| place.line()))
}

pub(super) fn read(text: &str, place: &str) -> Result<AzureJson, Problems> {
    let mut problems = Problems::none();
    let map = parse(text).unwrap_or_else(|line| {
        let message = format!("is neither JSON nor YAML with names and values, see line {line}");
        let advice = "Give the file that the cloud controller of the cluster is configured with.";
        problems.push(Problem::new(place, "", message, advice));
        Map::new()
    });
    let mut fields = Fields {
        place,
        left: map
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), (name, value)))
            .collect(),
        problems,
    };
    let file = of_fields(&mut fields);
    fields.problems.check().map(|()| file)
}

fn of_fields(fields: &mut Fields<'_>) -> AzureJson {
    let default = AzureJson::default();
    let clouds = Cloud::ALL.map(|cloud| (cloud.name(), cloud));
    fields.word("loadBalancerSku", &[("standard", ())], ());
    fields.refuse(
        "multipleStandardLoadBalancerConfigurations",
        "asks for several load balancers for a cluster, which is not built",
    );
    for name in ["extendedLocationName", "extendedLocationType"] {
        fields.refuse(name, "asks for an edge zone, which is not built");
    }
    let modes = [("servicenodeport", false), ("shared", true)];
    let pools = [
        ("nodeIPConfiguration", Pools::Interfaces),
        ("nodeIP", Pools::Addresses),
    ];
    let configured = [
        ("internal", ConfiguredPools::Internal),
        ("external", ConfiguredPools::External),
        ("all", ConfiguredPools::All),
    ];
    let path = fields.text("clusterServiceSharedLoadBalancerHealthProbePath");
    let group = fields.text("resourceGroup");
    let file = AzureJson {
        cloud: fields.word("cloud", &clouds, default.cloud),
        endpoint: fields
            .text("resourceManagerEndpoint")
            .map(|url| url.trim_end_matches('/').into()),
        tenant: fields.text("tenantId"),
        network_tenant: fields.text("networkResourceTenantID"),
        subscription: fields.text("subscriptionId"),
        network_subscription: fields.text("networkResourceSubscriptionID"),
        resource_group: group.map(|group| group.to_lowercase().into()),
        location: fields.text("location"),
        network: fields.text("vnetName"),
        network_group: fields.text("vnetResourceGroup"),
        subnet: fields.text("subnetName"),
        security_group: fields.text("securityGroupName"),
        security_group_group: fields.text("securityGroupResourceGroup"),
        load_balancer: fields.text("loadBalancerName"),
        load_balancer_group: fields.text("loadBalancerResourceGroup"),
        pools: fields.word(
            "loadBalancerBackendPoolConfigurationType",
            &pools,
            default.pools,
        ),
        disable_outbound_snat: fields.flag("disableOutboundSNAT", default.disable_outbound_snat),
        exclude_control_plane: fields
            .flag("excludeMasterFromStandardLB", default.exclude_control_plane),
        shared_probe: fields.word(
            "clusterServiceLoadBalancerHealthProbeMode",
            &modes,
            default.shared_probe,
        ),
        shared_probe_port: fields.number(
            "clusterServiceSharedLoadBalancerHealthProbePort",
            default.shared_probe_port,
        ),
        shared_probe_path: path.unwrap_or(default.shared_probe_path),
        tags: fields.tags(),
        system_tags: fields.list("systemTags"),
        configured_pools: fields.word(
            "preConfiguredBackendPoolLoadBalancerTypes",
            &configured,
            default.configured_pools,
        ),
        most_rules: fields.number("maximumLoadBalancerRuleCount", default.most_rules),
        ip_tags_change: fields.flag(
            "enableIPTagMutationForExistingPublicIP",
            default.ip_tags_change,
        ),
        who: Who {
            client: fields.text("aadClientId"),
            secret: fields.text("aadClientSecret"),
            certificate: fields.text("aadClientCertPath"),
            managed: fields.flag("useManagedIdentityExtension", false),
            user_assigned: fields.text("userAssignedIdentityID"),
            workload: fields.flag("useFederatedWorkloadIdentityExtension", false),
            token_file: fields.text("aadFederatedTokenFile"),
        },
        ignored: Vec::new(),
    };
    let ignored = fields.left.values().map(|(name, _)| name.clone());
    AzureJson {
        ignored: ignored.collect(),
        ..file
    }
}
