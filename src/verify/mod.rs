//! The proof read back: what the manifests of a run say, against what one sink holds. [`compare`] is pure and decides;
//! [`take`] asks the sink for what it needs, with the sink's own reader; [`report`] is the text for people.
//!
//! Counts come first, for every origin at once. An origin whose figures leave a doubt is looked through by Seq, so that
//! what is missing has its number, and so that a record that is there twice does not hide one that is missing.
//!
//! **Invariant: equal is said only where every document that a manifest promises is there (once, or in Azure Monitor, which
//! cannot refuse a repeat, as repeats of the same EventID), every origin with documents stands in a manifest, and every
//! manifest is whole and complete.**

mod compare;
#[cfg(test)]
mod compare_tests;
mod manifest;
mod reader;
pub mod report;

pub use compare::{Finding, Reason, Verdict, Vm, compare};
pub use manifest::{Manifests, OriginRecord, SinkFigures, SummaryRecord};
pub use reader::{Reader, SCANS_MAX, take};
