#!/usr/bin/env bash
# Fuzzes every parser of bytes from outside, or some: what must hold stands in src/fuzz.rs.
#   scripts/fuzz.sh [SECONDS [TARGET…]]     60 seconds for each target
# Begins with the inputs of fuzz/corpus; what it finds that is new goes to fuzz/found (not kept), an input that fails to
# fuzz/artifacts. Installs cargo-fuzz where it is missing; needs a C++ compiler. Ends with 1 where a target failed.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
cd "$ROOT"
SECONDS_EACH=${1:-60}
[[ $SECONDS_EACH =~ ^[1-9][0-9]*$ ]] || die "expected a number of seconds, not '$SECONDS_EACH'"
shift || true
TARGETS=("$@")
((${#TARGETS[@]})) || for one in fuzz/fuzz_targets/*.rs; do TARGETS+=("$(basename "$one" .rs)"); done

if command -v apt-get >/dev/null; then "$ROOT/tests/services/install.sh" build; fi
path=$("$ROOT/scripts/setup-rust.sh")
eval "$path"
cargo fuzz --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug cargo-fuzz
# Without sanitizers, which only help with unsafe code and need another compiler.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/fuzz CARGO_INCREMENTAL=0
cargo fuzz build --sanitizer none
failed=()
for one in "${TARGETS[@]}"; do
  mkdir -p "fuzz/found/$one"
  printf '== %s, %s s\n' "$one" "$SECONDS_EACH"
  log=$(mktemp)
  if cargo fuzz run --sanitizer none "$one" "fuzz/found/$one" "fuzz/corpus/$one" -- \
    -max_total_time="$SECONDS_EACH" -max_len=65536 -timeout=20 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 >"$log" 2>&1; then
    grep -E 'number_of_executed_units|average_exec_per_sec|new_units_added' "$log"
  else
    failed+=("$one")
    cat "$log"
  fi
  rm -f "$log"
done
((!${#failed[@]})) || die "failed: ${failed[*]}; the inputs are in fuzz/artifacts"
