//! Follows what Azure announces about this VM, and acts on it: a drain while reading goes on, then the approval. What an
//! event means is decided in [`crate::azure::scheduled_events`], how a drain goes in [`super::drain`]; here both meet.
//!
//! - Nothing waits for it: IMDS may be slow, ill or absent, and the pipeline runs all the same.
//! - It never ends the daemon: an announced end comes by a signal like any other.
//! - A drain that was not whole at its deadline writes its manifest, and goes on without one for as long as the event is
//!   announced: a VM that still lives can still deliver.

mod board;
mod drain;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::drain::Drainer;
use crate::azure::imds::{Client, Event, EventKind, ImdsError, ScheduledEvents};
use crate::azure::moment::Moment;
use crate::azure::scheduled_events::{self, Change, Decider, Stance, State, What};
use crate::source::announced::{Said, Told, What as Became};
pub(super) use board::Board;

/// From the start of one poll to that of the next; Azure recommends it, and allows 5 requests a second.
const POLL: Duration = Duration::from_secs(1);

/// Longest pause between polls while IMDS is ill, unless it asks for a longer one; the pause doubles up to it.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest pause that IMDS may ask for: a preemption has 30 s.
const POLL_ASKED_MAX: Duration = Duration::from_secs(15);

/// Pauses before IMDS is asked again which VM this is: the first, doubled up to the longest; and where something else
/// answers.
const NAMES_PAUSE_FIRST: Duration = Duration::from_secs(1);
const NAMES_PAUSE_MAX: Duration = Duration::from_secs(30);
const NAMES_PAUSE_NOT_AZURE: Duration = Duration::from_secs(60);

/// A drain is given this long even where its time has passed: it may be enough, and the VM may live longer than announced.
const LEAST: Duration = Duration::from_secs(3);

/// A drain is not begun anew for a deadline that is earlier by less than this.
const DEADLINE_TOLERANCE: Duration = Duration::from_secs(1);

/// Pause before an approval that was not taken is sent again.
const APPROVE_PAUSE: Duration = Duration::from_secs(5);

/// Messages to the source of records; further ones are dropped, and said in the log.
pub(super) const TOLD_QUEUE: usize = 256;

/// What is asked of Azure, and what is done about its answers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where IMDS is.
    pub imds: Url,
    /// Kinds of events that are drained for.
    pub kinds: Vec<EventKind>,
    /// Whether an event is let begin once this VM is done; else it begins at its time.
    pub approve: bool,
    /// Be done this long before an event may begin.
    pub margin: Duration,
    /// Most time for the drain where an event gives no time.
    pub deadline: Duration,
}

/// What the task needs.
pub(super) struct Setup {
    pub options: Options,
    /// By which names events can mean this VM; empty: IMDS has to be asked.
    pub names: Vec<String>,
    pub client: Arc<Client>,
    pub drainer: Drainer,
    pub board: Arc<Board>,
    /// To the source that makes records.
    pub told: mpsc::Sender<Told>,
}

/// Until the pipeline is stopping.
pub(super) async fn run(mut setup: Setup) {
    let drainer = setup.drainer.clone();
    let follow = async {
        let names = match std::mem::take(&mut setup.names) {
            known if known.is_empty() => names(&setup.client, &setup.board).await,
            known => known,
        };
        tracing::info!(vm = names.first(), "announced events of this VM are looked for once a second");
        let (kinds, margin) = (setup.options.kinds.clone(), setup.options.margin);
        let decider = Decider::new(scheduled_events::Options { names, kinds, margin });
        let follower = Follower {
            setup,
            decider,
            known: Vec::new(),
            work: None,
            approving: Vec::new(),
            drain: None,
            fault: None,
            unreadable: Vec::new(),
        };
        follower.follow().await;
    };
    tokio::select! {
        biased;
        () = drainer.stopped() => {}
        () = follow => {}
    }
}

