//! What went wrong with a call, from the SDK's errors (Decides).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use evenkeel_core::error::CloudError;

use crate::{
    call::Call,
    errors::{self, Answer},
};

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failure {
    /// AWS answered that it did not.
    Answer(Answer),
    /// There was no answer.
    Error(CloudError),
}

/// Reads an error of the SDK.
pub(crate) fn read<E>(call: &Call, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answered) => {
            let raw = answered.raw();
            let meta = answered.err();
            Failure::Answer(Answer {
                status: raw.status().as_u16(),
                code: meta.code().unwrap_or_default().to_owned(),
                message: meta.message().unwrap_or_default().to_owned(),
                request_id: id(raw, meta),
            })
        }
        // Not the document that an error comes in: something between answered, or an emulator.
        SdkError::ResponseError(answered) if !answered.raw().status().is_success() => {
            Failure::Answer(Answer {
                status: answered.raw().status().as_u16(),
                ..Answer::default()
            })
        }
        error => Failure::Error(unanswered(call, error)),
    }
}

fn id(raw: &HttpResponse, meta: &impl ProvideErrorMetadata) -> Option<String> {
    let told = meta.meta().extra("aws_request_id");
    told.or_else(|| raw.headers().get("x-amzn-requestid"))
        .map(str::to_owned)
}

fn unanswered<E>(call: &Call, error: SdkError<E, HttpResponse>) -> CloudError
where
    E: Error + Send + Sync + 'static,
{
    let answered = matches!(error, SdkError::ResponseError(_));
    let source = match error.into_source() {
        Ok(source) => source,
        Err(error) => Box::new(error),
    };
    let is = |check: fn(&(dyn Error + 'static)) -> bool| {
        let mut part: Option<&(dyn Error + 'static)> = Some(&*source);
        while let Some(error) = part {
            if check(error) {
                return true;
            }
            part = error.source();
        }
        false
    };
    if is(|error| error.is::<CredentialsError>()) {
        return errors::from_credentials(call.operation, source);
    }
    // The client of HTTP says so before anything of the request is sent: no name, no connection, no TLS.
    if is(|error| error.to_string().starts_with("client error (Connect)"))
        || is(|error| error.to_string().contains("connect timeout"))
    {
        return errors::from_connect(call, source);
    }
    match answered {
        true => errors::not_understood(call, source),
        false => errors::from_break(call, source),
    }
}
