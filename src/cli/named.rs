//! The paths that `ship` was given: which can be read, and as which source.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Usage;
use crate::config::Config;
use crate::ingest;
use crate::ingest::rules::Filter;
use crate::source::file::{self, Pattern, StartAt};

/// Standard input, as a path.
pub(super) const STANDARD_INPUT: &str = "-";

/// Name of the source where the configuration has none.
const DEFAULT_NAME: &str = "files";

/// A path that was given, in the spellings in which a pattern may know it: without symbolic links first.
struct Given {
    spellings: Vec<PathBuf>,
    folder: bool,
}

/// The sources that read `paths` to their end. What an include pattern of a configured source matches is read as that
/// source would, with its captures; all else as the first one, or by the defaults. A file that was named is read whatever
/// `exclude` says; in a folder that was named, `exclude` holds.
///
/// # Errors
/// A path that is not there, or that no file source can read: says what to do instead.
pub(super) fn sources(paths: &[&Path], config: &Config) -> Result<Vec<file::Options>, Usage> {
    let given = paths.iter().map(|path| look(path)).collect::<Result<Vec<Given>, Usage>>()?;
    let mut found = Vec::new();
    for folders in [false, true] {
        let mut rest: Vec<&Given> = given.iter().filter(|given| given.folder == folders).collect();
        for source in &config.files {
            let mut include = Vec::new();
            rest.retain(|given| {
                let matching = patterns(given, source);
                // Which files of a folder a source wants is known when they are found.
                let taken = !folders && !matching.is_empty();
                include.extend(matching);
                !taken
            });
            if !include.is_empty() {
                let exclude = if folders { source.exclude.clone() } else { Vec::new() };
                found.push(file::Options { include, exclude, ..to_the_end(source.clone()) });
            }
        }
        let include: Result<Vec<Pattern>, Usage> = rest.iter().filter_map(|given| literal(given)).collect();
        let include = include?;
        if !include.is_empty() {
            let excluded = config.files.iter().filter(|_| folders).flat_map(|source| source.exclude.iter());
            let exclude = excluded.cloned().collect();
            found.push(file::Options { include, exclude, ..to_the_end(first(config)) });
        }
    }
    Ok(found)
}

/// How lines are read that no configured source knows: as those of the first one.
pub(super) fn ingest_options(config: &Config) -> ingest::Options {
    ingest::Options { formats: Arc::default(), ..first(config).ingest }
}

/// The first source of the configuration, or one made of defaults.
fn first(config: &Config) -> file::Options {
    config.files.first().cloned().unwrap_or_else(|| file::Options {
        name: Arc::from(DEFAULT_NAME),
        include: Vec::new(),
        exclude: Vec::new(),
        start_at: StartAt::Beginning,
        ignore_older: None,
        ingest: ingest::Options {
            routes: config.sinks.iter().map(|sink| sink.when.clone()).collect(),
            columns: Arc::clone(&config.columns),
            redactor: Arc::clone(&config.redactor),
            metrics: Arc::clone(&config.metrics),
            filter: Filter::new(&config.rules, None),
            ..ingest::Options::default()
        },
    })
}

/// What was named is wanted whole, however old.
fn to_the_end(source: file::Options) -> file::Options {
    file::Options { start_at: StartAt::Beginning, ignore_older: None, ..source }
}

/// The patterns of a source that match what was given, each restricted to that.
fn patterns(given: &Given, source: &file::Options) -> Vec<Pattern> {
    let of_spelling = |path: &PathBuf| {
        let literal = Pattern::literal(path, given.folder).ok()?;
        let include = source.include.iter().filter(|pattern| given.folder || pattern.matches(path));
        Some(include.map(|pattern| literal.clone().captured_by(pattern)).collect::<Vec<_>>())
    };
    let mut found = given.spellings.iter().filter_map(of_spelling).filter(|patterns| !patterns.is_empty());
    // A file has one name; what a folder holds may be known by either.
    if given.folder { found.flatten().collect() } else { found.next().unwrap_or_default() }
}

/// What was given, as it stands.
fn literal(given: &Given) -> Option<Result<Pattern, Usage>> {
    let path = given.spellings.first()?;
    let pattern = Pattern::literal(path, given.folder);
    Some(pattern.map_err(|reason| Usage(format!("{}: {reason}", path.display()))))
}

/// Looks at a path of the command line.
fn look(path: &Path) -> Result<Given, Usage> {
    let shown = path.display();
    let cannot = |error: io::Error| Usage(format!("{shown}: {error}"));
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_dir() {
        if !metadata.is_file() {
            return Err(Usage(format!("{shown} is no file: pipe it in and use {STANDARD_INPUT}")));
        }
        if let Some(command) = compressed(path).map_err(cannot)? {
            return Err(Usage(format!(
                "{shown} is compressed: decompress it first ({command} {shown} | logferry ship {STANDARD_INPUT})"
            )));
        }
    }
    let real = std::fs::canonicalize(path).map_err(cannot)?;
    let written = std::path::absolute(path).map_err(cannot)?;
    let mut spellings = vec![real];
    if !spellings.contains(&written) {
        spellings.push(written);
    }
    Ok(Given { spellings, folder: metadata.is_dir() })
}

