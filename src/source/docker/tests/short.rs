//! Containers that live for moments, and that the engine removes when they end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{Gap, GapReason};
use super::*;

/// Engines do not tell everybody where they keep their data: a proxy that does not.
async fn proxy_without_data_folder(dir: &std::path::Path) -> Host {
    let path = dir.join("proxy.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = near.read(&mut head).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
                if line.contains("/info") {
                    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = near.write_all(refused).await;
                    return;
                }
                let mut far = tokio::net::UnixStream::connect("/var/run/docker.sock").await.expect("the engine");
                far.write_all(&head[..read]).await.expect("write");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    Host::Address(format!("unix://{}", path.display()))
}

/// What one of the containers prints: this many lines, some of them to the other stream, and how it ends.
struct Load {
    lines: u64,
    tail: bool,
}

impl Load {
    fn script(&self) -> String {
        let Load { lines, tail } = self;
        let tail = if *tail { "; printf tail" } else { "" };
        format!(
            "i=0; while [ $i -lt {lines} ]; do echo line$i; [ $((i % 7)) = 0 ] && echo err$i >&2; i=$((i+1)); done{tail}; exit 3"
        )
    }
}

/// Runs `count` containers, 8 at a time, each to its end; gives their names and loads.
async fn run_all(engine: &mut Engine, options: &[&str], loads: Vec<Load>) -> Vec<(String, Load)> {
    let mut all = Vec::new();
    for (n, load) in loads.into_iter().enumerate() {
        let name = engine.name(&format!("short{n}"));
        let label = format!("logferry-test={}", engine.label);
        let mut args = vec!["run", "--label", &label, "--network", "none", "--name", &name];
        args.extend(options);
        let script = load.script();
        args.extend([BUSYBOX, "sh", "-c", &script]);
        all.push((engine.docker(&args), name.clone(), load));
    }
    let mut done = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for (mut command, name, load) in all {
        if running.len() == 8 {
            running.join_next().await.expect("one").expect("no panic");
        }
        running.spawn_blocking(move || {
            let output = command.stdout(Stdio::null()).output().expect("docker");
            assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        });
        done.push((name, load));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no panic");
    }
    done
}

fn check_all(records: &Records, all: &[(String, Load)], with_tail: bool) {
    for (name, load) in all {
        let mut expected = numbered("line", 0..load.lines);
        if load.tail && with_tail {
            expected.push("tail".to_owned());
        }
        let found = messages(records, name, "stdout");
        let found = if with_tail { found } else { found.into_iter().filter(|line| *line != "tail").collect() };
        assert!(found == expected, "{name}: {} of {} lines", found.len(), expected.len());
        let errors: Vec<String> = (0..load.lines).step_by(7).map(|n| format!("err{n}")).collect();
        assert_eq!(messages(records, name, "stderr"), errors, "{name}");
        let exits = &records[&(name.clone(), String::new())];
        assert_eq!(exits.len(), 1, "{name}: {exits:?}");
        assert_eq!(exits[0].columns["EventType"], "container.exited");
        assert!(exits[0].message.starts_with(&format!("container {name} exited with code 3")), "{}", exits[0].message);
    }
}

fn loads(count: u64, tail: bool) -> Vec<Load> {
    (0..count).map(|n| Load { lines: if n % 3 == 0 { n % 5 } else { n * 37 % 2000 }, tail }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_remove_themselves_are_read_to_their_last_byte() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    let all = run_all(&mut engine, &["--rm"], loads(40, true)).await;
    source.until(|r| r.keys().filter(|(_, stream)| stream.is_empty()).count() == all.len()).await;
    source.until(|_| source.log.all_ended()).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    check_all(&log.records(), &all, true);
    assert_eq!(stats.gaps().0, 0, "{:?}", stats.gaps());
}

/// Where the engine starts one before we are joined to it, on a machine under load, that is said.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_data_folder_a_container_is_read_to_its_last_line_or_named() {
    let mut engine = Engine::usual();
    let dir = tempfile::tempdir().expect("folder");
    let options = Options { host: proxy_without_data_folder(dir.path()).await, ..engine.options() };
    let source = start(options, &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    let all = run_all(&mut engine, &["--rm"], loads(40, true)).await;
    source.until(|r| r.keys().filter(|(_, stream)| stream.is_empty()).count() == all.len()).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    let records = log.records();
    let tails = all.iter().filter(|(name, _)| messages(&records, name, "stdout").last() == Some(&"tail")).count();
    let named: HashSet<String> = stats.gaps().1.into_iter().map(|gap| gap.name).collect();
    eprintln!("{tails} of {} unterminated last lines came, {} containers were missed", all.len(), named.len());
    let whole: Vec<_> = all.into_iter().filter(|(name, _)| !named.contains(name)).collect();
    assert!(!whole.is_empty());
    check_all(&records, &whole, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_containers_that_stay_are_read_to_their_last_byte() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    let all = run_all(&mut engine, &[], loads(24, true)).await;
    source.until(|r| r.keys().filter(|(_, stream)| stream.is_empty()).count() == all.len()).await;
    let log = source.log.clone();
    source.stop().await;
    check_all(&log.records(), &all, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_missed_is_named_once_over_restarts() {
    let mut engine = Engine::usual();
    let dir = tempfile::tempdir().expect("folder");
    let memory = || Some(dir.path().join("seen.json"));
    let log = Log::default();
    let seen = engine.python("seen", "print('hello')");
    let source = start_with(engine.options(), &log, Vec::new(), &[], memory());
    source.until(|r| count(r, &seen, "stdout") == 1 && count(r, &seen, "") == 1).await;
    source.kill().await;
    engine.call(&["rm", &seen]);
    let missed = run_all(&mut engine, &["--rm"], loads(1, false)).await.remove(0).0;
    for _ in 0..2 {
        let source = start_with(engine.options(), &log, log.live(), &[], memory());
        source.until(|r| count(r, &missed, "") == 1 && source.log.all_ended()).await;
        source.stop().await;
    }
    let gaps: u64 = log.live().iter().map(|origin| origin.counters.gaps).sum();
    assert_eq!(gaps, 1);
    let records = log.records();
    assert!(messages(&records, &missed, "")[0].contains("exited with code 3"));
    let named: Vec<_> = log.live().into_iter().filter(|origin| origin.counters.gaps > 0).collect();
    assert_eq!(columns(&named[0].info.constants)["Container"], missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_removes_itself_is_not_held_up_by_a_full_buffer() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    source.stuck.store(true, Ordering::Relaxed);
    let text = "x".repeat(400);
    let script = format!("import sys\nfor n in range(60000): sys.stdout.write('%d {text}\\n' % n)");
    let name = engine.create(&["run", "-d", "--rm"], "held", &[], PYTHON, &["python3", "-c", &script]);
    let end = Instant::now() + PATIENCE;
    while engine.docker(&["inspect", &name]).output().is_ok_and(|output| output.status.success()) {
        assert!(Instant::now() < end, "the container does not come to its end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.until(|_| source.stats.reconnects() > 0).await;
    source.stuck.store(false, Ordering::Relaxed);
    let records = source.until(|r| count(r, &name, "") == 1).await;
    let expected = numbered("", 0..60_000).into_iter().map(|line| format!("{line} {text}"));
    assert!(messages(&records, &name, "stdout").into_iter().eq(expected), "{:?}", summary(&records));
    let (gaps, which): (u64, Vec<Gap>) = source.stats.gaps();
    assert_eq!((gaps, which.iter().any(|gap| gap.reason == GapReason::Gone)), (0, false));
    source.stop().await;
}
