#!/usr/bin/env bash
# The package and the unit, tried for real: builds the .deb, looks into it, installs it in a container where systemd is
# PID 1, and takes the daemon through its life there: first start, stop, crash, upgrade, shutdown of the machine, removal.
#   run.sh   prints a line for each check, and "N passed, N failed" in the end; exit code 1 where one failed
# Env: LOGFERRY_BINARY, the program to pack (else a release build); DOCKER_HOST; CARGO_TARGET_DIR.
# Needs what tests/services/up.sh installs, and the network that apt needs.
set -euo pipefail
# shellcheck source=machine.bash
source "$(dirname "${BASH_SOURCE[0]}")/machine.bash"

READ_SECONDS=30 # until a line that was written is in the sink

whole() { # NAME COUNT; none missing, none twice
  held "$@"
}

complete() { # NAME COUNT; none missing (a crash may send again what it had no answer for)
  local status=0
  held "$@" || status=$?
  ((status != 1))
}

arrived() { complete "$@" >"$WORK/held" 2>&1; }
arrives() { # NAME COUNT; in time
  retry_until "$READ_SECONDS" arrived "$@" || { cat "$WORK/held" && false; }
}

write_lines() { # NAME COUNT FILE
  shell "i=0; while [ \$i -lt $2 ]; do i=\$((i + 1)); echo $1-\$i; done >>$3"
}

# The package itself.

package() {
  SOURCE_DATE_EPOCH=$(date +%s)
  export SOURCE_DATE_EPOCH
  local binary=${LOGFERRY_BINARY:-}
  PACKAGE=$("$ROOT/packaging/deb/build.sh" ${binary:+--binary "$binary"} --output "$WORK/deb")
  dpkg-deb -c "$PACKAGE" | awk '{print $1, $2, $6}' >"$WORK/contents"
}

contains() { # MODE PATH
  grep -Fx -- "$1 root/root .$2" "$WORK/contents" || { grep -F -- "$2" "$WORK/contents" && false; }
}

