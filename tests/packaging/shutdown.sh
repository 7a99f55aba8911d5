#!/usr/bin/env bash
# The end of a machine whose containers log, tried for real: systemd as PID 1, a Docker engine of its own, containers that
# write until Docker stops them and then say goodbye. Watched are the order in which units stop, and what arrives.
#   shutdown.sh   prints a line for each check, and "N passed, N failed" in the end; exit code 1 where one failed
# Env: LOGFERRY_BINARY, the program (else a release build); DOCKER_HOST; CARGO_TARGET_DIR.
# Needs what tests/services/up.sh installs.
set -euo pipefail
# shellcheck source=machine.bash
source "$(dirname "${BASH_SOURCE[0]}")/machine.bash"

LOAD_SECONDS=5           # that the containers write before the machine goes down
LAST_LINES=500           # that each writes when Docker stops it
SHUTDOWN_MAX_SECONDS=25  # for the whole machine: a VM that goes away may give 30
SHORT_TIMEOUT_SECONDS=3  # of the unit, where a stop is to take longer
CONTAINER_SECONDS=8      # that a container runs on which a stop waits for
TALKERS=(one two three four brief)
OTHER_DRIVER=other       # one more, whose log is no file that can be read: its rest without an end is with the engine

hierarchies() { cut -d : -f 2 /proc/self/cgroup | sort; }
mounted() { awk '$5 ~ "^/sys/fs/cgroup/" { print $5 }' | sort; }

# systemd mounts each hierarchy of cgroups that the kernel has (version 1). What the engine in there leaves in one that is
# mounted nowhere else keeps it alive when the machine is gone, and the engine out here would then hear of no container any
# more that it ran out of memory.
leave_hierarchies() {
  local path
  comm -13 <(mounted </proc/self/mountinfo) <(inside cat /proc/self/mountinfo | mounted) >"$WORK/own"
  while read -r path; do inside umount "$path"; done <"$WORK/own"
}

left_nothing() { equal "$HIERARCHIES" "$(hierarchies)"; }

# What is needed of the package, without its installation: that is what run.sh is about.
install_program() {
  local binary=${LOGFERRY_BINARY:-}
  if [[ ! $binary ]]; then
    (cd "$ROOT" && cargo build --release --locked)
    binary=${CARGO_TARGET_DIR:-$ROOT/target}/release/logferry
  fi
  docker cp -q "$binary" "$CONTAINER:/usr/bin/logferry" 2>/dev/null || docker cp "$binary" "$CONTAINER:/usr/bin/logferry"
  put /lib/systemd/system/logferry.service <"$ROOT/systemd/logferry.service"
  shell 'mkdir -p /etc/logferry /told /talk /var/log/order /etc/systemd/system/logferry.service.d /etc/systemd/system/docker.service.d'
  put /etc/logferry/logferry.toml <<'TOML'
[[sources.docker]]
name = "containers"

[sinks.file]
path = "/var/log/logferry/records.ndjson"
TOML
}

# Each unit says when it has stopped. What stands for the network is a unit where a machine has its own.
watch_order() {
  put /etc/systemd/system/logferry.service.d/order.conf <<'UNIT'
[Service]
ExecStopPost=+/bin/sh -c 'echo "logferry $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS" >>/var/log/order/stops'
UNIT
  put /etc/systemd/system/docker.service.d/order.conf <<'UNIT'
[Service]
ExecStopPost=/bin/sh -c 'echo docker >>/var/log/order/stops'
UNIT
  put /etc/systemd/system/wire.service <<'UNIT'
[Unit]
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'echo network >>/var/log/order/stops'
[Install]
WantedBy=multi-user.target
UNIT
  inside systemctl daemon-reload
  inside systemctl -q enable --now wire
}

# What a container does: lines until it is told to end, then the last ones and a rest without an end. How many it wrote
# stands in a file.
talk() {
  put /talk/talk.sh <<'SH'
name=$1 last=$2
goodbye() {
  n=0
  while [ $n -lt $last ]; do n=$((n + 1)); echo $name-last-$n; done
  echo $i >/told/$name
  printf %s $name-end-1
  exit 0
}
trap goodbye TERM
i=0
while :; do
  c=0
  while [ $c -lt 50 ]; do c=$((c + 1)); i=$((i + 1)); echo $name-line-$i; done
  sleep 0.05
done
SH
  local name options
  for name in "${TALKERS[@]}" "$OTHER_DRIVER"; do
    options=()
    [[ $name != brief ]] || options=(--rm)
    [[ $name != "$OTHER_DRIVER" ]] || options=(--log-driver local)
    inside docker run -d --name "$name" --network none -v /told:/told -v /talk:/talk "${options[@]}" \
      logferry-test/busybox:1 sh /talk/talk.sh "$name" "$LAST_LINES" >/dev/null
  done
}

