#!/usr/bin/env bash
# A Docker engine for the tests.
#   dockerd.sh [up]   print the URL of the engine to use, as for DOCKER_HOST: that of DOCKER_HOST itself, else the one
#                     that answers at the usual socket, else one started here, which outlives this script
#   dockerd.sh down   stop the engine, where `up` started it, and its containers; any other is left alone
# Env: DOCKERD_OPTS, more options of dockerd. Pid file and log are under the cache folder named in common.bash.
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

SOCKET=/var/run/docker.sock
CONTAINERD_PIDFILE=/var/run/docker/containerd/containerd.pid
PIDFILE=$CACHE/dockerd.pid
LOG=$CACHE/dockerd.log
START_SECONDS=60
export PATH=$PATH:/usr/sbin:/sbin # where dockerd, containerd and iptables are

answers() { curl -fsS -m 5 --unix-socket "$SOCKET" http://docker/_ping >/dev/null 2>&1; }
settled() { answers || gone "$PIDFILE"; }

up() {
  if [[ ${DOCKER_HOST:-} && $DOCKER_HOST != "unix://$SOCKET" ]]; then
    docker version >/dev/null 2>&1 || die "no engine answers at DOCKER_HOST=$DOCKER_HOST"
    echo "$DOCKER_HOST"
    return
  fi
  mkdir -p "$CACHE"
  exec 9>"$CACHE/dockerd.lock"
  flock 9 # of two that start it at once, the second finds it running
  if ! answers; then
    gone "$PIDFILE" || die "process $(alive "$PIDFILE") was started here but does not answer at $SOCKET, see $LOG"
    start
  fi
  echo "unix://$SOCKET"
}

start() {
  command -v dockerd >/dev/null || die "no dockerd on this machine: run install.sh docker"
  ! [[ -e $SOCKET ]] || [[ -r $SOCKET && -w $SOCKET ]] || die "no right to use $SOCKET: join its group, or be root"
  as_root rm -f "$CACHE/dockerd.own-pid"
  # After a kill -9 its containerd can still be a zombie, which dockerd takes for a live one and waits for in vain.
  local containerd
  if containerd=$(as_root cat "$CONTAINERD_PIDFILE" 2>/dev/null) && ! started_at "$containerd" >/dev/null; then
    as_root rm -f "$CONTAINERD_PIDFILE"
  fi
  # The socket goes to the group of whoever runs the tests. No function here: its shell would stay behind the daemon.
  # shellcheck disable=SC2086 # DOCKERD_OPTS is a list
  ${SUDO[@]+"${SUDO[@]}"} setsid nohup dockerd --host "unix://$SOCKET" --group "$(id -gn)" --pidfile "$CACHE/dockerd.own-pid" \
    ${DOCKERD_OPTS:-} </dev/null >"$LOG" 2>&1 9>&- &
  retry_until "$START_SECONDS" remember_daemon "$!" || true
  retry_until "$START_SECONDS" settled || true
  if answers; then return; fi
  tail -n 30 "$LOG" >&2
  stop "$PIDFILE"
  die "dockerd did not come up; above is the end of $LOG"
}

# Under sudo the child of this shell is not the daemon: the daemon's own file names it, a moment later.
remember_daemon() { # CHILD
  local pid
  if pid=$(cat "$CACHE/dockerd.own-pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then
    remember "$PIDFILE" "$pid"
  elif started_at "$1" >/dev/null; then
    return 1
  fi # and a child that has ended is not worth the wait
}

case ${1:-up} in
  up) up ;;
  down) stop "$PIDFILE" ;;
  *) die "up or down, not '$1'" ;;
esac
