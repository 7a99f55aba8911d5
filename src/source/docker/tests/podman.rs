//! Podman by its Docker API: a service of the test's own, with its containers in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::*;

const IMAGE: &str = "localhost/logferry-test/busybox:1";

/// `podman system service`, which has no daemon behind it: containers go on while it is stopped.
struct Service {
    dir: PathBuf,
    child: Child,
}

impl Service {
    fn host(dir: &Path) -> String {
        format!("unix://{}/podman.sock", dir.display())
    }

    fn start(dir: &Path) -> Service {
        let path = |name: &str| dir.join(name).display().to_string();
        // Podman would raise limits, which a machine in a container may not.
        std::fs::write(dir.join("containers.conf"), "[containers]\ndefault_ulimits = []\n").expect("written");
        let log = std::fs::File::options().create(true).append(true).open(path("log")).expect("log");
        let child = Command::new("podman")
            .args(["--root", &path("root"), "--runroot", &path("run"), "--tmpdir", &path("tmp")])
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(["system", "service", "--time", "0", &Service::host(dir)])
            .env("CONTAINERS_CONF", path("containers.conf"))
            .env_remove("DOCKER_HOST")
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("podman is installed: tests/services/install.sh docker");
        let end = Instant::now() + PATIENCE;
        while !Service::client(dir).arg("version").output().is_ok_and(|output| output.status.success()) {
            assert!(Instant::now() < end, "podman did not come up, see {}", path("log"));
            std::thread::sleep(Duration::from_millis(50));
        }
        Service { dir: dir.to_owned(), child }
    }

    fn client(dir: &Path) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", Service::host(dir));
        command
    }

    /// With the image of [`run`], and an engine that speaks to it.
    fn with_image(dir: &Path) -> (Service, Engine) {
        let service = Service::start(dir);
        let pipe = format!("docker save {BUSYBOX} | DOCKER_HOST={} docker load", Service::host(dir));
        let load = Command::new("sh").args(["-c", &pipe]).output().expect("sh");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        (service, Engine::at(Some(Service::host(dir))))
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let ids = Service::client(&self.dir).args(["ps", "-aq"]).output().expect("docker").stdout;
            let ids = String::from_utf8_lossy(&ids).into_owned();
            let _ = Service::client(&self.dir).args(["rm", "-f"]).args(ids.split_whitespace()).output();
            self.stop();
        }
    }
}

fn run(engine: &mut Engine, name: &str, options: &[&str], script: &str) -> String {
    engine.create(&["run", "-d"], name, options, IMAGE, &["sh", "-c", script])
}

#[tokio::test]
async fn containers_of_podman_are_read_whole_through_runs_and_removal() {
    let dir = tempfile::tempdir().expect("folder");
    let (service, mut engine) = Service::with_image(dir.path());
    let source = start(engine.options(), &Log::default(), Vec::new());
    let script = "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf tail";
    let name = run(&mut engine, "both", &["--label", "bench.task_id=17", "-e", "RUN_ID=42"], script);
    let tty = run(&mut engine, "tty", &["-t"], "echo one; head -c 50000 /dev/zero | tr '\\0' T; echo; printf end");
    let records = source.until(|r| count(r, &name, "stdout") == 301 && count(r, &name, "stderr") == 300).await;
    let expected = [numbered("out", 0..300), vec!["tail".to_owned()]].concat();
    assert_eq!(messages(&records, &name, "stdout"), expected);
    assert_eq!(messages(&records, &name, "stderr"), numbered("err", 0..300));
    let columns = &records[&(name.clone(), "stderr".to_owned())][0].columns;
    assert_eq!((columns["TaskID"].as_str(), columns["RunID"].as_str()), ("17", "42"));
    engine.wait(&name);
    engine.call(&["start", &name]);
    let records = source.until(|r| count(r, &name, "stdout") == 602 && count(r, &name, "stderr") == 600).await;
    assert_eq!(messages(&records, &name, "stdout")[301..], expected);
    let records = source.until(|r| count(r, &tty, "stdout") == 3).await;
    assert!(messages(&records, &tty, "stdout") == ["one", &"T".repeat(50_000), "end"]);
    engine.wait(&name);
    engine.wait(&tty);
    source.until(|_| source.stats.following() == 0).await;
    engine.call(&["rm", &name, &tty]);
    source.until(|_| source.log.all_ended()).await;
    assert_eq!(source.stats.gaps().0, 0, "{:?}", source.stats.gaps());
    source.stop().await;
    drop(service);
}

#[tokio::test]
async fn lines_that_podman_has_in_pieces_of_other_times_are_whole() {
    let dir = tempfile::tempdir().expect("folder");
    let (service, mut engine) = Service::with_image(dir.path());
    let source = start(engine.options(), &Log::default(), Vec::new());
    let script = "printf 'slow '; sleep 1.2; printf 'and '; sleep 1.2; echo steady; \
                  head -c 100000 /dev/zero | tr '\\0' x; echo; echo next; printf unfinished";
    let name = run(&mut engine, "pieces", &[], script);
    engine.wait(&name);
    let records = source.until(|r| count(r, &name, "stdout") >= 4).await;
    let long = "x".repeat(100_000);
    assert!(messages(&records, &name, "stdout") == ["slow and steady", &long, "next", "unfinished"], "{records:?}");
    source.stop().await;
    drop(service);
}

