//! From the columns of one record to bytes in the section: routed, split where they are long, encoded once.

use super::Ingest;
use super::encode::{self, Columns, Exception};
use super::lookup;
use super::parse::columns::Named;
use super::parse::object::Unfit;
use crate::buffer::section::RecordHeader;
use crate::record::{EventId, RouteBits};

/// Longest strings that stand beside each part of a split message, in bytes together.
const BESIDE_PART_MAX_BYTES: usize = 10_000;

impl Ingest {
    /// Routes and stores one record, or its parts, unless a rule leaves it out; `text` is all of its text, for the case that
    /// it does not fit.
    pub(super) fn put(&mut self, text: &[u8], columns: &Columns<'_>, extent: (u64, u64)) {
        if !self.options.metrics.is_empty() {
            self.count_metrics(columns);
        }
        if self.leaves_out(columns, extent) {
            return;
        }
        let route = self.route(columns);
        if columns.fits() {
            return self.push(columns, route, extent, None);
        }
        let exception = columns.exception.map(|e| Exception { stack: b"", ..e });
        // What is long besides the message stands in the text, and is left out where it would not fit beside a part.
        let keeps_exception = exception.is_some_and(|e| e.kind.len() + e.message.len() <= BESIDE_PART_MAX_BYTES);
        let keeps_fields = columns.fields.len() <= encode::FIELDS_MAX_BYTES && columns.message.len() < text.len();
        let keeps_columns = columns.columns_len() <= BESIDE_PART_MAX_BYTES;
        let shortened = Columns {
            exception: exception.filter(|_| keeps_exception),
            fields: if keeps_fields { columns.fields } else { b"" },
            logger: columns.logger.filter(|_| keeps_columns),
            level: columns.level.filter(|_| keeps_columns),
            columns: if keeps_columns { columns.columns } else { &[] },
            named: if keeps_columns { columns.named } else { &[] },
            ..*columns
        };
        let is_left_out = !keeps_columns || shortened.fields.len() < columns.fields.len();
        let shortened = Columns { unfit: columns.unfit.or(is_left_out.then_some(Unfit::Length)), ..shortened };
        let keeps_stack = columns.exception.is_none_or(|e| e.stack.is_empty() && keeps_exception);
        let keeps_all = keeps_stack && !is_left_out;
        let whole = if keeps_all { columns.message } else { text };
        let parts = encode::split(whole);
        let count = parts.len() as u32;
        // A number counts once, however many parts there are; text is what each of them is found by.
        let texts: Vec<Named> = shortened.named.iter().filter(|named| !named.is_literal).cloned().collect();
        for (index, message) in parts.into_iter().enumerate() {
            let first = index == 0;
            let part = Columns {
                message,
                exception: shortened.exception.filter(|_| first),
                fields: if first { shortened.fields } else { b"" },
                named: if first { shortened.named } else { &texts },
                duration_ms: shortened.duration_ms.filter(|_| first),
                ..shortened
            };
            let number = (count > 1).then_some((index as u32 + 1, count));
            self.push(&part, route, extent, number);
        }
    }

    pub(super) fn push(
        &mut self,
        columns: &Columns<'_>,
        route: RouteBits,
        extent: (u64, u64),
        part: Option<(u32, u32)>,
    ) {
        self.counters.records += 1;
        self.counters.count_route(route);
        let (begin, end) = extent;
        if self.records.count == 0 {
            // An origin that stands still holds nothing.
            self.records.bytes.reserve_exact(self.last_bytes + self.last_bytes / 8);
        }
        let header = RecordHeader {
            time: columns.time,
            event_id: EventId::new(self.info.id, begin, end, part.map_or(0, |(number, _)| number - 1)),
            begin: (begin - self.base) as u32,
            extent: (end - begin) as u32,
            route,
        };
        // A record that no sink gets keeps its place, so that Seq has no gap, and needs no bytes.
        self.records.push(&header, |out| {
            if route != 0 {
                columns.encode(out, part);
            }
        });
    }

    pub(super) fn route(&self, columns: &Columns<'_>) -> RouteBits {
        let mut bits = 0;
        for (bit, when) in self.options.routes.iter().enumerate() {
            let value = |name: &str| lookup::value(columns, &self.constants, name);
            let takes = when.as_ref().is_none_or(|rule| rule.matches(value));
            bits |= RouteBits::from(takes) << bit;
        }
        bits
    }
}
