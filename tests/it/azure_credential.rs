//! Tokens through the real azure_identity, against the imitation of Entra and IMDS.

use std::process::Command;
use std::time::Duration;

use logferry::azure::credential::{
    AUTHORITY_VARIABLE, Api, App, Cloud, CredentialError, Credentials, Options, REFRESH_PAUSE, TOKEN_TIMEOUT,
    Transport, authority_from_environment,
};
use logferry::sink::http::{self, Secret};
use tokio::time::Instant;
use url::Url;

use crate::support::azure::{AzureServer, AzureSettings, Fault};

/// Most real time that an event of these tests may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Under the life at which a token is replaced early.
const SHORT_LIFE: Duration = Duration::from_secs(300);

fn http_options() -> http::Options {
    http::Options {
        timeout: Duration::from_secs(30),
        proxy: None,
        headers: Vec::new(),
        ca_file: None,
        client_cert_file: None,
    }
}

fn credentials(server: &AzureServer, options: &Options) -> Credentials {
    let authority = Url::parse(&server.authority).expect("URL");
    let transport = Transport::new(&http_options(), "logferry-test", Some(authority)).expect("transport");
    Credentials::new(options, Cloud::Public, Api::LogsIngestion, transport)
}

fn client_secret(settings: &AzureSettings) -> Options {
    Options::ClientSecret(App {
        tenant_id: settings.tenant_id.clone(),
        client_id: settings.client_id.clone(),
        client_secret: Secret::new(&settings.client_secret),
    })
}

fn by_secret(settings: AzureSettings) -> (AzureServer, Credentials) {
    let server = AzureServer::start(settings);
    let credentials = credentials(&server, &client_secret(&server.settings));
    (server, credentials)
}

