//! Tokens for Azure: azure_identity behind our own transport, time limit and copy of the token.
//! It decides nothing about records and writes no token, secret or assertion into an error or a log.
//!
//! What azure_identity 1.0 does that a shipper cannot live with, and why it cannot happen here:
//! - its retries against IMDS last up to 100 s whatever one asks for: [`Transport`] turns every failure into an error that
//!   is not retried, so one fetch is one request, and [`TOKEN_TIMEOUT`] bounds the whole fetch;
//! - its cache has no invalidation, and loses a token that is still valid when a refresh fails: each fetch uses a new
//!   credential object, and the copy kept here is used until it expires or the service refuses it;
//! - a token is asked of it when one is needed, which may be when nothing answers any more: [`Credentials::keep`] has one at
//!   hand from the start;
//! - it sends IMDS requests through `HTTP_PROXY`: [`Transport`] never does.

mod source;
mod transport;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_core::time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::Secret;
pub use source::{Api, Cloud};
use source::{Identity, Miss};
pub(crate) use transport::is_loopback;
pub use transport::{AUTHORITY_VARIABLE, Transport, authority_from_environment};

/// Most time for getting a token, every identity of `auto` included; who waits: the send step.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A token with less life than this is replaced while it is still in use.
pub const REFRESH_BEFORE: Duration = Duration::from_secs(600);

/// Least time between two attempts to replace a token that is still valid.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// A token with less life than this is not used any more: it could expire on its way.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(5);

/// Which identity a sink uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// Workload identity where its variables are set, the client secret where there is one, else the managed identity;
    /// the CLI last. `client_id`: of several managed identities, this one.
    Auto {
        client_id: Option<String>,
        secret: Option<App>,
    },
    ManagedIdentity {
        client_id: Option<String>,
    },
    WorkloadIdentity,
    ClientSecret(App),
    AzureCli,
}

/// An app registration and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: Secret,
}

impl Options {
    /// `auto`, with nothing beside it.
    pub const AUTO: Options = Options::Auto { client_id: None, secret: None };
}

/// No token could be had. Messages name each identity that was asked and what came of it, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// `reason`: `managed identity: …`, several joined by `; `.
    #[error("no token from {reason}")]
    Refused { reason: String },
    /// `reason`: the identity that did not answer, after those that gave none.
    #[error("no token within {} s from {reason}", TOKEN_TIMEOUT.as_secs())]
    TimedOut { reason: String },
    /// The process is going down.
    #[error("no token: the runtime is stopping")]
    Stopping,
}

/// The tokens of one sink for one API. At most one fetch is under way, whoever asks; all who wait share its result.
pub struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    /// In the order in which they are tried; more than one only for `auto`.
    identities: Vec<Identity>,
    cloud: Cloud,
    api: Api,
    transport: Arc<Transport>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    flight: Option<Flight>,
    /// When the last fetch began.
    fetched_at: Option<Instant>,
    /// Index of the identity that gave a token: the others are not asked any more, so that a passing
    /// fault does not make records arrive in another identity's name.
    settled: Option<usize>,
}

struct Held {
    token: Secret,
    until: Instant,
}

/// A fetch under way; `None` until it has ended. Closed without a result: its task is gone.
type Flight = watch::Receiver<Option<Result<Secret, CredentialError>>>;

impl Credentials {
    /// Opens nothing on the network and reads no file; `auto` looks at the environment here.
    pub fn new(options: &Options, cloud: Cloud, api: Api, transport: Transport) -> Self {
        let identities = source::identities(options, source::workload_variables_are_set());
        Credentials {
            shared: Arc::new(Shared {
                identities,
                cloud,
                api,
                transport: Arc::new(transport),
                state: Mutex::default(),
            }),
        }
    }

    /// A token for [`Cloud::scope`] that is valid now. Where the one that is kept will not be for long, a new one
    /// is fetched behind this call's back.
    ///
    /// # Errors
    /// No token is kept and none could be fetched within [`TOKEN_TIMEOUT`].
    pub async fn token(&self) -> Result<Secret, CredentialError> {
        let flight = {
            let mut state = self.shared.lock();
            if let Some(held) = &state.held {
                let left = held.until.saturating_duration_since(Instant::now());
                if left > EXPIRY_MARGIN {
                    let token = held.token.clone();
                    if left < REFRESH_BEFORE && state.fetched_at.is_none_or(|at| at.elapsed() >= REFRESH_PAUSE) {
                        Shared::join_flight(&self.shared, &mut state);
                    }
                    return Ok(token);
                }
            }
            Shared::join_flight(&self.shared, &mut state)
        };
        landed(flight).await
    }

