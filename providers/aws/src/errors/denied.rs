//! What a denial tells of the action, the resource and the one who was denied (Decides).

use serde::Deserialize;

/// What the message of a denial tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// The one who was denied.
    pub who: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// Whether a policy denies it, rather than none allowing it.
    pub explicit: bool,
    /// What only `sts:DecodeAuthorizationMessage` can read.
    pub encoded: Option<String>,
}

impl Denial {
    /// Reads a message such as `User: arn:… is not authorized to perform: x:Y on resource: arn:… because …`.
    pub fn read(message: &str) -> Self {
        let after = |mark: &str| {
            let rest = &message[message.find(mark)? + mark.len()..];
            let word = rest.split_whitespace().next()?;
            // `*` is a resource that says nothing.
            let word = word.trim_end_matches(['.', ',']);
            (!word.is_empty() && word != "*").then(|| word.to_owned())
        };
        Self {
            who: after("User:"),
            action: after("to perform:"),
            resource: after("on resource:"),
            explicit: message.contains("explicit deny"),
            encoded: after("Encoded authorization failure message:"),
        }
    }
}

/// What `sts:DecodeAuthorizationMessage` told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The one who was denied.
    pub who: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// Whether a policy denies it, rather than none allowing it.
    pub explicit: bool,
}

impl Decoded {
    /// Reads the decoded document; None where it is none.
    pub fn read(json: &str) -> Option<Self> {
        #[derive(Default, Deserialize)]
        struct Principal {
            arn: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct Context {
            #[serde(default)]
            principal: Principal,
            action: Option<String>,
            resource: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Document {
            #[serde(default)]
            explicit_deny: bool,
            #[serde(default)]
            context: Context,
        }
        let document: Document = serde_json::from_str(json).ok()?;
        Some(Self {
            who: document.context.principal.arn,
            action: document.context.action,
            resource: document.context.resource,
            explicit: document.explicit_deny,
        })
    }
}
