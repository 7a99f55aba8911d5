#!/usr/bin/env bash
# Simulated histories of the buffer: seeded appends, reads, faults of the disk, kills and power losses; after each start
# everything that was promised must be there.
#   scripts/simulate.sh [HISTORIES [FIRST_SEED]]     100,000 histories from seed 1 on, some minutes
# A history that fails says how to run it again.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
cd "$ROOT"
HISTORIES=${1:-100000}
FIRST=${2:-1}
[[ $HISTORIES =~ ^[1-9][0-9]*$ && $FIRST =~ ^[0-9]+$ ]] || die "expected a number of histories and a first seed, not '$*'"
if command -v apt-get >/dev/null; then "$ROOT/tests/services/install.sh" build; fi
path=$("$ROOT/scripts/setup-rust.sh")
eval "$path"
SIM_HISTORIES=$HISTORIES SIM_SEED=$FIRST exec cargo test --locked --lib no_history_of_faults -- --nocapture
