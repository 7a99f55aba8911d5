//! Which identities there are, in which order `auto` tries them, and what their failures mean. Holds no token.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::process::{Output, Stdio};
use std::sync::Arc;

use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, Executor, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

use super::transport::{Failure, Transport};
use super::{App, Options};
use crate::http;

/// Overrides Entra's address in every cloud; https only. Read by azure_identity where we name no cloud.
const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";

/// What Kubernetes sets in a pod with a workload identity.
const WORKLOAD_VARIABLES: [&str; 3] = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"];

/// An API that tokens are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Takes records.
    LogsIngestion,
    /// Gives them back: Log Analytics.
    LogsQuery,
}

/// An Azure of its own: audience and authority differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    Public,
    China,
    Government,
}

impl Cloud {
    /// The cloud that an ingestion endpoint belongs to, by the end of its host name.
    pub fn of_host(host: &str) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.ends_with(".azure.cn") {
            Cloud::China
        } else if host.ends_with(".azure.us") {
            Cloud::Government
        } else {
            Cloud::Public
        }
    }

    /// What a token for an API is asked for. Those of the query API stand in the table of environments of Azure
    /// PowerShell (AzureOperationalInsightsEndpointResourceId) and in the clouds' own documentation of the API.
    pub fn scope(self, api: Api) -> &'static str {
        match (api, self) {
            (Api::LogsIngestion, Cloud::Public) => "https://monitor.azure.com/.default",
            (Api::LogsIngestion, Cloud::China) => "https://monitor.azure.cn/.default",
            (Api::LogsIngestion, Cloud::Government) => "https://monitor.azure.us/.default",
            (Api::LogsQuery, Cloud::Public) => "https://api.loganalytics.io/.default",
            (Api::LogsQuery, Cloud::China) => "https://api.loganalytics.azure.cn/.default",
            (Api::LogsQuery, Cloud::Government) => "https://api.loganalytics.us/.default",
        }
    }

    /// What a token for an API must have been issued for; also the address of the query API.
    pub fn audience(self, api: Api) -> &'static str {
        self.scope(api).trim_end_matches("/.default")
    }

    fn configuration(self) -> Option<CloudConfiguration> {
        match self {
            // None: azure_identity takes AZURE_AUTHORITY_HOST, else the public authority.
            _ if std::env::var_os(AUTHORITY_HOST).is_some() => None,
            Cloud::Public => None,
            Cloud::China => Some(CloudConfiguration::AzureChina),
            Cloud::Government => Some(CloudConfiguration::AzureGovernment),
        }
    }
}

/// One way to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Managed { client_id: Option<String> },
    Workload,
    ClientSecret(App),
    AzureCli,
}

/// An identity that gave no token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub reason: String,
    /// The machine does not have this identity, so another may be the one; false where it only cannot answer now.
    pub next_may_help: bool,
}

/// Whether the environment is that of a pod with a workload identity.
pub(super) fn workload_variables_are_set() -> bool {
    WORKLOAD_VARIABLES.iter().all(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The identities of `options` in the order in which they are tried.
pub(super) fn identities(options: &Options, workload_variables: bool) -> Vec<Identity> {
    match options.clone() {
        Options::Auto { client_id, secret } => {
            let mut identities = Vec::new();
            identities.extend(workload_variables.then_some(Identity::Workload));
            identities.extend(secret.map(Identity::ClientSecret));
            if identities.is_empty() {
                identities.push(Identity::Managed { client_id });
            }
            identities.push(Identity::AzureCli);
            identities
        }
        Options::ManagedIdentity { client_id } => vec![Identity::Managed { client_id }],
        Options::WorkloadIdentity => vec![Identity::Workload],
        Options::ClientSecret(app) => vec![Identity::ClientSecret(app)],
        Options::AzureCli => vec![Identity::AzureCli],
    }
}

impl Identity {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Identity::Managed { .. } => "managed identity",
            Identity::Workload => "workload identity",
            Identity::ClientSecret(_) => "client secret",
            Identity::AzureCli => "Azure CLI",
        }
    }

    /// A credential object without any cached token; a workload identity's token file is read here.
    pub(super) fn credential(
        &self,
        cloud: Cloud,
        transport: &Arc<Transport>,
    ) -> Result<Arc<dyn TokenCredential>, Miss> {
        let client_options = ClientOptions {
            transport: Some(azure_core::http::Transport::new(transport.clone())),
            retry: RetryOptions::none(),
            cloud: cloud.configuration().map(Arc::new),
            ..ClientOptions::default()
        };
        let built: azure_core::Result<Arc<dyn TokenCredential>> = match self {
            Identity::Managed { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id,
                    client_options,
                }))
                .map(|credential| credential as _)
            }
            Identity::Workload => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                ..WorkloadIdentityCredentialOptions::default()
            }))
            .map(|credential| credential as _),
            Identity::ClientSecret(App { tenant_id, client_id, client_secret }) => ClientSecretCredential::new(
                tenant_id,
                client_id.clone(),
                azure_core::credentials::Secret::new(client_secret.expose().to_owned()),
                Some(ClientSecretCredentialOptions { client_options }),
            )
            .map(|credential| credential as _),
            Identity::AzureCli => AzureCliCredential::new(Some(AzureCliCredentialOptions {
                executor: Some(Arc::new(CommandLine)),
                ..AzureCliCredentialOptions::default()
            }))
            .map(|credential| credential as _),
        };
        built.map_err(|error| self.miss(&error))
    }

    /// Reads an error of azure_identity: our own transport's words where the chain holds them.
    pub(super) fn miss(&self, error: &azure_core::Error) -> Miss {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(failure) = this.downcast_ref::<Failure>() {
                return self.miss_of(failure);
            }
            cause = this.source();
        }
        let text = error.to_string();
        let text = text.split("\nTo troubleshoot").next().unwrap_or_default();
        Miss { reason: http::excerpt(text.as_bytes()), next_may_help: true }
    }

    fn miss_of(&self, failure: &Failure) -> Miss {
        let mut reason = failure.to_string();
        if let (Identity::Managed { client_id }, Failure::Refused { status: 400, .. }) = (self, failure) {
            reason.push_str(match client_id {
                None => " (assign the VM one identity, or name one of several in credential.client_id)",
                Some(_) => " (the identity of credential.client_id must be assigned to this VM)",
            });
        }
        let next_may_help = match failure {
            // Somebody has set these two up for this machine: it has them, whatever Entra says of them now.
            _ if matches!(self, Identity::Workload | Identity::ClientSecret(_)) => false,
            Failure::Unreachable { .. } | Failure::NoToken { .. } => true,
            // Azure answers 404, 410, 429 and 5xx for a while; other clouds answer 404 at the same address in other words.
            Failure::Refused { status: 410 | 429 | 500.., .. } => false,
            Failure::Refused { status: 404, in_azures_words, .. } => !in_azures_words,
            Failure::Refused { .. } => true,
        };
        Miss { reason, next_may_help }
    }
}

