use super::*;

/// Columns of a record by name.
type Record<'a> = &'a [(&'a str, &'a str)];

fn metrics(kind: Kind, op: Op, value: Option<&str>, labels: &[&str]) -> Metrics {
    let names = labels.iter().map(|name| name.to_lowercase()).collect();
    let family = Family { name: "m".into(), help: String::new(), kind, labels: names };
    let labels = labels.iter().map(|&name| name.to_owned()).collect();
    Metrics::new(vec![family], vec![Definition { family: 0, when: None, op, value: value.map(str::to_owned), labels }])
}

fn count(metrics: &Metrics, record: Record<'_>) {
    let find = |name: &str| {
        let found = record.iter().find(|(column, _)| *column == name);
        found.map(|(_, value)| Cow::Borrowed(value.as_bytes()))
    };
    metrics.count(|rule| rule.matches(find), find, &mut Vec::new());
}

fn series(metrics: &Metrics) -> Vec<(String, f64)> {
    let shown = metrics.shown().pop().expect("a family");
    let number = |figure: Figure| match figure {
        Figure::Number(number) => number,
        Figure::Histogram(histogram) => histogram.sum(),
    };
    shown.series.into_iter().map(|(labels, figure)| (labels.join("/"), number(figure))).collect()
}

fn pairs(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect()
}

#[test]
fn a_counter_counts_records_or_adds_up_values_by_their_labels_in_order() {
    let counter = metrics(Kind::Counter, Op::Add, None, &["Level", "Task"]);
    for record in [&[("Level", "INFO"), ("Task", "b")][..], &[("Level", "INFO"), ("Task", "a")], &[("Task", "a")]] {
        count(&counter, record);
        count(&counter, record);
    }
    assert_eq!(series(&counter), pairs(&[("/a", 2.0), ("INFO/a", 2.0), ("INFO/b", 2.0)]));
    let tokens = metrics(Kind::Counter, Op::Add, Some("Tokens"), &[]);
    assert_eq!(series(&tokens), pairs(&[("", 0.0)]), "a series without labels is there from the start");
    count(&tokens, &[("Tokens", "120")]);
    count(&tokens, &[("Tokens", " 1.5e1 ")]);
    assert_eq!(series(&tokens), pairs(&[("", 135.0)]));
}

#[test]
fn a_value_that_is_no_number_is_skipped_and_counted() {
    for (kind, op, unfit) in [
        (Kind::Counter, Op::Add, 6),
        (Kind::Gauge, Op::Set, 5),
        (Kind::Gauge, Op::Subtract, 5),
        (Kind::Histogram(vec![1.0]), Op::Add, 5),
    ] {
        let metrics = metrics(kind, op, Some("V"), &["L"]);
        for value in ["many", "", "NaN", "inf", "1e999", "-1"] {
            count(&metrics, &[("V", value), ("L", "x")]);
        }
        count(&metrics, &[("L", "x")]);
        let shown = metrics.shown().pop().expect("a family");
        assert_eq!(shown.skipped, Skipped { missing: 1, unfit }, "{op:?}");
        assert_eq!(shown.series.len(), usize::from(unfit == 5));
    }
}

#[test]
fn a_gauge_is_set_and_goes_up_and_down_by_definitions_of_one_name() {
    let family = Family { name: "active".into(), help: String::new(), kind: Kind::Gauge, labels: Vec::new() };
    let definition = |event: &str, op, value: Option<&str>| Definition {
        family: 0,
        when: Some(Rule::new(vec![("EventType".into(), vec![event.into()])])),
        op,
        value: value.map(str::to_owned),
        labels: Vec::new(),
    };
    let definitions = vec![
        definition("started", Op::Add, None),
        definition("ended", Op::Subtract, None),
        definition("counted", Op::Set, Some("N")),
    ];
    let metrics = Metrics::new(vec![family], definitions);
    let check = |event: &str, expected: f64| {
        count(&metrics, &[("EventType", event), ("N", "-7.5")]);
        assert_eq!(series(&metrics), pairs(&[("", expected)]), "{event}");
    };
    check("started", 1.0);
    check("started", 2.0);
    check("ended", 1.0);
    check("other", 1.0);
    check("counted", -7.5);
    check("started", -6.5);
}

#[test]
fn a_histogram_takes_observations() {
    let metrics = metrics(Kind::Histogram(vec![0.5, 2.0]), Op::Add, Some("V"), &["L"]);
    for value in ["0.25", "0.5", "1", "9"] {
        count(&metrics, &[("V", value), ("L", "x")]);
    }
    let shown = metrics.shown().pop().expect("a family");
    let [(labels, Figure::Histogram(histogram))] = &shown.series[..] else { panic!("{:?}", shown.series) };
    let buckets: Vec<u64> = histogram.cumulative(&[0.5, 2.0]).map(|(_, count)| count).collect();
    assert_eq!((&labels[..], buckets, histogram.sum()), (&["x".to_owned()][..], vec![2, 3, 4], 10.75));
}

#[test]
fn series_are_bounded_and_the_rest_counts_together() {
    let metrics = metrics(Kind::Counter, Op::Add, None, &["ID"]);
    for number in 0..SERIES_MAX + 500 {
        count(&metrics, &[("ID", &number.to_string())]);
        count(&metrics, &[("ID", "0")]);
    }
    let shown = metrics.shown().pop().expect("a family");
    assert_eq!((shown.series.len(), shown.overflow), (SERIES_MAX, Some(Figure::Number(500.0))));
    assert_eq!(shown.series[0], (vec!["0".to_owned()], Figure::Number((SERIES_MAX + 501) as f64)));
}

#[test]
fn values_of_labels_are_text_and_not_too_long() {
    let check = |value: &[u8], expected: &str| {
        let mut key = Vec::new();
        put_value(&mut key, value);
        assert_eq!(values(&key), [expected], "{value:?}");
    };
    check(b"", "");
    check(b"plan", "plan");
    check(b"caf\xe9", "caf\u{fffd}");
    check(&[b'x'; LABEL_MAX_BYTES], &"x".repeat(LABEL_MAX_BYTES));
    check(&[b'x'; 60_000], &"x".repeat(LABEL_MAX_BYTES));
    check(format!("x{}", "ü".repeat(LABEL_MAX_BYTES)).as_bytes(), &format!("x{}", "ü".repeat(63)));
    check(&[0xff; 60_000], "");
    check(&[0xff; LABEL_MAX_BYTES], &"\u{fffd}".repeat(LABEL_MAX_BYTES / 3));
}

#[test]
fn a_value_that_would_end_all_counting_is_skipped() {
    for (kind, op) in [(Kind::Counter, Op::Add), (Kind::Gauge, Op::Add), (Kind::Histogram(vec![1.0]), Op::Add)] {
        let metrics = metrics(kind, op, Some("V"), &[]);
        count(&metrics, &[("V", "1.7e308")]);
        count(&metrics, &[("V", "1.7e308")]);
        assert_eq!(series(&metrics), pairs(&[("", 1.7e308)]));
        assert_eq!(metrics.shown()[0].skipped.unfit, 1);
    }
}
