//! Where is asked: the URLs of the endpoints, and which of the links in an answer are followed (Decides).
//!
//! A token goes with every request, so nothing but the configured endpoint is ever sent one, and that only under TLS, save to this host.

use std::{fmt, net::IpAddr};

use http::Uri;

/// The origin of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    scheme: String,
    authority: String,
}

impl Place {
    /// Reads a URL. The error says what is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let parsed: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
        let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
            return Err("is no URL: write https://HOST".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("has a user in it: write https://HOST".to_owned());
        }
        if parsed.path() != "/" || parsed.query().is_some() {
            return Err("goes on after the host: write https://HOST".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        match scheme {
            "https" => {}
            "http" if here => {}
            _ => return Err("is without TLS: write https://HOST".to_owned()),
        }
        Ok(Self::of(scheme, authority.as_str()))
    }

    fn of(scheme: &str, authority: &str) -> Self {
        let usual = match scheme {
            "https" => ":443",
            _ => ":80",
        };
        let authority = authority.strip_suffix(usual).unwrap_or(authority);
        Self {
            scheme: scheme.to_ascii_lowercase(),
            authority: authority.to_ascii_lowercase(),
        }
    }

    /// A link of an answer's, where it leads to the same place.
    pub(super) fn follow(&self, link: &str) -> Option<Uri> {
        let link: Uri = link.parse().ok()?;
        let place = Self::of(link.scheme_str()?, link.authority()?.as_str());
        (place == *self).then_some(link)
    }

    /// A path here, which is escaped already.
    pub(super) fn url(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{self}{path}").parse()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn what_is_no_place() {
        for (url, expected) in [
            (
                "https://management.azure.com",
                Ok("https://management.azure.com"),
            ),
            (
                "https://Management.Azure.com:443/",
                Ok("https://management.azure.com"),
            ),
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://[::1]:8080", Ok("http://[::1]:8080")),
            ("http://management.azure.com", Err("TLS")),
            ("http://10.0.0.1", Err("TLS")),
            ("ftp://127.0.0.1", Err("TLS")),
            ("https://me:secret@management.azure.com", Err("user")),
            ("https://management.azure.com/path", Err("after the host")),
            ("management.azure.com", Err("no URL")),
            ("", Err("no URL")),
        ] {
            let found = Place::parse(url).map(|place| place.to_string());
            match expected {
                Ok(expected) => assert_eq!(found.as_deref(), Ok(expected), "{url}"),
                Err(part) => assert!(found.is_err_and(|error| error.contains(part)), "{url}"),
            }
        }
    }

    #[test]
    fn links_to_elsewhere_are_not_followed() {
        let place = Place::parse("https://management.azure.com").expect("a place");
        for (link, followed) in [
            (
                "https://management.azure.com/subscriptions/s?api-version=1&t=2",
                true,
            ),
            ("https://MANAGEMENT.azure.com:443/x", true),
            ("http://management.azure.com/x", false),
            ("https://management.azure.com.example.org/x", false),
            ("https://management.azure.com:444/x", false),
            ("https://management.azure.com@example.org/x", false),
            ("/subscriptions/s", false),
            ("", false),
        ] {
            assert_eq!(place.follow(link).is_some(), followed, "{link}");
        }
    }
}
