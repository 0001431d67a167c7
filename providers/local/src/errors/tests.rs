//! The table, row by row.

use std::path::Path;

use super::*;
use ErrorClass::{Conflict, Denied, Quota, Rejected, Throttled, Transient};

#[test]
fn every_code_has_its_class() {
    use Access::{Read, Write};
    for (status, code, access, want) in [
        (409, code::ADDRESS_TAKEN, Write, Rejected),
        (422, code::ADDRESS_NOT_IN_POOL, Write, Rejected),
        (422, code::NO_SUCH_POOL, Write, Rejected),
        (422, code::NAMESPACE_NOT_SERVED, Write, Rejected),
        (409, code::NAMESPACE_LIMIT, Write, Quota),
        (400, code::INVALID, Write, Rejected),
        (409, code::PORT_TAKEN, Write, Rejected),
        (403, code::FOREIGN, Write, Rejected),
        (507, code::POOL_EXHAUSTED, Write, Quota),
        (412, code::CHANGED, Write, Conflict),
        (409, code::EXISTS, Write, Conflict),
        (409, code::IN_USE, Write, Conflict),
        (422, code::BAD_REFERENCE, Write, Conflict),
        (422, code::IMMUTABLE, Write, Conflict),
        (404, code::NOT_FOUND, Read, Conflict),
        (500, code::STORAGE, Write, Transient),
        (503, code::BUSY, Read, Transient),
        (503, code::BUSY, Write, Conflict),
        (502, "", Read, Transient),
        (502, "", Write, Conflict),
        (429, "", Write, Throttled { after: None }),
        (418, "Teapot", Write, Transient),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(
            class(status, code, access),
            want,
            "{status} {code} {access:?}"
        );
    }
}

#[test]
fn an_answer_says_what_its_body_says() {
    let body = br#"{"code":"AddressTaken","message":"127.77.0.9 is held by another lease; ask for another","field":"spec.address"}"#;
    let error = from_answer("PUT leases", Access::Write, StatusCode::CONFLICT, body);
    assert_eq!(
        error.to_string(),
        "PUT leases: 127.77.0.9 is held by another lease; ask for another (AddressTaken)"
    );
    assert_eq!(error.class, Rejected);
    assert_eq!(error.reason, Some(FailureReason::AddressNotAvailable));

    let error = from_answer(
        "GET objects",
        Access::Read,
        StatusCode::BAD_GATEWAY,
        b"<html>",
    );
    assert_eq!(
        error.to_string(),
        "GET objects: the data plane answered 502 Bad Gateway without saying why; look at its log (502)"
    );
    assert_eq!(error.class, Transient);
}

#[test]
fn a_missing_data_plane_is_told_how_to_start() {
    let at = Path::new("/run/evenkeel/dataplane.sock");
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
        let error = from_connect("GET objects", at, kind.into());
        assert_eq!(
            (error.class, error.of_provider),
            (Transient, Some(ProviderFault::Unreachable))
        );
        assert_eq!(
            error.message,
            "the data plane does not answer on /run/evenkeel/dataplane.sock; start it with `evenkeel dataplane`, or let \
             `evenkeel run --provider local` start one"
        );
    }
    let error = from_connect("GET objects", at, io::ErrorKind::PermissionDenied.into());
    assert_eq!(
        (error.class, error.of_provider),
        (Denied, Some(ProviderFault::PermissionDenied))
    );
}
