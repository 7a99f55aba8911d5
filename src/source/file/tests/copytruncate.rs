//! Rotation by copying and truncating, also by the real logrotate.

use std::process::Command;

use super::*;

fn copy_and_truncate(scene: &Scene, from: &str, to: &str) {
    std::fs::copy(scene.path(from), scene.path(to)).expect("copy");
    let file = OpenOptions::new().write(true).open(scene.path(from)).expect("open");
    file.set_len(0).expect("truncate");
}

#[test]
fn a_copy_that_a_pattern_wants_is_not_read_again() {
    let mut scene = Scene::new(&["app.log*"]);
    let text = numbered("line", 0..500);
    scene.write("app.log", &text);
    let mut running = scene.start();
    running.until_lines(500);
    copy_and_truncate(running.scene, "app.log", "app.log.1");
    running.scene.append("app.log", "new\n");
    running.until_lines(501);
    // Later generations, so that the copy is renamed, too.
    running.scene.rename("app.log.1", "app.log.2");
    copy_and_truncate(running.scene, "app.log", "app.log.1");
    running.scene.append("app.log", "newer\n");
    running.until_lines(502);
    running.drain();
    running.stop();
    assert_eq!(scene.lines(), split(&format!("{text}new\nnewer\n")));
}

#[test]
fn what_was_unread_is_read_from_the_copy_whether_a_pattern_wants_it_or_not() {
    for pattern in ["app.log", "app.log*"] {
        let mut scene = Scene::new(&[pattern]);
        let (read, unread) = (numbered("read", 0..500), numbered("unread", 0..500));
        scene.write("app.log", &read);
        let mut running = scene.start();
        running.until_lines(500);
        running.shelf.set_full(true);
        running.scene.append("app.log", &format!("{unread}unfinished"));
        copy_and_truncate(running.scene, "app.log", "app.log.1");
        running.scene.append("app.log", "new\n");
        running.shelf.set_full(false);
        running.until_lines(1001);
        running.stop();
        assert_eq!(scene.sorted_lines(), sorted(&format!("{read}{unread}unfinished\nnew\n")), "{pattern}");
        assert_eq!(scene.origins()[0].lines, split(&format!("{read}{unread}unfinished")), "{pattern}");
    }
}

#[test]
fn a_copy_that_takes_long_is_held_back_until_it_is_whole() {
    let mut scene = Scene::new(&["app.log*"]);
    let text = numbered("line", 0..5000);
    scene.write("app.log", &text);
    let mut running = scene.start();
    running.until_lines(5000);
    for chunk in text.as_bytes().chunks(8192) {
        appender(&running.scene.path("app.log.1")).write_all(chunk).expect("write");
        running.collect(Duration::from_millis(50));
    }
    running.scene.write("app.log", "new\n");
    running.until_lines(5001);
    running.drain();
    running.stop();
    assert_eq!(scene.lines(), split(&format!("{text}new\n")));
}

#[test]
fn a_copy_whose_original_stays_is_a_file_of_its_own() {
    let mut scene = Scene::new(&["app.log*"]);
    let text = numbered("line", 0..500);
    scene.write("app.log", &text);
    let mut running = scene.start();
    running.until_lines(500);
    std::fs::copy(running.scene.path("app.log"), running.scene.path("app.log.copy")).expect("copy");
    running.until_lines(1000);
    running.stop();
    assert_eq!(scene.lines_of("app.log.copy"), split(&text));
}

#[test]
fn a_file_that_replaces_its_equal_goes_on_where_that_was_read() {
    let mut scene = Scene::new(&["app.log"]);
    let text = numbered("line", 0..500);
    scene.write("app.log", &text);
    let mut running = scene.start();
    running.until_lines(500);
    // As rsync does it: a new file with the old contents and more takes the place of the old one.
    running.scene.write(".app.log.tmp", &format!("{text}more\n"));
    running.collect(Duration::from_millis(50));
    running.scene.rename(".app.log.tmp", "app.log");
    running.until_lines(501);
    running.drain();
    running.stop();
    assert_eq!(scene.lines(), split(&format!("{text}more\n")));
}

#[test]
fn a_file_truncated_while_the_source_was_away_goes_on_in_its_copy() {
    for pattern in ["app.log", "app.log*"] {
        let mut scene = Scene::new(&[pattern]);
        let (read, unread) = (numbered("read", 0..500), numbered("unread", 0..500));
        scene.write("app.log", &read);
        scene.run_once();
        scene.append("app.log", &unread);
        copy_and_truncate(&scene, "app.log", "app.log.1");
        scene.append("app.log", "new\n");
        scene.run_once();
        assert_eq!(scene.sorted_lines(), sorted(&format!("{read}{unread}new\n")), "{pattern}");
        scene.append("app.log", "newer\n");
        scene.run_once();
        assert_eq!(scene.sorted_lines(), sorted(&format!("{read}{unread}new\nnewer\n")), "{pattern}");
    }
}

/// Runs logrotate over `app.log` of the folder; false where there is none.
fn logrotate(scene: &Scene, directives: &str) -> bool {
    let config = scene.path("rotate.conf");
    let log = scene.path("app.log");
    std::fs::write(&config, format!("{} {{\n{directives}\n}}\n", log.display())).expect("write");
    let ran =
        Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(scene.path("rotate.state")).arg(&config).output();
    match ran {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(_) => false,
    }
}

/// Between two rounds of logrotate the writer pauses: what is written between its copy and its truncation is lost to
/// everyone, by its own manual.
fn rotate_for_real(pattern: &str, directives: &str, reopen: bool) {
    // What is compressed or removed at once can only be read where it was opened before; and a copy that no pattern wants
    // is known by its first bytes, so its original must have been looked at since it was truncated last.
    let unwanted_copy = directives.contains("copytruncate") && !pattern.contains('*');
    let wait = directives.contains("compress") || directives.contains("rotate 0") || unwanted_copy;
    let mut scene = Scene::new(&[pattern]);
    let mut file = appender(&scene.path("app.log"));
    let mut running = scene.start();
    running.drain();
    for round in 0..6 {
        file.write_all(numbered("line", round * 2000..(round + 1) * 2000).as_bytes()).expect("write");
        if wait {
            running.until_lines(round * 2000 + 1);
        }
        if !logrotate(running.scene, directives) {
            return;
        }
        if reopen {
            file = appender(&running.scene.path("app.log"));
        }
        running.collect(Duration::from_millis(30));
    }
    running.drain();
    running.stop();
    let context = format!("{pattern} {directives} {:#?}", summary(&scene));
    assert_same_lines(&scene.lines(), &split(&numbered("line", 0..12_000)), &context);
}

#[test]
fn the_real_logrotate_loses_and_doubles_nothing() {
    rotate_for_real("app.log", "copytruncate\nrotate 9", false);
    rotate_for_real("app.log*", "copytruncate\nrotate 9", false);
    rotate_for_real("app.log*", "copytruncate\ncompress\ndelaycompress\nrotate 9", false);
    rotate_for_real("app.log", "create\nrotate 9", true);
    rotate_for_real("app.log*", "create\nrotate 9", true);
    rotate_for_real("app.log*", "create\ncompress\nrotate 9", true);
    rotate_for_real("app.log", "nocreate\nrotate 0", true);
}
