//! Rename, truncation, rewriting and deletion while the source runs.

use std::io::Seek;

use super::*;

#[test]
fn rotation_by_rename_under_a_writer_loses_and_doubles_nothing() {
    let mut scene = Scene::new(&["app.log"]);
    let folder = scene.folder.path().to_path_buf();
    let mut running = scene.start();
    // What was rotated away before the source first looked is nobody's.
    running.drain();
    let writer = std::thread::spawn(move || {
        let path = folder.join("app.log");
        let mut file = appender(&path);
        for n in 0..20_000 {
            if n % 1500 == 700 {
                for old in (1..20).rev() {
                    let _ = std::fs::rename(
                        folder.join(format!("app.log.{old}")),
                        folder.join(format!("app.log.{}", old + 1)),
                    );
                }
                std::fs::rename(&path, folder.join("app.log.1")).expect("rename");
                // The writer goes on in the renamed file for a while, as one does that waits for a signal.
            }
            if n % 1500 == 720 {
                file = appender(&path);
            }
            writeln!(file, "line-{n:06}").expect("write");
        }
    });
    running.until_lines(20_000);
    writer.join().expect("writer");
    running.stop();
    assert_same_lines(&scene.lines(), &split(&numbered("line", 0..20_000)), &format!("{:#?}", summary(&scene)));
    assert_eq!(scene.origins().len(), 14);
}

