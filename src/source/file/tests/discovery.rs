//! Which files are read, and as whose.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

#[test]
fn files_that_are_there_are_read_to_their_end() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", &numbered("a", 0..3));
    scene.write("b.log", &numbered("b", 0..30_000));
    scene.write("empty.log", "");
    scene.write("c.txt", "not wanted\n");
    assert_eq!(scene.run_once().left_bytes, 0);
    assert_eq!(scene.lines_of("a.log"), split(&numbered("a", 0..3)));
    assert_eq!(scene.lines_of("b.log"), split(&numbered("b", 0..30_000)));
    assert_eq!(scene.origins().len(), 2);
}

#[test]
fn files_and_folders_that_appear_later_are_found() {
    let mut scene = Scene::new(&["runs/{RunID}/{TaskID}/*.log"]);
    let folder = scene.path("runs/42/t7");
    let mut running = scene.start();
    std::fs::create_dir_all(&folder).expect("folders");
    std::fs::write(folder.join("a.log"), "one\n").expect("write");
    running.until_lines(1);
    appender(&folder.join("a.log")).write_all(b"two\n").expect("append");
    running.until_lines(2);
    std::fs::write(folder.join("b.log"), "three\n").expect("write");
    running.until_lines(3);
    running.stop();
    let origins = scene.origins();
    assert_eq!(scene.lines(), ["one", "two", "three"]);
    assert_eq!((origins[0].column("RunID").as_str(), origins[0].column("TaskID").as_str()), ("42", "t7"));
    assert_eq!(origins[0].column("Source"), "app");
    assert_eq!(origins[0].column("FilePath"), folder.join("a.log").display().to_string());
    assert_eq!(origins[0].column("Origin"), origins[0].id.to_string());
    assert_eq!(origins.len(), 2);
}

#[test]
fn what_a_path_captures_comes_before_the_columns_of_the_run() {
    let mut scene = Scene::new(&["{RunID}.log"]);
    scene.run = [("RunID", "general"), ("TaskID", "t1"), ("VMName", "vm")].map(|(n, v)| (n.into(), v.into())).into();
    scene.write("mine.log", "x\n");
    scene.run_once();
    let names: Vec<String> = scene.origins()[0].columns.keys().cloned().collect();
    assert_eq!(names, ["RunID", "TaskID", "VMName", "Source", "FilePath", "Origin"]);
    assert_eq!(scene.origins()[0].column("RunID"), "mine");
}

#[test]
fn one_file_with_many_names_is_read_once_by_the_first_source() {
    let mut scene = Scene::new(&["real/*.log", "*.log"]);
    std::fs::create_dir(scene.path("real")).expect("folder");
    scene.write("real/a.log", "a\n");
    symlink(scene.path("real/a.log"), scene.path("link.log")).expect("link");
    std::fs::hard_link(scene.path("real/a.log"), scene.path("hard.log")).expect("link");
    let include = format!("{}/**/*.log", scene.folder.path().display());
    scene.sources.push(options("second", &[include]));
    let mut running = scene.start();
    running.until_lines(1);
    appender(&running.scene.path("hard.log")).write_all(b"b\n").expect("append");
    running.until_lines(2);
    running.stop();
    let origins = scene.origins();
    assert_eq!((origins.len(), origins[0].column("Source").as_str()), (1, "app"));
    assert_eq!(scene.lines_of("real/a.log"), ["a", "b"]);
}

