//! Stops, kills and starts: the log knows how far each file was taken up.

use super::*;

#[test]
fn after_a_stop_at_every_section_nothing_is_missing_and_nothing_twice() {
    let mut scene = Scene::new(&["*.log"]);
    let a = numbered("a", 0..60_000);
    let b = numbered("b", 0..30_000);
    scene.write("a.log", &a);
    scene.write("b.log", &b);
    scene.run_once();
    let sections = std::mem::take(&mut scene.log);
    assert!(sections.len() > 5, "{}", sections.len());
    for kept in 0..=sections.len() {
        scene.log.clear();
        scene.start_with(live_origins(&sections[..kept])).stop();
        let later = std::mem::take(&mut scene.log);
        let lines_of = |name: &str| -> Vec<String> {
            let path = scene.path(name).display().to_string();
            origins(&sections[..kept])
                .into_iter()
                .chain(origins(&later))
                .filter(|origin| origin.column("FilePath") == path)
                .flat_map(|origin| origin.lines)
                .collect()
        };
        assert_eq!(lines_of("a.log"), split(&a), "after {kept} sections");
        assert_eq!(lines_of("b.log"), split(&b), "after {kept} sections");
    }
}

#[test]
fn a_resumed_origin_is_the_same_origin() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\n");
    scene.run_once();
    scene.append("a.log", "two\n");
    scene.run_once();
    let origins = scene.origins();
    assert_eq!((origins.len(), origins[0].lines.clone()), (1, split("one\ntwo")));
    let last = scene.log.last().expect("section");
    assert_eq!((last.first_seq, last.counters.lines, last.counters.bytes), (2, 2, 8));
}

#[test]
fn a_kill_with_an_unfinished_line_reads_it_again() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\nunfin");
    let mut running = scene.start();
    running.until_lines(1);
    drop(running);
    scene.append("a.log", "ished\n");
    scene.run_once();
    assert_eq!(scene.lines(), ["one", "unfinished"]);
}

#[test]
fn files_rotated_while_the_source_was_away_are_read_to_their_end() {
    for (pattern, folder) in [("app.log", ""), ("app.log*", ""), ("app.log", "old/")] {
        let mut scene = Scene::new(&[pattern]);
        std::fs::create_dir(scene.path("old")).expect("folder");
        scene.write("app.log", "one\n");
        scene.run_once();
        scene.append("app.log", "two\n");
        scene.rename("app.log", &format!("{folder}app.log.1"));
        scene.write("app.log", "three\n");
        scene.run_once();
        scene.append(&format!("{folder}app.log.1"), "late\n");
        scene.append("app.log", "four\n");
        scene.run_once();
        let origins = scene.origins();
        assert_eq!(origins[0].lines, ["one", "two", "late"], "{pattern} {folder}");
        assert_eq!(origins[1].lines, ["three", "four"], "{pattern} {folder}");
        assert_eq!(origins.len(), 2, "{pattern} {folder}");
    }
}

#[test]
fn files_truncated_or_made_again_while_the_source_was_away_are_new() {
    let mut scene = Scene::new(&["*.log"]);
    for name in ["cut.log", "new.log", "same.log"] {
        scene.write(name, "one\ntwo\n");
    }
    scene.run_once();
    scene.write("cut.log", "three\n");
    scene.remove("new.log");
    scene.write("new.log", "one\ntwo\nthree\n");
    let mut running = scene.start();
    running.until("two ends", |log| log.iter().filter(|section| section.ended).count() == 2);
    running.stop();
    assert_eq!(scene.lines_of("cut.log"), ["one", "two", "three"]);
    assert_eq!(scene.lines_of("new.log"), ["one", "two", "one", "two", "three"]);
    assert_eq!(scene.lines_of("same.log"), ["one", "two"]);
    assert_eq!(scene.origins().iter().filter(|origin| origin.ended).count(), 2);
}

#[test]
fn an_origin_whose_file_is_gone_ends_but_not_while_its_folder_is_gone_too() {
    let mut scene = Scene::new(&["*.log", "disk/*.log"]);
    std::fs::create_dir(scene.path("disk")).expect("folder");
    scene.write("a.log", "a\n");
    scene.write("disk/b.log", "b\n");
    scene.run_once();
    scene.remove("a.log");
    scene.rename("disk", "unmounted");
    let mut running = scene.start();
    running.until("the end of a.log", |log| log.iter().any(|section| section.ended));
    running.scene.rename("unmounted", "disk");
    running.scene.append("disk/b.log", "more\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.lines_of("disk/b.log"), ["b", "more"]);
    let ended: Vec<String> = scene.origins().iter().filter(|o| o.ended).map(|o| o.column("FilePath")).collect();
    assert_eq!(ended, [scene.path("a.log").display().to_string()]);
}

#[test]
fn another_run_id_is_another_origin_that_goes_on_where_the_old_one_ended() {
    let mut scene = Scene::new(&["*.log"]);
    let run = |id: &str, vm: &str| vec![("RunID".to_owned(), id.to_owned()), ("VMName".to_owned(), vm.to_owned())];
    scene.run = run("1", "vm");
    scene.write("a.log", "one\n");
    scene.run_once();
    scene.run = run("1", "vm-renamed");
    scene.append("a.log", "two\n");
    scene.run_once();
    scene.run = run("2", "vm-renamed");
    scene.run_once();
    scene.append("a.log", "three\n");
    scene.run_once();
    let origins = scene.origins();
    assert_eq!(origins.len(), 2);
    assert_eq!((origins[0].lines.clone(), origins[0].ended), (split("one\ntwo"), true));
    assert_eq!((origins[1].lines.clone(), origins[1].ended), (split("three"), false));
    assert_eq!(origins[0].column("VMName"), "vm-renamed");
    assert_eq!(origins[1].column("RunID"), "2");
}

#[test]
fn a_device_number_of_another_boot_is_no_difference() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\n");
    scene.run_once();
    let mut live = live_origins(&scene.log);
    let mut position = Position::decode(&live[0].position).expect("position");
    position.key.dev += 1;
    position.boot += 1;
    live[0].position = position.encode();
    scene.append("a.log", "two\n");
    scene.start_with(live).stop();
    assert_eq!(scene.lines(), ["one", "two"]);
}

#[test]
fn kills_under_a_rotating_writer_lose_and_double_nothing() {
    let mut scene = Scene::new(&["app.log"]);
    let folder = scene.folder.path().to_path_buf();
    let writer = std::thread::spawn(move || {
        let path = folder.join("app.log");
        let mut file = appender(&path);
        for n in 0..12_000 {
            if n % 1000 == 999 {
                std::fs::rename(&path, folder.join(format!("app.log.{n}"))).expect("rename");
                file = appender(&path);
            }
            writeln!(file, "line-{n:06}").expect("write");
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    for kill in 1..=10 {
        let mut running = scene.start();
        running.until_lines(kill * 1000);
        // What was appended after the last look is lost with the process, as its write to the log would be.
        drop(running);
    }
    writer.join().expect("writer");
    scene.run_once();
    let context = format!("{:#?}", summary(&scene));
    assert_same_lines(&scene.lines(), &split(&numbered("line", 0..12_000)), &context);
}