/// The names by which events can mean this VM. Asked for again and again: without them events of others cannot be told
/// from its own.
async fn names(client: &Client, board: &Board) -> Vec<String> {
    let mut pause = NAMES_PAUSE_FIRST;
    let mut is_told = false;
    loop {
        let (fault, wait) = match client.instance().await {
            Ok(instance) => {
                let names = instance.event_names();
                if !names.is_empty() {
                    board.set_fault(None);
                    return names;
                }
                ("IMDS gives this VM no name".to_owned(), NAMES_PAUSE_NOT_AZURE)
            }
            Err(error) if error.may_pass() => {
                (error.to_string(), error.retry_after().map_or(pause, |at| at.max(pause)))
            }
            Err(error) => (error.to_string(), NAMES_PAUSE_NOT_AZURE),
        };
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                fault,
                "Azure's announcements cannot be followed: it is not known which VM this is; IMDS is asked again"
            );
        }
        board.set_fault(Some(fault));
        sleep(wait).await;
        pause = (pause * 2).min(NAMES_PAUSE_MAX);
    }
}

/// What is under way beside the polls.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// How it ended.
enum Done {
    /// All is delivered, and no selected container ran then.
    Delivered,
    /// The approval of these events was taken, or not.
    Approved(Vec<String>, Result<(), ImdsError>),
    /// A container has been started since all was delivered.
    NotIdle,
}

/// A poll; gives when it began, too.
type Polled = Pin<Box<dyn Future<Output = (Instant, Result<ScheduledEvents, ImdsError>)> + Send>>;

/// An event that was announced, for what is said of it later.
struct Since {
    id: String,
    at: Instant,
}

/// The drain that is under way, or over, for events that are still announced.
struct Drain {
    /// What it is for.
    ids: Vec<String>,
    deadline: Instant,
}

struct Follower {
    setup: Setup,
    decider: Decider,
    known: Vec<Since>,
    work: Option<Work>,
    /// The events whose approval that is; empty: it is a drain, or a pause.
    approving: Vec<String>,
    drain: Option<Drain>,
    /// Polls fail since.
    fault: Option<Instant>,
    /// What could not be read of the last document.
    unreadable: Vec<String>,
}

/// How long polls pause.
struct Pause(Duration);

impl Pause {
    /// After a poll that was not answered with a document: doubled each time, as long as IMDS asks for at least.
    fn after_fault(&mut self, error: &ImdsError) -> Duration {
        let asked = error.retry_after().map_or(self.0, |asked| asked.min(POLL_ASKED_MAX).max(self.0));
        self.0 = (self.0 * 2).min(POLL_PAUSE_MAX);
        asked
    }
}

impl Follower {
    async fn follow(mut self) {
        let mut pause = Pause(POLL);
        // One poll goes on whatever else happens: the first one may take two minutes.
        let mut polled = self.poll(Instant::now());
        loop {
            tokio::select! {
                (begun, answer) = &mut polled => {
                    let next = match answer {
                        Ok(document) => {
                            pause = Pause(POLL);
                            self.on_document(&document);
                            begun + POLL
                        }
                        Err(error) => {
                            self.on_fault(&error);
                            Instant::now() + pause.after_fault(&error)
                        }
                    };
                    polled = self.poll(next);
                }
                done = finished(&mut self.work) => self.on_done(done),
            }
            self.show();
        }
    }

    fn poll(&self, at: Instant) -> Polled {
        let client = Arc::clone(&self.setup.client);
        Box::pin(async move {
            sleep_until(at).await;
            (Instant::now(), client.scheduled_events().await)
        })
    }

    fn on_document(&mut self, document: &ScheduledEvents) {
        if let Some(since) = self.fault.take() {
            tracing::info!(after_s = since.elapsed().as_secs_f64(), "IMDS answers again what is announced");
            self.setup.board.set_fault(None);
        }
        let now = Moment::now();
        let changes = self.decider.polled(document, now);
        for reason in document.unreadable.iter().filter(|reason| !self.unreadable.contains(reason)) {
            tracing::warn!(reason, "an announced event cannot be read");
        }
        self.unreadable.clone_from(&document.unreadable);
        for change in &changes {
            self.tell(change);
        }
        self.follow_state(now);
    }

