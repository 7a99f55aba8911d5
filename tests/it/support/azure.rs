//! An imitation of what logferry sees of Azure: Entra's token endpoint, IMDS's token endpoint, the Logs Ingestion API and
//! the query API of Log Analytics over what the ingestion has stored, as strict as the real ones are documented to be. It is no mock: it knows nothing of logferry but its column table.
//!
//! Each server has a thread, a port and a ledger of its own, so tests run beside each other, with any runtime and clock.
//! Documented texts: `ContentLengthLimitExceeded` and its message, `OperationFailed`, the AADSTS numbers. Other codes of
//! errors are plausible, not documented; nothing may depend on them.

#![allow(dead_code, reason = "each test uses some of it")]

mod connection;
#[cfg(test)]
mod contract;
mod fault;
mod identity;
mod ingestion;
mod kql;
mod query;
mod schema;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use logferry::record::column::AzureType;
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};

use connection::{Connection, KillableListener};
pub use fault::Fault;
use fault::Plan;
pub use query::QueryFault;
use schema::Schema;

pub type Record = Map<String, Value>;

/// Who may do what, and what is declared.
#[derive(Clone, Debug)]
pub struct AzureSettings {
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: String,
    /// Content of the token file of a workload identity; `None`: there is none.
    pub federated_token: Option<String>,
    /// `None`: the VM has no managed identity. `Some("")`: a system-assigned one, else a user-assigned one of this client id.
    pub managed_identity: Option<String>,
    /// Immutable id of the one rule.
    pub dcr_id: String,
    /// Name of its one stream.
    pub stream: String,
    /// Columns declared besides those of logferry.
    pub extra_columns: Vec<(String, AzureType)>,
    /// What the ingestion API wants tokens to be for.
    pub audience: String,
    /// What the query API wants tokens to be for.
    pub query_audience: String,
    /// Id of the workspace behind the rule; its table is named as the stream.
    pub workspace_id: String,
    /// Most rows of a result; what is over it is cut, with an error beside it.
    pub query_max_rows: usize,
    /// What tokens are issued for; `None`: what was asked for.
    pub token_audience: Option<String>,
    pub token_lifetime: Duration,
    /// IMDS gives `expires_on` as a number, against its documentation.
    pub numeric_expires_on: bool,
    /// Most bytes of a body as it is sent; less than Azure's where a gateway stands before it.
    pub wire_max_bytes: usize,
    /// The table has the Auxiliary plan, which takes half an hour of `TimeGenerated` in one call.
    pub auxiliary: bool,
}

impl Default for AzureSettings {
    fn default() -> Self {
        AzureSettings {
            tenant_id: "11111111-2222-3333-4444-555555555555".into(),
            client_id: "66666666-7777-8888-9999-000000000000".into(),
            client_secret: "s3cr3t~of/the+client".into(),
            federated_token: None,
            managed_identity: Some(String::new()),
            dcr_id: "dcr-0123456789abcdef0123456789abcdef".into(),
            stream: "Custom-BenchmarkRuns_CL".into(),
            extra_columns: Vec::new(),
            audience: "https://monitor.azure.com".into(),
            query_audience: "https://api.loganalytics.io".into(),
            workspace_id: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".into(),
            query_max_rows: 500_000,
            token_audience: None,
            token_lifetime: Duration::from_secs(3599),
            numeric_expires_on: false,
            wire_max_bytes: ingestion::WIRE_MAX_BYTES,
            auxiliary: false,
        }
    }
}

/// All that happened, from the server's side.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What a query would find, in order of arrival.
    pub records: Vec<Record>,
    /// Calls of the ingestion API by status; 0: no answer was given.
    pub answers: BTreeMap<u16, u64>,
    /// Token requests by status; 0: no answer was given.
    pub token_answers: BTreeMap<u16, u64>,
    /// Calls of the query API by status; 0: no answer was given.
    pub query_answers: BTreeMap<u16, u64>,
    /// The queries that were understood.
    pub queries: Vec<String>,
    /// Reason of the last call that was refused.
    pub last_refusal: String,
    /// `x-ms-client-request-id` of each call that had one.
    pub request_ids: Vec<String>,
    /// Most bytes of a body as sent, and inflated.
    pub max_wire_bytes: usize,
    pub max_raw_bytes: usize,
    /// Bytes of each body inflated, in order of arrival.
    pub raw_bytes: Vec<usize>,
    /// Most records of one call that was stored.
    pub max_call_records: u64,
    /// Calls whose body was compressed.
    pub gzipped: u64,
    /// Bodies over [`ingestion::PROMISED_RAW_BYTES`]: Azure may take them, logferry promises not to send them.
    pub bodies_over_promise: u64,
    /// Records of calls that were answered 204 and dropped, being over 50 MiB inflated.
    pub lost_after_204: u64,
    /// Values in columns that nobody declared, by column.
    pub columns_dropped: BTreeMap<String, u64>,
    /// Values over 64 KB, cut.
    pub values_truncated: u64,
    /// `TimeGenerated` missing, older than two days or over a day ahead, replaced by the time of receipt.
    pub times_replaced: u64,
    /// Records whose EventID was stored before.
    pub duplicates: u64,
    event_ids: HashSet<String>,
}

