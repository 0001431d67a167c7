//! Just enough HTTP/1.1 for pods, health check ports and the tests that ask them.
//!
//! Touches only the stream it is handed (Reads and Writes that stream). Hand-written, because a pod must
//! be able to hold a connection open, to cut it, and to say exactly when it closes: a server library hides
//! just these moments.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
};

/// The longest request or response head that is read, in bytes.
const HEAD_LIMIT: u64 = 16 * 1024;
/// The longest body that is read, in bytes.
const BODY_LIMIT: u64 = 1024 * 1024;
/// The longest answer that is read: the metrics of many Services are some megabytes.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;

/// The parts of a request that a pod or a health check port looks at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// True when the client asked for it by name: without that, every answer closes the connection.
    pub(crate) keep_alive: bool,
}

/// Reads one request and throws its body away; `None` when the client closed the connection or does not speak HTTP.
pub(crate) async fn read_request<R: AsyncBufRead + Unpin>(
    stream: &mut R,
) -> io::Result<Option<Request>> {
    let Some((first, headers)) = read_head(stream).await? else {
        return Ok(None);
    };
    let mut words = first.split_ascii_whitespace();
    let (Some(_method), Some(path), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    if !version.starts_with("HTTP/1.") {
        return Ok(None);
    }
    if let Some(length) = headers
        .get("content-length")
        .and_then(|v| v.parse::<u64>().ok())
    {
        let mut body = stream.take(length.min(BODY_LIMIT));
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    }
    Ok(Some(Request {
        path: path.to_owned(),
        keep_alive: headers
            .get("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("keep-alive")),
    }))
}

/// The first line and the headers (names in lower case), up to the empty line.
async fn read_head<R: AsyncBufRead + Unpin>(
    stream: &mut R,
) -> io::Result<Option<(String, BTreeMap<String, String>)>> {
    let mut stream = stream.take(HEAD_LIMIT);
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first.trim_end().to_owned(), headers)));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

/// A whole response as bytes.
pub(crate) fn response(
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
    keep_alive: bool,
) -> Vec<u8> {
    let reason = if status == 200 {
        "OK"
    } else {
        "Service Unavailable"
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\nConnection: {connection}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// What a server answered to a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

/// Sends `GET path` on a fresh connection and reads the answer to its end.
///
/// # Errors
/// When the connection breaks or the answer is not HTTP. Sets no deadline: the caller does.
pub async fn http_get<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    path: &str,
) -> io::Result<HttpAnswer> {
    let mut stream = tokio::io::BufReader::new(stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let closed = || {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed before an answer came",
        )
    };
    let (first, headers) = read_head(&mut stream).await?.ok_or_else(closed)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_ascii_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not an HTTP answer: {first:?}"),
            )
        })?;
    let mut body = Vec::new();
    match headers
        .get("content-length")
        .and_then(|v| v.parse::<u64>().ok())
    {
        Some(length) => {
            let read = (&mut stream)
                .take(length.min(ANSWER_LIMIT))
                .read_to_end(&mut body)
                .await?;
            if (read as u64) < length {
                return Err(closed());
            }
        }
        None => {
            (&mut stream)
                .take(ANSWER_LIMIT)
                .read_to_end(&mut body)
                .await?;
        }
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(HttpAnswer {
        status,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_read_with_their_body() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET /b HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n";
        let mut stream = tokio::io::BufReader::new(text.as_bytes());
        let first = read_request(&mut stream).await.unwrap();
        assert_eq!(
            first,
            Some(Request {
                path: "/a".into(),
                keep_alive: false
            })
        );
        let second = read_request(&mut stream).await.unwrap();
        assert_eq!(
            second,
            Some(Request {
                path: "/b".into(),
                keep_alive: true
            })
        );
        assert_eq!(read_request(&mut stream).await.unwrap(), None, "closed");
    }

    #[tokio::test]
    async fn what_is_not_http_ends_the_connection() {
        for text in [
            "\x10\x03hello\n\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
        ] {
            let mut stream = tokio::io::BufReader::new(text.as_bytes());
            assert_eq!(read_request(&mut stream).await.unwrap(), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_comes_back_as_it_was_sent() {
        let (client, mut server) = tokio::io::duplex(4096);
        let bytes = response(503, &[("X-Weight", "0")], "no\n", false);
        let serve = async {
            let mut reader = tokio::io::BufReader::new(&mut server);
            let request = read_request(&mut reader).await.unwrap().unwrap();
            assert_eq!(request.path, "/healthz");
            reader.write_all(&bytes).await.unwrap();
            reader.flush().await.unwrap();
        };
        let (answer, ()) = tokio::join!(http_get(client, "host", "/healthz"), serve);
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "no\n"));
        assert_eq!(answer.headers["x-weight"], "0");
    }
}
