//! Rotated files that gzip compressed, read once.

use flate2::Compression;
use flate2::write::GzEncoder;

use super::archive::{Archives, Outcome, Stop, Which};
use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("compressed");
    encoder.finish().expect("compressed")
}

/// A folder with archives, and the log of all reads.
struct Shelf {
    scene: Scene,
    log: Vec<Section>,
}

impl Shelf {
    fn new(include: &[&str]) -> Self {
        Shelf { scene: Scene::new(include), log: Vec::new() }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.scene.path(name), bytes).expect(name);
    }

    /// Reads the archives; what was taken up goes to the log.
    fn read(&mut self, which: Which) -> Outcome {
        let live = live_origins(&self.log).into_iter().chain(live_origins(&self.scene.log)).collect();
        self.read_after(live, which)
    }

    fn read_after(&mut self, live: Vec<LiveOrigin>, which: Which) -> Outcome {
        let (appender, taken) = detached();
        let setup = archive::Setup {
            sources: self.scene.sources.clone(),
            which,
            run: RunColumns::default(),
            appender,
            live,
            own_paths: Vec::new(),
        };
        let archives = Archives::find(setup, Box::new(OriginId::random)).expect("found");
        let thread = std::thread::spawn(move || archives.read(&Stop::default()));
        while !thread.is_finished() {
            self.log.extend(taken.take(Duration::from_millis(5)));
        }
        self.log.extend(taken.take(Duration::ZERO));
        thread.join().expect("no panic").expect("the buffer is there")
    }

    fn texts(&self) -> BTreeMap<String, Vec<String>> {
        texts(self.log.iter())
    }

    fn last(&self) -> &Section {
        self.log.last().expect("a section")
    }
}

/// What the records of each origin say, by path; without gap or overlap.
fn texts<'a>(log: impl Iterator<Item = &'a Section>) -> BTreeMap<String, Vec<String>> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ends: BTreeMap<OriginId, u64> = BTreeMap::new();
    for section in log {
        let end = ends.entry(section.origin.id).or_insert(section.base);
        let path = object(&section.origin.constants)["FilePath"].as_str().expect("a path").to_owned();
        let lines = texts.entry(path.rsplit('/').next().unwrap_or_default().to_owned()).or_default();
        let mut rest = section.records.bytes.as_slice();
        while let Some(((header, members), next)) = split_record(rest) {
            assert_eq!(section.base + u64::from(header.begin), *end);
            *end += u64::from(header.extent);
            lines.push(object(members)["Message"].as_str().expect("text").to_owned());
            rest = next;
        }
    }
    texts
}

#[test]
fn archives_are_read_to_their_end_each_as_an_origin_and_once() {
    let mut shelf = Shelf::new(&["*.log*"]);
    let text = numbered("a", 0..40_000);
    shelf.put("a.log.2.gz", &gzip(text.as_bytes()));
    // Several members, as `cat` joins them, and an unfinished line.
    shelf.put("b.log.1.gz", &[gzip(b"one\ntw"), gzip(b"o\nthree")].concat());
    shelf.put("empty.log.gz", &gzip(b""));
    shelf.put("plain.log", b"not an archive\n");
    shelf.put("other.log.zst", b"\x28\xb5\x2f\xfd\0");
    assert_eq!(shelf.read(Which::All), Outcome::default());
    let texts = shelf.texts();
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["a.log.2.gz", "b.log.1.gz"]);
    assert_eq!(texts["a.log.2.gz"], split(&text));
    assert_eq!(texts["b.log.1.gz"], ["one", "two", "three"]);
    let sections = shelf.log.len();
    // Once more, and after they were rotated on.
    shelf.read(Which::All);
    shelf.scene.rename("a.log.2.gz", "a.log.3.gz");
    shelf.read(Which::All);
    assert_eq!(shelf.log.len(), sections);
    // Equal contents elsewhere are lines of their own.
    shelf.put("c.log.1.gz", &[gzip(b"one\ntw"), gzip(b"o\nthree")].concat());
    shelf.read(Which::Unread);
    assert_eq!(shelf.texts()["c.log.1.gz"], ["one", "two", "three"]);
}

#[test]
fn an_archive_goes_on_where_a_kill_stopped_it() {
    let mut shelf = Shelf::new(&["*.gz"]);
    let text = numbered("line", 0..60_000);
    shelf.put("a.gz", &gzip(text.as_bytes()));
    shelf.read(Which::All);
    let sections = std::mem::take(&mut shelf.log);
    assert!(sections.len() > 3, "{}", sections.len());
    for kept in 0..=sections.len() {
        shelf.log.clear();
        shelf.read_after(live_origins(&sections[..kept]), Which::All);
        let found = texts(sections[..kept].iter().chain(&shelf.log));
        assert_eq!(found["a.gz"], split(&text), "after {kept} sections");
    }
}

