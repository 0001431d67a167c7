//! What is hopeless, and what is printed.

use super::*;

#[derive(Debug)]
struct Outer(Option<CloudError>, &'static str);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_ref().map(|source| source as _)
    }
}

#[test]
fn only_what_the_same_write_cannot_mend_is_hopeless() {
    for (class, word, hopeless) in [
        (ErrorClass::Rejected, "rejected", true),
        (ErrorClass::Denied, "denied", true),
        (ErrorClass::Quota, "quota", true),
        (
            ErrorClass::Throttled {
                after: Some(Duration::from_secs(1)),
            },
            "throttled",
            false,
        ),
        (ErrorClass::Conflict, "conflict", false),
        (ErrorClass::Transient, "transient", false),
    ] {
        assert_eq!((class.as_str(), class.is_hopeless()), (word, hopeless));
    }
}

#[test]
fn an_error_displays_its_own_part_and_its_chain_every_part_once() {
    let cloud = |source| {
        let error = CloudError::new(ErrorClass::Denied, "CreateListener", "not allowed");
        let error = error.with_code("AccessDenied");
        match source {
            None => error,
            Some(text) => error.with_source(Outer(None, text)),
        }
    };
    let own = "CreateListener: not allowed (AccessDenied)";
    assert_eq!(cloud(Some("status 403")).to_string(), own);
    for (error, printed) in [
        (Outer(None, "alone"), "alone".to_owned()),
        (Outer(Some(cloud(None)), "outer"), format!("outer: {own}")),
        (
            Outer(Some(cloud(Some("status 403"))), "outer"),
            format!("outer: {own}: status 403"),
        ),
        // Some libraries end with their source's text already.
        (
            Outer(
                Some(cloud(Some("status 403"))),
                "outer: CreateListener: not allowed (AccessDenied)",
            ),
            format!("outer: {own}: status 403"),
        ),
    ] {
        assert_eq!(chain(&error), printed);
    }
}
