//! Listeners and their certificates (Writes).

use std::sync::Arc;

use evenkeel_core::error::CloudError;

use super::{Doing, load_balancers::same_owner};
use crate::{
    call,
    errors::{self, code},
    model::{CloudId, Told, step::NewListener},
};

impl Doing<'_> {
    /// One call, and one for each further certificate.
    pub(super) async fn create_listener(&self, new: &NewListener) -> Result<Told, CloudError> {
        let call = &call::CREATE_LISTENER;
        let lb = &self.load_balancer(&new.load_balancer)?.arn;
        let to = &self.target_group(&new.target_group)?.arn;
        let made = match self.client.create_listener(lb, to, new, self.ticket).await {
            Ok(made) => made.map(|made| made.arn()).ok_or_else(|| {
                errors::stale(
                    call.operation,
                    "AWS did not say what it made; it is looked at anew",
                )
            })?,
            Err(error) if error.code.as_deref() == Some(code::LISTENER_EXISTS) => {
                return Err(self.in_the_way(lb, new, error).await);
            }
            Err(error) => return Err(error),
        };
        for certificate in new.tls.iter().flat_map(|tls| &tls.further) {
            // Not found yet, or anything else: the listener is there, and the next look adds what it lacks.
            self.client
                .add_certificate(&made, certificate, self.ticket)
                .await?;
        }
        Ok(Told::Created {
            id: made,
            dns_name: None,
        })
    }

    /// One that carries no mark of ours was made by hand, and is not ours to take away.
    async fn in_the_way(&self, lb: &CloudId, new: &NewListener, error: CloudError) -> CloudError {
        let found = match self.client.listeners(lb).await {
            Ok(found) => found.unwrap_or_default(),
            Err(error) => return error,
        };
        let Some(there) = found.iter().find(|one| one.port() == Some(new.port)) else {
            return error;
        };
        let arn = there.arn();
        match self.client.tags(std::slice::from_ref(&arn)).await {
            Ok(tags)
                if tags
                    .get(&arn)
                    .is_some_and(|tags| same_owner(tags, &new.tags)) =>
            {
                error
            }
            Ok(_) => errors::foreign(
                error.operation,
                format!(
                    "port {} of the load balancer has a listener that evenkeel did not make; delete it",
                    new.port
                ),
            ),
            Err(error) => error,
        }
    }

    /// Further certificates and tags are steps of their own.
    pub(super) async fn set_listener(&self, new: &NewListener) -> Result<Told, CloudError> {
        let arn = &self.listener(&new.load_balancer, new.port)?.arn;
        let to = &self.target_group(&new.target_group)?.arn;
        self.client.set_listener(arn, to, new, self.ticket).await?;
        Ok(Told::Nothing)
    }

    pub(super) async fn set_certificates(
        &self,
        load_balancer: &str,
        port: u16,
        add: &[Arc<str>],
        remove: &[Arc<str>],
    ) -> Result<Told, CloudError> {
        let arn = &self.listener(load_balancer, port)?.arn;
        for certificate in add {
            self.client
                .add_certificate(arn, certificate, self.ticket)
                .await?;
        }
        for certificate in remove {
            let removed = self
                .client
                .remove_certificate(arn, certificate, self.ticket);
            removed.await?;
        }
        Ok(Told::Nothing)
    }
}