    /// The service refused `token`: it is not given out again. Another one, fetched meanwhile, is kept.
    pub async fn forget(&self, token: &Secret) {
        let mut state = self.shared.lock();
        if state.held.as_ref().is_some_and(|held| held.token == *token) {
            state.held = None;
        }
    }

    /// Has a token at hand from now on: before it is needed, and a new one before it expires, however quiet the sink is.
    /// So a VM whose last minutes are also those of its identity service still delivers. Never ends; dropped half-way, it
    /// is no harm.
    pub async fn keep(&self) -> Infallible {
        let mut failed = None;
        loop {
            match self.token().await {
                Ok(_) => failed = None,
                Err(error) if failed.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no token for Azure yet");
                    failed = Some(error);
                }
            }
            tokio::time::sleep(REFRESH_PAUSE).await;
        }
    }

    /// Waits for the fetch that is under way, if there is one; its result is kept as always.
    pub async fn settle(&self) {
        let flight = self.shared.lock().flight.clone();
        if let Some(flight) = flight {
            // A failure was logged, or is another caller's to report.
            let _ = landed(flight).await;
        }
    }

    /// The identity that gave the token, or those that will be asked for one: `managed identity`.
    pub fn identity(&self) -> String {
        let settled = self.shared.lock().settled;
        let names = self.shared.identities.iter().enumerate();
        let names: Vec<&str> =
            names.filter(|(at, _)| settled.is_none_or(|s| s == *at)).map(|(_, identity)| identity.name()).collect();
        names.join(", ")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identities", &self.shared.identities).finish_non_exhaustive()
    }
}

async fn landed(mut flight: Flight) -> Result<Secret, CredentialError> {
    match flight.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or(Err(CredentialError::Stopping)),
        Err(_) => Err(CredentialError::Stopping),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch under way, or a new one. It runs as a task of its own: who waits may give up, the token is kept.
    fn join_flight(shared: &Arc<Shared>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight
            && flight.has_changed().is_ok()
        {
            return flight.clone();
        }
        let (sender, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        state.fetched_at = Some(Instant::now());
        let settled = state.settled;
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let result = shared.fetch(settled).await;
            let result = shared.keep(result);
            // No receiver: nobody waits any more.
            sender.send_replace(Some(result));
        });
        flight
    }

    fn keep(&self, result: Result<(usize, Held), CredentialError>) -> Result<Secret, CredentialError> {
        let mut state = self.lock();
        state.flight = None;
        match result {
            Ok((at, held)) => {
                let token = held.token.clone();
                // Whoever is logged in to the CLI is a last resort, not a choice to hold on to.
                let resort = self.identities.len() > 1 && matches!(self.identities.get(at), Some(Identity::AzureCli));
                state.settled = (!resort).then_some(at);
                state.held = Some(held);
                Ok(token)
            }
            Err(error) => {
                if let Some(held) = &state.held {
                    let left = held.until.saturating_duration_since(Instant::now());
                    tracing::warn!(%error, valid_seconds = left.as_secs(), "token not replaced, the old one is still used");
                }
                Err(error)
            }
        }
    }

    async fn fetch(&self, settled: Option<usize>) -> Result<(usize, Held), CredentialError> {
        let deadline = Instant::now() + TOKEN_TIMEOUT;
        let mut misses: Vec<String> = Vec::new();
        for (at, identity) in self.identities.iter().enumerate() {
            if settled.is_some_and(|s| s != at) {
                continue;
            }
            let Ok(asked) = tokio::time::timeout_at(deadline, self.ask(identity)).await else {
                misses.push(identity.name().to_owned());
                return Err(CredentialError::TimedOut { reason: misses.join("; ") });
            };
            match asked {
                Ok(held) => return Ok((at, held)),
                Err(miss) => {
                    misses.push(format!("{}: {}", identity.name(), miss.reason));
                    if !miss.next_may_help {
                        break;
                    }
                }
            }
        }
        Err(CredentialError::Refused { reason: misses.join("; ") })
    }

    async fn ask(&self, identity: &Identity) -> Result<Held, Miss> {
        let credential = identity.credential(self.cloud, &self.transport)?;
        let token =
            credential.get_token(&[self.cloud.scope(self.api)], None).await.map_err(|error| identity.miss(&error))?;
        let life = Duration::try_from(token.expires_on - OffsetDateTime::now_utc()).unwrap_or_default();
        Ok(Held { token: Secret::new(token.token.secret()), until: Instant::now() + life })
    }
}
