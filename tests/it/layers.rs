//! Imports point one way along the flow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// For each module what it may use of the crate, besides itself. What is missing here may use nothing.
const MAY_USE: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("buffer", &["record"]),
    ("ingest", &["record", "buffer"]),
    ("source", &["record", "ingest", "buffer"]),
    ("http", &[]),
    ("azure", &["http"]),
    ("sink", &["record", "http", "azure"]),
    ("delivery", &["record", "buffer", "sink"]),
    ("manifest", &["record", "buffer", "delivery"]),
    ("control", &[]),
    ("verify", &["manifest", "sink"]),
    ("telemetry", &[]),
    ("trial", &["record", "ingest", "source", "buffer", "sink"]),
    ("lifecycle", &["azure", "buffer", "record"]),
    ("config", &["record", "ingest", "source", "buffer", "sink", "http", "azure", "trial"]),
    (
        "pipeline",
        &[
            "record",
            "ingest",
            "source",
            "buffer",
            "delivery",
            "manifest",
            "sink",
            "lifecycle",
            "http",
            "azure",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "record",
            "config",
            "ingest",
            "source",
            "sink",
            "lifecycle",
            "control",
            "pipeline",
            "telemetry",
            "trial",
            "verify",
            "azure",
        ],
    ),
    ("fuzz", &["ingest", "buffer", "sink", "source"]),
    ("lib", &[]),
    ("main", &[]),
];

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Modules of the crate that a source text names, in paths and in grouped imports.
fn used(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![first_word(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First words of the members of a group, up to its closing brace.
fn top_level_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    let mut in_name = true;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                in_name = true;
            }
            c if depth == 0 && in_name && (c.is_alphanumeric() || c == '_') => {
                names.last_mut().expect("one").push(c);
            }
            c if depth == 0 && !c.is_whitespace() => in_name = false,
            _ => {}
        }
    }
    names
}

#[test]
fn imports_point_one_way_along_the_flow() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 50, "the source is there");
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).expect("below src");
        let is_test = relative.to_string_lossy().contains("tests");
        let module = relative.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_owned();
        let (_, may) = MAY_USE.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} is new"));
        let text = std::fs::read_to_string(&file).expect("text");
        // Unit tests at the end of a file may look further.
        let code = if is_test { "" } else { text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default() };
        for name in used(code) {
            let is_macro_or_own = name == module || !MAY_USE.iter().any(|(known, _)| *known == name);
            if !is_macro_or_own && !may.contains(&name.as_str()) {
                wrong.push(format!("{} uses {name}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_one_module_uses_the_crates_that_are_kept_behind_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    for (krate, only) in [("backoff::", "delivery/retry.rs"), ("config::Config", "config/layers.rs")] {
        for file in &files {
            let text = std::fs::read_to_string(file).expect("text");
            let uses = text.lines().any(|line| line.starts_with("use ") && line.contains(&format!("use {krate}")));
            assert!(!uses || file.ends_with(only), "{} uses {krate}", file.display());
        }
    }
}