/// Runs `az`; where the caller gives up, the command does not stay behind, and it cannot ask questions.
struct CommandLine;

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandLine")
    }
}

#[async_trait::async_trait]
impl Executor for CommandLine {
    async fn run(&self, program: &OsStr, args: &[&OsStr]) -> io::Result<Output> {
        tokio::process::Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Secret;

    #[test]
    fn the_endpoint_names_the_cloud() {
        let check = |host: &str, expected: Cloud| assert_eq!(Cloud::of_host(host), expected, "{host}");
        check("x-ab12.westeurope-1.ingest.monitor.azure.com", Cloud::Public);
        check("x-ab12.chinanorth3-1.ingest.monitor.azure.cn", Cloud::China);
        check("X-ab12.USGOVVIRGINIA-1.ingest.monitor.AZURE.US.", Cloud::Government);
        check("127.0.0.1", Cloud::Public);
        check("azure.us.example.com", Cloud::Public);
        assert_eq!(Cloud::Government.scope(Api::LogsIngestion), "https://monitor.azure.us/.default");
        assert_eq!(Cloud::Government.scope(Api::LogsQuery), "https://api.loganalytics.us/.default");
        assert_eq!(Cloud::China.audience(Api::LogsQuery), "https://api.loganalytics.azure.cn");
    }

    fn app() -> App {
        App { tenant_id: "t".into(), client_id: "c".into(), client_secret: Secret::new("s") }
    }

    #[test]
    fn auto_takes_what_was_set_up_for_this_machine_and_the_cli_last() {
        let machine = |client_id: Option<&str>| Identity::Managed { client_id: client_id.map(str::to_owned) };
        let secret = || Identity::ClientSecret(app());
        let with_secret = Options::Auto { client_id: None, secret: Some(app()) };
        let with_id = Options::Auto { client_id: Some("id".into()), secret: None };
        assert_eq!(identities(&Options::AUTO, true), [Identity::Workload, Identity::AzureCli]);
        assert_eq!(identities(&Options::AUTO, false), [machine(None), Identity::AzureCli]);
        assert_eq!(identities(&with_secret, false), [secret(), Identity::AzureCli]);
        assert_eq!(identities(&with_secret, true), [Identity::Workload, secret(), Identity::AzureCli]);
        assert_eq!(identities(&with_id, false), [machine(Some("id")), Identity::AzureCli]);
        assert_eq!(identities(&Options::ManagedIdentity { client_id: None }, true), [machine(None)]);
    }

    #[test]
    fn only_an_identity_that_is_not_there_lets_the_next_one_try() {
        let machine = Identity::Managed { client_id: None };
        let refused = |status, in_azures_words| Failure::Refused {
            host: "169.254.169.254".into(),
            status,
            reason: String::new(),
            in_azures_words,
        };
        let check = |failure: Failure, expected: bool| {
            let error = azure_core::Error::new(azure_core::error::ErrorKind::Credential, failure).with_context("outer");
            assert_eq!(machine.miss(&error).next_may_help, expected, "{error:?}");
        };
        check(Failure::Unreachable { host: String::new(), reason: String::new() }, true);
        check(refused(400, true), true);
        check(refused(404, false), true);
        check(refused(404, true), false);
        check(refused(410, false), false);
        check(refused(429, true), false);
        check(refused(503, false), false);
        for identity in [Identity::Workload, Identity::ClientSecret(app())] {
            assert!(!identity.miss_of(&refused(401, true)).next_may_help, "{identity:?}");
        }
    }

    #[test]
    fn an_error_of_the_library_becomes_one_line_without_its_link() {
        let error = azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            "AzureCliCredential authentication failed. ERROR: Please run 'az login'\nfirst.\nTo troubleshoot, visit https://x",
        );
        let miss = Identity::AzureCli.miss(&error);
        assert_eq!(miss.reason, "AzureCliCredential authentication failed. ERROR: Please run 'az login' first.");
    }
}
