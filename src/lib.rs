//! logferry ships every log line off a VM before the VM is gone.
//!
//! # Bird's-eye view
//!
//! ```text
//! file, docker ──Chunk──▶ ingest ──Section──▶ buffer ──Batch──▶ delivery ──▶ sink (elasticsearch, azure_monitor, file, console)
//!  (bytes + position)    split, join, redact,  append-only log      one per sink:       one attempt, classified answer
//!                        parse, filter, route, on disk, a cursor    fill, send, decide,
//!                        encode once           per sink             advance cursor
//! ```
//!
//! All sources append to one segmented log on disk; every sink reads it with a cursor of its own. What a source has taken
//! up, how many lines that were and where it goes on are committed by one write, so there is no second file that could
//! disagree. A record becomes JSON once, in ingest, and every sink splices those bytes.
//!
//! # The modules, in the order in which data flows
//!
//! - [`config`]: text to validated options of every stage; no stage imports it.
//! - [`record`]: values only: columns, ids, time, counters, JSON writing.
//! - [`source`]: [`source::file`] on a thread of its own, [`source::docker`] as tasks; read once:
//!   [`source::stdin`], [`source::file::archive`]; what is told to it: [`source::announced`].
//! - [`ingest`]: lines, groups, redaction, parsers, what is counted and what is left out, routes, encoding; pure computation,
//!   called by a source.
//! - [`buffer`]: the log; its format stands at the top of the module.
//! - [`delivery`]: one loop for each sink; what an answer means is a pure table, [`delivery::decision`]. Dead letters, and
//!   their replay.
//! - [`sink`]: one attempt, a classified answer. [`azure`]: tokens, IMDS, what announced events mean.
//!   [`http`]: what both need of HTTP.
//! - [`manifest`]: the proof: what was read of each origin and what became of it, as records and as a file.
//! - [`lifecycle`]: state folder, what this machine is, signals, report, service manager. [`telemetry`]: our own log, pages over HTTP,
//!   the text that Prometheus reads.
//! - [`trial`]: lines and what becomes of them, without what keeps or sends them.
//! - [`control`]: the socket by which `drain`, `replay`, `status` and `tap` ask the daemon.
//! - [`verify`]: a run's manifests against what a sink holds: the proof read back.
//! - `fuzz`: what must hold of any bytes, for the tests and the fuzz targets in `fuzz/`.
//! - [`pipeline`]: builds the stages and owns their queues: the only wiring; a drain and taps while it runs, and what is
//!   done about events that Azure announces. [`cli`]: one file a command.
//!
//! # Invariants
//!
//! - **Invariant: the log is the checkpoint** ([`buffer`]).
//! - **Invariant: a sink reads only what is synced** ([`buffer`]).
//! - **Invariant: the cursor passes a record only when the sink accepted it or it is a dead letter on disk** ([`delivery`]).
//! - **Invariant: an origin retires only by the write that holds its manifest record** ([`manifest`]).
//! - **Invariant: a secret is redacted before its record is made**: nothing behind [`ingest::redact`] sees one.
//! - **Invariant: no line is left out uncounted**: lines read = recorded + filtered + sampled, in every write
//!   ([`record::counters`], [`ingest::gate`]).
//! - **Invariant: a slow or dead sink never holds another back** ([`delivery`]).
//! - **Invariant: who watches slows nothing**: a tap reads the log by itself and leaves records out ([`pipeline`]).
//! - **Invariant: an announced event is approved only for this VM alone, with no selected container running and all
//!   delivered** ([`azure::scheduled_events`], [`pipeline`]).
//! - **Invariant: a byte of an origin is taken up once**, known by position, not by time ([`source`]).
//! - **Invariant: imports point one way along the flow**; `source` and `sink` never meet (`tests/it/layers.rs`).

#![forbid(unsafe_code)]

pub mod azure;
pub mod buffer;
pub mod cli;
pub mod config;
pub mod control;
pub mod delivery;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod manifest;
pub mod pipeline;
pub mod record;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod trial;
pub mod verify;
