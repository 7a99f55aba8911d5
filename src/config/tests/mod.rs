//! What a configuration is read as, and what is said about a wrong one.

mod effective;
mod example;
mod layered;
mod metrics;
mod options;
mod parsed_columns;
mod wrong;
mod wrong_rules;
mod wrong_sinks;

use super::*;

/// A source and a sink, so that a test needs to write only what it is about.
const MINIMAL: &str = "[[sources.file]]\ninclude = [\"/l/*.log\"]\n[sinks.console]\n";

/// Loads a text as the file `f.toml` with these variables.
fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let source = Source::Text { name: "f.toml".to_owned(), text: text.to_owned() };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(Request { source: &source, variables: &variables, purpose: Purpose::Pipeline, colour: false })
}

/// Loads a text that must be right.
fn good(text: &str, variables: &[(&str, &str)]) -> Loaded {
    match load_with(text, variables) {
        Ok(loaded) => loaded,
        Err(mistakes) => panic!("{mistakes}\n--- in ---\n{text}"),
    }
}

/// The whole message about a text that must be wrong.
fn message(text: &str, variables: &[(&str, &str)]) -> String {
    match load_with(text, variables) {
        Ok(loaded) => panic!("no mistake in\n{text}\n{:?}", loaded.config),
        Err(mistakes) => mistakes.to_string(),
    }
}

/// The sink of this name.
fn sink<'a>(loaded: &'a Loaded, name: &str) -> &'a sink::Options {
    loaded.config.sinks.iter().find(|sink| &*sink.name == name).expect(name)
}
