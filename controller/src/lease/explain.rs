//! What an error of the API server means for the Lease, and what to do next (Decides).

use std::{fmt, time::Duration};

use evenkeel_core::error::chain;

use super::decide::Step;

/// A call about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    Create,
    Update,
    Watch,
}

impl Call {
    pub(super) fn of(step: &Step) -> Self {
        match step {
            Step::Create(_) => Self::Create,
            Step::Take { .. } | Step::Renew { .. } => Self::Update,
            Step::Look | Step::Wait(_) | Step::Lost(_) => Self::Get,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// An error in words for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Explained(String);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Explained {
    pub(super) fn of(error: &kube::Error, call: Call, namespace: &str) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self(format!(
                "{} ({} leases.coordination.k8s.io in the namespace {namespace}): allow get, watch, create and update there, \
                 name another namespace with --namespace, or, where only one process ever runs, set --leader-election off",
                status.message,
                call.verb(),
            )),
            kube::Error::Api(status) if status.code == 404 && call == Call::Create => {
                Self(format!(
                    "there is no namespace {namespace}: create it (kubectl create namespace {namespace}), or name another \
                     with --namespace"
                ))
            }
            error => Self(chain(error)),
        }
    }

    pub(super) fn silent(after: Duration) -> Self {
        Self(format!(
            "the API server has not answered for {:.1} s",
            after.as_secs_f32()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        let status = kube::core::Status::failure(message, "").with_code(code);
        kube::Error::Api(status.boxed())
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        for (name, error, call, words) in [
            (
                "no right",
                api(403, "leases is forbidden"),
                Call::Create,
                &[
                    "is forbidden",
                    "create leases",
                    "namespace own",
                    "--leader-election off",
                ][..],
            ),
            (
                "no namespace",
                api(404, "no"),
                Call::Create,
                &["no namespace own", "create it", "--namespace"],
            ),
            (
                "anything else",
                api(500, "etcd is ill"),
                Call::Update,
                &["etcd is ill"],
            ),
        ] {
            let text = Explained::of(&error, call, "own").to_string();
            for word in words {
                assert!(text.contains(word), "{name}: {word:?} is not in {text:?}");
            }
        }
    }
}
