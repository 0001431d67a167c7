//! The only files that speak to Azure (Reads, Writes).
//!
//! Every call takes its turn at the limiter, has a deadline, and is made once: what failed is repeated by the loop above, which looks
//! first. A write needs the right to write when its turn has come, goes on no longer than that right, and is over when Azure says so:
//! it is asked until then. Nothing but the configured endpoints is asked, whatever an answer says.

mod config;
mod exchange;
mod http;
mod operation;
mod path;
mod place;
mod token;

use ::http::Uri;
use evenkeel_core::{error::CloudError, ticket::Ticket};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

pub use config::{CALL_TIMEOUT, ClientConfig, Cloud, Credential, Rates, WRITE_TIMEOUT};
pub use path::ResourcePath;

use crate::{
    call::{Call, Verb},
    errors,
    limiter::Limiter,
    shared::{self, json::Document},
};
use exchange::Write;
use http::{Http, Reply};
use place::Place;
use token::Tokens;

/// A client of Azure Resource Manager.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    place: Place,
    tokens: Tokens,
    limiter: Limiter,
    http: OnceCell<Http>,
}

/// A page of a collection.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    value: Vec<&'a RawValue>,
    next_link: Option<String>,
}

impl Client {
    /// A client. Makes no call.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn new(config: ClientConfig) -> Result<Self, CloudError> {
        let endpoint = config.endpoint.as_deref();
        let place = Place::parse(endpoint.unwrap_or(config.cloud.endpoint()));
        let place = place.map_err(|what| vec![format!("the URL of Azure Resource Manager {what}")]);
        match (place, Tokens::new(&config)) {
            (Ok(place), Ok(tokens)) => Ok(Self {
                limiter: Limiter::new(config.rates),
                http: OnceCell::new(),
                config,
                place,
                tokens,
            }),
            (place, tokens) => {
                let mut wrong = place.err().unwrap_or_default();
                wrong.extend(tokens.err().into_iter().flatten());
                Err(errors::not_configured("connect", wrong.join("; ")))
            }
        }
    }

    /// One resource; None where there is none.
    ///
    /// # Errors
    /// When Azure does not answer, or refuses.
    pub async fn get(&self, id: &ResourcePath) -> Result<Option<Document>, CloudError> {
        let call = call(Verb::Get, id)?;
        let reply = self.read(call, self.url(call, id)?).await?;
        match reply.status {
            200 => Ok(Some(document(call, &reply.body)?)),
            _ => {
                let answer = errors::Answer::read(reply.status, &reply.body);
                match answer.is_gone() {
                    true => Ok(None),
                    false => Err(self.refused(call, &reply)),
                }
            }
        }
    }

    /// All of a collection, page by page; none where its resource group is not there.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn list(&self, path: &ResourcePath) -> Result<Vec<Document>, CloudError> {
        let call = call(Verb::List, path)?;
        let mut all = Vec::new();
        let mut url = self.url(call, path)?;
        loop {
            let reply = self.read(call, url).await?;
            if reply.status != 200 {
                let answer = errors::Answer::read(reply.status, &reply.body);
                return match answer.is_gone() {
                    true => Ok(all),
                    false => Err(self.refused(call, &reply)),
                };
            }
            let page: Page<'_> = serde_json::from_str(&reply.body)
                .map_err(|error| errors::not_understood(call, error.into()))?;
            for one in page.value {
                all.push(document(call, one.get())?);
            }
            match page.next_link.filter(|link| !link.is_empty()) {
                None => return Ok(all),
                Some(link) => url = self.follow(call, &link)?,
            }
        }
    }

    /// Writes one resource whole: where it still is what `matching`, its entity tag, names. Returns it as it is once the write is over.
    ///
    /// # Errors
    /// [`Conflict`](evenkeel_core::error::ErrorClass::Conflict) where it is another by now, where another write took the place of this
    /// one, and where nobody knows what became of it.
    pub async fn put(
        &self,
        id: &ResourcePath,
        body: String,
        matching: Option<&str>,
        ticket: &Ticket,
    ) -> Result<Document, CloudError> {
        let call = call(Verb::Put, id)?;
        let write = Write {
            body: Some(body.into()),
            matching,
            ticket,
        };
        let reply = self.write(call, self.url(call, id)?, write).await?;
        match reply.status {
            200..=202 => {}
            _ => return Err(self.refused(call, &reply)),
        }
        if operation::state(&reply.body).as_deref() == Some("Succeeded") {
            return document(call, &reply.body);
        }
        let done = self.finish(call, id, &reply, ticket).await?;
        let done = match done {
            Some(done) => Some(done),
            None => self.get(id).await?,
        };
        done.ok_or_else(|| errors::gone(call, id))
    }

    /// Removes one resource, and returns when it is gone. What is gone already is gone.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, id: &ResourcePath, ticket: &Ticket) -> Result<(), CloudError> {
        let call = call(Verb::Delete, id)?;
        let write = Write {
            body: None,
            matching: None,
            ticket,
        };
        let reply = self.write(call, self.url(call, id)?, write).await?;
        match reply.status {
            200 | 204 => Ok(()),
            202 => self.finish(call, id, &reply, ticket).await.map(|_| ()),
            _ => match errors::Answer::read(reply.status, &reply.body).is_gone() {
                true => Ok(()),
                false => Err(self.refused(call, &reply)),
            },
        }
    }

    /// Where Azure is asked and as whom, without secrets.
    ///
    /// # Errors
    /// When there is no token to be had.
    pub async fn identity(&self) -> Result<String, CloudError> {
        let http = self.http().await?;
        self.tokens.bearer(http).await?;
        Ok(format!(
            "{}, as {}",
            self.place,
            self.config.credential.told()
        ))
    }

    async fn http(&self) -> Result<&Http, CloudError> {
        let authorities = self.config.authorities.as_deref();
        self.http.get_or_try_init(|| Http::new(authorities)).await
    }

    fn url(&self, call: &Call, path: &ResourcePath) -> Result<Uri, CloudError> {
        let url = format!("{}?api-version={}", path.escaped(), call.version());
        let url = self.place.url(&url);
        url.map_err(|error| errors::not_understood(call, error.into()))
    }

    /// A link in an answer.
    fn follow(&self, call: &Call, link: &str) -> Result<Uri, CloudError> {
        self.place.follow(link).ok_or_else(|| {
            let what = format!("an answer leads away from {}", self.place);
            errors::not_understood(call, what.into())
        })
    }

    /// The error of an answer.
    fn refused(&self, call: &'static Call, reply: &Reply) -> CloudError {
        let mut answer = errors::Answer::read(reply.status, &reply.body);
        answer.after = reply.retry_after();
        answer.request_id = reply.header("x-ms-request-id").map(str::to_owned);
        let error = errors::from_answer(call.operation, call.access(), answer);
        self.noted(call, error)
    }
}

/// The call that does this.
fn call(verb: Verb, path: &ResourcePath) -> Result<&'static Call, CloudError> {
    let found = match path.is_one() == (verb != Verb::List) {
        true => Call::of(verb, path.provider(), &path.kind()),
        false => None,
    };
    found.ok_or_else(|| errors::unknown_call(verb, path))
}

fn document(call: &Call, body: &str) -> Result<Document, CloudError> {
    Document::read(body, shared::lists(call.kind))
        .map_err(|error| errors::not_understood(call, error.into()))
}
