//! What the bytes of files are: text of any line end, byte order marks, zeros, other encodings.

use super::*;

/// UTF-16 with its mark, little endian or big endian.
fn utf_16(text: &str, little: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(|unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

fn raw_append(scene: &Scene, name: &str, bytes: &[u8]) {
    appender(&scene.path(name)).write_all(bytes).expect(name);
}

#[test]
fn a_byte_order_mark_is_no_text_but_counts_as_read() {
    let mut scene = Scene::new(&["*.log"]);
    let text = "\u{feff}one\r\ntwo\r\n\u{feff}three\n";
    scene.write("a.log", text);
    scene.run_once();
    assert_eq!(scene.lines(), ["one", "two", "\u{feff}three"]);
    assert_eq!(scene.origins()[0].position.offset, text.len() as u64);
    scene.append("a.log", "four\n");
    scene.run_once();
    assert_eq!(scene.lines().last().map(String::as_str), Some("four"));
    assert_eq!(scene.origins().len(), 1);
}

#[test]
fn a_carriage_return_whose_line_feed_comes_later_is_part_of_the_line_end() {
    let mut scene = Scene::new(&["a.log"]);
    scene.write("a.log", "one\r\ntwo\r");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.append("a.log", "\nthree\rstill three\r\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.lines(), ["one", "two", "three\rstill three"]);
}

#[test]
fn zeros_and_bytes_that_are_no_utf_8_stay_in_their_lines() {
    let mut scene = Scene::new(&["a.log"]);
    raw_append(&scene, "a.log", b"a\0b\n\0\0\ncaf\xe9\nna\xc3\xafve\n\xf0\x9f\x9a\n");
    scene.run_once();
    assert_eq!(scene.lines(), ["a\0b", "\0\0", "caf\u{fffd}", "na\u{ef}ve", "\u{fffd}"]);
}

#[test]
fn a_file_in_utf_16_is_not_garbled_but_reported_as_a_gap_that_grows_with_it() {
    for little in [true, false] {
        let mut scene = Scene::new(&["*.log"]);
        let first = utf_16("one\ntwo\n", little);
        raw_append(&scene, "wide.log", &first);
        scene.write("other.log", "plain\n");
        let mut running = scene.start();
        assert_eq!(running.drain().left_bytes, 0);
        assert_eq!(running.scene.lines(), ["plain"]);
        raw_append(running.scene, "wide.log", b"t\0h\0");
        assert_eq!(running.drain().left_bytes, 0);
        assert_eq!(running.stats().utf16_files.get(), 1, "said once");
        running.stop();
        // After a restart the file is known.
        raw_append(&scene, "wide.log", b"r\0e\0");
        let mut running = scene.start();
        assert_eq!(running.drain().left_bytes, 0);
        running.stop();
        assert_eq!(scene.lines(), ["plain"]);
        let wide = scene.path("wide.log").display().to_string();
        let origin = scene.origins().into_iter().find(|origin| origin.column("FilePath") == wide).expect("an origin");
        let last = scene.log.iter().rfind(|section| section.origin.id == origin.id).expect("a section");
        assert_eq!(last.counters.gap_words(), ["unreadable"]);
        assert_eq!((last.counters.gaps, last.counters.gap_bytes), (1, first.len() as u64 + 8));
        assert_eq!((last.counters.lines, origin.position.offset), (0, first.len() as u64 + 8));
        assert_eq!(scene.origins().len(), 2);
    }
}

#[test]
fn a_file_in_utf_16_that_is_rotated_and_written_anew_as_utf_8_is_read() {
    let mut scene = Scene::new(&["app.log"]);
    raw_append(&scene, "app.log", &utf_16("garbage\n", true));
    let mut running = scene.start();
    running.drain();
    running.scene.write("app.log", "truncated and plain\n");
    running.until_lines(1);
    running.scene.rename("app.log", "app.log.1");
    running.scene.write("app.log", "new and plain\n");
    running.until_lines(2);
    running.stop();
    assert_eq!(scene.lines(), ["truncated and plain", "new and plain"]);
}

#[test]
fn a_byte_order_mark_whose_second_byte_comes_later_is_seen() {
    let mut scene = Scene::new(&["*.log"]);
    raw_append(&scene, "wide.log", b"\xff");
    scene.write("other.log", "seen\n");
    let mut running = scene.start();
    running.until_lines(1);
    raw_append(running.scene, "wide.log", b"\xfeo\0n\0e\0\n\0");
    running.until("the gap", |log| log.iter().any(|section| section.counters.gap_bytes == 10));
    running.stop();
    assert_eq!(scene.lines(), ["seen"]);
}

#[test]
fn the_end_of_a_file_in_utf_16_is_passed_over_as_well() {
    let mut scene = Scene::new(&["app.log"]);
    scene.sources[0].start_at = StartAt::End;
    raw_append(&scene, "app.log", &utf_16(&"old\n".repeat(2000), true));
    let mut running = scene.start();
    running.until("its position", |log| !log.is_empty());
    raw_append(running.scene, "app.log", b"n\0e\0w\0\n\0");
    running.drain();
    running.stop();
    assert!(scene.lines().is_empty());
    let last = scene.log.last().expect("section");
    assert_eq!((last.counters.gaps, last.counters.gap_bytes), (1, 8));
}