#[tokio::test]
async fn the_last_line_of_a_running_container_of_podman_is_not_held_back() {
    let dir = tempfile::tempdir().expect("folder");
    let (service, mut engine) = Service::with_image(dir.path());
    let mut options = engine.options();
    options.ingest.multiline = Multiline::Auto;
    let source = start(options, &Log::default(), Vec::new());
    let name = run(&mut engine, "quiet", &[], "echo one; echo '  more'; sleep 1000");
    let records = source.until(|r| count(r, &name, "stdout") == 1).await;
    assert_eq!(messages(&records, &name, "stdout"), ["one\n  more"]);
    assert_eq!(engine.call(&["inspect", "-f", "{{.State.Running}}", &name]), "true");
    source.kill().await;
    drop(service);
}

#[tokio::test]
async fn crashes_and_a_service_that_stops_and_starts_neither_lose_nor_double_a_line_of_podman() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut service, mut engine) = Service::with_image(dir.path());
    let script = "n=0; while [ $n -lt 30000 ]; do echo line$n same same same same; [ $((n % 7)) = 0 ] && echo err$n >&2; \
                  n=$((n+1)); [ $((n % 200)) = 0 ] && sleep 0.05; done; printf end";
    let name = run(&mut engine, "crashed", &[], script);
    let log = Log::default();
    for round in 0..8 {
        let source = start(engine.options(), &log, log.live());
        tokio::time::sleep(Duration::from_millis(400)).await;
        if round % 3 == 2 {
            service.stop();
            service = Service::start(dir.path());
        }
        source.kill().await;
        // Not all that was queued had been synced.
        let mut sections = log.lock();
        let kept = sections.len() - sections.len().min(round);
        sections.truncate(kept);
    }
    let source = start(engine.options(), &log, log.live());
    let records = source.until(|r| messages(r, &name, "stdout").last() == Some(&"end")).await;
    let lines = numbered("line", 0..30_000).into_iter().map(|line| format!("{line} same same same same"));
    let expected: Vec<String> = lines.chain(["end".to_owned()]).collect();
    let found = messages(&records, &name, "stdout");
    let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
    let around = differs.map(|at| &found[at.saturating_sub(2)..(at + 3).min(found.len())]);
    let gaps = source.stats.gaps();
    assert!(found == expected, "{:?}, first at {differs:?}: {around:?}, {gaps:?}", summary(&records));
    let expected: Vec<String> = (0..30_000).step_by(7).map(|n| format!("err{n}")).collect();
    assert!(messages(&records, &name, "stderr") == expected, "{:?}", summary(&records));
    assert_eq!(source.stats.gaps().0, 0, "{:?}", source.stats.gaps());
    source.stop().await;
    drop(service);
}

/// Podman's events come late, so that it may have removed a container before anybody heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn short_containers_that_podman_removes_are_read_whole_or_named() {
    let dir = tempfile::tempdir().expect("folder");
    let (service, mut engine) = Service::with_image(dir.path());
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    let mut all = Vec::new();
    for n in 0..24 {
        let (lines, pause) = (n * 40, if n % 4 == 0 { "sleep 2; " } else { "" });
        let script =
            format!("i=0; while [ $i -lt {lines} ]; do echo line$i; echo err$i >&2; i=$((i+1)); done; {pause}exit 3");
        all.push((run(&mut engine, &format!("short{n}"), &["--rm"], &script), lines, !pause.is_empty()));
    }
    let whole = |r: &Records, name: &str, lines: u64| {
        let exit = messages(r, name, "");
        let said = exit.len() == 1 && exit[0].contains("exited with code 3");
        said && count(r, name, "stdout") as u64 == lines && count(r, name, "stderr") as u64 == lines
    };
    let unknown = || {
        let (records, (_, gaps)) = (source.log.records(), source.stats.gaps());
        let of = |(name, lines, is_slow): &(String, u64, bool)| {
            let is_named = !is_slow && gaps.iter().any(|gap| gap.name == *name);
            let seen = (messages(&records, name, "").join(","), count(&records, name, "stdout"));
            (!is_named && !whole(&records, name, *lines)).then(|| (name.clone(), *lines, seen))
        };
        all.iter().filter_map(of).collect::<Vec<_>>()
    };
    let end = Instant::now() + Duration::from_secs(30);
    while !unknown().is_empty() {
        assert!(Instant::now() < end, "{:?} of {:?}", unknown(), source.stats.gaps());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let records = source.log.records();
    let missing = all.iter().filter(|(name, lines, _)| !whole(&records, name, *lines)).count();
    for (name, ..) in &all {
        let first = |prefix: &str, stream: &str| numbered(prefix, 0..count(&records, name, stream) as u64);
        assert_eq!(messages(&records, name, "stdout"), first("line", "stdout"), "{name}");
        assert_eq!(messages(&records, name, "stderr"), first("err", "stderr"), "{name}");
        // Nothing is done to a container: each ends as it does by itself, and is removed.
        let exits = messages(&records, name, "");
        assert!(exits.iter().all(|exit| exit.contains("exited with code 3")), "{exits:?}");
    }
    eprintln!("{missing} of {} are named as gone", all.len());
    assert_eq!(engine.call(&["ps", "-aq"]), "");
    source.stop().await;
    drop(service);
}
