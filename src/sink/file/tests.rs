//! The file sink on a real file system.

use super::*;
use crate::record::EventId;

fn batch(lines: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        batch.body.extend_from_slice(line.as_bytes());
        batch.body.push(b'\n');
        batch.ends.push(batch.body.len());
        batch.ids.push(EventId([0; 16]));
    }
    batch
}

fn sink(path: &Path, max_bytes: u64, keep: usize) -> FileSink {
    FileSink::new(Options { path: path.to_owned(), max_bytes, keep })
}

async fn put(sink: &FileSink, lines: &[&str]) -> SendOutcome {
    let batch = batch(lines);
    sink.send(&batch, 0..batch.len()).await
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_record_is_one_line_of_json_with_its_time_id_and_number() {
    let record = RecordView {
        time: 1_500_000_000,
        event_id: EventId([0; 16]),
        seq: 3,
        run_id: "",
        constants: br#""RunID":"42""#,
        members: br#""Message":"m""#,
    };
    let mut line = Vec::new();
    encode_ndjson(&record, &mut line);
    assert_eq!(
        String::from_utf8(line).expect("text"),
        format!(
            "{{\"@timestamp\":\"1970-01-01T00:00:01.500Z\",\"EventID\":\"{}\",\"Seq\":3,\"RunID\":\"42\",\"Message\":\"m\"}}\n",
            "0".repeat(26)
        )
    );
}

#[tokio::test]
async fn records_are_appended_in_a_folder_that_is_created_and_only_the_range_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a/b/records.ndjson");
    let sink = sink(&path, 0, 0);
    let batch = batch(&["one", "two", "three"]);
    assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
    assert_eq!(sink.send(&batch, 1..1).await, SendOutcome::Accepted);
    assert_eq!(sink.send(&batch, 1..3).await, SendOutcome::Accepted);
    assert_eq!(read(&path), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn full_files_are_renamed_counting_up_and_the_oldest_past_keep_are_deleted() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("r.ndjson");
    fs::write(dir.path().join("r.ndjson.notes"), "not ours").expect("a file");
    let sink = sink(&path, 10, 2);
    for line in ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg"] {
        assert_eq!(put(&sink, &[line]).await, SendOutcome::Accepted);
    }
    assert_eq!(names(dir.path()), ["r.ndjson", "r.ndjson.2", "r.ndjson.3", "r.ndjson.notes"]);
    assert_eq!(read(&path), "gggg\n");
    assert_eq!(read(dir.path().join("r.ndjson.3")), "eeee\nffff\n");
    assert_eq!(read(dir.path().join("r.ndjson.2")), "cccc\ndddd\n");
    let larger_than_a_file = "x".repeat(50);
    assert_eq!(put(&sink, &[&larger_than_a_file]).await, SendOutcome::Accepted, "one batch may pass the bound");
    assert_eq!(read(dir.path().join("r.ndjson.4")), "gggg\n");
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_is_ended_before_anything_new() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("r.ndjson");
    fs::write(&path, "whole\n{\"half").expect("a file");
    let sink = sink(&path, 0, 0);
    assert_eq!(put(&sink, &["new"]).await, SendOutcome::Accepted);
    assert_eq!(read(&path), "whole\n{\"half\nnew\n");
}

#[tokio::test]
async fn a_file_that_somebody_renames_or_deletes_is_followed_by_a_new_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("r.ndjson");
    let sink = sink(&path, 0, 0);
    put(&sink, &["one"]).await;
    fs::rename(&path, dir.path().join("moved")).expect("rename");
    assert_eq!(put(&sink, &["two"]).await, SendOutcome::Accepted);
    assert_eq!((read(&path), read(dir.path().join("moved"))), ("two\n".to_owned(), "one\n".to_owned()));
    fs::remove_dir_all(dir.path()).expect("remove");
    assert_eq!(put(&sink, &["three"]).await, SendOutcome::Accepted);
    assert_eq!(read(&path), "three\n");
}

#[tokio::test]
async fn concurrent_writes_keep_their_records_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("r.ndjson");
    let sink = Arc::new(sink(&path, 0, 0));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                let line = n.to_string().repeat(1000);
                put(&sink, &[line.as_str(); 20]).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("a task"), SendOutcome::Accepted);
    }
    let text = read(&path);
    assert_eq!(text.lines().count(), 160);
    for block in text.lines().collect::<Vec<_>>().chunks(20) {
        assert!(block.iter().all(|line| *line == block[0] && line.len() == 1000));
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_not_sent_and_says_where_and_why() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), "").expect("a file");
    let check = async |path: PathBuf, expected: &str| match put(&sink(&path, 0, 0), &["x"]).await {
        SendOutcome::NotSent { reason } => {
            assert!(reason.contains(expected) && reason.contains(&path.display().to_string()), "{reason}");
        }
        other => panic!("{path:?}: {other:?}"),
    };
    check(dir.path().join("file/below"), "os error").await;
    check(dir.path().to_owned(), "directory").await;
    check(PathBuf::from("/dev/null"), "regular file").await;
}

#[tokio::test]
async fn probing_leaves_no_file_behind_and_names_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sub/r.ndjson");
    let text = sink(&path, 0, 0).probe().await.expect("writable");
    assert!(text.contains("r.ndjson") && text.contains("MiB free"), "{text}");
    assert_eq!(names(&dir.path().join("sub")), Vec::<String>::new());
    fs::write(&path, "kept\n").expect("a file");
    sink(&path, 0, 0).probe().await.expect("writable");
    assert_eq!(read(&path), "kept\n");
    let reason = sink(dir.path(), 0, 0).probe().await.expect_err("a folder");
    assert!(reason.contains("directory"), "{reason}");
}