#[test]
fn a_link_is_followed_and_known_by_its_own_name() {
    let mut scene = Scene::new(&["current.log"]);
    scene.write("data-1", "one\n");
    scene.write("data-2", "two\n");
    symlink(scene.path("data-1"), scene.path("current.log")).expect("link");
    let mut running = scene.start();
    running.until_lines(1);
    // Swapped as `ln -sf` with a rename does it.
    symlink(running.scene.path("data-2"), running.scene.path("next")).expect("link");
    running.scene.rename("next", "current.log");
    running.until_lines(2);
    running.scene.append("data-1", "late\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.origins()[0].lines, ["one", "late"]);
    assert_eq!(scene.origins()[1].lines, ["two"]);
    assert_eq!(scene.origins()[1].column("FilePath"), scene.path("current.log").display().to_string());
}

#[test]
fn excluded_and_own_files_are_left_alone() {
    let mut scene = Scene::new(&["**/*"]);
    std::fs::create_dir(scene.path("state")).expect("folder");
    for name in ["a.log", "b.tmp", "state/x", "out.ndjson", "out.ndjson.1", "outside"] {
        scene.write(name, &format!("{name}\n"));
    }
    std::fs::hard_link(scene.path("out.ndjson"), scene.path("other-name")).expect("link");
    scene.own_paths = vec![scene.path("state"), scene.path("out.ndjson")];
    let exclude = format!("{}/*.tmp", scene.folder.path().display());
    scene.sources[0].exclude.push(Pattern::parse(&exclude).expect("pattern"));
    scene.run_once();
    assert_eq!(scene.sorted_lines(), ["a.log", "outside"]);
}

#[test]
fn start_at_end_counts_for_what_is_there_at_the_very_first_start_only() {
    let mut scene = Scene::new(&["*.log"]);
    scene.sources[0].start_at = StartAt::End;
    scene.write("old.log", "before\n");
    scene.write("empty.log", "");
    let mut running = scene.start();
    running.until("both positions", |log| log.len() == 2);
    running.scene.append("old.log", "after\n");
    running.scene.write("new.log", "new\n");
    running.until_lines(2);
    drop(running);
    scene.append("old.log", "while away\n");
    scene.append("empty.log", "while away too\n");
    scene.write("newer.log", "newer\n");
    scene.run_once();
    assert_eq!(scene.lines_of("old.log"), ["after", "while away"]);
    assert_eq!(scene.lines_of("empty.log"), ["while away too"]);
    assert_eq!(scene.lines_of("new.log"), ["new"]);
    assert_eq!(scene.lines_of("newer.log"), ["newer"]);
}

#[test]
fn old_files_are_ignored_until_they_change() {
    let mut scene = Scene::new(&["*.log"]);
    scene.sources[0].ignore_older = Some(Duration::from_secs(3600));
    scene.write("old.log", "old\n");
    scene.write("new.log", "new\n");
    let two_hours_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    appender(&scene.path("old.log")).set_modified(two_hours_ago).expect("time");
    let mut running = scene.start();
    running.until_lines(1);
    running.drain();
    assert_eq!(running.scene.lines(), ["new"]);
    running.scene.append("old.log", "changed\n");
    running.until_lines(3);
    running.stop();
    assert_eq!(scene.lines_of("old.log"), ["old", "changed"]);
}

#[test]
fn a_file_that_may_not_be_read_is_read_once_it_may() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "secret\n");
    scene.write("b.log", "open\n");
    let set = |scene: &Scene, mode: u32| {
        std::fs::set_permissions(scene.path("a.log"), std::fs::Permissions::from_mode(mode)).expect("rights");
    };
    set(&scene, 0o000);
    if File::open(scene.path("a.log")).is_ok() {
        // The superuser may read everything: nothing to see here.
        return;
    }
    let mut running = scene.start();
    running.until_lines(1);
    assert_eq!(running.drain().left_bytes, 7);
    assert_eq!(running.stats().sources[0].unreadable_files.get(), 1);
    set(running.scene, 0o644);
    running.until_lines(2);
    assert_eq!(running.stop().left_bytes, 0);
    assert_eq!(scene.lines_of("a.log"), ["secret"]);
}

#[test]
fn files_with_equal_first_kilobytes_are_files_of_their_own() {
    let mut scene = Scene::new(&["*.log"]);
    let banner = numbered("banner", 0..200);
    for name in ["app.log", "app.log.log", "worker1.log", "worker10.log"] {
        scene.write(name, &format!("{banner}{name}\n"));
    }
    scene.write("app.log.same.log", &format!("{banner}app.log\n"));
    let mut running = scene.start();
    running.until_lines(201 * 5);
    running.scene.append("worker1.log", "more\n");
    running.until_lines(201 * 5 + 1);
    running.stop();
    assert_eq!(scene.origins().len(), 5);
    for name in ["app.log", "app.log.log", "worker10.log"] {
        assert_eq!(scene.lines_of(name), split(&format!("{banner}{name}\n")));
    }
    assert_eq!(scene.lines_of("app.log.same.log"), split(&format!("{banner}app.log\n")));
}

