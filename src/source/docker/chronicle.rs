//! What is said of a container itself: a record of each of its exits, and the gaps of one of which no line was read. An origin
//! of its own, made when there is something to say. No input or output.

use std::sync::Arc;

use serde_json::json;

use super::Error;
use super::Shared;
use super::container::{Container, Descriptor, Exit};
use super::position::{self, Anchor, Position};
use super::stats::GapReason;
use super::stream::Begin;
use crate::buffer::{LiveOrigin, OriginInfo, Section};
use crate::ingest::rules::Filter;
use crate::ingest::{self, Flush, Ingest, Multiline, Parser};
use crate::record::{Counters, Nanos, OriginId, time};

/// EventType of the record of an exit.
pub(super) const EVENT_EXITED: &str = "container.exited";

/// The origin of one container's exits.
#[derive(Debug)]
pub(super) struct Chronicle {
    info: Arc<OriginInfo>,
    ingest: Ingest,
    position: Position,
}

impl Chronicle {
    /// A new one.
    ///
    /// # Errors
    /// [`Error`]: there are no random ids.
    pub(super) fn new(shared: &Shared, container: &Container) -> Result<Chronicle, Error> {
        let id = OriginId::random().map_err(Error::Random)?;
        let constants = container.constants(&shared.options, &shared.run, None, id);
        let descriptor = Descriptor {
            source: shared.options.name.to_string(),
            container: container.candidate.id.clone(),
            stream: None,
        };
        let info = OriginInfo { id, descriptor: descriptor.encode(), constants: constants.members().to_vec() };
        // Nothing that could be missed ever stands behind it.
        let position = Position { at_end: true, ..Position::default() };
        let begin = Begin { info: Arc::new(info), position, counters: Counters::default() };
        Ok(Chronicle::resume(shared, container, begin))
    }

    /// The one that the log holds.
    pub(super) fn of_live(shared: &Shared, container: &Container, live: &LiveOrigin) -> Option<Chronicle> {
        let position = Position::decode(&live.position)?;
        let begin = Begin { info: Arc::clone(&live.info), position, counters: live.counters.clone() };
        Some(Chronicle::resume(shared, container, begin))
    }

    fn resume(shared: &Shared, container: &Container, begin: Begin) -> Chronicle {
        let Begin { info, position, counters } = begin;
        let constants = container.constants(&shared.options, &shared.run, None, info.id);
        // Its lines are our own: no rule leaves them out.
        let options = ingest::Options {
            parser: Parser::Json,
            multiline: Multiline::None,
            filter: Filter::default(),
            ..(*shared.ingest).clone()
        };
        let ingest = Ingest::new(Arc::new(options), Arc::clone(&info), constants, position.bytes, counters)
            .with_default_logger(container.logger());
        Chronicle { info, ingest, position }
    }

    /// Whether the exit of the run that began at this time was recorded last.
    pub(super) fn has(&self, started_at: &str) -> bool {
        let hash = position::hash(started_at.as_bytes());
        self.position.anchor.is_some_and(|anchor| anchor.hash == hash)
    }

    /// The record of an exit, where it is not the one that was recorded last. `last` is the time of the container's last line:
    /// the engine may write an unterminated one after the end that it gives, and the record stands behind all of them.
    pub(super) fn exit(&mut self, name: &str, exit: &Exit, last: Option<Nanos>, now: Nanos) -> Option<Section> {
        let hash = key(exit);
        if self.position.anchor.is_some_and(|anchor| anchor.hash == hash) {
            return None;
        }
        let ended = exit.ended.unwrap_or(now);
        let line = line(name, exit, ended, last.map_or(ended, |last| last.max(ended)));
        self.ingest.feed(line.as_bytes(), &ended, Flush::All);
        self.position.lines += 1;
        self.position.bytes += line.len() as u64;
        let end = self.position.bytes;
        self.position.anchor = Some(Anchor { time: ended, latest: ended, hash, nth: 1, end, counted: false });
        self.ingest.section(self.position.encode(), false)
    }

    /// Lines of the container are missing.
    pub(super) fn gap(&mut self, reason: GapReason) -> Option<Section> {
        self.ingest.count_gap(reason.kind(), 0);
        self.ingest.section(self.position.encode(), false)
    }

    /// Nothing more will be said.
    pub(super) fn end(&self) -> Section {
        let counters = self.ingest.counters().clone();
        Begin { info: Arc::clone(&self.info), position: self.position, counters }.section(true)
    }
}

/// Tells the runs of a container apart.
fn key(exit: &Exit) -> u64 {
    match exit.started_at.as_str() {
        "" => position::hash(format!("ended {:?}", exit.ended).as_bytes()),
        started_at => position::hash(started_at.as_bytes()),
    }
}

/// The line that becomes the record, whose time is `at`.
fn line(name: &str, exit: &Exit, ended: Nanos, at: Nanos) -> String {
    let started = super::timestamp::parse_alone(&exit.started_at);
    let seconds = started.map(|started| ended.saturating_sub(started).max(0) as f64 / 1e9);
    let how = match (exit.oom_killed, exit.code) {
        (true, _) => "was killed: out of memory".to_owned(),
        (false, Some(code)) => format!("exited with code {code}"),
        (false, None) => "ended".to_owned(),
    };
    let after = seconds.map(|seconds| format!(" after {seconds:.3} s")).unwrap_or_default();
    let is_well = exit.code == Some(0) && !exit.oom_killed;
    let mut line = json!({
        "timestamp": time::rfc3339(at),
        "level": if is_well { "INFO" } else { "ERROR" },
        "event_type": EVENT_EXITED,
        "message": format!("container {name} {how}{after}"),
        "oom_killed": exit.oom_killed,
    });
    if let Some(code) = exit.code {
        line["exit_code"] = code.into();
    }
    if let (Some(started), Some(seconds)) = (started, seconds) {
        line["ended_at"] = time::rfc3339(ended).into();
        line["started_at"] = time::rfc3339(started).into();
        line["duration_seconds"] = seconds.into();
    }
    line.to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exit: &Exit, expected: &str) {
        let line: serde_json::Value =
            serde_json::from_str(&line("job", exit, 3_500_000_000, 3_500_000_000)).expect("JSON");
        assert_eq!(line["message"], expected);
    }

    #[test]
    fn an_exit_says_how_and_after_how_long() {
        let exit = |code, oom_killed, started_at: &str| Exit {
            started_at: started_at.to_owned(),
            ended: Some(3_500_000_000),
            code,
            oom_killed,
        };
        check(&exit(Some(0), false, "1970-01-01T00:00:01Z"), "container job exited with code 0 after 2.500 s");
        check(&exit(Some(137), true, ""), "container job was killed: out of memory");
        check(&exit(None, false, "rubbish"), "container job ended");
    }
}
