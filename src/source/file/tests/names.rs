//! Files with several names, and folders that are moved, swapped and linked.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_file_with_two_names_stays_the_same_when_the_first_is_taken_away() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\n");
    std::fs::hard_link(scene.path("a.log"), scene.path("b.log")).expect("link");
    let mut running = scene.start();
    running.until_lines(1);
    running.scene.remove("a.log");
    running.scene.append("b.log", "two\n");
    running.until_lines(2);
    // The first name now is another file's.
    running.scene.write("a.log", "other\n");
    running.until_lines(3);
    running.scene.append("b.log", "three\n");
    running.until_lines(4);
    running.stop();
    scene.append("b.log", "four\n");
    scene.run_once();
    let origins = scene.origins();
    assert_eq!(origins.len(), 2);
    assert_eq!(origins[0].lines, ["one", "two", "three", "four"]);
    assert_eq!(origins[1].lines, ["other"]);
}

#[test]
fn a_link_to_a_folder_that_is_swapped_leads_to_other_files() {
    let mut scene = Scene::new(&["current/*.log"]);
    for run in ["run-1", "run-2"] {
        std::fs::create_dir(scene.path(run)).expect("folder");
        scene.write(&format!("{run}/a.log"), &format!("{run}\n"));
    }
    symlink("run-1", scene.path("current")).expect("link");
    let mut running = scene.start();
    running.until_lines(1);
    symlink("run-2", running.scene.path("next")).expect("link");
    running.scene.rename("next", "current");
    running.until_lines(2);
    running.scene.append("run-1/a.log", "late\n");
    running.scene.append("run-2/a.log", "more\n");
    running.until_lines(4);
    running.stop();
    let origins = scene.origins();
    assert_eq!(origins.len(), 2);
    assert_eq!(origins[0].lines, ["run-1", "late"]);
    assert_eq!(origins[1].lines, ["run-2", "more"]);
}

#[test]
fn folders_that_change_places_keep_their_files() {
    let mut scene = Scene::new(&["{TaskID}/*.log"]);
    for task in ["one", "two"] {
        std::fs::create_dir(scene.path(task)).expect("folder");
        scene.write(&format!("{task}/a.log"), &format!("{task} before\n"));
    }
    let mut running = scene.start();
    running.until_lines(2);
    running.scene.rename("one", "three");
    running.scene.rename("two", "one");
    running.scene.rename("three", "two");
    running.scene.append("two/a.log", "one after\n");
    running.scene.append("one/a.log", "two after\n");
    running.until_lines(4);
    running.stop();
    let origins = scene.origins();
    assert_eq!(origins.len(), 2);
    for origin in origins {
        let task = origin.column("TaskID");
        assert_eq!(origin.lines, [format!("{task} before"), format!("{task} after")]);
    }
}

#[test]
fn a_folder_that_is_moved_out_of_sight_or_deleted_is_read_to_its_end() {
    let mut scene = Scene::new(&["runs/*/*.log"]);
    for run in ["moved", "deleted"] {
        std::fs::create_dir_all(scene.path(&format!("runs/{run}"))).expect("folder");
        scene.write(&format!("runs/{run}/a.log"), &format!("{run} one\n"));
    }
    let mut running = scene.start();
    running.until_lines(2);
    running.shelf.set_full(true);
    for run in ["moved", "deleted"] {
        running.scene.append(&format!("runs/{run}/a.log"), &numbered(run, 0..1000));
    }
    running.scene.rename("runs/moved", "archive");
    std::fs::remove_dir_all(running.scene.path("runs/deleted")).expect("deleted");
    running.scene.append("archive/a.log", "moved late\n");
    running.shelf.set_full(false);
    running.until_lines(2003);
    running.until("both ends", |log| log.iter().filter(|section| section.ended).count() == 2);
    running.stop();
    assert_eq!(scene.origins().len(), 2);
    let expected = format!("moved one\n{}moved late\n", numbered("moved", 0..1000));
    assert_eq!(scene.lines_of("runs/moved/a.log"), split(&expected));
    let expected = format!("deleted one\n{}", numbered("deleted", 0..1000));
    assert_eq!(scene.lines_of("runs/deleted/a.log"), split(&expected));
}

#[test]
fn a_link_to_a_folder_above_does_not_end_the_search_nor_double_a_file() {
    let mut scene = Scene::new(&["**/*.log", "*/*/*.log"]);
    std::fs::create_dir_all(scene.path("a/b")).expect("folders");
    scene.write("a/b/x.log", "x\n");
    symlink("..", scene.path("a/up")).expect("link");
    symlink(scene.path("a/b/x.log"), scene.path("a/gone.log")).expect("link");
    symlink("nowhere", scene.path("a/dangling.log")).expect("link");
    symlink("self.log", scene.path("a/self.log")).expect("link");
    assert_eq!(scene.run_once().left_bytes, 0);
    assert_eq!(scene.lines(), ["x"]);
}
