//! Files with holes: nothing was ever written there, and nothing is made of it.

use std::io::{Seek, SeekFrom};

use super::*;

fn writer(scene: &Scene, name: &str) -> File {
    OpenOptions::new().write(true).create(true).truncate(false).open(scene.path(name)).expect(name)
}

#[test]
fn a_writer_that_goes_on_at_its_old_offset_after_a_truncation_leaves_a_hole_that_is_no_text() {
    let mut scene = Scene::new(&["app.log"]);
    let text = numbered("line", 0..5000);
    let mut file = writer(&scene, "app.log");
    file.write_all(text.as_bytes()).expect("write");
    let mut running = scene.start();
    running.until_lines(5000);
    for round in 1..4 {
        std::fs::copy(running.scene.path("app.log"), running.scene.path("copy")).expect("copy");
        file.set_len(0).expect("truncate");
        // The writer has its own offset, as one without O_APPEND has: a hole of 55,000 bytes and more.
        file.write_all(format!("after {round}\n").as_bytes()).expect("write");
        running.until_lines(5000 + round);
        running.scene.remove("copy");
    }
    running.drain();
    running.stop();
    assert_eq!(scene.sorted_lines(), sorted(&format!("{text}after 1\nafter 2\nafter 3\n")));
    let last = scene.origins().pop().expect("an origin");
    assert_eq!((last.lines, last.position.offset), (split("after 3"), text.len() as u64 + 24));
}

#[test]
fn a_hole_in_the_middle_is_passed_over_and_ends_what_stood_before_it() {
    const GIB: u64 = 1 << 30;
    let mut scene = Scene::new(&["app.log"]);
    let mut file = writer(&scene, "app.log");
    file.write_all(b"one\nunfin").expect("write");
    file.seek(SeekFrom::Start(3 * GIB + 77)).expect("seek");
    file.write_all(b"ished\nthree\n").expect("write");
    assert_eq!(scene.run_once().left_bytes, 0);
    assert_eq!(scene.lines(), ["one", "unfin", "ished", "three"]);
    scene.append("app.log", "four\n");
    scene.run_once();
    assert_eq!(scene.lines(), ["one", "unfin", "ished", "three", "four"]);
    let last = scene.log.last().expect("section");
    assert_eq!((last.counters.bytes, last.counters.gaps), (3 * GIB + 77 + 17, 0));
}

#[test]
fn zeros_before_the_first_line_are_passed_over_also_where_they_take_room() {
    for zeros in [1, 300, 4096, 700_000] {
        let mut scene = Scene::new(&["app.log"]);
        scene.write("app.log", &format!("{}one\n\0two\n", "\0".repeat(zeros)));
        assert_eq!(scene.run_once().left_bytes, 0);
        assert_eq!(scene.lines(), ["one", "\0two"]);
        let last = scene.log.last().expect("section");
        assert_eq!((last.counters.bytes, last.counters.gaps), (zeros as u64 + 9, 0));
    }
    // Nothing but zeros: what is written into them is read.
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", &"\0".repeat(9000));
    let mut running = scene.start();
    assert_eq!(running.drain().left_bytes, 0);
    writer(running.scene, "app.log").write_all(b"one\n").expect("write");
    running.until_lines(1);
    running.stop();
    assert_eq!(scene.lines()[0], "one");
}

#[test]
fn a_line_in_pieces_ends_at_a_hole() {
    let mut scene = Scene::new(&["app.log"]);
    scene.sources[0].ingest.max_line = 1000;
    let mut file = writer(&scene, "app.log");
    let long = "x".repeat(2500);
    file.write_all(long.as_bytes()).expect("write");
    file.seek(SeekFrom::Start(1 << 20)).expect("seek");
    file.write_all(b"short\n").expect("write");
    scene.run_once();
    let lines = scene.lines();
    assert_eq!((lines[..3].concat(), &lines[3..]), (long, &["short".to_owned()][..]));
    let pieces = |section: &Section| section.records.bytes.windows(9).filter(|bytes| bytes == b"LinePiece").count();
    assert_eq!(scene.log.iter().map(pieces).sum::<usize>(), 3);
}

#[test]
fn room_at_the_end_of_a_file_is_not_read_until_it_is_written_to() {
    let mut scene = Scene::new(&["app.log"]);
    let mut file = writer(&scene, "app.log");
    file.set_len(1 << 30).expect("room");
    file.write_all(b"one\ntw").expect("write");
    let mut running = scene.start();
    running.until_lines(1);
    assert_eq!(running.drain().left_bytes, 0);
    assert_eq!(running.scene.lines(), ["one", "tw"], "a drain takes an unfinished line");
    file.write_all(b"o\nthree\n").expect("write");
    running.until_lines(4);
    running.stop();
    file.write_all(b"four\n").expect("write");
    let mut running = scene.start();
    running.until_lines(5);
    assert_eq!(running.drain().left_bytes, 0);
    // Room that is given back is no truncation.
    file.set_len(4096).expect("shorter");
    file.write_all(b"five\n").expect("write");
    running.until_lines(6);
    running.stop();
    assert_eq!(scene.lines(), ["one", "tw", "o", "three", "four", "five"]);
    assert_eq!(scene.origins().len(), 1);
}

#[test]
fn a_deleted_file_with_room_at_its_end_is_over() {
    let mut scene = Scene::new(&["app.log"]);
    let mut file = writer(&scene, "app.log");
    file.set_len(1 << 20).expect("room");
    file.write_all(b"one\n").expect("write");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.remove("app.log");
    running.until("the end", |log| log.iter().any(|section| section.ended));
    running.stop();
    assert_eq!(scene.lines(), ["one"]);
}

#[test]
fn a_file_that_is_nothing_but_a_hole_gives_nothing() {
    let mut scene = Scene::new(&["*.log"]);
    writer(&scene, "empty.log").set_len(1 << 40).expect("a terabyte of nothing");
    let mut running = scene.start();
    assert_eq!(running.drain().left_bytes, 0);
    running.stop();
    assert!(scene.lines().is_empty());
}