impl Ledger {
    /// Calls of the ingestion API, answered or not.
    pub fn calls(&self) -> u64 {
        self.answers.values().sum()
    }

    pub fn answered(&self, status: u16) -> u64 {
        self.answers.get(&status).copied().unwrap_or(0)
    }

    /// Token requests, answered or not.
    pub fn token_requests(&self) -> u64 {
        self.token_answers.values().sum()
    }

    fn store(&mut self, record: Record) {
        if let Some(id) = record.get("EventID").and_then(Value::as_str)
            && !self.event_ids.insert(id.to_owned())
        {
            self.duplicates += 1;
        }
        self.records.push(record);
    }
}

/// A running imitation; it ends when this is dropped.
pub struct AzureServer {
    /// Base of the ingestion API: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Base of Entra and IMDS, for `LOGFERRY_TEST_AZURE_AUTHORITY`.
    pub authority: String,
    pub settings: AzureSettings,
    service: Arc<Service>,
    changed: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the connections share.
struct Service {
    settings: AzureSettings,
    schema: Schema,
    begun: Instant,
    state: Mutex<ServiceState>,
    /// Counts events, for those who wait for one.
    events: watch::Sender<u64>,
}

struct ServiceState {
    ledger: Ledger,
    /// Tokens issued so far, by their text.
    tokens: HashMap<String, Token>,
    has_role: bool,
    token_lifetime: Duration,
    /// How much later it is for the server than it is.
    clock_ahead: Duration,
    ingestion_faults: Plan,
    token_faults: Plan,
    query_faults: VecDeque<QueryFault>,
    query_fault: Option<QueryFault>,
    may_query: bool,
    has_table: bool,
    /// Queries see no more than so many of the records; `None`: all.
    visible: Option<usize>,
    poison: Option<Poison>,
}

/// Whether a record makes the service refuse its whole call.
type Poison = Box<dyn Fn(&Record) -> bool + Send>;

struct Token {
    audience: String,
    expires: Duration,
}

impl AzureServer {
    /// Listens on a free loopback port.
    pub fn start(settings: AzureSettings) -> AzureServer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let (events, changed) = watch::channel(0);
        let service = Arc::new(Service {
            schema: Schema::new(&settings.extra_columns),
            begun: Instant::now(),
            state: Mutex::new(ServiceState {
                ledger: Ledger::default(),
                tokens: HashMap::new(),
                has_role: true,
                token_lifetime: settings.token_lifetime,
                clock_ahead: Duration::ZERO,
                ingestion_faults: Plan::default(),
                token_faults: Plan::default(),
                query_faults: VecDeque::new(),
                query_fault: None,
                may_query: true,
                has_table: true,
                visible: None,
                poison: None,
            }),
            events,
            settings: settings.clone(),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let service = service.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
                runtime.block_on(async move {
                    let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                    let app = Router::new().fallback(serve).with_state(service);
                    let app = app.into_make_service_with_connect_info::<Connection>();
                    tokio::select! {
                        served = axum::serve(KillableListener(listener), app) => served.expect("served"),
                        _ = stopped => {}
                    }
                });
            }
        });
        AzureServer {
            endpoint: base.clone(),
            authority: base,
            settings,
            service,
            changed,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The next call of the ingestion API that has no fault yet meets this one.
    pub fn fault(&self, fault: Fault) {
        self.service.lock().ingestion_faults.push(fault);
    }

    /// The next `count` calls of the ingestion API meet this fault.
    pub fn faults(&self, fault: Fault, count: usize) {
        (0..count).for_each(|_| self.fault(fault));
    }

    /// Asked for each call (counted from 0) for which no fault is queued; `|_| None` ends it. It must not call this server.
    pub fn fault_rule(&self, rule: impl FnMut(u64) -> Option<Fault> + Send + 'static) {
        self.service.lock().ingestion_faults.rule = Some(Box::new(rule));
    }

    /// The next token request that has no fault yet meets this one.
    pub fn token_fault(&self, fault: Fault) {
        self.service.lock().token_faults.push(fault);
    }

    /// As [`Self::fault_rule`], for token requests.
    pub fn token_fault_rule(&self, rule: impl FnMut(u64) -> Option<Fault> + Send + 'static) {
        self.service.lock().token_faults.rule = Some(Box::new(rule));
    }

    /// The next query that has no fault yet meets this one.
    pub fn query_fault(&self, fault: QueryFault) {
        self.service.lock().query_faults.push_back(fault);
    }

    /// Every query that has no other fault meets this one.
    pub fn set_query_fault(&self, fault: Option<QueryFault>) {
        self.service.lock().query_fault = fault;
    }

    /// Whether the identity may read the workspace; a new server says yes.
    pub fn set_may_query(&self, may_query: bool) {
        self.service.lock().may_query = may_query;
    }

    /// Whether the workspace has the table; a new server says yes.
    pub fn set_has_table(&self, has_table: bool) {
        self.service.lock().has_table = has_table;
    }

    /// Queries see the first so many records only, as if the others were still on their way; `None`: all.
    pub fn set_visible(&self, visible: Option<usize>) {
        self.service.lock().visible = visible;
    }

    /// Deletes records that were stored; returns how many.
    pub fn delete(&self, which: impl Fn(&Record) -> bool) -> usize {
        self.service.note(|ledger| {
            let before = ledger.records.len();
            ledger.records.retain(|record| !which(record));
            before - ledger.records.len()
        })
    }

    /// Stores records as if they had come in.
    pub fn store(&self, records: Vec<Record>) {
        self.service.note(|ledger| records.into_iter().for_each(|record| ledger.store(record)));
    }

    /// Calls with a record for which this is true are refused with 400.
    pub fn poison(&self, poison: impl Fn(&Record) -> bool + Send + 'static) {
        self.service.lock().poison = Some(Box::new(poison));
    }

    /// Whether the identity may write to the rule; a new server says yes.
    pub fn set_role(&self, has_role: bool) {
        self.service.lock().has_role = has_role;
    }

    /// Holds for tokens that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.service.lock().token_lifetime = lifetime;
    }