#[test]
fn a_compressed_file_is_left_alone() {
    let mut scene = Scene::new(&["app.log*"]);
    scene.write("app.log", "text\n");
    std::fs::write(scene.path("app.log.1.gz"), b"\x1f\x8b\x08\0\0\0\0\0\n").expect("write");
    scene.run_once();
    assert_eq!(scene.lines(), ["text"]);
}

#[test]
fn two_thousand_files_are_read_with_a_bounded_number_of_handles() {
    let mut scene = Scene::new(&["**/*.log"]);
    for n in 0..2000 {
        if n % 100 == 0 {
            std::fs::create_dir(scene.path(&format!("d{}", n / 100))).expect("folder");
        }
        scene.write(&format!("d{}/{n}.log", n / 100), &format!("line of {n}\n"));
    }
    let mut running = scene.start();
    running.until_lines(2000);
    for n in (0..2000).step_by(7) {
        running.scene.append(&format!("d{}/{n}.log", n / 100), &format!("second of {n}\n"));
    }
    running.until_lines(2000 + 2000usize.div_ceil(7));
    running.stop();
    assert_eq!(scene.origins().len(), 2000);
    assert_eq!(scene.lines_of("d3/350.log"), ["line of 350", "second of 350"]);
}

#[test]
fn more_files_than_handles_are_read_all_the_same() {
    let mut scene = Scene::new(&["*.log"]);
    for n in 0..200 {
        scene.write(&format!("{n}.log"), &format!("line of {n}\n"));
    }
    let (appender, shelf) = detached();
    let discovery = Discovery::new(&scene.sources, &[], scene.folder.path());
    let draw: Draw = Box::new(OriginId::random);
    let desk = Desk::new(scene.sources.clone(), discovery, RunColumns::default(), appender, draw);
    let stats = Arc::clone(&desk.stats);
    let wake = Arc::new(Wake::default());
    let control = FileControl::new(Arc::clone(&wake));
    let mut engine = Engine::new(desk, Roster::default(), Watch::none(), QUICK, wake);
    engine.handles_max = 16;
    let thread = std::thread::spawn(move || engine.run());
    let source = super::super::Running { control, stats: Arc::clone(&stats), thread };
    let mut running = Running { scene: &mut scene, source: Some(source), shelf };
    running.until_lines(200);
    for n in 0..200 {
        running.scene.append(&format!("{n}.log"), &format!("more of {n}\n"));
    }
    running.until_lines(400);
    assert!(stats.open_files.get() <= 16, "{}", stats.open_files.get());
    running.scene.rename("7.log", "7.old");
    running.scene.append("7.old", "after the rename\n");
    running.until_lines(401);
    running.stop();
    assert_eq!(scene.lines_of("7.log"), ["line of 7", "more of 7", "after the rename"]);
    assert_eq!(scene.origins().len(), 200);
}

#[test]
fn a_folder_that_is_moved_takes_its_files_along() {
    let mut scene = Scene::new(&["runs/{RunID}/*.log"]);
    std::fs::create_dir_all(scene.path("runs/1")).expect("folder");
    scene.write("runs/1/a.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.rename("runs/1", "runs/2");
    running.scene.append("runs/2/a.log", "two\n");
    running.until_lines(2);
    running.stop();
    assert_eq!(scene.origins().len(), 1);
    assert_eq!(scene.lines_of("runs/1/a.log"), ["one", "two"]);
    assert_eq!(scene.origins()[0].column("RunID"), "1");
}

#[test]
fn pipes_and_folders_are_no_files() {
    let mut scene = Scene::new(&["*"]);
    std::fs::create_dir(scene.path("folder")).expect("folder");
    let pipe = scene.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success() && !std::fs::metadata(&pipe).expect("pipe").mode().is_power_of_two());
    scene.write("a", "a\n");
    scene.run_once();
    assert_eq!(scene.lines(), ["a"]);
}
