//! A resource of Azure's as the raw JSON that it sent, cut into the children that claims are about (Decides).
//!
//! A typed model would drop the fields that it does not know. Here whatever no claim is about goes back as the same bytes. What only
//! Azure writes (states, entity tags, lists of who refers to a child) is left out of a write, and of nothing else.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// A resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its fields but for `properties`, each as it came.
    fields: Fields,
    /// Those of its properties that are no list of children.
    properties: Fields,
    /// Its children by list.
    lists: BTreeMap<&'static str, Vec<Child>>,
}

/// Fields with their values as they came, in their order.
type Fields = Vec<(Arc<str>, Arc<str>)>;

/// One child of a resource.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its name.
    pub name: Arc<str>,
    raw: Arc<str>,
    value: Arc<Value>,
}

impl PartialEq for Child {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

/// Fields of a resource that are in its URL, or Azure's alone.
const OF_AZURE: &[&str] = &["id", "name", "type", "etag"];
/// Properties of a resource that are Azure's alone.
const PROPERTIES_OF_AZURE: &[&str] = &[
    "provisioningState",
    "resourceGuid",
    "defaultSecurityRules",
    "networkInterfaces",
    "subnets",
    "flowLogs",
    "ipConfiguration",
];
/// Fields of a child that are Azure's alone.
const CHILD_OF_AZURE: &[&str] = &["etag", "type"];
/// Properties of a child that are Azure's alone: its state, and who refers to it.
const CHILD_PROPERTIES_OF_AZURE: &[&str] = &[
    "provisioningState",
    "loadBalancingRules",
    "outboundRule",
    "outboundRules",
    "inboundNatRules",
    "inboundNatPools",
    "backendIPConfiguration",
    "backendIPConfigurations",
];
/// Properties of an address of a pool that are Azure's alone.
const ADDRESS_OF_AZURE: &[&str] = &[
    "networkInterfaceIPConfiguration",
    "inboundNatRulesPortMapping",
];
/// The addresses of a pool.
pub(super) const ADDRESSES: &str = "loadBalancerBackendAddresses";

impl Document {
    /// Reads what Azure sent; `lists` are the properties that are lists of children.
    ///
    /// # Errors
    /// When it is no object, or a list is none.
    pub fn read(text: &str, lists: &[&'static str]) -> Result<Self, serde_json::Error> {
        let mut document = Self::default();
        for (name, raw) in fields(text)? {
            if *name != *"properties" {
                document.fields.push((name, raw));
                continue;
            }
            for (name, raw) in fields(&raw)? {
                let Some(list) = lists.iter().copied().find(|list| *list == &*name) else {
                    document.properties.push((name, raw));
                    continue;
                };
                document.lists.insert(list, children(&raw)?);
            }
        }
        Ok(document)
    }

    /// A resource that is not there yet, with these fields.
    pub(crate) fn new(fields: &[(&str, Value)]) -> Self {
        Self {
            fields: fields
                .iter()
                .map(|(name, value)| (Arc::from(*name), value.to_string().into()))
                .collect(),
            ..Self::default()
        }
    }

    /// A field of the resource.
    pub fn field(&self, name: &str) -> Option<Value> {
        let raw = find(&self.fields, name)?;
        serde_json::from_str(raw).ok()
    }

    /// A property as it came.
    pub fn property(&self, name: &str) -> Option<&str> {
        find(&self.properties, name)
    }

    /// Sets a field of the resource.
    pub(crate) fn set_field(&mut self, name: &str, value: &Value) {
        set(&mut self.fields, name, value);
    }

    /// Sets a property; null takes it away.
    pub(crate) fn set_property(&mut self, name: &str, value: &Value) {
        set(&mut self.properties, name, value);
    }

    /// The entity tag: the `If-Match` of the write that was made from this; None for what is not there yet.
    pub fn etag(&self) -> Option<String> {
        self.field("etag")?.as_str().map(str::to_owned)
    }

    /// The children of a list.
    pub fn list(&self, list: &str) -> &[Child] {
        self.lists.get(list).map_or(&[], Vec::as_slice)
    }

    /// The child of this name. Azure's names know no case.
    pub fn child(&self, list: &str, name: &str) -> Option<&Child> {
        let mut children = self.list(list).iter();
        children.find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// Puts a child in the place of its namesake, else at the end.
    pub(super) fn upsert(&mut self, list: &'static str, child: Child) {
        let children = self.lists.entry(list).or_default();
        let mut named = children.iter_mut();
        match named.find(|there| there.name.eq_ignore_ascii_case(&child.name)) {
            Some(there) => *there = child,
            None => children.push(child),
        }
    }

    /// Keeps the children of a list that should stay.
    pub(super) fn retain(&mut self, list: &str, stays: impl Fn(&Child) -> bool) {
        if let Some(children) = self.lists.get_mut(list) {
            children.retain(stays);
        }
    }

    /// The whole, as it came.
    pub fn whole(&self) -> Value {
        let mut properties = self.properties.clone();
        for (name, list) in &self.lists {
            let children: Vec<&str> = list.iter().map(Child::raw).collect();
            properties.push(((*name).into(), format!("[{}]", children.join(",")).into()));
        }
        let mut fields = self.fields.clone();
        fields.push(("properties".into(), write(&properties).into()));
        serde_json::from_str(&write(&fields)).unwrap_or_default()
    }

    /// The body of a write.
    pub fn put(&self) -> String {
        let mut properties = without(&self.properties, PROPERTIES_OF_AZURE);
        for (name, list) in &self.lists {
            let children: Vec<String> = list.iter().map(Child::put).collect();
            properties.push(((*name).into(), format!("[{}]", children.join(",")).into()));
        }
        let mut fields = without(&self.fields, OF_AZURE);
        fields.push(("properties".into(), write(&properties).into()));
        write(&fields)
    }
}

impl Child {
    /// A child of ours.
    pub(super) fn new(name: &Arc<str>, properties: Value) -> Self {
        let value = serde_json::json!({ "name": **name, "properties": properties });
        Self {
            name: Arc::clone(name),
            raw: value.to_string().into(),
            value: Arc::new(value),
        }
    }

    /// The same with another field.
    pub(super) fn with(self, field: &str, to: Value) -> Self {
        let mut value = (*self.value).clone();
        value[field] = to;
        Self {
            name: self.name,
            raw: value.to_string().into(),
            value: Arc::new(value),
        }
    }

    /// A property.
    pub fn get(&self, name: &str) -> &Value {
        &self.value["properties"][name]
    }

    /// What it is, as it came.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What a write says of it: the same bytes but for what only Azure writes.
    fn put(&self) -> String {
        let properties = |raw: &str| -> Result<Option<String>, serde_json::Error> {
            // The members of a pool of network interfaces are written at those; Azure refuses to have them sent back.
            let interfaces = self.get("backendIPConfigurations").as_array();
            let of_interfaces = interfaces.is_some_and(|all| !all.is_empty())
                && self.get("virtualNetwork").is_null();
            let mut drop = CHILD_PROPERTIES_OF_AZURE.to_vec();
            drop.extend(of_interfaces.then_some(ADDRESSES));
            rewritten(raw, &drop, ADDRESSES, &put_addresses)
        };
        // It was read as an object, or made as one.
        let cut = rewritten(&self.raw, CHILD_OF_AZURE, "properties", &properties);
        cut.ok().flatten().unwrap_or_else(|| self.raw.to_string())
    }
}

fn put_addresses(raw: &str) -> Result<Option<String>, serde_json::Error> {
    let addresses: Vec<Box<RawValue>> = serde_json::from_str(raw)?;
    let properties = |raw: &str| rewritten(raw, ADDRESS_OF_AZURE, "", &|_| Ok(None));
    let mut changed = false;
    let mut all = Vec::new();
    for address in addresses {
        let cut = rewritten(address.get(), CHILD_OF_AZURE, "properties", &properties)?;
        changed |= cut.is_some();
        all.push(cut.unwrap_or_else(|| address.get().to_owned()));
    }
    Ok(changed.then(|| format!("[{}]", all.join(","))))
}

/// Rewrites what is inside; None where it stays as it is.
type Rewrite<'a> = &'a dyn Fn(&str) -> Result<Option<String>, serde_json::Error>;

/// An object without these fields, and with one rewritten; None where it stays as it is.
fn rewritten(
    raw: &str,
    drop: &[&str],
    inside: &str,
    rewrite: Rewrite<'_>,
) -> Result<Option<String>, serde_json::Error> {
    let all = fields(raw)?;
    let mut kept = without(&all, drop);
    let mut changed = kept.len() < all.len();
    for (name, raw) in &mut kept {
        if **name == *inside
            && let Some(text) = rewrite(raw)?
        {
            *raw = text.into();
            changed = true;
        }
    }
    Ok(changed.then(|| write(&kept)))
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let mut fields = fields.iter();
    fields
        .find(|(field, _)| **field == *name)
        .map(|(_, raw)| &**raw)
}

fn set(fields: &mut Fields, name: &str, value: &Value) {
    fields.retain(|(field, _)| **field != *name);
    if !value.is_null() {
        fields.push((name.into(), value.to_string().into()));
    }
}

fn without(fields: &Fields, names: &[&str]) -> Fields {
    let mut kept = fields.clone();
    kept.retain(|(name, _)| !names.contains(&&**name));
    kept
}

fn write(fields: &Fields) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, raw)| format!("{}:{raw}", Value::from(&**name)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn children(raw: &str) -> Result<Vec<Child>, serde_json::Error> {
    let children: Option<Vec<Box<RawValue>>> = serde_json::from_str(raw)?;
    let child = |raw: Box<RawValue>| {
        let value: Value = serde_json::from_str(raw.get())?;
        Ok(Child {
            name: value["name"].as_str().unwrap_or_default().into(),
            raw: raw.get().into(),
            value: Arc::new(value),
        })
    };
    children
        .unwrap_or_default()
        .into_iter()
        .map(child)
        .collect()
}

/// The fields of an object, in their order.
fn fields(text: &str) -> Result<Fields, serde_json::Error> {
    struct Raw(Fields);
    struct Reader;
    impl<'de> Visitor<'de> for Reader {
        type Value = Raw;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Raw, M::Error> {
            let mut fields = Fields::new();
            while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                fields.push((name.into(), value.get().into()));
            }
            Ok(Raw(fields))
        }
    }
    impl<'de> Deserialize<'de> for Raw {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Reader)
        }
    }
    serde_json::from_str::<Raw>(text).map(|raw| raw.0)
}