    fn on_fault(&mut self, error: &ImdsError) {
        if self.fault.is_none() {
            tracing::warn!(%error, "IMDS does not answer what is announced; it is asked again and again");
            self.fault = Some(Instant::now());
        }
        self.setup.board.set_fault(Some(error.to_string()));
    }

    /// Begins, keeps or ends the drain, as the announced events want it.
    fn follow_state(&mut self, now: Moment) {
        if self.approving.iter().any(|id| !self.decider.is_alone(id)) {
            // An approval that is still sent again would hold for another VM by now, or for nothing.
            self.approving.clear();
            self.work = None;
        }
        let State::Draining { deadline } = self.decider.state() else {
            if self.drain.take().is_some() {
                let broken_off = self.work.take().is_some();
                tracing::info!(broken_off, "nothing is drained for any more; reading and delivery go on");
            }
            return;
        };
        let ids: Vec<String> = drained(&self.decider).map(|event| event.id.clone()).collect();
        let known = self.drain.as_ref().filter(|drain| ids.iter().all(|id| drain.ids.contains(id)));
        let at = match (deadline, known) {
            (Some(deadline), _) => Instant::now() + deadline.saturating_sub(now.boot),
            // It begins with the first event that gives no time.
            (None, Some(drain)) => drain.deadline,
            (None, None) => Instant::now() + self.setup.options.deadline,
        };
        let at = at.max(Instant::now() + LEAST);
        let wants = match known {
            None => true,
            // It is under way. What is approved right now may be seen to have begun before the answer is.
            Some(drain) if self.work.is_some() => self.approving.is_empty() && at + DEADLINE_TOLERANCE < drain.deadline,
            // It named another VM too, and does not any more.
            Some(_) => self.setup.options.approve && !self.decider.approvable().is_empty(),
        };
        if wants {
            tracing::warn!(
                events = ids.join(" "),
                deadline_s = at.saturating_duration_since(Instant::now()).as_secs_f64(),
                "draining for what Azure announces, while reading goes on"
            );
            self.begin(ids, at);
        }
    }

    fn begin(&mut self, ids: Vec<String>, deadline: Instant) {
        self.drain = Some(Drain { ids, deadline });
        self.approving.clear();
        let (drainer, told) = (self.setup.drainer.clone(), self.setup.told.clone());
        self.work = Some(Box::pin(async move {
            drain::settle(&told).await;
            drain::drain(&drainer, deadline).await;
            Done::Delivered
        }));
    }

    fn on_done(&mut self, done: Done) {
        self.work = None;
        self.approving.clear();
        match done {
            Done::Delivered => {
                let ids = self.decider.approvable();
                if !self.setup.options.approve || ids.is_empty() {
                    let why = if self.setup.options.approve {
                        "no event waits for this VM alone"
                    } else {
                        "teardown.approve is \"never\""
                    };
                    tracing::info!(why, "all is delivered for what Azure announces; nothing is approved");
                    return;
                }
                self.approve(ids);
            }
            Done::Approved(ids, Ok(())) => {
                self.decider.approved(&ids);
                self.tell_approved(&ids);
            }
            Done::Approved(_, Err(error)) => {
                tracing::warn!(%error, "the event is not approved; this is tried again until it begins");
                self.work = Some(Box::pin(async {
                    sleep(APPROVE_PAUSE).await;
                    Done::Delivered
                }));
            }
            Done::NotIdle => {
                tracing::info!("a container was started before the event could be approved: draining goes on");
                if let Some(Drain { ids, deadline }) = self.drain.take() {
                    self.begin(ids, deadline.max(Instant::now() + LEAST));
                }
            }
        }
    }

    fn approve(&mut self, ids: Vec<String>) {
        self.approving.clone_from(&ids);
        let (client, drainer) = (Arc::clone(&self.setup.client), self.setup.drainer.clone());
        self.work = Some(Box::pin(async move {
            tokio::select! {
                biased;
                () = drain::busy(&drainer) => Done::NotIdle,
                approved = client.approve(&ids) => Done::Approved(ids, approved),
            }
        }));
    }

