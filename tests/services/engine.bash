# The half that opensearch.sh and elasticsearch.sh share: one real single-node search engine on the loopback interface,
# made of the jars that the project publishes to Maven Central. Sourced, never run.
# shellcheck shell=bash
#
# The sourcing script sets
#   ENGINE VERSION               its name and release, as in the names of folders
#   DEFAULT_PORT JAVA_RANGE      and the JDKs (MIN MAX) it runs on
#   URL_VARIABLE OPTS_VARIABLE   the environment variables for a foreign engine, and for more node settings
#   HEAP                         what the node's JVM gets, as in -Xmx
#   SETTING_PREFIX               what stands before each NAME=VALUE on the node's command line
# and defines
#   arrange                      in the folder of a fresh download: jars in lib/ → the home that the node starts from
#   command_line                 fills COMMAND with the node's, up to its settings, from JDK, HOME_DIR and NODE
# then calls engine "$@".
# shellcheck source=common.bash
source "$(dirname "${BASH_SOURCE[0]}")/common.bash"

START_SECONDS=180 # a cold start takes 15; two of them beside a compiler on two cores take far longer
FETCH_SECONDS=600 # for the jars, once

engine() { # [up|down] [PORT] [NODE FOLDER]
  local action=up
  [[ ${1:-} != up && ${1:-} != down ]] || { action=$1 && shift; }
  [[ ${1:-$DEFAULT_PORT} =~ ^[0-9]+$ ]] || die "[up|down] [port] [folder]; '$1' is no port"
  local port=${1:-$DEFAULT_PORT} own=${1:-}
  URL=http://127.0.0.1:$port
  HOME_DIR=$CACHE/$ENGINE-$VERSION/home
  NODE=${2:-$CACHE/$ENGINE-$VERSION/node-$port}
  mkdir -p "$NODE"
  NODE=$(cd "$NODE" && pwd)
  PIDFILE=$NODE/pid
  LOG=$NODE/server.log
  if [[ $action == down ]]; then
    stop "$PIDFILE"
    return
  fi

  local foreign=${!URL_VARIABLE:-}
  foreign=${foreign%/}
  if [[ $foreign && ! $own ]]; then
    answers "$foreign" && echo "$foreign" && return
    [[ $foreign == "$URL" ]] || die "no engine answers at $URL_VARIABLE=$foreign"
  fi
  exec 8>"$NODE/lock"
  flock 8 # whoever comes second finds it running
  gone "$PIDFILE" && start
  [[ $(cat "$NODE/settings") == "${!OPTS_VARIABLE:-}" ]] ||
    die "$URL runs with other settings than $OPTS_VARIABLE asks for: '$(cat "$NODE/settings")'; use another port, or stop it"
  retry_until "$START_SECONDS" settled || true
  answers "$URL" || fail "$ENGINE $VERSION did not come up"
  echo "$URL"
}

answers() { curl -fsS -m 5 "$1/_cluster/health?wait_for_status=yellow&timeout=2s" >/dev/null 2>&1; }
settled() { gone "$PIDFILE" || answers "$URL"; }

fail() {
  tail -n 30 "$LOG" >&2
  stop "$PIDFILE"
  die "$1; above is the end of $LOG"
}

start() {
  ! curl -s -o /dev/null -m 2 "$URL" || die "another server holds $URL"
  # shellcheck disable=SC2086 # MIN MAX
  JDK=$(jdk_between $JAVA_RANGE) || die "$ENGINE $VERSION needs a JDK ${JAVA_RANGE/ / to }: run install.sh java or set JAVA_HOME"
  [[ -d $HOME_DIR ]] || fetch
  mkdir -p "$NODE/data" "$NODE/tmp"
  local COMMAND=() one
  command_line
  for one in path.data="$NODE/data" path.logs="$NODE" cluster.name=logferry-test node.name="$ENGINE" \
    discovery.type=single-node network.host=127.0.0.1 http.port="${URL##*:}" transport.port=0 \
    cluster.routing.allocation.disk.threshold_enabled=false ${!OPTS_VARIABLE:-}; do
    COMMAND+=("$SETTING_PREFIX$one")
  done
  echo "${!OPTS_VARIABLE:-}" >"$NODE/settings"
  cd "$NODE" || die "no folder $NODE"
  setsid nohup "${COMMAND[@]}" </dev/null >"$LOG" 2>&1 8>&- &
  remember "$PIDFILE" $!
}

# A home appears under its name only when it is whole.
fetch() {
  local parts=$HOME_DIR.parts
  mkdir -p "${HOME_DIR%/*}"
  exec 7>"$HOME_DIR.lock"
  flock 7
  [[ ! -d $HOME_DIR ]] || return 0
  rm -rf "$parts"
  mkdir -p "$parts"/{config,plugins,modules/transport-netty4}
  # shellcheck disable=SC2086 # MVN is a command with its options
  JAVA_HOME=$JDK quietly timeout "$FETCH_SECONDS" ${MVN:-mvn} -B -f "$HERE/$ENGINE/pom.xml" -Dengine.version="$VERSION" \
    dependency:copy-dependencies -DoutputDirectory="$parts/lib" || die "could not fetch the jars of $ENGINE $VERSION"
  (cd "$parts" && mv lib/netty-*.jar lib/transport-netty4-*.jar modules/transport-netty4 && arrange)
  : >"$parts/config/$ENGINE.yml"
  cat >"$parts/config/log4j2.properties" <<'LOG4J'
rootLogger.level = info
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.name = stdout
appender.stdout.type = Console
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %c{1.} - %m%n
LOG4J
  mv "$parts" "$HOME_DIR"
  exec 7>&-
}
