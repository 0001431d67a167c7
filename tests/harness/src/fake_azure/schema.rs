//! What requests may look like, by `azure/schema.json`, which comes from the vendor's description and not from who writes the requests.
//! Decides.
//!
//! Azure takes enumerations in any case and ignores what only it may write; here both are mistakes of whoever is tested, and so are fields
//! that the description does not have, unless the very resource has them: what is carried over from a read stays as it was read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::json;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../azure/schema.json")).expect("made by schema.py")
});

type Schema = BTreeMap<String, BTreeMap<String, Field>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    /// A plain value: string, integer, boolean, map.
    is: Option<String>,
    /// Another type.
    of: Option<String>,
    r#enum: Option<Vec<String>>,
    #[serde(default)]
    many: bool,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    readonly: bool,
}

/// The type of a resource's body.
pub(super) fn root(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "loadBalancers" => "LoadBalancer",
        "loadBalancers/backendAddressPools" => "BackendAddressPool",
        "publicIPAddresses" => "PublicIpAddress",
        "networkSecurityGroups" => "NetworkSecurityGroup",
        "networkSecurityGroups/securityRules" => "SecurityRule",
        _ => return None,
    })
}

/// Checks a body against its type; `live` is the resource as it is read now.
pub(super) fn check(
    root: &str,
    body: &Value,
    live: Option<&Value>,
    refuses_read_only: bool,
) -> Vec<String> {
    let mut check = Check {
        refuses_read_only,
        problems: Vec::new(),
    };
    check.object(root, body, live, "");
    check.problems
}

struct Check {
    refuses_read_only: bool,
    problems: Vec<String>,
}

impl Check {
    fn object(&mut self, name: &str, body: &Value, live: Option<&Value>, path: &str) {
        let Some(fields) = body.as_object() else {
            self.say(path, "is not an object");
            return;
        };
        let known = &SCHEMA[name];
        for (field, value) in fields {
            let path = format!("{path}/{field}");
            let live = live.and_then(|live| live.get(field));
            match known.get(field) {
                None if live.is_some() => {}
                None => {
                    let nearest = known.keys().find(|known| known.eq_ignore_ascii_case(field));
                    let nearest = nearest.map(|known| format!("; did you mean {known}?"));
                    let nearest = nearest.unwrap_or_default();
                    self.say(&path, &format!("is not a field of {name}{nearest}"));
                }
                Some(found) => self.field(found, value, live, &path),
            }
        }
        for (field, found) in known {
            if found.required && fields.get(field).is_none_or(Value::is_null) {
                self.say(&format!("{path}/{field}"), "is missing");
            }
        }
    }

    fn field(&mut self, field: &Field, value: &Value, live: Option<&Value>, path: &str) {
        if value.is_null() {
            return;
        }
        if field.readonly {
            if self.refuses_read_only {
                self.say(path, "is only Azure's to write");
            }
            return;
        }
        if !field.many {
            self.value(field, value, live, path);
            return;
        }
        let Some(items) = value.as_array() else {
            self.say(path, "is not a list");
            return;
        };
        let live = live.and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let name = json::name_of(item);
            let mut all = live.into_iter().flatten();
            let live = all.find(|one| !name.is_empty() && json::same(json::name_of(one), name));
            self.value(field, item, live, &format!("{path}/{index}"));
        }
    }

    fn value(&mut self, field: &Field, value: &Value, live: Option<&Value>, path: &str) {
        if let Some(of) = &field.of {
            self.object(of, value, live, path);
        } else if let Some(all) = &field.r#enum {
            let known = value
                .as_str()
                .is_some_and(|value| all.iter().any(|one| one == value));
            if !known {
                self.say(path, &format!("is {value}, not one of {}", all.join(", ")));
            }
        } else {
            let kind = field.is.as_deref().unwrap_or_default();
            let fits = match kind {
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "boolean" => value.is_boolean(),
                _ => value
                    .as_object()
                    .is_some_and(|map| map.values().all(Value::is_string)),
            };
            if !fits {
                self.say(path, &format!("is {value}, not a {kind}"));
            }
        }
    }

    fn say(&mut self, path: &str, problem: &str) {
        let path = if path.is_empty() { "the body" } else { path };
        self.problems.push(format!("{path} {problem}"));
    }
}

/// Drops what only Azure writes.
pub(super) fn strip(root: &str, body: &mut Value) {
    let Some(fields) = body.as_object_mut() else {
        return;
    };
    let known = &SCHEMA[root];
    fields.retain(|name, _| known.get(name).is_none_or(|field| !field.readonly));
    for (name, value) in fields {
        let Some(of) = known.get(name).and_then(|field| field.of.as_deref()) else {
            continue;
        };
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| strip(of, item)),
            value => strip(of, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(properties: &Value) -> Value {
        json!({"location": "westeurope", "properties": {"loadBalancingRules": [{"name": "r", "properties": properties}]}})
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let at = "/properties/loadBalancingRules/0/properties";
        for (properties, expected) in [
            (json!({"protocol": "Tcp", "frontendPort": 80}), None),
            (
                json!({"protocol": "TCP", "frontendPort": 80}),
                Some(format!(
                    "{at}/protocol is \"TCP\", not one of Udp, Tcp, All"
                )),
            ),
            (
                json!({"protocol": "Tcp", "frontendPort": "80"}),
                Some(format!("{at}/frontendPort is \"80\", not a integer")),
            ),
            (
                json!({"protocol": "Tcp"}),
                Some(format!("{at}/frontendPort is missing")),
            ),
            (
                json!({"protocol": "Tcp", "frontendPort": 80, "backendport": 1}),
                Some(format!(
                    "{at}/backendport is not a field of LoadBalancingRulePropertiesFormat; did you mean backendPort?"
                )),
            ),
            (
                json!({"protocol": "Tcp", "frontendPort": 80, "provisioningState": "Succeeded"}),
                Some(format!("{at}/provisioningState is only Azure's to write")),
            ),
        ] {
            let found = check("LoadBalancer", &rule(&properties), None, true);
            assert_eq!(found.first(), expected.as_ref(), "{properties}");
        }
    }

    #[test]
    fn what_the_resource_has_may_be_sent_back() {
        let live =
            rule(&json!({"protocol": "Tcp", "frontendPort": 80, "allowBackendPortConflict": true}));
        assert!(check("LoadBalancer", &live, Some(&live), true).is_empty());
        assert_eq!(check("LoadBalancer", &live, None, true).len(), 1);
    }
}
