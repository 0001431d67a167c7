//! Errors as AWS sends them: each protocol has an envelope of its own, and SDKs read the code out of it. Decides.

use http::Response;
use hyper::body::Bytes;

use super::model::{Model, Protocol};

/// An error reply of a service.
pub(crate) fn error(model: &Model, status: u16, code: &str, message: &str) -> Response<Bytes> {
    let (content_type, body) = match model.protocol {
        Protocol::Query => (
            "text/xml",
            format!(
                "<ErrorResponse xmlns=\"{}\"><Error><Type>{}</Type><Code>{}</Code><Message>{}</Message></Error>\
                 <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>",
                model.namespace.as_deref().unwrap_or_default(),
                if status < 500 { "Sender" } else { "Receiver" },
                escape(code),
                escape(message),
            ),
        ),
        Protocol::Ec2 => (
            "text/xml;charset=UTF-8",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error>\
                 </Errors><RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>",
                escape(code),
                escape(message),
            ),
        ),
        Protocol::Json => (
            "application/x-amz-json-1.1",
            serde_json::json!({"__type": code, "message": message}).to_string(),
        ),
    };
    reply(status, content_type, body)
}

/// A reply with a body.
pub(crate) fn reply(status: u16, content_type: &str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = content_type.parse() {
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, value);
    }
    response
}

/// The code in an error reply, of whichever envelope.
pub(crate) fn code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if let Some(rest) = text.split_once("<Code>") {
        return Some(rest.1.split_once("</Code>")?.0.to_owned());
    }
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let code = json.get("__type")?.as_str()?;
    // Some services put a name space before it.
    Some(code.rsplit('#').next().unwrap_or(code).to_owned())
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_in_every_envelope() {
        for (body, expected) in [
            (
                "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>",
                Some("Throttling"),
            ),
            (
                "<Response><Errors><Error><Code>A.B</Code></Error></Errors></Response>",
                Some("A.B"),
            ),
            (
                r#"{"__type":"com.amazonaws#InvalidArn","message":""}"#,
                Some("InvalidArn"),
            ),
            ("<html>Internal Server Error</html>", None),
            ("", None),
        ] {
            assert_eq!(code(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
