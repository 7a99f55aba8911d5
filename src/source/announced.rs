//! What is announced about this VM, as records: an origin of its own, made when there is something to say. It asks nobody
//! and decides nothing; what is said, and when, is told to it.
//!
//! Its position in the log is the ids of the events that were recorded and are not over, so that one that outlasts a
//! restart is recorded once.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::RunColumns;
use crate::buffer::{Appender, LiveOrigin, OriginInfo, Section};
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::{self, Ansi, Flush, Ingest, Multiline, Parser};
use crate::record::{Constants, Counters, OriginId, Rule, time};

/// Column Source, and LoggerName; no source of the user's can have this name.
pub const SOURCE: &str = "azure.scheduled_events";

/// EventType of the record of an event. What becomes of the event has this with a word behind it: see [`What`].
pub const EVENT: &str = "azure.scheduled_event";

/// Marks our origin in the log.
const DESCRIPTOR: &[u8] = b"azure.scheduled_events";

/// Most ids that the position holds; a VM has one or two events at a time. The oldest are forgotten.
const IDS_MAX: usize = 64;

/// Whether an origin of the log is ours.
pub fn owns(descriptor: &[u8]) -> bool {
    descriptor == DESCRIPTOR
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Announced,
    Altered,
    Started,
    Approved,
    Over,
}

impl What {
    fn event_type(self) -> String {
        let word = match self {
            What::Announced => return EVENT.to_owned(),
            What::Altered => "altered",
            What::Started => "started",
            What::Approved => "approved",
            What::Over => "over",
        };
        format!("{EVENT}.{word}")
    }
}

/// One record to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub what: What,
    /// Id of the event.
    pub id: String,
    /// INFO or WARNING.
    pub level: &'static str,
    pub message: String,
    /// Stands in `Fields`.
    pub fields: Map<String, Value>,
}

/// What the source is asked to do.
#[derive(Debug)]
pub enum Told {
    Say(Said),
    /// Answered when all that was said before stands in the buffer's queue.
    Settle(oneshot::Sender<()>),
}

/// What the source needs.
#[derive(Debug)]
pub struct Setup {
    pub run: RunColumns,
    /// By route bit: what each sink gets.
    pub routes: Arc<[Option<Rule>]>,
    pub redactor: Arc<Redactor>,
    pub metrics: Arc<Metrics>,
    pub appender: Appender,
    /// Origins of the log at start; ours are taken out of it by [`owns`].
    pub live: Vec<LiveOrigin>,
}

/// Makes records until nobody can ask for more, or the buffer has stopped. Waits where the buffer is full.
pub async fn run(setup: Setup, mut told: mpsc::Receiver<Told>) {
    let Setup { run, routes, redactor, metrics, appender, live } = setup;
    let mut chronicle = Chronicle { run, routes, redactor, metrics, origin: None, ids: Vec::new() };
    let mut sections = chronicle.resume(live);
    loop {
        for section in sections.drain(..) {
            if appender.append(section).await.is_err() {
                return;
            }
        }
        match told.recv().await {
            None => return,
            // Who asked may have stopped to wait.
            Some(Told::Settle(done)) => drop(done.send(())),
            Some(Told::Say(said)) => match chronicle.say(&said, time::now()) {
                Ok(section) => sections.extend(section),
                Err(error) => tracing::error!(%error, "no record of an announced event without random numbers"),
            },
        }
    }
}

struct Chronicle {
    run: RunColumns,
    routes: Arc<[Option<Rule>]>,
    redactor: Arc<Redactor>,
    metrics: Arc<Metrics>,
    origin: Option<Ingest>,
    /// Events that are recorded and not over, oldest first.
    ids: Vec<String>,
}

impl Chronicle {
    /// Goes on with the origin that the log holds, where it is of the same run and VM; others end.
    fn resume(&mut self, live: Vec<LiveOrigin>) -> Vec<Section> {
        let mut ended = Vec::new();
        for origin in live.into_iter().filter(|origin| owns(&origin.info.descriptor) && !origin.ended) {
            let constants = self.constants(origin.info.id);
            if self.origin.is_none() && constants.members() == origin.info.constants {
                self.ids = serde_json::from_slice(&origin.position).unwrap_or_default();
                self.origin = Some(self.ingest(origin.info, constants, origin.counters));
                continue;
            }
            let position = origin.position.clone();
            let constants = Constants::from_members(&origin.info.constants);
            ended.extend(self.ingest(origin.info, constants, origin.counters).section(position, true));
        }
        ended
    }

    /// The section with the record; `None`: it is recorded already.
    fn say(&mut self, said: &Said, now: i64) -> io::Result<Option<Section>> {
        let is_known = self.ids.contains(&said.id);
        match said.what {
            What::Announced if is_known => return Ok(None),
            What::Announced => {
                let excess = (self.ids.len() + 1).saturating_sub(IDS_MAX);
                self.ids.drain(..excess);
                self.ids.push(said.id.clone());
            }
            What::Over => self.ids.retain(|id| *id != said.id),
            What::Altered | What::Started | What::Approved => {}
        }
        let mut origin = match self.origin.take() {
            Some(origin) => origin,
            None => {
                let id = OriginId::random()?;
                let constants = self.constants(id);
                let info = OriginInfo { id, descriptor: DESCRIPTOR.to_vec(), constants: constants.members().to_vec() };
                self.ingest(Arc::new(info), constants, Counters::default())
            }
        };
        origin.feed(line(said, now).as_bytes(), &now, Flush::All);
        let position = serde_json::to_vec(&self.ids).unwrap_or_default();
        let section = origin.section(position, false);
        self.origin = Some(origin);
        Ok(section)
    }

