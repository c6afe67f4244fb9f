//! One webhook of ours: what it should be, looked up in Orchestrator and made so.

use std::time::Duration;

use crate::event::SourceName;
use crate::hooks::{Events, Planned, Wanted, events, fingerprint, plan, webhook_name};
use crate::orchestrator::{Called, Orchestrator};
use crate::rules::index::TypePattern;
use crate::runs::Failure;
use crate::secret::Secret;

/// For one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A webhook source that can stand in Orchestrator.
#[derive(Clone, Debug)]
pub struct Ours {
    /// The source.
    pub source: SourceName,
    /// Its orchestrator.
    pub orchestrator: Orchestrator,
    /// Where Orchestrator delivers.
    pub url: String,
    /// Whether it asks for every event.
    pub all: bool,
    /// The types that rules and watches want of it, in lower case.
    pub types: Vec<TypePattern>,
    /// What Orchestrator is to sign with.
    pub secret: Secret,
}

/// What a look at Orchestrator gave.
#[derive(Clone, Debug)]
pub struct Look {
    /// What there is to do.
    pub planned: Planned,
    /// Types that rules name and Orchestrator does not offer.
    pub not_offered: Vec<String>,
    /// Nothing asks for an event: there is nothing to register.
    pub idle: bool,
}

impl Ours {
    /// Asks Orchestrator what stands there.
    ///
    /// # Errors
    /// Orchestrator cannot be asked, or forbids it.
    pub async fn look(&self) -> Result<Look, Failure> {
        let (events, not_offered) = if self.all {
            (Events::All, Vec::new())
        } else {
            let offered = self.orchestrator.event_types(REQUEST_TIMEOUT).await.result?;
            let (types, not_offered) = events(&self.types, &offered);
            (Events::These(types), not_offered)
        };
        let registered = self.orchestrator.webhooks(REQUEST_TIMEOUT).await.result?;
        let idle = matches!(&events, Events::These(types) if types.is_empty());
        let wanted = Wanted {
            source: self.source.to_string(),
            name: webhook_name(&self.source, &self.url),
            url: self.url.clone(),
            events,
            fingerprint: fingerprint(&self.secret, &self.url),
        };
        let mut planned = plan(&wanted, &registered, self.orchestrator.has_webhook_names());
        if idle {
            planned.differences.clear();
        }
        Ok(Look { planned, not_offered, idle })
    }

    /// Makes it so; the webhook's Id. Orchestrator sends a ping by itself then.
    pub async fn put(&self, planned: &Planned) -> Called<i64> {
        self.orchestrator.put_webhook(planned, &self.secret, REQUEST_TIMEOUT).await
    }
}
