#!/usr/bin/env bash
# Batch upload: a task runs to its end on a VM without the daemon, then its logs are shipped, and only then may the VM go.
#   task.sh COMMAND…   runs it with its output in LOG_DIR, ships LOG_DIR; exit code of the command, or 70 where logs are left
# Env: RUN_ID and TASK_ID, which logferry.toml takes into run.run_id and run.task_id; LOG_DIR; LOGFERRY_CONFIG; ATTEMPTS (5),
#   each of at most SHIP_SECONDS (1800): then it is told to stop, which may take `teardown.deadline` more.
# `logferry ship --dry-run` says what a task's logs would come to, in GB as Azure bills them, before the first is sent.
# An example to start from. What does not run to its end (a VM that is deleted under the task) needs the daemon.
set -euo pipefail
: "${RUN_ID:?the run, such as RUN_ID=42}" "${TASK_ID:?the task, such as TASK_ID=17}"
export RUN_ID TASK_ID
LOG_DIR=${LOG_DIR:-/var/log/tasks/$RUN_ID/$TASK_ID}
ATTEMPTS=${ATTEMPTS:-5}
SHIP_SECONDS=${SHIP_SECONDS:-1800}
PAUSE_SECONDS=${PAUSE_SECONDS:-60}

(($#)) || { echo "task.sh: which command?" >&2 && exit 2; }
mkdir -p "$LOG_DIR"
TASK_CODE=0
"$@" >>"$LOG_DIR/stdout.log" 2>>"$LOG_DIR/stderr.log" || TASK_CODE=$?

# 0: everything is delivered, 4: all but what stands in the dead letters, which no further attempt would change. 3: records
# are left; they are in the state folder, and the next `ship` goes on with them. 1: a failure that may pass. 2: a mistake of
# the configuration, which stays one.
for ((attempt = 1; ; attempt++)); do
  SHIP_CODE=0
  timeout --preserve-status --signal=TERM "$SHIP_SECONDS" logferry ship || SHIP_CODE=$?
  case $SHIP_CODE in
    0) exit "$TASK_CODE" ;;
    4) echo "task.sh: some records are dead letters; keep the state folder" >&2 && exit 70 ;;
    2) break ;;
  esac
  ((attempt < ATTEMPTS)) || break
  sleep "$PAUSE_SECONDS"
done
echo "task.sh: the logs of run $RUN_ID, task $TASK_ID are not all delivered (logferry ship: $SHIP_CODE); keep this VM" >&2
exit 70
