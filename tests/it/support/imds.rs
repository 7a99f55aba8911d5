//! An imitation of Azure's instance metadata service: instance document, scheduled events with their approval, and the
//! identity endpoint, which it passes on to [`AzureServer`]. As strict as the real one is documented to be; it knows
//! nothing of logferry.
//!
//! Documented: `Metadata: true` and no `X-Forwarded-For`, else 400; 400 with `newest-versions` for a wrong api-version; 405
//! for other methods; 5 requests a second, then 429; events change their incarnation, begin at their time or when they are
//! approved, and vanish. Texts of errors, and 400 for the approval of an event that is not there, are plausible, not
//! documented; nothing may depend on them.

#![allow(dead_code, reason = "each test uses some of it")]

#[cfg(test)]
mod contract;
mod events;
mod serve;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::azure::AzureServer;
use super::http1::Request;
use super::network::{IMDS_ADDRESS, Network};
pub use events::Announced;
use events::Events;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Instance,
    /// `GET` of scheduled events.
    Events,
    /// `POST` of approvals.
    Approval,
    Identity,
}

/// What a request meets instead of (or before) being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status in IMDS's words; `Retry-After` in whole seconds.
    Status(u16, Option<Duration>),
    /// A web page, as a captive portal has it.
    Html(u16),
    /// A redirect to this address.
    Redirect(String),
    /// 200 with this body as JSON.
    Body(Vec<u8>),
    /// It is served this much later.
    Delay(Duration),
    /// The connection ends without an answer.
    Drop,
    /// Head and first bytes of an answer, then nothing.
    Stall,
    /// Nothing happens, ever.
    Hang,
}

/// All that happened, from the server's side.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Each request that was read whole, with its target (`None`: no path of IMDS), in order of arrival.
    pub requests: Vec<(Option<Target>, Request)>,
    /// Status of each answer; requests that got none are missing.
    pub answers: Vec<(Option<Target>, u16)>,
    /// Ids of approved events, with the time since the server began, each approval one.
    pub approvals: Vec<(String, Duration)>,
}

impl Ledger {
    pub fn asked(&self, target: Target) -> usize {
        self.requests.iter().filter(|(asked, _)| *asked == Some(target)).count()
    }

    pub fn answered(&self, target: Target, status: u16) -> usize {
        self.answers.iter().filter(|answer| **answer == (Some(target), status)).count()
    }

    pub fn approved(&self) -> Vec<&str> {
        self.approvals.iter().map(|(id, _)| id.as_str()).collect()
    }
}

/// A running imitation; it ends when this is dropped.
pub struct ImdsServer {
    /// `http://IP:PORT`
    pub base: String,
    service: Arc<Service>,
    changed: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Service {
    begun: Instant,
    /// `IP:PORT` that gets the requests for tokens; `None`: the VM has no identity.
    identity: Option<String>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

struct State {
    ledger: Ledger,
    compute: Value,
    events: Events,
    /// How long the first request for events takes.
    first_events: Duration,
    faults: Vec<(Target, VecDeque<Fault>)>,
    /// Every request for this target that has no other fault, until then.
    outages: Vec<(Target, Fault, Option<Instant>)>,
    /// Times of the last requests, for the limit.
    recent: VecDeque<Instant>,
    is_limited: bool,
}

/// What IMDS says of the VM `name` without tags and scale set.
pub fn compute(name: &str) -> Value {
    let group = "/subscriptions/11111111-0000-4000-8000-000000000001/resourceGroups/runs";
    json!({
        "azEnvironment": "AzurePublicCloud",
        "evictionPolicy": "",
        "location": "westeurope",
        "name": name,
        "osProfile": {"adminUsername": "azureuser", "computerName": format!("{name}-host")},
        "osType": "Linux",
        "priority": "",
        "provider": "Microsoft.Compute",
        "resourceGroupName": "runs",
        "resourceId": format!("{group}/providers/Microsoft.Compute/virtualMachines/{name}"),
        "subscriptionId": "11111111-0000-4000-8000-000000000001",
        "tags": "",
        "tagsList": [],
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "vmScaleSetName": "",
        "vmSize": "Standard_D2s_v5",
        "zone": "",
    })
}

/// Adds a tag, in both forms that IMDS has.
pub fn with_tag(mut compute: Value, name: &str, value: &str) -> Value {
    let tags = compute["tags"].as_str().unwrap_or_default().to_owned();
    let between = if tags.is_empty() { "" } else { ";" };
    compute["tags"] = format!("{tags}{between}{name}:{value}").into();
    compute["tagsList"].as_array_mut().expect("a list").push(json!({"name": name, "value": value}));
    compute
}

impl ImdsServer {
    /// Listens on a free loopback port; no identity.
    pub fn start(compute: Value) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("a free port"), compute, None)
    }

