# What the scripts of this folder share. Sourced, never run.
# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source it

# Everything that these scripts keep (jars, node data, logs, pid files); safe to delete after down.sh.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/logferry-test
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

STOP_SECONDS=30 # how long a process may take to end on TERM before it gets KILL

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

SUDO=() # what a command that needs root's rights has to begin with
((EUID == 0)) || SUDO=(sudo "--preserve-env=HOME,XDG_CACHE_HOME,DEBIAN_FRONTEND,http_proxy,https_proxy,no_proxy")

as_root() { # COMMAND…
  ((${#SUDO[@]} == 0)) || command -v sudo >/dev/null || die "needs root or sudo for: $*"
  ${SUDO[@]+"${SUDO[@]}"} "$@"
}

quietly() { # COMMAND… whose output is shown only where it fails
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) || { echo "${0##*/}: '$*' failed with $status:" && tail -n 40 "$log"; } >&2
  rm -f "$log"
  return $status
}

retry_until() { # SECONDS COMMAND… until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

# A process is known by its pid and its start time together, so that a recycled pid is never taken for it.
started_at() { # PID → clock ticks since boot; fails where there is no such process, or only a zombie of it
  local stat fields
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

remember() { # PIDFILE PID
  local ticks
  ticks=$(started_at "$2") || die "process $2 ended at once"
  echo "$2 $ticks" >"$1"
}

alive() { # PIDFILE → the pid, where that very process still runs
  local pid ticks
  { read -r pid ticks <"$1"; } 2>/dev/null || return 1
  [[ $ticks && $(started_at "$pid") == "$ticks" ]] && echo "$pid"
}

gone() { ! alive "$1" >/dev/null; }

stop() { # PIDFILE; succeeds also where nothing runs
  local pid
  if pid=$(alive "$1"); then
    as_root kill "$pid" || true
    retry_until "$STOP_SECONDS" gone "$1" || as_root kill -9 "$pid" || true
  fi
  rm -f "$1"
}

# The JDKs of this machine, newest first, one a major release, as "MAJOR HOME"; JAVA_HOME comes before others of its
# release. A JRE does not count: javac has to be there.
jdks() {
  local home release
  for home in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/* /opt/java/* /opt/jdk*; do
    [[ -x $home/bin/javac && -r $home/release ]] || continue
    release=$(sed -n 's/^JAVA_VERSION="\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' "$home/release")
    echo "$release $(realpath "$home")"
  done | sort -k1,1nr -u
}

jdk_between() { # MIN MAX → the home of the newest JDK in that range
  local major home
  while read -r major home; do
    ((major >= $1 && major <= $2)) && echo "$home" && return
  done < <(jdks)
  return 1
}