/// Moves the clock of the credentials, not that of the server.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Asks until another token than `old` is given out.
async fn replaced(credentials: &Credentials, old: &Secret) -> Secret {
    let asked = async {
        loop {
            let token = credentials.token().await.expect("token");
            if token != *old {
                return token;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.expect("the token is replaced")
}

#[tokio::test]
async fn one_request_serves_all_who_ask_and_its_token_is_kept() {
    let (server, credentials) = by_secret(AzureSettings::default());
    let credentials = std::sync::Arc::new(credentials);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let credentials = credentials.clone();
        tasks.spawn(async move { credentials.token().await.expect("token") });
    }
    let first = tasks.join_next().await.expect("a task").expect("joined");
    while let Some(token) = tasks.join_next().await {
        assert_eq!(token.expect("joined"), first);
    }
    later(Duration::from_secs(2_900)).await;
    assert_eq!(credentials.token().await.expect("token"), first);
    assert_eq!(server.read(|l| l.token_requests()), 1);
}

#[tokio::test]
async fn a_refused_token_is_not_given_out_again_and_its_successor_is_kept() {
    let (server, credentials) = by_secret(AzureSettings::default());
    let refused = credentials.token().await.expect("token");
    credentials.forget(&refused).await;
    let second = credentials.token().await.expect("token");
    assert_ne!(second, refused);
    // The refusal of another request that was sent with the old token.
    credentials.forget(&refused).await;
    assert_eq!(credentials.token().await.expect("token"), second);
    assert_eq!(server.read(|l| l.token_requests()), 2);
}

#[tokio::test]
async fn a_token_that_will_expire_soon_is_replaced_while_it_is_used() {
    let (server, credentials) = by_secret(AzureSettings { token_lifetime: SHORT_LIFE, ..AzureSettings::default() });
    let old = credentials.token().await.expect("token");
    assert_eq!(credentials.token().await.expect("token"), old, "not asked again at once");
    assert_eq!(server.read(|l| l.token_requests()), 1);
    later(REFRESH_PAUSE).await;
    assert_eq!(credentials.token().await.expect("token"), old, "nobody waits for the new one");
    replaced(&credentials, &old).await;
    assert_eq!(server.read(|l| l.token_requests()), 2);
}

#[tokio::test]
async fn a_failing_authority_does_not_matter_while_the_token_is_valid() {
    let (server, credentials) = by_secret(AzureSettings { token_lifetime: SHORT_LIFE, ..AzureSettings::default() });
    let token = credentials.token().await.expect("token");
    server.token_fault_rule(|_| Some(Fault::Status(500, None)));
    for failures in 1..=3 {
        later(REFRESH_PAUSE).await;
        assert_eq!(credentials.token().await.expect("still valid"), token);
        server
            .until("a failed refresh", LIMIT, |l| l.token_answers.get(&500).is_some_and(|count| *count == failures))
            .await;
        credentials.settle().await;
        assert_eq!(credentials.token().await.expect("still valid"), token);
    }
    later(SHORT_LIFE).await;
    let error = credentials.token().await.expect_err("expired").to_string();
    assert!(error.starts_with("no token from client secret: login.microsoftonline.com answered 500: "), "{error}");
    assert!(error.contains("AADSTS90033"), "{error}");
}

#[tokio::test]
async fn an_authority_that_hangs_is_given_up_after_the_time_limit_for_all_who_wait() {
    let (server, credentials) = by_secret(AzureSettings::default());
    server.token_fault(Fault::Hang);
    let begun = Instant::now();
    let (one, other, ()) = tokio::join!(credentials.token(), credentials.token(), async {
        server.until("the request", LIMIT, |l| l.token_requests() == 1).await;
        later(TOKEN_TIMEOUT).await;
    });
    let took = begun.elapsed();
    assert!(took >= TOKEN_TIMEOUT && took < TOKEN_TIMEOUT + Duration::from_secs(5), "{took:?}");
    assert_eq!(one, Err(CredentialError::TimedOut { reason: "client secret".into() }));
    assert_eq!(one, other);
    credentials.token().await.expect("the next attempt is a new one");
    assert_eq!(server.read(|l| l.token_requests()), 2);
}

#[tokio::test]
async fn each_refusal_is_one_request_and_says_what_answered() {
    let (server, credentials) = by_secret(AzureSettings::default());
    let check = async |fault: Fault, expected: &str| {
        let before = server.read(|l| l.token_requests());
        server.token_fault(fault);
        let error = credentials.token().await.expect_err(expected).to_string();
        assert_eq!(error, format!("no token from client secret: login.microsoftonline.com {expected}"));
        assert_eq!(server.read(|l| l.token_requests()), before + 1, "{error}");
    };
    let html = "<!DOCTYPE html> <html><body> <h1>Please sign in</h1> </body></html>";
    check(Fault::Html(502), &format!("answered 502: {html}")).await;
    check(Fault::Html(200), "answered 200 with 67 bytes of text/html, which is no token").await;
    let transient = "temporarily_unavailable: AADSTS90033: A transient error has occurred. Please try again.";
    check(Fault::Status(429, Some(Duration::from_secs(60))), &format!("answered 429: {transient}")).await;
    server.token_fault(Fault::DropConnectionBefore);
    let error = credentials.token().await.expect_err("dropped").to_string();
    assert!(error.starts_with("no token from client secret: login.microsoftonline.com does not answer: "), "{error}");
}

#[tokio::test]
async fn a_wrong_secret_is_named_as_such_and_never_shown() {
    let server = AzureServer::start(AzureSettings::default());
    let secret = "wrong~but/secret";
    let options = Options::ClientSecret(App {
        tenant_id: server.settings.tenant_id.clone(),
        client_id: server.settings.client_id.clone(),
        client_secret: Secret::new(secret),
    });
    let credentials = credentials(&server, &options);
    let error = credentials.token().await.expect_err("wrong secret");
    let all = format!("{error} {error:?} {credentials:?} {options:?}");
    assert!(all.contains("AADSTS7000215: Invalid client secret provided.") && !all.contains('\n'), "{all}");
    assert!(!all.contains("wrong~but"), "{all}");
}

#[tokio::test]
async fn a_managed_identity_gets_its_token_from_imds_without_retries_of_the_library() {
    let settings = AzureSettings { numeric_expires_on: true, ..AzureSettings::default() };
    let server = AzureServer::start(settings);
    let credentials = credentials(&server, &Options::ManagedIdentity { client_id: None });
    server.token_fault(Fault::Status(410, None));
    let begun = Instant::now();
    let error = credentials.token().await.expect_err("updating").to_string();
    assert!(error.contains("169.254.169.254 answered 410"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let token = credentials.token().await.expect("token, though expires_on is a number");
    later(Duration::from_secs(2_900)).await;
    assert_eq!(credentials.token().await.expect("token"), token);
    assert_eq!(server.read(|l| l.token_requests()), 2);
}

#[tokio::test]
async fn a_user_assigned_identity_is_asked_for_by_its_client_id() {
    let user_assigned = AzureSettings { managed_identity: Some("client-7".into()), ..AzureSettings::default() };
    let server = AzureServer::start(user_assigned);
    let identity = |client_id: Option<&str>| {
        credentials(&server, &Options::ManagedIdentity { client_id: client_id.map(str::to_owned) })
    };
    identity(Some("client-7")).token().await.expect("token");
    let error = identity(None).token().await.expect_err("not assigned").to_string();
    assert!(error.contains("Identity not found (assign the VM one identity, or name one of several"), "{error}");
    let error = identity(Some("client-8")).token().await.expect_err("not assigned").to_string();
    assert!(error.contains("must be assigned to this VM"), "{error}");
}

#[tokio::test]
async fn auto_takes_the_managed_identity_and_stays_with_it() {
    let server = AzureServer::start(AzureSettings::default());
    let credentials = credentials(&server, &Options::AUTO);
    assert_eq!(credentials.identity(), "managed identity, Azure CLI");
    let token = credentials.token().await.expect("token");
    assert_eq!(credentials.identity(), "managed identity");
    credentials.forget(&token).await;
    server.token_fault(Fault::Status(400, None));
    let error = credentials.token().await.expect_err("refused").to_string();
    assert!(!error.contains("Azure CLI"), "{error}");
}

#[tokio::test]
async fn auto_asks_the_cli_only_where_the_machine_has_no_identity() {
    let server = AzureServer::start(AzureSettings { managed_identity: None, ..AzureSettings::default() });
    let credentials = credentials(&server, &Options::AUTO);
    server.token_fault(Fault::Status(503, None));
    let error = credentials.token().await.expect_err("busy").to_string();
    assert!(error.contains("answered 503") && !error.contains("Azure CLI"), "{error}");
    // A developer's machine may have a CLI that is logged in; anywhere else both are named.
    if let Err(error) = credentials.token().await {
        let error = error.to_string();
        assert!(error.contains("managed identity: 169.254.169.254 answered 400"), "{error}");
        assert!(error.contains("Azure CLI"), "{error}");
    }
}

#[tokio::test]
async fn each_cloud_has_its_own_authority_and_audience() {
    let check = async |cloud: Cloud, authority: &str, audience: &str| {
        let server = AzureServer::start(AzureSettings { audience: audience.into(), ..AzureSettings::default() });
        let url = Url::parse(&server.authority).expect("URL");
        let credentials = |options: &Options| {
            let transport = Transport::new(&http_options(), "logferry-test", Some(url.clone())).expect("transport");
            Credentials::new(options, cloud, Api::LogsIngestion, transport)
        };
        let of_app = credentials(&client_secret(&server.settings));
        server.token_fault(Fault::Status(503, None));
        let error = of_app.token().await.expect_err("busy").to_string();
        assert!(error.starts_with(&format!("no token from client secret: {authority} answered 503")), "{error}");
        of_app.token().await.expect("a token for the audience of its cloud");
        // IMDS is at the same address in each.
        credentials(&Options::AUTO).token().await.expect("a token of the machine");
    };
    check(Cloud::Public, "login.microsoftonline.com", "https://monitor.azure.com").await;
    check(Cloud::China, "login.chinacloudapi.cn", "https://monitor.azure.cn").await;
    check(Cloud::Government, "login.microsoftonline.us", "https://monitor.azure.us").await;
}

#[tokio::test]
async fn auto_takes_a_client_secret_that_is_configured_and_no_other_identity_in_its_place() {
    let server = AzureServer::start(AzureSettings::default());
    let Options::ClientSecret(app) = client_secret(&server.settings) else { panic!("an app") };
    let credentials = credentials(&server, &Options::Auto { client_id: None, secret: Some(app) });
    assert_eq!(credentials.identity(), "client secret, Azure CLI");
    server.token_fault(Fault::Status(401, None));
    let error = credentials.token().await.expect_err("refused").to_string();
    assert!(!error.contains("Azure CLI") && !error.contains("managed identity"), "{error}");
    credentials.token().await.expect("token");
    assert_eq!(credentials.identity(), "client secret");
}

#[tokio::test]
async fn auto_asks_for_the_managed_identity_that_is_named() {
    let user_assigned = AzureSettings { managed_identity: Some("client-7".into()), ..AzureSettings::default() };
    let server = AzureServer::start(user_assigned);
    credentials(&server, &Options::Auto { client_id: Some("client-7".into()), secret: None })
        .token()
        .await
        .expect("token");
}

#[tokio::test]
async fn a_token_is_kept_at_hand_though_nobody_asks_for_it() {
    let (server, credentials) = by_secret(AzureSettings::default());
    let credentials = std::sync::Arc::new(credentials);
    let kept = credentials.clone();
    let keeping = tokio::spawn(async move { kept.keep().await });
    server.until("the first token", LIMIT, |l| l.token_requests() == 1).await;
    credentials.settle().await;
    // Its last ten minutes begin, and the service is ill for two of them: one request each time, and the token holds.
    server.token_fault_rule(|_| Some(Fault::Status(500, None)));
    for failures in 1..=4 {
        later(if failures == 1 { Duration::from_secs(3_000) } else { REFRESH_PAUSE }).await;
        server.until("a failed refresh", LIMIT, |l| l.token_answers.get(&500) == Some(&failures)).await;
        credentials.settle().await;
    }
    server.token_fault_rule(|_| None);
    later(REFRESH_PAUSE).await;
    server.until("another token", LIMIT, |l| l.token_answers.get(&200) == Some(&2)).await;
    credentials.settle().await;
    // The first one would have expired.
    later(Duration::from_secs(2_900)).await;
    server.token_fault_rule(|_| Some(Fault::Hang));
    tokio::time::timeout(Duration::from_secs(5), credentials.token()).await.expect("at once").expect("token");
    keeping.abort();
}

/// Run by the next test in a process of its own, with the variables that a pod has.
#[tokio::test]
#[ignore = "needs the environment that a_pod_gets_its_token_by_its_token_file gives it"]
async fn in_a_pod() {
    let authority = authority_from_environment().expect("authority");
    let transport = Transport::new(&http_options(), "logferry-test", authority).expect("transport");
    let credentials = Credentials::new(&Options::AUTO, Cloud::Public, Api::LogsIngestion, transport);
    assert_eq!(credentials.identity(), "workload identity, Azure CLI");
    credentials.token().await.expect("token");
    assert_eq!(credentials.identity(), "workload identity");
}

#[tokio::test]
async fn a_pod_gets_its_token_by_its_token_file() {
    let settings = AzureSettings { federated_token: Some("eyJ.assertion".into()), ..AzureSettings::default() };
    let server = AzureServer::start(settings);
    let folder = tempfile::tempdir().expect("folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "eyJ.assertion").expect("token file");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "azure_credential::in_a_pod", "--ignored"])
        .env(AUTHORITY_VARIABLE, &server.authority)
        // Nobody listens there: what is on this machine is never asked through a proxy.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .env("AZURE_CLIENT_ID", &server.settings.client_id)
        .env("AZURE_TENANT_ID", &server.settings.tenant_id)
        .env("AZURE_FEDERATED_TOKEN_FILE", &token_file)
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(server.read(|l| l.token_answers.get(&200).copied()), Some(1));
}
