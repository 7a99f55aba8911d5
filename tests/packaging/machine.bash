# What run.sh and shutdown.sh share: checks, and a machine with systemd in a container. Sourced, never run.
# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source it
# shellcheck source=../services/common.bash
source "$(dirname "${BASH_SOURCE[0]}")/../services/common.bash"

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SERVICES=$ROOT/tests/services
BOOT_SECONDS=60
DOCKER_STOP_SECONDS=120
CONTAINER=logferry-packaging-$$
RECORDS=/var/log/logferry/records.ndjson
WORK=$(mktemp -d)
PASSED=0
FAILED=0

finish() {
  docker rm -f "$CONTAINER" >/dev/null 2>&1 || true
  rm -rf "$WORK"
}
trap finish EXIT

check() { # WHAT COMMAND…; one check: the command succeeds
  local what=$1
  shift
  if "$@" >"$WORK/output" 2>&1; then
    PASSED=$((PASSED + 1))
    echo "ok      $what"
  else
    FAILED=$((FAILED + 1))
    echo "FAILED  $what"
    sed 's/^/        /' "$WORK/output"
  fi
}

finished() { # says how it went; fails where a check did
  echo "$PASSED passed, $FAILED failed"
  ((FAILED == 0))
}

equal() { # WANTED GOT
  [[ $1 == "$2" ]] || { echo "wanted '$1', got '$2'" && return 1; }
}

inside() { docker exec "$CONTAINER" "$@"; }
put() { docker exec -i "$CONTAINER" sh -c 'cat >"$0"' "$1"; } # FILE, of standard input
shell() { inside sh -c "$1"; }
property() { inside systemctl show -p "$1" --value logferry; }
booted() { [[ $(inside systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]; }

boot() { # IMAGE NETWORK
  local options image
  image=$("$SERVICES/image.sh" "$1")
  read -ra options <<<"$("$SERVICES/image.sh" systemd-run)"
  docker run -d --name "$CONTAINER" --network "$2" "${options[@]}" "$image" >/dev/null
  retry_until "$BOOT_SECONDS" booted || die "systemd did not come up in the container: $(inside systemctl list-jobs 2>&1)"
}

# What the sink's file lacks, and has twice, of the lines NAME-1 … NAME-COUNT.
held() { # NAME COUNT [FILE]
  local from=(inside cat "$RECORDS")
  [[ ! ${3:-} ]] || from=(cat "$3")
  "${from[@]}" | python3 -c '
import collections, json, sys
name, count = sys.argv[1], int(sys.argv[2])
found = collections.Counter(json.loads(line).get("Message") for line in sys.stdin)
wanted = [f"{name}-{n}" for n in range(1, count + 1)]
missing, twice = [w for w in wanted if not found[w]], [w for w in wanted if found[w] > 1]
print(f"of {count} lines {len(missing)} missing {missing[:3]}, {len(twice)} twice {twice[:3]}")
sys.exit(1 if missing else 3 if twice else 0)' "$1" "$2"
}
