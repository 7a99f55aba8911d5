#!/usr/bin/env bash
# Rounds of kills: in each, four files are written and rotated, Elasticsearch (or OpenSearch) and Azure's imitation fail at
# random, and logferry is killed at least ten times at random moments. What the sinks hold in the end is compared with
# what was written and with the manifest: nothing may be missing, nothing may be twice in the engine.
#   scripts/chaos.sh [ROUNDS [FIRST_SEED]]     100 rounds from seed 1 on, some 10 seconds each
# Installs and starts what the tests need, as scripts/test.sh does. A round that fails says how to run it again.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
cd "$ROOT"
case ${1:-} in
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
esac
ROUNDS=${1:-100}
FIRST=${2:-1}
[[ $ROUNDS =~ ^[1-9][0-9]*$ && $FIRST =~ ^[0-9]+$ ]] || die "expected a number of rounds and a first seed, not '$*'"

if command -v apt-get >/dev/null; then "$ROOT/tests/services/install.sh" build; fi
path=$("$ROOT/scripts/setup-rust.sh")
eval "$path"
services=$("$ROOT/tests/services/up.sh")
eval "$services"
CHAOS_ROUNDS=$ROUNDS CHAOS_SEED=$FIRST exec cargo test --locked --test it chaos:: -- --nocapture
