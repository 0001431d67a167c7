//! The only files that speak to AWS (Reads, Writes).
//!
//! Every call takes its turn at the limiter, has a deadline, and is made once: what failed is repeated by the loop above,
//! which looks first. A write needs the right to write when its turn has come, and lasts no longer than that right.
//!
//! What is not configured is found out at the first call: the region by the SDK's environment and profile, by the zone in a
//! node's providerID, by the instance; the VPC by that node's instance, or by the one this runs on.

mod config;
mod connect;
mod ec2;
mod ec2_calls;
mod ec2_replies;
mod elb;
mod elb_writes;
mod failure;
mod identity;
mod replies;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_elasticloadbalancingv2 as elb_sdk;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use evenkeel_core::{
    error::{CloudError, ErrorClass},
    ticket::Ticket,
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use tokio::sync::OnceCell;

pub use config::{CALL_TIMEOUT, Config, Endpoints, Keys, Role};
pub(crate) use ec2_calls::filter;
pub(crate) use ec2_replies::{GroupReply, InstanceReply};
pub(crate) use elb::ARNS as ELB_ARNS;
pub(crate) use replies::{Health, ListenerReply, LoadBalancerReply, TargetGroupReply};

use crate::{
    call::{self, Call},
    errors::{self, Decoded, Denial},
    limiter::Limiter,
};
use failure::Failure;

/// The APIs of one region.
#[derive(Debug)]
struct Apis {
    elb: elb_sdk::Client,
    ec2: ec2::Ec2,
    sts: aws_sdk_sts::Client,
    sdk: SdkConfig,
}

/// A client of AWS, of one account and region.
pub struct Client {
    config: Config,
    limiter: Limiter,
    apis: OnceCell<Apis>,
    vpc: OnceCell<Arc<str>>,
    noted: identity::Noted,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Makes no call.
    pub fn new(mut config: Config) -> Self {
        // What all of AWS's SDKs go by.
        let disabled = std::env::var("AWS_EC2_METADATA_DISABLED");
        if disabled.is_ok_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            config.instance_metadata = false;
        }
        Self {
            limiter: Limiter::new(config.rates),
            config,
            apis: OnceCell::new(),
            vpc: OnceCell::new(),
            noted: identity::Noted::default(),
        }
    }

    /// The region that is asked.
    ///
    /// # Errors
    /// When nothing tells it.
    pub async fn region(&self) -> Result<Arc<str>, CloudError> {
        let region = self.apis().await?.sdk.region();
        Ok(region.map_or("", |region| region.as_ref()).into())
    }

    /// The VPC of the cluster's nodes.
    ///
    /// # Errors
    /// When nothing tells it, or AWS does not answer.
    pub async fn vpc(&self) -> Result<Arc<str>, CloudError> {
        let find = async || {
            if let Some(vpc) = &self.config.vpc {
                return Ok(Arc::clone(vpc));
            }
            if let Some(vpc) = self.vpc_of_node().await? {
                return Ok(vpc);
            }
            if self.config.instance_metadata
                && let Some(vpc) = connect::vpc_of_instance(&self.apis().await?.sdk)
                    .boxed()
                    .await
            {
                return Ok(vpc);
            }
            Err(errors::not_configured(
                "vpc",
                "the VPC is not known: no node of the cluster is an EC2 instance that can be described; configure the VPC's id",
            ))
        };
        self.vpc.get_or_try_init(find).await.cloned()
    }

    async fn vpc_of_node(&self) -> Result<Option<Arc<str>>, CloudError> {
        let id = self.config.node.as_deref();
        let Some(id) = id.and_then(|node| node.rsplit('/').next()) else {
            return Ok(None);
        };
        if !id.starts_with("i-") {
            return Ok(None);
        }
        let found = self.instances_of_ids(&[Arc::from(id)].into()).await?;
        Ok(found.first().and_then(InstanceReply::vpc))
    }

    async fn apis(&self) -> Result<&Apis, CloudError> {
        let connect = async || {
            let sdk = connect::connect(&self.config, &self.noted).boxed().await?;
            let endpoints = &self.config.endpoints;
            let mut elb = elb_sdk::config::Builder::from(&sdk);
            if let Some(url) = &endpoints.elb {
                elb = elb.endpoint_url(&**url);
            }
            let mut sts = aws_sdk_sts::config::Builder::from(&sdk);
            if let Some(url) = &endpoints.sts {
                sts = sts.endpoint_url(&**url);
            }
            Ok(Apis {
                elb: elb_sdk::Client::from_conf(elb.build()),
                ec2: ec2::Ec2::new(&sdk, endpoints.ec2.as_deref())?,
                sts: aws_sdk_sts::Client::from_conf(sts.build()),
                sdk,
            })
        };
        self.apis.get_or_try_init(connect).await
    }

    /// Makes a call that changes nothing. The futures of the SDK are large and deep, so they are boxed.
    fn read<'a, T, E>(
        &'a self,
        call: &'static Call,
        asked: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, CloudError>>
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let asked = asked.map_err(|error| failure::read(call, error)).boxed();
        let limit = self.config.call_timeout;
        let made = async move {
            self.limiter.turn(call).await;
            self.within(call, limit, asked).await
        };
        made.boxed()
    }

    /// Makes a call that may change something.
    fn write<'a, T, E>(
        &'a self,
        call: &'static Call,
        ticket: &'a Ticket,
        asked: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, CloudError>>
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let asked = asked.map_err(|error| failure::read(call, error)).boxed();
        let limit = self.config.call_timeout;
        let made = async move {
            // Who may not write need not wait for a turn to learn it.
            ticket.remaining()?;
            self.limiter.turn(call).await;
            let limit = ticket.remaining()?.map_or(limit, |left| left.min(limit));
            self.within(call, limit, asked).await
        };
        made.boxed()
    }

    async fn within<T>(
        &self,
        call: &'static Call,
        limit: Duration,
        asked: BoxFuture<'_, Result<T, Failure>>,
    ) -> Result<T, CloudError> {
        let answered = match tokio::time::timeout(limit, asked).await {
            Ok(answered) => answered,
            Err(_) => return Err(errors::from_silence(call, limit)),
        };
        let error = match answered {
            Ok(answer) => return Ok(answer),
            Err(Failure::Error(error)) => error,
            Err(Failure::Answer(answer)) => {
                let decoded = self.decoded(call, &answer.message).await;
                errors::from_answer(call, answer, decoded.as_ref())
            }
        };
        if matches!(error.class, ErrorClass::Throttled { .. }) {
            self.limiter.throttled(call);
        }
        tracing::debug!(call = call.operation, %error, "AWS did not do it");
        Err(error)
    }

    /// What an encoded denial says; None where there is none, or we may not decode it.
    async fn decoded(&self, denied: &Call, message: &str) -> Option<Decoded> {
        let encoded = Denial::read(message).encoded?;
        let call = &call::DECODE_MESSAGE;
        if denied == call {
            return None;
        }
        let sts = &self.apis().await.ok()?.sts;
        let request = sts.decode_authorization_message().encoded_message(encoded);
        self.limiter.turn(call).await;
        let asked = request.send().boxed();
        let reply = tokio::time::timeout(self.config.call_timeout, asked)
            .await
            .ok()?
            .ok()?;
        Decoded::read(reply.decoded_message()?)
    }
}