#[test]
fn of_a_broken_archive_what_can_be_read_is_and_the_rest_is_a_gap() {
    let text = numbered("line", 0..60_000);
    let whole = gzip(text.as_bytes());
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 0x55;
    let cases = [
        ("cut", whole[..whole.len() / 2].to_vec(), 20_000),
        ("sum", damaged, 60_000),
        ("tail", [whole.clone(), b"garbage".to_vec()].concat(), 60_000),
        ("head", whole[..5].to_vec(), 0),
    ];
    for (name, bytes, least) in cases {
        let mut shelf = Shelf::new(&["*.gz"]);
        shelf.put("a.gz", &bytes);
        for _ in 0..2 {
            let outcome = shelf.read(Which::All);
            assert!(outcome.faults.len() == 1 && outcome.faults[0].contains("a.gz"), "{name}: {outcome:?}");
        }
        let lines = shelf.texts()["a.gz"].clone();
        assert!(lines.len() >= least, "{name}: {}", lines.len());
        let (unfinished, finished) = lines.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
        assert_eq!(finished, &split(&text)[..finished.len()], "{name}");
        assert!(unfinished.is_none_or(|last| split(&text)[finished.len()].starts_with(last)), "{name}");
        let counters = &shelf.last().counters;
        assert_eq!((counters.gaps, counters.gap_words()), (1, vec!["unreadable"]), "{name}");
    }
}

#[test]
fn where_files_were_followed_only_what_was_not_read_of_them_is_read() {
    let mut shelf = Shelf::new(&["app.log*"]);
    let (read, unread) = (numbered("read", 0..500), numbered("unread", 0..500));
    shelf.scene.write("app.log", &read);
    shelf.put("app.log.2.gz", &gzip(b"long ago\n"));
    shelf.scene.run_once();
    // Written to, rotated and compressed while nobody looked.
    shelf.scene.remove("app.log");
    shelf.put("app.log.1.gz", &gzip(format!("{read}{unread}").as_bytes()));
    assert_eq!(shelf.read(Which::Unread), Outcome::default());
    assert_eq!(shelf.texts().into_iter().collect::<Vec<_>>(), [("app.log.1.gz".to_owned(), split(&unread))]);
    // Who names it gets all of it.
    shelf.read(Which::All);
    assert_eq!(shelf.texts()["app.log.2.gz"], ["long ago"]);
}

#[test]
fn what_start_at_and_ignore_older_leave_out_is_left_out_unless_it_was_named() {
    for (start_at, ignore_older) in [(StartAt::End, None), (StartAt::Beginning, Some(Duration::from_secs(3600)))] {
        let mut shelf = Shelf::new(&["*.gz"]);
        shelf.put("old.gz", &gzip(b"old\n"));
        let two_hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
        appender(&shelf.scene.path("old.gz")).set_modified(two_hours_ago).expect("time");
        let source = &mut shelf.scene.sources[0];
        (source.start_at, source.ignore_older) = (start_at, ignore_older);
        shelf.read(Which::Unread);
        assert!(shelf.log.is_empty(), "{start_at:?} {ignore_older:?}");
        shelf.read(Which::All);
        assert_eq!(shelf.texts()["old.gz"], ["old"]);
    }
}

#[test]
fn an_archive_in_utf_16_is_said_and_one_that_is_gone_has_ended() {
    let mut shelf = Shelf::new(&["*.gz"]);
    shelf.put("wide.gz", &gzip(b"\xff\xfeo\0n\0e\0\n\0"));
    shelf.put("mark.gz", &gzip(b"\xef\xbb\xbfone\n"));
    let outcome = shelf.read(Which::All);
    assert!(outcome.faults.len() == 1 && outcome.faults[0].contains("UTF-16"), "{outcome:?}");
    assert_eq!(shelf.last().counters.gap_bytes, 10);
    assert_eq!((&shelf.texts()["mark.gz"], shelf.texts()["wide.gz"].len()), (&split("one"), 0));
    shelf.scene.remove("wide.gz");
    shelf.read(Which::All);
    assert!(shelf.last().ended);
    let ended: Vec<bool> = live_origins(&shelf.log).iter().map(|origin| origin.ended).collect();
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
}
