//! Which containers are read: finds them by events and lists, keeps one task for each, hands controls to the tasks. Reads no
//! log itself.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::{ContainerSummaryStateEnum, EventMessage};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

use super::address::{Address, Environment};
use super::container::{Candidate, Descriptor, Exit};
use super::drain::ENGINE_WAIT;
use super::engine::{Engine, EngineError, Streamed};
use super::opening::{self, Ending, Found};
use super::own::Own;
use super::position::Position;
use super::reader::PAUSE_MAX;
use super::seen::Seen;
use super::signal::{Left, Signal, Target};
use super::stats::{AWAY_MAX, Gap, GapReason};
use super::{CONTAINERS_MAX, Error, FOLLOWS_MAX, READINGS_MAX, Setup, Shared};
use crate::buffer::LiveOrigin;
use crate::record::{Nanos, time};
use crate::source::{Control, Drained};

/// How often the engine is asked for all its containers, whatever the events said.
const RECONCILE: Duration = Duration::from_secs(30);

/// Events are asked for from this long before the list, in nanoseconds: what happens in between comes twice, not never.
const EVENTS_OVERLAP_NANOS: Nanos = 10_000_000_000;

/// First pause before an absent engine is asked again; the longest is [`PAUSE_MAX`].
const CONNECT_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// How long a drain waits for the engine's next event: those that are on their way.
const EVENTS_READY: Duration = Duration::from_millis(20);

/// A subscription to events that held this long ends any outage.
const STEADY: Duration = Duration::from_secs(10);

/// Signals that wait for one container's task; more hints than these are dropped, each asks for the same look.
const SIGNALS_MAX: usize = 16;

/// A container that was looked at.
enum Known {
    /// Not selected, or ourselves.
    Left,
    Read(mpsc::Sender<Signal>),
}

/// Result of a container's task, with the container's id.
type Ended = (String, Result<Ending, Error>);

struct Containers {
    shared: Arc<Shared>,
    address: Address,
    own: Own,
    /// Origins of earlier runs whose container has not been seen yet, by container.
    live: HashMap<String, Vec<LiveOrigin>>,
    known: HashMap<String, Known>,
    tasks: JoinSet<Ended>,
    task_of: HashMap<Id, String>,
    engine: Option<Engine>,
    /// The engine's data folder, where it can be read.
    data_folder: Option<PathBuf>,
    /// Containers of which a process was killed for want of memory in the present run.
    oom_killed: HashSet<String>,
    events: Option<Streamed<EventMessage>>,
    /// When events were last subscribed to or came, by our clock.
    heard: Option<Nanos>,
    /// When an absent engine is asked again, and the pause after that.
    retry: Instant,
    pause: Duration,
    /// When the present subscription to events began.
    subscribed: Instant,
    /// Since when the engine is away, or was never there.
    away: Instant,
    /// The outage has been told.
    told: bool,
    /// It has been told that there are too many containers.
    told_full: bool,
}

/// See [`super::run`].
pub(super) async fn run(setup: Setup) -> Result<(), Error> {
    let Setup { options, run, appender, live, mut control, stats, memory } = setup;
    let address = Address::of(&options.host, &Environment::read())?;
    let ingest = Arc::new(options.ingest.clone());
    let (follows, readings) = (Semaphore::new(FOLLOWS_MAX), Semaphore::new(READINGS_MAX));
    let seen = Mutex::new(Seen::load(memory));
    let shared = Arc::new(Shared { options, ingest, run, appender, stats, follows, readings, seen });
    let mut by_container: HashMap<String, Vec<LiveOrigin>> = HashMap::new();
    for origin in live {
        if let Some(descriptor) = Descriptor::decode(&origin.info.descriptor) {
            by_container.entry(descriptor.container).or_default().push(origin);
        }
    }
    let mut containers = Containers {
        shared,
        address,
        own: Own::read(),
        live: by_container,
        known: HashMap::new(),
        tasks: JoinSet::new(),
        task_of: HashMap::new(),
        engine: None,
        data_folder: None,
        oom_killed: HashSet::new(),
        events: None,
        heard: None,
        retry: Instant::now(),
        pause: CONNECT_PAUSE_FIRST,
        subscribed: Instant::now(),
        away: Instant::now(),
        told: false,
        told_full: false,
    };
    containers.run(&mut control).await
}

