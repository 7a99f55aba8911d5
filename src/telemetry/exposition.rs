//! The text that Prometheus reads: families of samples in its format 0.0.4, or in OpenMetrics 1.0 for who asks for that.
//! It knows how they are written, not what they are.
//!
//! Written by hand: two formats that do not change, for figures that others keep, need no registry and no crate.

use std::fmt::Write as _;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client wants, by its header `Accept`; the text where it does not say.
    pub fn wanted(accept: &str) -> Self {
        let (mut open, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut pieces = range.split(';').map(str::trim);
            let weighed = match pieces.next() {
                Some("application/openmetrics-text") => &mut open,
                Some("text/plain") => &mut text,
                _ => continue,
            };
            let weight = pieces.find_map(|piece| piece.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            *weighed = f64::max(*weighed, weight.unwrap_or(0.0));
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of figures a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives; its name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// A figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Real(value)
    }
}

/// Names of labels and their values, in the order in which they are written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page under way.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    out: String,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Family<'p> {
    page: &'p mut Exposition,
    name: String,
}

impl Exposition {
    pub fn new(format: Format) -> Self {
        Exposition { format, out: String::new() }
    }

    /// Begins a family: each name once a page. `name` is that of its samples, `_total` included.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let stem = name.strip_suffix("_total");
        let (shown, word) = match (self.format, kind) {
            // There the family has its name without the end that each of its samples has; a counter without one is none.
            (Format::OpenMetrics, Kind::Counter) => (stem.unwrap_or(name), stem.map_or("unknown", |_| "counter")),
            (Format::Text, Kind::Counter) => (name, "counter"),
            (_, Kind::Gauge) => (name, "gauge"),
            (_, Kind::Histogram) => (name, "histogram"),
        };
        // Writing into a text does not fail.
        let _ = write!(self.out, "# HELP {shown} ");
        escape(&mut self.out, help, self.format == Format::OpenMetrics);
        let _ = write!(self.out, "\n# TYPE {shown} {word}\n");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| {
            let before = shown.strip_suffix(unit);
            before.is_some_and(|before| before.ends_with('_'))
        });
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.out, "# UNIT {shown} {unit}");
        }
        Family { page: self, name: name.to_owned() }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.write("", labels, None, value.into());
    }

    /// The samples of a histogram: each upper bound with how many are not above it, the last one infinite.
    pub fn histogram(&mut self, labels: Labels<'_>, buckets: impl Iterator<Item = (f64, u64)>, sum: f64) {
        let mut count = 0;
        for (bound, below) in buckets {
            count = below;
            self.write("_bucket", labels, Some(bound), below.into());
        }
        self.write("_sum", labels, None, sum.into());
        self.write("_count", labels, None, count.into());
    }

    fn write(&mut self, end: &str, labels: Labels<'_>, bound: Option<f64>, value: Number) {
        let out = &mut self.page.out;
        out.push_str(&self.name);
        out.push_str(end);
        // The same in both formats, `1.0` and not `1`: the label names the series.
        let bound = bound.map(|bound| if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() });
        let bound = bound.as_deref().map(|bound| ("le", bound));
        for (index, (name, value)) in labels.iter().copied().chain(bound).enumerate() {
            out.push(if index == 0 { '{' } else { ',' });
            out.push_str(name);
            out.push_str("=\"");
            escape(out, value, true);
            out.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            out.push('}');
        }
        let _ = match value {
            Number::Whole(value) => writeln!(out, " {value}"),
            Number::Real(value) if value.is_finite() => writeln!(out, " {value}"),
            Number::Real(value) if value.is_nan() => writeln!(out, " NaN"),
            Number::Real(value) => writeln!(out, " {}Inf", if value > 0.0 { '+' } else { '-' }),
        };
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Exposition::new(format);
        page.family("read_bytes_total", Kind::Counter, "Bytes \"read\"\n\\").sample(&[], 12);
        let mut family = page.family("lag_seconds", Kind::Gauge, "Lag.");
        family.sample(&[("sink", "es")], 0.5);
        family.sample(&[("sink", "a\"b\\c\nd"), ("more", "ü")], f64::INFINITY);
        let buckets = [(0.1, 1), (1.0, 1), (f64::INFINITY, 3)].into_iter();
        page.family("took", Kind::Histogram, "h").histogram(&[("k", "v")], buckets, 4.25);
        page.family("odd", Kind::Counter, "h").sample(&[], 1.0);
        page.finish()
    }

    #[test]
    fn the_text_of_prometheus() {
        let expected = r#"# HELP read_bytes_total Bytes "read"\n\\
# TYPE read_bytes_total counter
read_bytes_total 12
# HELP lag_seconds Lag.
# TYPE lag_seconds gauge
lag_seconds{sink="es"} 0.5
lag_seconds{sink="a\"b\\c\nd",more="ü"} +Inf
# HELP took h
# TYPE took histogram
took_bucket{k="v",le="0.1"} 1
took_bucket{k="v",le="1.0"} 1
took_bucket{k="v",le="+Inf"} 3
took_sum{k="v"} 4.25
took_count{k="v"} 3
# HELP odd h
# TYPE odd counter
odd 1
"#;
        assert_eq!(page(Format::Text), expected);
    }

    #[test]
    fn openmetrics_has_other_heads_and_an_end_and_the_same_samples() {
        let text = page(Format::OpenMetrics);
        let head = "# HELP read_bytes Bytes \\\"read\\\"\\n\\\\\n# TYPE read_bytes counter\n# UNIT read_bytes bytes\n";
        assert!(text.starts_with(&format!("{head}read_bytes_total 12\n")), "{text}");
        assert!(text.contains("# TYPE lag_seconds gauge\n# UNIT lag_seconds seconds\n"), "{text}");
        assert!(text.contains("# TYPE odd unknown\nodd 1\n") && text.ends_with("\n# EOF\n"), "{text}");
        let samples =
            |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(samples(&text), samples(&page(Format::Text)));
    }

    #[test]
    fn a_client_gets_openmetrics_where_it_would_rather_have_it() {
        let check = |accept: &str, expected: Format| assert_eq!(Format::wanted(accept), expected, "{accept}");
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text);
        check("application/openmetrics-text", Format::OpenMetrics);
        check("application/openmetrics-text;version=1.0.0;q=0", Format::Text);
        check("application/openmetrics-text;version=1.0.0;q=nonsense", Format::Text);
        check("text/plain;version=0.0.4, application/openmetrics-text;q=0.5", Format::Text);
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(prometheus_2, Format::OpenMetrics);
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=0.0.4;q=0.3";
        check(prometheus_3, Format::OpenMetrics);
    }
}