twice_the_same() {
  local first=$WORK/deb/${PACKAGE##*/} second
  sleep 1.1 # another second: a time of the build would show
  second=$("$ROOT/packaging/deb/build.sh" --binary "$(binary_in_package)" --output "$WORK/again")
  cmp "$first" "$second"
}

binary_in_package() {
  SOURCE_DATE_EPOCH=$(date +%s)
  export SOURCE_DATE_EPOCH
  [[ -d $WORK/tree ]] || dpkg-deb -x "$PACKAGE" "$WORK/tree"
  echo "$WORK/tree/usr/bin/logferry"
}

# The machine.

install_package() {
  SOURCE_DATE_EPOCH=$(date +%s)
  export SOURCE_DATE_EPOCH
  docker cp -q "$PACKAGE" "$CONTAINER:/root/logferry.deb" 2>/dev/null || docker cp "$PACKAGE" "$CONTAINER:/root/logferry.deb"
  shell 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends /root/logferry.deb' \
    >"$WORK/install.log" 2>&1
}

# A file that only its owner may read, in a home folder; one that a unit writes while the machine goes down.
configure() {
  put /etc/logferry/logferry.toml <<'TOML'
[[sources.file]]
name    = "agent"
include = ["/home/agent/*.log", "/var/log/worker/*.log"]

[sinks.file]
path = "/var/log/logferry/records.ndjson"
TOML
  inside useradd --create-home agent
  shell 'install -m 0600 -o agent -g agent /dev/null /home/agent/agent.log; mkdir -p /var/log/worker'
  # Where the end of the daemon can be read when the machine is down.
  shell 'mkdir -p /etc/systemd/system/logferry.service.d'
  put /etc/systemd/system/logferry.service.d/ends.conf <<'UNIT'
[Service]
ExecStopPost=/bin/sh -c 'echo "$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS" >>/var/log/logferry/ends'
UNIT
  put /etc/systemd/system/worker.service <<'UNIT'
[Unit]
After=logferry.service
[Service]
ExecStart=/bin/sh -c 'last() { i=0; while [ $$i -lt 500 ]; do i=$$((i + 1)); echo last-$$i; done >>/var/log/worker/worker.log; exit 0; }; trap last TERM; while :; do sleep 0.1; done'
UNIT
  inside systemctl daemon-reload
}

restarted_after() { # PID: another process is the daemon, and it is ready
  local pid
  pid=$(property MainPID)
  [[ $pid != 0 && $pid != "$1" && $(property ActiveState) == active ]]
}

crash() {
  local pid
  pid=$(property MainPID)
  write_lines crash 5000 /home/agent/agent.log
  shell "kill -9 $pid"
  retry_until "$BOOT_SECONDS" restarted_after "$pid"
}

refuse() { # the unit with a wrong configuration
  local status=0
  shell 'cp /etc/logferry/logferry.toml /root/good.toml && echo "[sinks.fiel]" >>/etc/logferry/logferry.toml'
  inside systemctl restart logferry || status=$?
  sleep 7 # longer than RestartSec: a restart would have come
  equal "exit-code 2 0 failed" "$(property Result) $(property ExecMainStatus) $(property NRestarts) $(property ActiveState)" &&
    ((status != 0)) && inside journalctl -q -u logferry -n 20 | grep -F fiel
}

reinstall() {
  local pid
  pid=$(property MainPID)
  shell 'dpkg -i /root/logferry.deb' && restarted_after "$pid" && inside cmp /root/good.toml /etc/logferry/logferry.toml
}

echo "# the package"
package
check "lintian finds no error and no warning" sh -c "! command -v lintian || lintian --allow-root --fail-on error,warning '$PACKAGE'"
check "it holds the program" contains -rwxr-xr-x /usr/bin/logferry
check "it holds the unit" contains -rw-r--r-- /lib/systemd/system/logferry.service
check "it holds the queries for Azure" contains -rw-r--r-- /usr/share/logferry/azure/queries/run.kql
check "it holds the queries for Elasticsearch" contains -rw-r--r-- /usr/share/logferry/elasticsearch/queries/execution.json
check "it holds alerts for Prometheus" contains -rw-r--r-- /usr/share/logferry/prometheus/alerts.yml
check "it holds the example of metrics" contains -rw-r--r-- /usr/share/logferry/agent-metrics.toml
check "it holds a configuration that root alone reads" contains -rw------- /etc/logferry/logferry.toml
check "an edited configuration survives an upgrade" grep -Fx /etc/logferry/logferry.toml <(dpkg-deb -I "$PACKAGE" conffiles)
check "it says which C library it needs" grep -E '^ *libc6 \(>= 2\.[0-9]+\)' <(dpkg-deb -f "$PACKAGE" Depends)
check "its version is the program's" equal "logferry $(dpkg-deb -f "$PACKAGE" Version)" "$("$(binary_in_package)" --version)"
check "two builds of one program are the same to the byte" twice_the_same

echo "# a machine with systemd"
# The network of this machine, for apt; nothing in there listens on it.
boot systemd host
check "it installs" install_package
check "the install says what to do next" grep -F "systemctl enable --now logferry" "$WORK/install.log"
check "it is not started before it is configured" equal "inactive disabled" "$(property ActiveState) $(property UnitFileState)"
check "the state folder is for root alone" equal "700 root root" "$(inside stat -c '%a %U %G' /var/lib/logferry)"
check "systemd finds nothing wrong in the unit" inside systemd-analyze verify --man=no logferry.service
configure
check "the configuration is taken" inside logferry check
check "the unit starts, and says when it is ready" inside systemctl enable --now logferry
check "it is active" equal active "$(inside systemctl is-active logferry || true)"

write_lines first 1000 /home/agent/agent.log
check "lines of another user's private file arrive while it runs" arrives first 1000
write_lines stop 1000 /home/agent/agent.log
check "it stops" inside systemctl stop logferry
check "the stop is a success with exit code 0" equal "success 0 inactive" "$(property Result) $(property ExecMainStatus) $(property ActiveState)"
check "every line written before the stop is there, once" whole stop 1000
check "and so are the earlier ones" whole first 1000

write_lines offline 100 /home/agent/agent.log
inside systemctl start logferry || true
check "what was written in between arrives after the next start" arrives offline 100
check "a kill -9 is followed by a restart" crash
check "no line is missing after it" arrives crash 5000
check "a wrong configuration is refused with 2, and not tried again and again" refuse
shell 'cp /root/good.toml /etc/logferry/logferry.toml'
inside systemctl reset-failed logferry || true
check "with the right one it starts again" inside systemctl start logferry || true
check "an upgrade restarts it and keeps the configuration" reinstall

echo "# the machine goes down"
inside systemctl start worker
inside rm -f /var/log/logferry/ends # of the stops so far
write_lines down 5000 /home/agent/agent.log
docker stop -t "$DOCKER_STOP_SECONDS" "$CONTAINER" >/dev/null
docker cp "$CONTAINER:$RECORDS" "$WORK/records.ndjson" >/dev/null
docker cp "$CONTAINER:/var/log/logferry/ends" "$WORK/ends" >/dev/null || true
check "logferry ended with exit code 0" equal "success exited 0" "$(cat "$WORK/ends" 2>&1)"
check "every line written just before is there, once" whole down 5000 "$WORK/records.ndjson"
check "so is what a unit wrote in its own stop" whole last 500 "$WORK/records.ndjson"

echo "# and comes up again"
docker start "$CONTAINER" >/dev/null
retry_until "$BOOT_SECONDS" booted || die "systemd did not come up again in the container"
check "logferry is active after the boot" equal active "$(inside systemctl is-active logferry || true)"
write_lines removed 1000 /home/agent/agent.log
check "removing the package stops it" inside apt-get -qy remove logferry
check "with every line delivered" whole removed 1000
check "the buffer stays" inside test -d /var/lib/logferry
check "purging takes buffer and configuration away" sh -c "docker exec $CONTAINER apt-get -qy purge logferry && docker exec $CONTAINER sh -c '! test -e /var/lib/logferry && ! test -e /etc/logferry'"
check "what was delivered stays" inside test -s "$RECORDS"

finished