#[test]
fn a_renamed_file_that_a_pattern_wants_stays_the_same_origin() {
    let mut scene = Scene::new(&["app.log*"]);
    scene.write("app.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.rename("app.log", "app.log.1");
    running.scene.write("app.log", "new\n");
    running.scene.append("app.log.1", "two\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.origins()[0].lines, ["one", "two"]);
    assert_eq!(scene.origins()[1].lines, ["new"]);
    assert_eq!(scene.origins().len(), 2);
}

#[test]
fn a_rotated_file_ends_when_it_is_quiet_and_goes_on_as_a_new_origin_if_it_is_not() {
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.rename("app.log", "app.log.1");
    running.scene.append("app.log.1", "unfinished");
    running.until("the end", |log| log.iter().any(|section| section.ended));
    running.scene.append("app.log.1", "late\n");
    running.until_lines(3);
    running.stop();
    let origins = scene.origins();
    assert_eq!((origins[0].lines.clone(), origins[0].ended), (split("one\nunfinished"), true));
    assert_eq!((origins[1].lines.clone(), origins[1].ended), (split("late"), false));
}

#[test]
fn a_truncated_file_is_a_new_origin() {
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", "one\ntwo\n");
    let mut running = scene.start();
    running.until_lines(2);
    let mut file = OpenOptions::new().write(true).open(running.scene.path("app.log")).expect("open");
    file.set_len(0).expect("truncate");
    file.write_all(b"three\n").expect("write");
    running.until_lines(3);
    running.until("the end of the old one", |log| log.iter().any(|section| section.ended));
    running.stop();
    let origins = scene.origins();
    assert_eq!((origins[0].lines.clone(), origins[0].ended), (split("one\ntwo"), true));
    assert_eq!((origins[1].lines.clone(), origins[1].ended), (split("three"), false));
}

#[test]
fn what_is_rewritten_is_a_new_origin_also_where_the_size_is_the_same_or_larger() {
    let check = |before: &str, after: &str| {
        let mut scene = Scene::new(&["app.log"]);
        scene.write("app.log", before);
        let lines = before.lines().count();
        let mut running = scene.start();
        running.until_lines(lines);
        let mut file = OpenOptions::new().write(true).open(running.scene.path("app.log")).expect("open");
        file.set_len(0).expect("truncate");
        file.rewind().expect("rewind");
        file.write_all(after.as_bytes()).expect("write");
        running.until_lines(lines + after.lines().count());
        running.stop();
        assert_eq!(scene.origins()[0].lines, split(before));
        assert_eq!(scene.origins()[1].lines, split(after));
        assert_eq!(scene.origins().len(), 2);
    };
    check("one\ntwo\n", "ONE\nTWO\n");
    check("one\ntwo\n", "three\nfour\nfive\n");
    // The first kilobyte is the same, what stands before the position is not.
    let banner = numbered("banner", 0..200);
    check(&format!("{banner}x\n"), &format!("{banner}y\n"));
    check(&format!("{banner}x\n"), &format!("{banner}y\nz\n"));
    check(&format!("{banner}x\n"), "short\n");
}

#[test]
fn an_unfinished_line_of_a_truncated_file_is_taken() {
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", "one\nunfinished");
    let mut running = scene.start();
    running.until_lines(1);
    let file = OpenOptions::new().write(true).open(running.scene.path("app.log")).expect("open");
    file.set_len(0).expect("truncate");
    running.until("the end", |log| log.iter().any(|section| section.ended));
    running.stop();
    assert_eq!(scene.lines(), ["one", "unfinished"]);
}

#[test]
fn unread_bytes_of_a_truncated_file_are_counted() {
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.shelf.set_full(true);
    running.scene.append("app.log", "never read\n");
    let stats = running.stats();
    let end = Instant::now() + LIMIT;
    while stats.sources[0].lag_bytes.get() != 11 && Instant::now() < end {
        std::thread::yield_now();
    }
    running.scene.write("app.log", "");
    running.shelf.set_full(false);
    running.until("the end", |log| log.iter().any(|section| section.ended));
    running.stop();
    assert_eq!(stats.unread_bytes.get(), 11);
    assert_eq!(scene.origins()[0].position.unread, 11);
    let last = scene.log.last().expect("section");
    assert_eq!(unread_bytes(&last.position), Some(11));
    assert_eq!((last.counters.gaps, last.counters.gap_bytes), (1, 11));
    assert_eq!(last.counters.gap_words(), ["truncated"]);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("app.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.shelf.set_full(true);
    let text = numbered("unread", 0..50_000);
    let mut writer = appender(&running.scene.path("app.log"));
    writer.write_all(text.as_bytes()).expect("write");
    running.scene.remove("app.log");
    writer.write_all(b"after the end\nunfinished").expect("write");
    drop(writer);
    running.shelf.set_full(false);
    running.until("the end", |log| log.iter().any(|section| section.ended));
    running.stop();
    assert_eq!(scene.lines(), split(&format!("one\n{text}after the end\nunfinished")));
}

#[test]
fn a_file_that_is_deleted_and_made_again_is_a_new_origin_also_with_the_same_inode_and_beginning() {
    let mut scene = Scene::new(&["app.log"]);
    let first = numbered("same", 0..300);
    scene.write("app.log", &first);
    let mut running = scene.start();
    running.until_lines(300);
    for round in 1..5 {
        running.scene.remove("app.log");
        running.scene.write("app.log", &format!("{first}round {round}\n"));
        running.until_lines(300 + 301 * round);
    }
    running.stop();
    let origins = scene.origins();
    assert_eq!(origins.len(), 5);
    assert_eq!(origins[4].lines, split(&format!("{first}round 4\n")));
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    // Closed at once, so that the inode is free when the file is deleted.
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "first\n");
    scene.run_once();
    scene.remove("a.log");
    scene.write("b.log", "first\nsecond\n");
    scene.run_once();
    assert_eq!(scene.lines_of("a.log"), ["first"]);
    assert_eq!(scene.lines_of("b.log"), ["first", "second"]);
}

#[test]
fn a_file_that_is_gone_soon_after_it_appeared_is_read() {
    let mut scene = Scene::new(&["*.log"]);
    scene.timing.poll = Duration::from_secs(3600);
    let mut running = scene.start();
    running.drain();
    let stats = running.stats();
    let path = running.scene.path("short.log");
    let mut file = appender(&path);
    file.write_all(b"short\n").expect("write");
    let end = Instant::now() + LIMIT;
    while stats.open_files.get() == 0 && stats.missed_files.get() == 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    std::fs::remove_file(&path).expect("remove");
    file.write_all(b"lived\n").expect("write");
    drop(file);
    running.until_lines(2);
    running.stop();
    assert_eq!(scene.lines(), ["short", "lived"]);
}

#[test]
fn a_file_that_was_gone_before_it_could_be_opened_is_reported() {
    let mut scene = Scene::new(&["*.log"]);
    scene.timing.poll = Duration::from_secs(3600);
    let mut running = scene.start();
    running.drain();
    let stats = running.stats();
    let end = Instant::now() + LIMIT;
    while stats.missed_files.get() == 0 {
        assert!(Instant::now() < end, "never missed one");
        running.scene.write("gone.log", "");
        running.scene.remove("gone.log");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
}

#[test]
fn files_that_live_for_50_ms_are_read_or_reported() {
    const FILES: usize = 40;
    let mut scene = Scene::new(&["*.log"]);
    scene.timing.poll = Duration::from_secs(3600);
    let mut running = scene.start();
    running.drain();
    let stats = running.stats();
    for n in 0..FILES {
        running.scene.write(&format!("{n}.log"), &format!("line of {n}\n"));
        running.collect(Duration::from_millis(50));
        running.scene.remove(&format!("{n}.log"));
    }
    running.drain();
    running.stop();
    let mut lines = scene.lines();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), scene.lines().len(), "nothing twice");
    assert_eq!(lines.len() as u64 + stats.missed_files.get(), FILES as u64);
    assert!(lines.len() > FILES / 2, "{}", lines.len());
}

#[test]
fn a_line_without_an_end_waits_for_its_rest() {
    let mut scene = Scene::new(&["app.log"]);
    scene.write("app.log", "one\nhal");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.append("app.log", "f\nthree\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.lines(), ["one", "half", "three"]);
}

#[test]
fn an_open_group_is_closed_when_it_is_quiet() {
    let mut scene = Scene::new(&["app.log"]);
    scene.sources[0].ingest.multiline = Multiline::Auto;
    scene.write("app.log", "Traceback\n  one\n");
    let mut running = scene.start();
    running.until_lines(1);
    assert_eq!(running.scene.lines(), ["Traceback\n  one"]);
    running.scene.append("app.log", "next\nunfinished");
    running.until_lines(2);
    running.stop();
    assert_eq!(scene.lines(), ["Traceback\n  one", "next", "unfinished"]);
}

#[test]
fn a_line_longer_than_several_reads_arrives_in_pieces_with_bounded_memory() {
    let mut scene = Scene::new(&["app.log"]);
    scene.sources[0].ingest.max_line = 300_000;
    let long = "x".repeat(1_000_000);
    scene.write("app.log", &format!("{long}\nend\n"));
    scene.run_once();
    let lines = scene.lines();
    assert_eq!(lines.last().map(String::as_str), Some("end"));
    assert_eq!(lines[..lines.len() - 1].concat().len(), 1_000_000);
}

#[test]
fn a_full_buffer_stops_reading_but_not_discovery() {
    let mut scene = Scene::new(&["*.log"]);
    let mut running = scene.start();
    running.shelf.set_full(true);
    running.scene.write("a.log", "a\n");
    let stats = running.stats();
    let end = Instant::now() + LIMIT;
    while stats.open_files.get() == 0 {
        assert!(Instant::now() < end, "not opened");
        std::thread::yield_now();
    }
    running.scene.remove("a.log");
    running.collect(Duration::from_millis(100));
    assert!(running.scene.log.is_empty());
    running.shelf.set_full(false);
    running.until_lines(1);
    running.stop();
    assert_eq!(scene.lines(), ["a"]);
}