    /// Says a change in our own log and as a record.
    fn tell(&mut self, change: &Change) {
        let Change { what, event, drains } = change;
        let (kind, id, not_before) = (event.event_type.as_str(), event.id.as_str(), event.not_before_text.as_str());
        let when = if not_before.is_empty() { String::new() } else { format!(", not before {not_before}") };
        let (became, message) = match what {
            What::Appeared => (Became::Announced, format!("Azure announces {kind} of this VM{when}")),
            What::Altered => (Became::Altered, format!("Azure has altered the announced {kind} of this VM{when}")),
            What::Started => (Became::Started, format!("the announced {kind} of this VM has begun")),
            What::Disappeared => (Became::Over, format!("the announced {kind} of this VM is over or was called off")),
        };
        match what {
            What::Appeared => {
                self.setup.board.count(event.kind);
                self.known.push(Since { id: id.to_owned(), at: Instant::now() });
            }
            What::Disappeared => self.known.retain(|since| since.id != id),
            What::Altered | What::Started => {}
        }
        let level = if *drains && *what != What::Disappeared { "WARNING" } else { "INFO" };
        if level == "WARNING" {
            tracing::warn!(id, drains, "{message}");
        } else {
            tracing::info!(id, drains, "{message}");
        }
        let mut fields = event.fields();
        fields.insert("Drains".to_owned(), (*drains).into());
        self.say(Said { what: became, id: id.to_owned(), level, message, fields });
    }

    fn tell_approved(&mut self, ids: &[String]) {
        let approved: Vec<Event> = self
            .decider
            .events()
            .filter(|(event, _)| ids.contains(&event.id))
            .map(|(event, _)| event.clone())
            .collect();
        for event in approved {
            let since = self.known.iter().find(|since| since.id == event.id);
            let after = since.map_or(Duration::ZERO, |since| since.at.elapsed());
            let message = format!(
                "the announced {} of this VM is approved: all was delivered {:.3} s after it was announced",
                event.event_type,
                after.as_secs_f64()
            );
            tracing::info!(id = event.id, after_s = after.as_secs_f64(), "{message}");
            let mut fields = event.fields();
            fields.insert("AfterSeconds".to_owned(), after.as_secs_f64().into());
            self.say(Said { what: Became::Approved, id: event.id, level: "INFO", message, fields });
        }
    }

    fn say(&self, said: Said) {
        if self.setup.told.try_send(Told::Say(said)).is_err() {
            tracing::warn!("no record is made of this: the buffer takes nothing");
        }
    }

    fn show(&self) {
        let state = match (self.decider.state(), &self.work) {
            (State::Nothing, _) => "nothing",
            (State::Draining { .. }, Some(_)) => "draining",
            (State::Draining { .. }, None) => "delivered",
            (State::Approved, _) => "approved",
        };
        let deadline = self.drain.as_ref().map(|drain| drain.deadline);
        // Where no event gives a time, it is our own.
        let is_given = matches!(self.decider.state(), State::Draining { deadline: Some(_) });
        self.setup.board.show(state, deadline, is_given, self.decider.events());
    }
}

/// Events that are drained for and not approved.
fn drained(decider: &Decider) -> impl Iterator<Item = &Event> {
    decider.events().filter(|(_, stance)| *stance == Stance::Drained).map(|(event, _)| event)
}

async fn finished(work: &mut Option<Work>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_of_imds_of_seventy_seconds_is_outlasted_by_five_at_most() {
        let check = |retry_after: Option<Duration>, polls: usize, longest: Duration| {
            let (address, reason) = ("a".to_owned(), "b".to_owned());
            let error = ImdsError::Refused { address, status: 410, reason, retry_after };
            let (mut pause, mut passed, mut asked) = (Pause(POLL), Duration::ZERO, 1);
            while passed < Duration::from_secs(70) {
                passed += pause.after_fault(&error);
                asked += 1;
            }
            assert!(passed <= Duration::from_secs(70) + longest, "{passed:?}");
            assert_eq!(asked, polls, "{retry_after:?}");
        };
        check(None, 17, POLL_PAUSE_MAX);
        check(Some(Duration::from_millis(1)), 17, POLL_PAUSE_MAX);
        check(Some(Duration::from_secs(3_600)), 6, POLL_ASKED_MAX);
    }
}