impl Containers {
    async fn run(&mut self, control: &mut mpsc::Receiver<Control>) -> Result<(), Error> {
        let mut reconcile = interval(RECONCILE);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reconcile.reset();
        loop {
            tokio::select! {
                asked = control.recv() => match asked {
                    None => return Ok(()),
                    Some(Control::Drain { settle, deadline, done }) => {
                        self.discover(deadline, Instant::now() + ENGINE_WAIT).await?;
                        let drained = drained(self.targets(settle, deadline), deadline);
                        tokio::spawn(async move { done.send(drained.await) });
                    }
                    Some(Control::Stop { settle, deadline, done }) => {
                        self.discover(deadline, self.patience_at_stop()).await?;
                        let drained = drained(self.targets(settle, deadline), deadline).await;
                        self.tasks.shutdown().await;
                        if done.send(drained).is_err() {
                            tracing::debug!("nobody waited for the stop");
                        }
                        return Ok(());
                    }
                },
                event = next_event(&mut self.events) => match event {
                    Ok(event) => {
                        self.heard = Some(time::now());
                        self.on_event(event);
                    }
                    Err(error) => self.on_events_end(&error),
                },
                () = sleep_until(self.retry), if self.events.is_none() => self.connect().await?,
                _ = reconcile.tick(), if self.events.is_some() => self.reconcile().await?,
                Some(ended) = self.tasks.join_next_with_id() => self.on_task_end(ended)?,
            }
        }
    }

    /// One attempt to reach the engine: subscribes first, then lists, so that nothing falls in between.
    async fn connect(&mut self) -> Result<(), Error> {
        let connected = self.try_connect().await;
        self.on_connected(connected).await
    }

    async fn on_connected(&mut self, connected: Result<String, EngineError>) -> Result<(), Error> {
        match connected {
            Ok(version) => {
                self.shared.stats.set_listening(true);
                if !self.shared.stats.engine_up.swap(true, Ordering::Relaxed) {
                    tracing::info!(address = %self.address, engine = version, "Docker engine reached");
                }
                self.subscribed = Instant::now();
                self.reconcile().await
            }
            Err(error) => {
                self.on_outage(&error);
                Ok(())
            }
        }
    }

    async fn try_connect(&mut self) -> Result<String, EngineError> {
        let engine = match &self.engine {
            Some(engine) => engine.clone(),
            None => Engine::new(&self.address, self.shared.options.variables())?,
        };
        let version = engine.version().await?;
        self.own.settle(&engine).await?;
        self.data_folder = data_folder(&engine).await?;
        let now = time::now();
        let from = match self.heard {
            // What it says of the moments before comes twice, not never.
            Some(heard) => heard.min(now) - EVENTS_OVERLAP_NANOS,
            None => self.shared.seen().since().map_or(now, |since| since.min(now)),
        };
        self.events = Some(engine.events(from));
        self.heard = Some(now);
        self.engine = Some(engine);
        Ok(version)
    }

    /// The engine stops, or something between cuts what is quiet. Only where that comes at once again is it an outage.
    fn on_events_end(&mut self, error: &EngineError) {
        if self.subscribed.elapsed() < STEADY {
            self.on_outage(error);
            return;
        }
        tracing::debug!(%error, "the engine's events ended");
        self.lose_events();
        self.told = false;
        self.pause = CONNECT_PAUSE_FIRST;
        self.retry = Instant::now();
    }

    fn lose_events(&mut self) {
        if self.events.take().is_some() {
            self.away = Instant::now();
        }
        self.shared.stats.set_listening(false);
    }