    /// All tokens issued so far are refused from now on.
    pub fn revoke_tokens(&self) {
        self.service.lock().tokens.clear();
    }

    /// Puts the server's clock forward.
    pub fn advance(&self, time: Duration) {
        self.service.lock().clock_ahead += time;
    }

    /// Looks at the ledger without copying it.
    pub fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.service.lock().ledger)
    }

    /// What a query would find, in order of arrival, without the manifests that logferry writes itself.
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.read(|ledger| ledger.records.clone());
        records.retain(|record| record.get("Source").is_none_or(|source| source != "logferry"));
        records
    }

    /// Waits until the ledger is as `done` wants it.
    ///
    /// # Panics
    /// It is not so after `limit` of real time; says what the ledger holds.
    pub async fn until(&self, what: &str, limit: Duration, done: impl Fn(&Ledger) -> bool) {
        let mut changed = self.changed.clone();
        let waited = async {
            while !self.read(&done) {
                changed.changed().await.expect("the server runs");
            }
        };
        if tokio::time::timeout(limit, waited).await.is_err() {
            let summary = self.read(|l| {
                format!(
                    "{} records, {:?}, tokens {:?}, {}",
                    l.records.len(),
                    l.answers,
                    l.token_answers,
                    l.last_refusal
                )
            });
            panic!("waited {limit:?} for {what}: {summary}");
        }
    }
}

impl Drop for AzureServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one here would abort the test run.
            let _ = thread.join();
        }
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed() + self.lock().clock_ahead
    }

    /// Changes the ledger and wakes those who wait for it.
    fn note<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let result = change(&mut self.lock().ledger);
        self.events.send_modify(|count| *count += 1);
        result
    }
}

async fn serve(
    State(service): State<Arc<Service>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    if path.ends_with("/oauth2/v2.0/token") || path == identity::IMDS_PATH {
        identity::serve(&service, &connection, request).await
    } else if path.starts_with("/v1/") {
        query::serve(&service, &connection, request).await
    } else {
        ingestion::serve(&service, &connection, request).await
    }
}

/// A JSON answer.
fn json(status: u16, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(value.to_string()))
        .expect("response")
}

/// A page as a proxy or a gateway makes them.
fn page(status: u16) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "text/html")
        .body(Body::from("<!DOCTYPE html>\n<html><body>\n<h1>Please sign in</h1>\n</body></html>"))
        .expect("response")
}