    fn constants(&self, id: OriginId) -> Constants {
        let own = [("Source".to_owned(), SOURCE.to_owned()), ("Origin".to_owned(), id.to_string())];
        self.redactor.columns(self.run.0.iter().cloned().chain(own))
    }

    fn ingest(&self, info: Arc<OriginInfo>, constants: Constants, counters: Counters) -> Ingest {
        // The lines are our own, which no rule leaves out; a description in them is not.
        let options = ingest::Options {
            parser: Parser::Json,
            ansi: Ansi::Keep,
            multiline: Multiline::None,
            routes: Arc::clone(&self.routes),
            redactor: Arc::clone(&self.redactor),
            metrics: Arc::clone(&self.metrics),
            ..ingest::Options::default()
        };
        // Every byte of the stream was recorded, so its length says where it goes on.
        let position = counters.bytes;
        Ingest::new(Arc::new(options), info, constants, position, counters).with_default_logger(SOURCE.to_owned())
    }
}

/// The line that becomes the record.
fn line(said: &Said, now: i64) -> String {
    let mut line = said.fields.clone();
    line.insert("timestamp".to_owned(), time::rfc3339(now).into());
    line.insert("level".to_owned(), said.level.into());
    line.insert("event_type".to_owned(), said.what.event_type().into());
    line.insert("message".to_owned(), said.message.as_str().into());
    Value::Object(line).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_123_456_789;

    fn chronicle(run_id: &str) -> Chronicle {
        let run = RunColumns(vec![("RunID".to_owned(), run_id.to_owned())]);
        let (redactor, metrics) = (Arc::default(), Arc::default());
        Chronicle { run, routes: Arc::new([None]), redactor, metrics, origin: None, ids: Vec::new() }
    }

    fn said(what: What, id: &str) -> Said {
        let fields = [("EventType".to_owned(), Value::from("Terminate"))].into_iter().collect();
        Said { what, id: id.to_owned(), level: "WARNING", message: "Terminate".to_owned(), fields }
    }

    fn live(section: &Section) -> LiveOrigin {
        LiveOrigin {
            info: Arc::clone(&section.origin),
            position: section.position.clone(),
            counters: section.counters.clone(),
            ended: section.ended,
            removed: Vec::new(),
        }
    }

    /// Text of the records of a section.
    fn text(section: &Section) -> String {
        String::from_utf8_lossy(&section.records.bytes).into_owned()
    }

    #[test]
    fn an_event_is_one_record_and_what_becomes_of_it_has_types_of_its_own() {
        let mut chronicle = chronicle("42");
        let mut say = |what| chronicle.say(&said(what, "A"), NOW).expect("random numbers");
        let first = say(What::Announced).expect("a record");
        assert!(text(&first).contains(r#""EventType":"azure.scheduled_event""#), "{}", text(&first));
        assert!(text(&first).contains(r#""Fields":{"EventType":"Terminate"}"#), "{}", text(&first));
        assert!(text(&first).contains(r#""LoggerName":"azure.scheduled_events""#), "{}", text(&first));
        assert!(say(What::Announced).is_none(), "it is recorded");
        for (what, word) in
            [(What::Altered, "altered"), (What::Approved, "approved"), (What::Started, "started"), (What::Over, "over")]
        {
            let section = say(what).expect("a record");
            assert!(text(&section).contains(&format!(r#""EventType":"azure.scheduled_event.{word}""#)), "{word}");
            assert_eq!(section.origin.id, first.origin.id);
        }
        let again = say(What::Announced).expect("it has come back");
        assert_eq!((again.counters.records, again.first_seq), (6, 6));
    }

    #[test]
    fn an_event_that_outlasts_a_restart_is_recorded_once() {
        let mut before = chronicle("42");
        let section = before.say(&said(What::Announced, "A"), NOW).expect("random numbers").expect("a record");
        let mut after = chronicle("42");
        assert!(after.resume(vec![live(&section)]).is_empty());
        assert!(after.say(&said(What::Announced, "A"), NOW).expect("no new origin").is_none());
        let next = after.say(&said(What::Announced, "B"), NOW).expect("no new origin").expect("a record");
        assert_eq!((next.origin.id, next.first_seq, next.base), (section.origin.id, 2, section.counters.bytes));
    }

    #[test]
    fn another_run_has_another_origin_and_the_old_one_ends() {
        let mut before = chronicle("42");
        let section = before.say(&said(What::Announced, "A"), NOW).expect("random numbers").expect("a record");
        let mut after = chronicle("43");
        let ended = after.resume(vec![live(&section)]);
        assert_eq!(ended.len(), 1);
        assert!(ended[0].ended && ended[0].origin.id == section.origin.id && ended[0].counters == section.counters);
        let next = after.say(&said(What::Announced, "A"), NOW).expect("random numbers").expect("a record");
        assert!(next.origin.id != section.origin.id && next.first_seq == 1);
    }

    #[test]
    fn ids_that_are_never_over_are_bounded() {
        let mut chronicle = chronicle("42");
        for n in 0..200 {
            chronicle.say(&said(What::Announced, &format!("event-{n}")), NOW).expect("random numbers");
        }
        assert_eq!((chronicle.ids.len(), chronicle.ids[0].as_str()), (IDS_MAX, "event-136"));
    }
}
