//! Short ways to what is in JSON. Decides.

use serde_json::Value;

/// Parts of a value by pointer: `text("/properties/probe/id")`.
pub(super) trait Parts {
    fn text(&self, pointer: &str) -> Option<&str>;
    fn number(&self, pointer: &str) -> Option<i64>;
    fn flag(&self, pointer: &str) -> bool;
    fn list(&self, pointer: &str) -> &[Value];
    fn has(&self, pointer: &str) -> bool;
}

impl Parts for Value {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.pointer(pointer)?.as_str()
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.pointer(pointer)?.as_i64()
    }

    fn flag(&self, pointer: &str) -> bool {
        self.pointer(pointer).and_then(Self::as_bool) == Some(true)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        let list = self.pointer(pointer).and_then(Self::as_array);
        list.map_or(&[], Vec::as_slice)
    }

    fn has(&self, pointer: &str) -> bool {
        self.pointer(pointer).is_some_and(|part| !part.is_null())
    }
}

/// The children of a resource in one of its collections.
pub(super) fn children<'a>(resource: &'a Value, collection: &str) -> &'a [Value] {
    resource.list(&format!("/properties/{collection}"))
}

/// A child by its name, which has no case.
pub(super) fn child<'a>(resource: &'a Value, collection: &str, name: &str) -> Option<&'a Value> {
    let mut all = children(resource, collection).iter();
    all.find(|child| same(name_of(child), name))
}

/// The name of a child.
pub(super) fn name_of(child: &Value) -> &str {
    child
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether two names or ids are the same: Azure looks at no case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Writes a default where nothing is.
pub(super) fn or_default(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut()
        && object.get(name).is_none_or(Value::is_null)
    {
        object.insert(name.to_owned(), value);
    }
}