lines_of() { # NAME; each line that the container wrote, once
  local lines
  lines=$(cat "$WORK/told/$1") && held "$1-line" "$lines" "$WORK/records.ndjson" &&
    held "$1-last" "$LAST_LINES" "$WORK/records.ndjson"
}

all_of() { # NAME; and the rest without an end
  lines_of "$1" && held "$1-end" 1 "$WORK/records.ndjson"
}

manifest_is_complete() {
  python3 - "$WORK/records.ndjson" <<'PY'
import json, sys
summaries = [r for r in map(json.loads, open(sys.argv[1])) if r.get("EventType") == "logferry.manifest"]
last = summaries[-1]["Fields"]
print(json.dumps(last))
sys.exit(0 if last["complete"] else 1)
PY
}

at_most() { # MOST GOT
  (($2 <= $1)) || { echo "$2 is over $1" && return 1; }
}

# A stop that waits for a container gets the time for it, although the unit alone would not give it.
stop_that_takes_long() {
  shell "printf '[Service]\nTimeoutStopSec=$SHORT_TIMEOUT_SECONDS\n' >/run/systemd/system/logferry.service.d/short.conf"
  inside systemctl daemon-reload
  inside docker run -d --name patient --network none logferry-test/busybox:1 \
    sh -c "echo patient-1; sleep $CONTAINER_SECONDS; echo patient-2" >/dev/null
  retry_until "$BOOT_SECONDS" inside grep -qs patient-1 "$RECORDS" || { echo "the container is not read" && return 1; }
  local before=$SECONDS
  inside systemctl stop logferry || return 1
  local took=$((SECONDS - before))
  shell 'rm /run/systemd/system/logferry.service.d/short.conf'
  inside systemctl daemon-reload
  echo "took $took s"
  ((took > SHORT_TIMEOUT_SECONDS)) && equal "success 0" "$(property Result) $(property ExecMainStatus)" && held patient 2
}

echo "# a machine with systemd and Docker"
HIERARCHIES=$(hierarchies)
boot systemd-docker none
leave_hierarchies
install_program
watch_order
check "systemd finds nothing wrong in the unit" inside systemd-analyze verify --man=no logferry.service
check "the unit starts" inside systemctl enable --now logferry
shell 'mkdir -p /run/systemd/system/logferry.service.d'
docker save logferry-test/busybox:1 | docker exec -i "$CONTAINER" docker load >/dev/null
check "a stop that waits for a container takes longer than TimeoutStopSec allows" stop_that_takes_long
inside rm -f /var/log/order/stops # of the stop so far
inside systemctl start logferry || true

echo "# it goes down while its containers write"
talk
sleep "$LOAD_SECONDS"
before=$SECONDS
docker stop -t "$DOCKER_STOP_SECONDS" "$CONTAINER" >/dev/null
took=$((SECONDS - before))
for file in "$RECORDS" /var/log/order/stops /told; do docker cp "$CONTAINER:$file" "$WORK/" >/dev/null; done
check "Docker stops first, then logferry with exit code 0, then the network" \
  equal "docker logferry success exited 0 network" "$(tr '\n' ' ' <"$WORK/stops" | sed 's/ $//')"
for name in "${TALKERS[@]}"; do
  check "container $name: each of $(cat "$WORK/told/$name") lines, its last $LAST_LINES and the rest without an end are there, once" \
    all_of "$name"
done
check "container $OTHER_DRIVER, with another log driver: its lines are there, once" lines_of "$OTHER_DRIVER"
check "the manifest of the end is complete" manifest_is_complete
docker rm -f "$CONTAINER" >/dev/null
check "it leaves no hierarchy of cgroups behind" retry_until "$BOOT_SECONDS" left_nothing
check "the machine went down in $took s" at_most "$SHUTDOWN_MAX_SECONDS" "$took"
finished
