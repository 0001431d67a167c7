//! What a call is about: the id of a resource, or a collection, as a path (Decides).
//!
//! Azure compares ids without case and answers with other cases than it was asked with, so that is how paths are compared here.
//! What was given is sent, each part escaped; a part that a server could take for a step in the tree is none.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a URL as it is (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The id of a resource, or of a collection of them:
/// `/subscriptions/S[/resourceGroups/G]/providers/P/TYPE[/NAME[/TYPE[/NAME]]]`.
#[derive(Clone)]
pub struct ResourcePath {
    /// Without the slash before it, as it was given.
    parts: Box<[Box<str>]>,
    /// How many parts come before the first type.
    before: usize,
}

impl ResourcePath {
    /// Reads an id. None where it is none, or has parts that no name can be: empty ones, `.`, `..`.
    pub fn parse(id: &str) -> Option<Self> {
        let parts: Box<[Box<str>]> = id.strip_prefix('/')?.split('/').map(Box::from).collect();
        if parts.iter().any(|part| matches!(&**part, "" | "." | "..")) {
            return None;
        }
        let is = |at: usize, word: &str| {
            let part = parts.get(at);
            part.is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let providers = if is(2, "resourceGroups") { 4 } else { 2 };
        let before = providers + 2;
        let whole = is(0, "subscriptions") && is(providers, "providers") && parts.len() > before;
        whole.then_some(Self { parts, before })
    }

    /// The collection of a type, `loadBalancers`, of the network in a resource group; None: in the whole subscription.
    /// None where a name is none.
    pub fn collection(subscription: &str, group: Option<&str>, kind: &str) -> Option<Self> {
        let group = group.map_or(String::new(), |group| format!("/resourceGroups/{group}"));
        Self::parse(&format!(
            "/subscriptions/{subscription}{group}/providers/Microsoft.Network/{kind}"
        ))
    }

    /// The namespace: `Microsoft.Network`.
    pub fn provider(&self) -> &str {
        &self.parts[self.before - 1]
    }

    /// Without the namespace: `virtualNetworks/subnets`.
    pub fn kind(&self) -> String {
        let types = self.parts[self.before..].iter().step_by(2);
        types.map(|part| &**part).collect::<Vec<_>>().join("/")
    }

    /// Whether it is one resource, not a collection.
    pub fn is_one(&self) -> bool {
        (self.parts.len() - self.before).is_multiple_of(2)
    }

    /// The last name: of a collection that of the resource that it is in, if any.
    pub fn name(&self) -> Option<&str> {
        let mut names = self.parts[self.before..].iter().skip(1).step_by(2);
        names.next_back().map(|name| &**name)
    }

    /// The subscription.
    pub fn subscription(&self) -> &str {
        &self.parts[1]
    }

    /// The resource group.
    pub fn group(&self) -> Option<&str> {
        (self.before == 6).then(|| &*self.parts[3])
    }

    /// As it stands in a URL.
    pub(super) fn escaped(&self) -> String {
        let mut path = String::new();
        for part in &self.parts {
            path.push('/');
            path.push_str(&segment(part));
        }
        path
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        let parts = self.parts.iter();
        parts.flat_map(|part| {
            part.bytes()
                .chain([b'/'])
                .map(|byte| byte.to_ascii_lowercase())
        })
    }
}

/// A part of a path as it stands in a URL.
pub(super) fn segment(part: &str) -> String {
    utf8_percent_encode(part, ESCAPED).to_string()
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl fmt::Debug for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for ResourcePath {
    fn eq(&self, other: &Self) -> bool {
        self.folded().eq(other.folded())
    }
}

impl Eq for ResourcePath {}

impl PartialOrd for ResourcePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ResourcePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for ResourcePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
    }
}

#[cfg(test)]
mod tests {
    use super::ResourcePath;

    const LOAD_BALANCER: &str =
        "/subscriptions/s/resourceGroups/Rg1/providers/Microsoft.Network/loadBalancers/lb";

    #[test]
    fn parts_of_an_id() {
        let path = ResourcePath::parse(LOAD_BALANCER).expect("an id");
        assert_eq!(path.kind(), "loadBalancers");
        assert_eq!(path.provider(), "Microsoft.Network");
        assert_eq!(path.name(), Some("lb"));
        assert_eq!(path.group(), Some("Rg1"));
        assert_eq!(path.subscription(), "s");
        assert!(path.is_one());
        assert_eq!(path.to_string(), LOAD_BALANCER);
        let pool = ResourcePath::parse(&format!("{LOAD_BALANCER}/backendAddressPools/p"));
        let pool = pool.expect("an id");
        assert_eq!(pool.kind(), "loadBalancers/backendAddressPools");
        let all = ResourcePath::collection("s", None, "publicIPAddresses").expect("a path");
        assert_eq!((all.is_one(), all.name(), all.group()), (false, None, None));
    }

    #[test]
    fn case_makes_no_other_resource() {
        let path = ResourcePath::parse(LOAD_BALANCER);
        assert_eq!(path, ResourcePath::parse(&LOAD_BALANCER.to_lowercase()));
        assert_ne!(path, ResourcePath::parse(&format!("{LOAD_BALANCER}2")));
    }

    #[test]
    fn what_is_no_id() {
        for id in [
            "",
            "/",
            "lb",
            "/subscriptions/s",
            "/subscriptions/s/resourceGroups/g",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network",
            "/subscriptions/s/resourceGroups/../providers/Microsoft.Network/loadBalancers/lb",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/.",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers//x",
        ] {
            assert!(ResourcePath::parse(id).is_none(), "{id}");
        }
    }

    #[test]
    fn odd_characters_are_escaped() {
        let id = "/subscriptions/s/resourceGroups/(a) b/providers/Microsoft.Network/loadBalancers/l?b#c%2Fd+é";
        let path = ResourcePath::parse(id).expect("an id");
        assert_eq!(
            path.escaped(),
            "/subscriptions/s/resourceGroups/%28a%29%20b/providers/Microsoft.Network/loadBalancers/l%3Fb%23c%252Fd%2B%C3%A9"
        );
    }
}
