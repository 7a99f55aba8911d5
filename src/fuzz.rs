//! What the fuzz targets check, as functions of bytes: `fuzz/` runs them under libFuzzer, the tests here over the kept
//! corpora and seeded mutations of them. Not part of an ordinary build.

/// What one target does with its input; it panics where something does not hold.
pub type Check = fn(&[u8]);

/// Name of each target, which is also that of its corpus, and what it checks.
pub const TARGETS: &[(&str, Check)] = &[
    ("lines", crate::ingest::fuzz::lines),
    ("json", crate::ingest::fuzz::json),
    ("timestamps", crate::ingest::fuzz::timestamps),
    ("redaction", crate::ingest::fuzz::redaction),
    ("formats", crate::ingest::fuzz::formats),
    ("frames", crate::buffer::fuzz::frames),
    ("positions", positions),
    ("bulk_answers", crate::sink::elasticsearch::fuzz::bulk_answers),
    ("docker_frames", crate::source::docker::fuzz::docker_frames),
];

/// Runs one target: what a fuzzer calls.
///
/// # Panics
/// Where something does not hold, and where there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, check) = target.unwrap_or_else(|| panic!("no target {name}"));
    check(data);
}

/// Positions and descriptors out of the log: what is read is what was written.
fn positions(data: &[u8]) {
    crate::source::file::fuzz::positions(data);
    crate::source::docker::fuzz::positions(data);
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::TARGETS;

    /// Longest that the mutations of one target take.
    const MUTATING: Duration = Duration::from_secs(2);
    /// Most mutations of one target.
    const MUTATIONS: u64 = 20_000;
    /// Most bytes of one input.
    const INPUT_MAX_BYTES: usize = 64 * 1024;

    fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut inputs: Vec<(PathBuf, Vec<u8>)> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read(&path).expect("an input")))
            .collect();
        inputs.sort();
        inputs
    }

    /// Names the input that something does not hold for.
    fn hold(name: &str, check: super::Check, input: &[u8], of: &str) {
        if std::panic::catch_unwind(|| check(input)).is_err() {
            panic!("{name} does not hold for {of}: {:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn every_target_holds_on_its_corpus() {
        for (name, check) in TARGETS {
            let inputs = corpus(name);
            assert!(!inputs.is_empty(), "{name} has no corpus");
            hold(name, *check, b"", "nothing");
            for (path, input) in inputs {
                hold(name, *check, &input, &path.display().to_string());
            }
        }
    }

    #[test]
    fn every_target_holds_on_seeded_mutations_of_its_corpus() {
        for (name, check) in TARGETS {
            let inputs: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
            let until = Instant::now() + MUTATING;
            for seed in 0..MUTATIONS {
                if Instant::now() > until {
                    break;
                }
                hold(name, *check, &mutate(&inputs, seed), &format!("mutation {seed}"));
            }
        }
    }

    /// One input of the corpus with some bytes changed, taken out, doubled, or of another input.
    fn mutate(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % sides.max(1)
        };
        let mut input = inputs[roll(inputs.len())].clone();
        for _ in 0..1 + roll(6) {
            let (at, len) = (roll(input.len() + 1), 1 + roll(16));
            let end = (at + len).min(input.len());
            match roll(6) {
                0 if at < input.len() => input[at] ^= 1 << roll(8),
                1 if at < input.len() => input[at] = [0, 0xff, b'\n', b'"', b'\\', b'{'][roll(6)],
                2 => drop(input.drain(at..end)),
                3 => {
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
                4 => {
                    let other = &inputs[roll(inputs.len())];
                    let from = roll(other.len() + 1);
                    input.splice(at..end, other[from..(from + len).min(other.len())].iter().copied());
                }
                _ => input.insert(at, u8::try_from(roll(256)).expect("a byte")),
            }
        }
        input.truncate(INPUT_MAX_BYTES);
        input
    }
}
