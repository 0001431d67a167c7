//! Answers as AWS writes them, by the outputs of AWS's own model: what the model does not know cannot be answered. Decides.

use std::fmt::Write as _;

use http::Response;
use hyper::body::Bytes;
use serde_json::Value;

use crate::aws::envelope::{self, escape};
use crate::aws::model::{Model, Protocol, Reference, Shape, Type};

/// The request's number. Nobody of ours looks at it.
const REQUEST: &str = "00000000-0000-4000-8000-000000000000";

/// A reply with what an operation answers, or why that is none.
pub(super) fn reply(
    model: &Model,
    operation: &str,
    answer: &Value,
) -> Result<Response<Bytes>, String> {
    if model.protocol == Protocol::Json {
        return Ok(envelope::reply(
            200,
            "application/x-amz-json-1.1",
            answer.to_string(),
        ));
    }
    let mut writer = Writer {
        model,
        text: String::new(),
    };
    if let Some(shape) = model.output(operation) {
        writer.members(shape, answer, operation)?;
    }
    let namespace = model.namespace.as_deref().unwrap_or_default();
    let members = writer.text;
    let text = match model.protocol {
        Protocol::Ec2 => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response xmlns=\"{namespace}\">\
             <requestId>{REQUEST}</requestId>{members}</{operation}Response>"
        ),
        _ => format!(
            "<{operation}Response xmlns=\"{namespace}\"><{operation}Result>{members}</{operation}Result>\
             <ResponseMetadata><RequestId>{REQUEST}</RequestId></ResponseMetadata></{operation}Response>"
        ),
    };
    Ok(envelope::reply(200, "text/xml", text))
}

struct Writer<'a> {
    model: &'a Model,
    text: String,
}

impl Writer<'_> {
    fn members(&mut self, shape: &Shape, value: &Value, path: &str) -> Result<(), String> {
        let members = value
            .as_object()
            .ok_or_else(|| format!("{path} is no structure"))?;
        for (name, value) in members {
            let path = format!("{path}.{name}");
            let reference = shape
                .members
                .get(name)
                .ok_or_else(|| format!("{path} is not in AWS's model"))?;
            let tag = reference.location_name.as_deref().unwrap_or(name);
            self.one(tag, reference, value, &path)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        tag: &str,
        reference: &Reference,
        value: &Value,
        path: &str,
    ) -> Result<(), String> {
        // What is not set is not written.
        if value.is_null() {
            return Ok(());
        }
        let shape = self
            .model
            .shape(reference)
            .ok_or_else(|| format!("{path} has no shape"))?;
        self.text += &format!("<{tag}>");
        match (shape.kind, value) {
            (Type::Structure, _) => self.members(shape, value, path)?,
            (Type::List, Value::Array(items)) => {
                let member = shape.member.as_ref();
                let member = member.ok_or_else(|| format!("{path} is a list of nothing"))?;
                let tag = member.location_name.as_deref().unwrap_or("member");
                for item in items {
                    self.one(tag, member, item, path)?;
                }
            }
            (Type::String | Type::Timestamp, Value::String(text)) => {
                let known = shape.values.as_ref();
                if known.is_some_and(|known| !known.iter().any(|known| known == text)) {
                    return Err(format!("{path} cannot be {text:?}"));
                }
                self.text += &escape(text);
            }
            (
                Type::Integer | Type::Long | Type::Double | Type::Float | Type::Boolean,
                Value::Number(_) | Value::Bool(_),
            ) => {
                let _ = write!(self.text, "{value}");
            }
            (kind, _) => return Err(format!("{path} is a {kind:?}, not {value}")),
        }
        self.text += &format!("</{tag}>");
        Ok(())
    }
}