    /// Listens at the address of IMDS in this network. `identity` gives the tokens; it must have been started there too.
    pub fn start_in(network: &Network, compute: Value, identity: Option<&AzureServer>) -> Self {
        let identity = identity.map(|server| server.authority.trim_start_matches("http://").to_owned());
        network.enter(|| {
            let listener = TcpListener::bind((IMDS_ADDRESS, 80)).expect("the address is on the loopback device");
            Self::serve(listener, compute, identity)
        })
    }

    fn serve(listener: TcpListener, compute: Value, identity: Option<String>) -> Self {
        listener.set_nonblocking(true).expect("non-blocking");
        let address: SocketAddr = listener.local_addr().expect("address");
        let (changes, changed) = watch::channel(0);
        let service = Arc::new(Service {
            begun: Instant::now(),
            identity,
            state: Mutex::new(State {
                ledger: Ledger::default(),
                compute,
                events: Events::default(),
                first_events: Duration::ZERO,
                faults: Vec::new(),
                outages: Vec::new(),
                recent: VecDeque::new(),
                is_limited: true,
            }),
            changes,
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let service = service.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve::listen(listener, service) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        ImdsServer { base: format!("http://{address}"), service, changed, stop: Some(stop), thread: Some(thread) }
    }

    /// Announces an event; its incarnation counts.
    pub fn announce(&self, event: Announced) {
        self.service.lock().events.announce(event);
    }

    /// The event of this id is altered: its time, or the VMs that it names.
    pub fn replace(&self, event: Announced) {
        self.service.lock().events.replace(event);
    }

    /// The event is over or called off.
    pub fn withdraw(&self, id: &str) {
        self.service.lock().events.withdraw(id);
    }

    /// The event begins, whatever its time.
    pub fn begin(&self, id: &str) {
        self.service.lock().events.begin(id);
    }

    pub fn set_compute(&self, compute: Value) {
        self.service.lock().compute = compute;
    }

    /// The first request for events that is served takes so long.
    pub fn set_first_events(&self, time: Duration) {
        self.service.lock().first_events = time;
    }

    /// Without the limit of 5 requests a second, which a new server has.
    pub fn set_unlimited(&self) {
        self.service.lock().is_limited = false;
    }

    /// The next request for this that has no fault yet meets this one.
    pub fn fault(&self, target: Target, fault: Fault) {
        let mut state = self.service.lock();
        match state.faults.iter_mut().find(|(known, _)| *known == target) {
            Some((_, queue)) => queue.push_back(fault),
            None => state.faults.push((target, VecDeque::from([fault]))),
        }
    }

    /// Every request for this meets this fault from now on, for so long (410 for 70 s); `None`: until [`Self::recover`].
    pub fn outage(&self, target: Target, fault: Fault, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        self.service.lock().outages.push((target, fault, until));
    }

    /// No more faults.
    pub fn recover(&self) {
        let mut state = self.service.lock();
        state.faults.clear();
        state.outages.clear();
    }

    /// Looks at the ledger without copying it.
    pub fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.service.lock().ledger)
    }

    /// Since the server began, as the times of approvals are.
    pub fn elapsed(&self) -> Duration {
        self.service.begun.elapsed()
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
            panic!("waited {limit:?} for {what}: {:?}", self.read(|l| (l.answers.clone(), l.approvals.clone())));
        }
    }
}

impl Drop for ImdsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one here would abort the test run.
            let _ = thread.join();
        }
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the ledger and wakes those who wait for it.
    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.lock().ledger);
        self.changes.send_modify(|count| *count += 1);
    }
}
