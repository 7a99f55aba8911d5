#!/usr/bin/env bash
# The main job, once, on this machine: no cloud, no account.
#   scripts/demo.sh
# Builds logferry, starts it as on a benchmark VM, runs a small benchmark of three tasks under its eyes (in containers where
# a Docker engine can be had, else as processes), stops logferry as a shutdown does, and shows the report and the records.
# On Debian and Ubuntu it installs what is missing: Rust, a C compiler, python3, and as root a Docker engine. It writes
# nothing but cargo's and the tests' caches and one folder in $TMPDIR, and is safe to run twice.
# Env: DEMO_ENGINE=no for processes where an engine could be had; LOGFERRY_BINARY, a program to use instead of building one.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
SERVICES=$ROOT/tests/services
BINARY=${LOGFERRY_BINARY:-${CARGO_TARGET_DIR:-$ROOT/target}/release/logferry}
START_SECONDS=10 # until logferry reads
STOP_SECONDS=60  # until it has delivered and ended

RUN_ID=demo-$(date -u +%Y%m%dT%H%M%S)-$$
WORK=$(mktemp -d "${TMPDIR:-/tmp}/logferry-demo.XXXXXX")
RUN=$WORK/runs/$RUN_ID # under it a folder for each task
CONFIG=$WORK/logferry.toml
IMAGE=logferry-test/python:1
MODE= # containers or processes
DAEMON=

step() { printf '\n== %s\n' "$*"; }

finish() {
  [[ ! $DAEMON ]] || kill -9 "$DAEMON" 2>/dev/null || true
  if [[ $MODE == containers ]]; then
    docker ps -aq --filter "label=bench.run_id=$RUN_ID" | xargs -r docker rm -f >/dev/null
  fi
}
trap finish EXIT