    fn on_outage(&mut self, error: &EngineError) {
        self.lose_events();
        self.shared.stats.engine_up.store(false, Ordering::Relaxed);
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(address = %self.address, %error, "no answer from the Docker engine: trying again until there is one");
        }
        self.retry = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Compares what the engine has with what is known, has every task look after its container.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let Some(engine) = self.engine.clone() else { return Ok(()) };
        let listed = match engine.list().await {
            Ok(listed) => listed,
            Err(error) => {
                self.on_outage(&error);
                return Ok(());
            }
        };
        self.shared.seen().note(time::now());
        let listed: Vec<(Candidate, bool)> = listed
            .into_iter()
            .filter_map(|summary| {
                let is_new = summary.state == Some(ContainerSummaryStateEnum::CREATED);
                Some((Candidate::of_summary(summary)?, is_new))
            })
            .collect();
        self.known.retain(|id, known| matches!(known, Known::Read(_)) || listed.iter().any(|(one, _)| one.id == *id));
        for known in self.known.values() {
            hint(known, Signal::Look);
        }
        for (candidate, is_new) in listed {
            self.ensure(candidate, false, is_new);
        }
        self.shared.stats.set_listed();
        self.end_unlisted(&engine).await
    }

    /// Ends the origins of earlier runs whose container the engine no longer has, or that is no longer selected.
    async fn end_unlisted(&mut self, engine: &Engine) -> Result<(), Error> {
        for (id, origins) in std::mem::take(&mut self.live) {
            if matches!(self.known.get(&id), Some(Known::Left)) {
                opening::end(&self.shared, origins).await?;
                continue;
            }
            match engine.inspect(&id).await {
                Ok(None) => opening::gone(&self.shared, &id, origins).await?,
                Ok(Some(_)) | Err(_) => drop(self.live.insert(id, origins)),
            }
        }
        Ok(())
    }

    /// Makes sure that a container is read where it is selected; `is_new`: it was created, and perhaps not started yet.
    fn ensure(&mut self, candidate: Candidate, is_new: bool, is_listed_new: bool) {
        if self.known.contains_key(&candidate.id) {
            return;
        }
        let Some(engine) = self.engine.clone() else { return };
        let id = candidate.id.clone();
        if self.own.is(&id) {
            self.known.insert(id, Known::Left);
            return;
        }
        if self.tasks.len() >= CONTAINERS_MAX {
            if !std::mem::replace(&mut self.told_full, true) {
                tracing::warn!(most = CONTAINERS_MAX, "too many containers: further ones wait until one is removed");
            }
            return;
        }
        let live = self.live.remove(&id).unwrap_or_default();
        let (sender, signals) = mpsc::channel(SIGNALS_MAX);
        let found = Found { candidate, is_new, is_listed_new, data_folder: self.data_folder.clone(), live };
        let (shared, task_id) = (Arc::clone(&self.shared), id.clone());
        let task = self.tasks.spawn(async move { (task_id, opening::read(shared, engine, found, signals).await) });
        self.task_of.insert(task.id(), id.clone());
        self.known.insert(id, Known::Read(sender));
    }

    fn on_event(&mut self, event: EventMessage) {
        let Some(actor) = event.actor else { return };
        let Some(id) = actor.id else { return };
        let (attributes, ended) = (actor.attributes.unwrap_or_default(), event.time_nano);
        let signal = match event.action.as_deref() {
            _ if self.shared.seen().is_accounted(&id) => return,
            Some(action @ ("create" | "start")) => {
                // One that came behind the end of the run before says nothing about this one.
                self.oom_killed.remove(&id);
                self.ensure(Candidate::of_event(id.clone(), attributes), action == "create", false);
                Signal::Started
            }
            Some("oom") => {
                self.oom_killed.insert(id);
                return;
            }
            Some("die" | "died") => {
                let exit = Exit {
                    started_at: String::new(),
                    ended,
                    code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
                    oom_killed: self.oom_killed.remove(&id),
                };
                // One that was never heard of may have come and gone while nobody listened.
                self.ensure(Candidate::of_event(id.clone(), attributes), false, false);
                Signal::Died(exit)
            }
            _ => {
                self.ensure(Candidate::of_event(id.clone(), attributes), false, false);
                Signal::Look
            }
        };
        if let Some(known) = self.known.get(&id) {
            hint(known, signal);
        }
    }

    fn on_task_end(&mut self, ended: Result<(Id, Ended), JoinError>) -> Result<(), Error> {
        match ended {
            Ok((task, (id, result))) => {
                self.task_of.remove(&task);
                self.known.remove(&id);
                self.told_full = false;
                if let Ending::NotSelected = result? {
                    self.known.insert(id, Known::Left);
                }
                Ok(())
            }
            Err(error) => {
                // Never expected. What it had taken up stands in the log, which only a new start can tell: so this ends.
                let id = self.task_of.remove(&error.id()).unwrap_or_default();
                tracing::error!(id, %error, "the task of a container failed");
                Err(Error::Task(error.to_string()))
            }
        }
    }

    /// Until when a stop waits for an engine that is away. Where its files can be read they have what it did not send, and
    /// time is short: it stops before us when the machine goes down.
    fn patience_at_stop(&self) -> Instant {
        match self.data_folder {
            Some(_) => self.away + AWAY_MAX,
            None => Instant::now() + ENGINE_WAIT,
        }
    }

    /// The last discovery of a drain. An engine that is away gets a moment to answer.
    async fn discover(&mut self, deadline: Option<Instant>, patience: Instant) -> Result<(), Error> {
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        while self.events.is_none() && Instant::now() < until {
            sleep_until(self.retry.min(until)).await;
            // A socket that systemd listens at while the engine is down takes the request and answers nothing.
            match timeout_at(until, self.try_connect()).await {
                Ok(connected) => self.on_connected(connected).await?,
                Err(_) => break,
            }
        }
        if self.events.is_none() {
            return Ok(());
        }
        // What the engine has said already, exits above all.
        while let Ok(Ok(event)) = timeout(EVENTS_READY, next_event(&mut self.events)).await {
            self.on_event(event);
        }
        self.reconcile().await
    }

    /// Tells every task its target.
    fn targets(&self, settle: Duration, deadline: Option<Instant>) -> Vec<impl Future<Output = Left> + use<>> {
        let senders = self.known.values().filter_map(|known| match known {
            Known::Read(sender) => Some(sender.clone()),
            Known::Left => None,
        });
        let told = senders.map(|sender| async move {
            let (done, left) = oneshot::channel();
            // A task that has ended meanwhile has nothing left.
            if sender.send(Signal::Drain(Target { settle, deadline, done })).await.is_err() {
                return Left::default();
            }
            left.await.unwrap_or_default()
        });
        told.collect()
    }
}