/// The command that decompresses a file, where it is compressed and cannot be read as it is.
fn compressed(path: &Path) -> io::Result<Option<&'static str>> {
    let mut first = Vec::new();
    File::open(path)?.take(file::COMPRESSED_HEAD_BYTES as u64).read_to_end(&mut first)?;
    Ok(file::decompressor(&first).filter(|_| !file::archive::is_gzip(&first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Purpose, Request, Source, Variables, load};

    fn config(text: &str) -> Config {
        let source = Source::Text { name: "f.toml".to_owned(), text: format!("{text}[sinks.console]\n") };
        let variables = Variables::default();
        let request = Request { source: &source, variables: &variables, purpose: Purpose::Sinks, colour: false };
        load(request).expect("a configuration").config
    }

    /// The source that reads a file, and what its path captures.
    fn reader<'a>(sources: &'a [file::Options], path: &Path) -> Option<(&'a str, Vec<String>)> {
        sources.iter().find_map(|source| {
            let excluded = source.exclude.iter().any(|pattern| pattern.matches(path));
            let captures = source.include.iter().find_map(|pattern| pattern.captures(path))?;
            (!excluded).then(|| (&*source.name, captures.into_iter().map(|(_, value)| value).collect()))
        })
    }

    #[test]
    fn a_path_is_read_as_the_configured_source_that_matches_it() {
        let dir = tempfile::tempdir().expect("dir");
        let dir = dir.path().canonicalize().expect("dir");
        std::fs::create_dir_all(dir.join("runs/42")).expect("folder");
        for name in ["runs/42/a.log", "runs/42/b.tmp.log", "runs/42/c.txt", "other.txt"] {
            std::fs::write(dir.join(name), b"x\n").expect("written");
        }
        std::os::unix::fs::symlink(dir.join("runs"), dir.join("link")).expect("link");
        let root = dir.display();
        let config = config(&format!(
            "[[sources.file]]\nname = \"first\"\ninclude = [\"{root}/none/*.log\"]\n\
             [[sources.file]]\nname = \"runs\"\ninclude = [\"{root}/runs/{{RunID}}/*.log\"]\n\
             exclude = [\"{root}/runs/*/*.tmp.log\"]\nstart_at = \"end\"\n\
             [[sources.file]]\nname = \"linked\"\ninclude = [\"{root}/link/*/{{Name}}.txt\"]\n"
        ));
        let check = |named: &[&str], path: &str, expected: Option<(&str, &[&str])>| {
            let paths: Vec<PathBuf> = named.iter().map(|name| dir.join(name)).collect();
            let sources = sources(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &config).expect("sources");
            assert!(sources.iter().all(|source| source.start_at == StartAt::Beginning));
            let expected = expected.map(|(name, captures)| (name, captures.iter().map(|c| (*c).to_owned()).collect()));
            assert_eq!(reader(&sources, &dir.join(path)), expected, "{path} of {named:?}");
        };
        check(&["runs/42/a.log"], "runs/42/a.log", Some(("runs", &["42"])));
        check(&["runs/42/a.log"], "runs/42/b.tmp.log", None);
        check(&["runs/42/b.tmp.log"], "runs/42/b.tmp.log", Some(("runs", &["42"])));
        check(&["other.txt", "runs/42/a.log"], "other.txt", Some(("first", &[])));
        check(&["other.txt", "runs/42/a.log"], "runs/42/a.log", Some(("runs", &["42"])));
        check(&["link/42/c.txt"], "link/42/c.txt", Some(("linked", &["c"])));
        check(&["runs"], "runs/42/a.log", Some(("runs", &["42"])));
        check(&["runs"], "runs/42/b.tmp.log", None);
        check(&["runs"], "runs/42/c.txt", Some(("first", &[])));
        check(&["link"], "link/42/c.txt", Some(("linked", &["c"])));
    }

    #[test]
    fn without_a_configured_source_the_defaults_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let sources = sources(&[file.path()], &config("")).expect("sources");
        assert_eq!(sources.len(), 1);
        assert_eq!((&*sources[0].name, sources[0].ingest.max_line), (DEFAULT_NAME, ingest::MAX_LINE_BYTES));
    }

    #[test]
    fn what_is_no_file_or_compressed_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let check = |name: &str, content: &[u8], expected: Option<&str>| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).expect("written");
            let said = look(&path).err().map(|error| error.to_string());
            match expected {
                Some(part) => assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{name}: {said:?}"),
                None => assert_eq!(said, None, "{name}"),
            }
        };
        check("a.log.gz", b"\x1f\x8b\x08\0", None);
        check("a.log.zst", b"\x28\xb5\x2f\xfd\0", Some("zstdcat"));
        check("a.log.xz", b"\xfd7zXZ\0\0", Some("xzcat"));
        check("a.log.bz2", b"BZh9", Some("bzcat"));
        check("text.gz", b"text\n", None);
        check("empty", b"", None);
        assert!(look(Path::new("/proc/self/status")).is_ok());
        let device = look(Path::new("/dev/null")).err().expect("no file").to_string();
        assert_eq!(device, "/dev/null is no file: pipe it in and use -");
    }
}