# Brings up an engine that can run the tasks, and writes where it is; else says why there is none. Runs beside the build.
engine() {
  [[ ${DEMO_ENGINE:-} != no ]] || { echo "DEMO_ENGINE=no" && return 1; }
  if ((EUID)) || ! command -v apt-get >/dev/null; then echo "only root, on a system with apt, gets one set up" && return 1; fi
  "$SERVICES/install.sh" docker systemd-image-tools && "$SERVICES/dockerd.sh" >"$WORK/docker-host" || return 1
  [[ $(<"$WORK/docker-host") == unix://* ]] || { echo "the engine at $(<"$WORK/docker-host") does not see the files here" && return 1; }
  DOCKER_HOST=$(<"$WORK/docker-host") "$SERVICES/image.sh" python >/dev/null
}

# Rust, a C compiler and python3, as far as they are missing.
tools() {
  if ! command -v python3 >/dev/null; then
    command -v apt-get >/dev/null || die "needs python3, for the tasks and for the look at the records"
    quietly as_root apt-get update && quietly as_root apt-get install -y --no-install-recommends python3
  fi
  [[ ! ${LOGFERRY_BINARY:-} ]] || return 0
  if command -v apt-get >/dev/null; then "$SERVICES/install.sh" build; fi
  local path
  path=$("$ROOT/scripts/setup-rust.sh")
  eval "$path"
}

build() { [[ ${LOGFERRY_BINARY:-} ]] || (cd "$ROOT" && cargo build --release --locked); }

# What a newcomer would write: where to read, what a record says about its run and task, where it goes.
configure() {
  cat <<CONFIG
[run]
run_id    = "$RUN_ID"
benchmark = "demo"

[state]
dir = "$WORK/state"

[[sources.file]]
name    = "files"
include = ["$WORK/runs/{RunID}/{TaskID}/*.log*"]
CONFIG
  [[ $MODE != containers ]] || cat <<CONFIG

[[sources.docker]]
name    = "containers"
host    = "$DOCKER_HOST"
include = { labels = ["bench.run_id=$RUN_ID"] }
columns = { RunID = "label:bench.run_id", TaskID = "label:bench.task_id" }
CONFIG
  cat <<CONFIG

[sinks.file]
path = "$WORK/records.ndjson"

[http]
listen = "off"
[log]
level = "warn"
CONFIG
}

task() { # ID KIND; starts it
  local id=$1 kind=$2 program=$ROOT/scripts/demo/task.py
  local counts=$WORK/counts/$id.json folder=$RUN/$id
  mkdir -p "$folder"
  if [[ $MODE == containers ]]; then
    docker run -d --name "$RUN_ID-$id" --network none --log-driver json-file \
      --label "bench.run_id=$RUN_ID" --label "bench.task_id=$id" \
      -v "$program:/task.py:ro" -v "$WORK/counts:/counts" -v "$folder:/logs" \
      "$IMAGE" python3 /task.py "$kind" "/counts/$id.json" /logs/agent.log >/dev/null
    TASKS+=("$RUN_ID-$id")
  else
    local out=$folder/stdout.log err=$folder/stderr.log
    [[ $kind != rotated ]] || out=/dev/null err=$WORK/$id.err
    python3 "$program" "$kind" "$counts" "$folder/agent.log" >"$out" 2>"$err" &
    TASKS+=("$!")
  fi
}

ended() { # TASK; waits for it
  if [[ $MODE == containers ]]; then
    [[ $(docker wait "$1") == 0 ]] || die "task $1 failed: $(docker logs --tail 5 "$1" 2>&1)"
  else
    wait "$1" || die "a task failed, see $RUN"
  fi
}

reading() { [[ -d $WORK/state ]] || ! kill -0 "$DAEMON" 2>/dev/null; }
stopped() { ! started_at "$DAEMON" >/dev/null; }

step "1. A release build of logferry (the first takes minutes) and, beside it, a Docker engine"
tools
engine >"$WORK/engine.log" 2>&1 &
ENGINE=$!
build
if wait "$ENGINE"; then
  MODE=containers
  DOCKER_HOST=$(<"$WORK/docker-host")
  export DOCKER_HOST
  echo "the tasks will run in containers, at $DOCKER_HOST"
else
  MODE=processes
  echo "no Docker engine, so the tasks will run as processes ($(tail -n 1 "$WORK/engine.log"); all of it is in $WORK/engine.log)"
fi

step "2. logferry starts, with this configuration"
mkdir -p "$WORK/counts"
configure | tee "$CONFIG"
"$BINARY" check -c "$CONFIG" || die "logferry does not take its configuration"
"$BINARY" run -c "$CONFIG" 2>"$WORK/logferry.log" &
DAEMON=$!
retry_until "$START_SECONDS" reading || true
stopped && die "logferry did not start: $(cat "$WORK/logferry.log")"

step "3. The benchmark: three tasks of 400 steps, the log file of one renamed away again and again"
TASKS=()
task task-1 python
task task-2 json
task task-3 rotated
for one in "${TASKS[@]}"; do ended "$one"; done
echo "they have ended; $(find "$RUN" -type f | wc -l) files, $(du -sh --apparent-size "$RUN" | cut -f 1), are in $RUN"

step "4. The machine is about to go: logferry is told to stop, delivers the rest, and reports"
kill -TERM "$DAEMON"
retry_until "$STOP_SECONDS" stopped || die "logferry still runs $STOP_SECONDS s after SIGTERM; its log is $WORK/logferry.log"
status=0
wait "$DAEMON" || status=$?
DAEMON=
cat "$WORK/logferry.log"
echo "exit code $status"

step "5. A look at the records"
python3 "$ROOT/scripts/demo/look.py" "$RUN_ID" "$WORK/records.ndjson" "$WORK"/counts/*.json
((status == 0)) || die "logferry ended with $status"

step "Done"
cat <<WHERE
records         $WORK/records.ndjson
configuration   $CONFIG
the files read  $RUN
To remove them: rm -r $WORK
WHERE
if [[ -e $CACHE/dockerd.pid ]]; then echo "The Docker engine that these scripts started keeps running; to stop it: tests/services/down.sh"; fi