/// Waits for all targets, until the deadline. What did not answer by then counts as one byte left: how many it is, is unknown.
async fn drained(targets: Vec<impl Future<Output = Left>>, deadline: Option<Instant>) -> Drained {
    let mut open = targets.len() as u64;
    let mut waiting: FuturesUnordered<_> = targets.into_iter().collect();
    let mut sum = Drained::default();
    let answers = async {
        while let Some(left) = waiting.next().await {
            open -= 1;
            sum.origins += left.origins;
            sum.left_bytes += left.bytes;
        }
    };
    match deadline {
        // The tasks give up at the deadline themselves and answer right after it.
        Some(deadline) => {
            if timeout_at(deadline + ANSWER_GRACE, answers).await.is_err() {
                tracing::warn!(containers = open, "the deadline passed before these containers' logs were taken up");
            }
        }
        None => answers.await,
    }
    sum.left_bytes += open;
    sum
}

/// How long after the deadline the tasks' answers are waited for.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// Tells a task without waiting: where its queue is full it has a look ahead of it anyway.
fn hint(known: &Known, signal: Signal) {
    if let Known::Read(sender) = known
        && let Err(error) = sender.try_send(signal)
    {
        tracing::trace!(%error, "hint dropped");
    }
}

/// The next event; never, where there is no subscription.
async fn next_event(events: &mut Option<Streamed<EventMessage>>) -> Result<EventMessage, EngineError> {
    match events {
        None => pending().await,
        Some(stream) => match stream.next().await {
            Some(event) => event,
            None => Err(EngineError::Unreachable("the engine ended its events".to_owned())),
        },
    }
}

/// Notes that lines of a container may be missing that was removed while nobody listened.
pub(super) fn note_gone(shared: &Shared, id: &str, origins: &mut [LiveOrigin]) {
    for origin in origins.iter_mut().filter(|origin| !origin.ended) {
        let position = Position::decode(&origin.position).unwrap_or_default();
        if position.at_end {
            continue;
        }
        let after = position.anchor.map(|anchor| anchor.time);
        let stream = Descriptor::decode(&origin.info.descriptor).and_then(|descriptor| descriptor.stream);
        tracing::warn!(
            id,
            stream = stream.map(super::Stream::name),
            after = after.map(time::rfc3339),
            "the container was removed while nobody listened: lines may be missing"
        );
        origin.counters.count_gap(GapReason::Gone.kind(), 0);
        let gap = Gap { container: id.to_owned(), name: String::new(), stream, reason: GapReason::Gone, after };
        shared.stats.add_gap(gap);
    }
}

/// The engine's data folder, where it is ours to read. An engine behind a proxy may not say.
async fn data_folder(engine: &Engine) -> Result<Option<PathBuf>, EngineError> {
    if !engine.is_local() {
        return Ok(None);
    }
    match engine.data_folder().await {
        Ok(folder) => Ok(folder.filter(|folder| std::fs::read_dir(folder.join("containers")).is_ok())),
        Err(EngineError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
