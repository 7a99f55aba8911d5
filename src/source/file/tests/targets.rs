//! Drains and stops.

use super::*;

fn in_ms(ms: u64) -> Option<tokio::time::Instant> {
    Some(tokio::time::Instant::now() + Duration::from_millis(ms))
}

#[test]
fn a_drain_takes_what_stands_there_and_reading_goes_on() {
    let mut scene = Scene::new(&["*.log"]);
    // No poll and no hint would bring this up: the drain looks for itself.
    scene.timing.poll = Duration::from_secs(3600);
    let mut running = scene.start();
    let text = numbered("a", 0..40_000);
    running.scene.write("a.log", &text);
    running.scene.write("b.log", "b\nunfinished");
    let drained = running.drain();
    assert_eq!(drained, Drained { origins: 2, left_bytes: 0 });
    assert_eq!(running.scene.lines_of("a.log"), split(&text));
    assert_eq!(running.scene.lines_of("b.log"), ["b", "unfinished"]);
    running.scene.append("b.log", " rest\n");
    running.until_lines(40_003);
    running.stop();
    assert_eq!(scene.lines_of("b.log"), ["b", "unfinished", " rest"]);
}

#[test]
fn a_drain_waits_until_an_unfinished_line_has_settled() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "a");
    let mut running = scene.start();
    let path = running.scene.path("a.log");
    let writer = std::thread::spawn(move || {
        for letter in ["b", "c", "d", "e\n"] {
            std::thread::sleep(SETTLE / 4);
            appender(&path).write_all(letter.as_bytes()).expect("append");
        }
    });
    running.drain();
    writer.join().expect("writer");
    running.stop();
    assert_eq!(scene.lines(), ["abcde"]);
}

#[test]
fn a_stop_near_its_deadline_takes_an_unfinished_line_as_it_is() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\nunfinished");
    let mut running = scene.start();
    let begun = Instant::now();
    let drained = running.ask(|done| Control::Stop { settle: LIMIT, deadline: in_ms(400), done });
    assert!(begun.elapsed() < Duration::from_millis(2000), "{:?}", begun.elapsed());
    running.join();
    drop(running);
    assert_eq!(drained.left_bytes, 0);
    assert_eq!(scene.lines(), ["one", "unfinished"]);
}

#[test]
fn a_drain_at_its_deadline_says_what_is_left_and_does_not_take_it() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\nunfinished");
    let mut running = scene.start();
    running.until_lines(1);
    let drained = running.ask(|done| Control::Drain { settle: LIMIT, deadline: in_ms(200), done });
    assert_eq!(drained, Drained { origins: 1, left_bytes: 10 });
    running.scene.append("a.log", " line\n");
    running.until_lines(2);
    running.stop();
    assert_eq!(scene.lines(), ["one", "unfinished line"]);
}

#[test]
fn a_stop_that_may_not_read_says_what_is_left_and_the_next_start_takes_it() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\n");
    let mut running = scene.start();
    running.until_lines(1);
    running.shelf.set_full(true);
    running.scene.append("a.log", "two\n");
    running.scene.write("b.log", "three\n");
    let drained = running.ask(|done| Control::Stop { settle: SETTLE, deadline: in_ms(300), done });
    running.join();
    drop(running);
    assert_eq!(drained, Drained { origins: 2, left_bytes: 10 });
    scene.run_once();
    assert_eq!(scene.sorted_lines(), ["one", "three", "two"]);
}

#[test]
fn a_stop_ends_what_was_deleted() {
    let mut scene = Scene::new(&["*.log"]);
    scene.timing.gone_quiet = LIMIT;
    scene.write("a.log", "one\n");
    scene.write("b.log", "two\n");
    let mut running = scene.start();
    running.until_lines(2);
    running.scene.append("a.log", "three");
    running.scene.remove("a.log");
    running.stop();
    let ended: Vec<bool> = scene.origins().iter().map(|origin| origin.ended).collect();
    assert_eq!(ended, [true, false]);
    assert_eq!(scene.lines_of("a.log"), ["one", "three"]);
}

#[test]
fn drains_overlap_and_a_stop_ends_them() {
    let mut scene = Scene::new(&["*.log"]);
    scene.write("a.log", "one\nunfinished");
    let mut running = scene.start();
    running.until_lines(1);
    let (done, long) = oneshot::channel();
    let source = running.source.as_ref().expect("running");
    source.control.send(Control::Drain { settle: LIMIT, deadline: None, done }).expect("sent");
    assert_eq!(running.drain().left_bytes, 0);
    assert_eq!(long.blocking_recv().expect("answered, as the line is taken").left_bytes, 0);
    running.stop();
}

#[test]
fn the_thread_ends_when_nobody_can_stop_it_any_more() {
    let mut scene = Scene::new(&["*.log"]);
    let mut running = scene.start();
    let source = running.source.take().expect("running");
    drop(source.control);
    assert!(source.thread.join().expect("no panic").is_ok());
}

#[test]
fn the_thread_ends_with_an_error_when_the_buffer_has_stopped() {
    let mut scene = Scene::new(&["*.log"]);
    let mut running = scene.start();
    running.shelf.close();
    running.scene.write("a.log", "one\n");
    let source = running.source.take().expect("running");
    assert!(matches!(source.thread.join().expect("no panic"), Err(Error::BufferClosed)));
    let (done, _answer) = oneshot::channel();
    assert!(source.control.send(Control::Drain { settle: SETTLE, deadline: None, done }).is_err());
}
