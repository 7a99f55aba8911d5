#!/usr/bin/env bash
# Plants bugs that would lose records or miscount them, one at a time, in a copy of the sources, and looks whether the
# tests catch them.
#   scripts/planted-bugs.sh [NAME…]     all patches of tests/planted
# Says which test caught which. Ends with 1 where one is not caught, or its patch no longer applies.
# Needs what the tests need: one of them delivers to the imitation of Azure.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
cd "$ROOT"
NAMES=("$@")
((${#NAMES[@]})) || for one in tests/planted/*.patch; do NAMES+=("$(basename "$one" .patch)"); done
TEST_SECONDS=300 # that a test run may take: a planted bug can make one hang

path=$("$ROOT/scripts/setup-rust.sh")
eval "$path"
COPY=$(mktemp -d "${TMPDIR:-/tmp}/logferry-planted.XXXXXX")
trap 'rm -rf "$COPY"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/planted

# Where the bug would be seen: the log and what is on it; the order of answers needs the real binary.
run_tests() { # NAME LOG
  local what=(--lib -- buffer:: delivery:: ingest:: manifest::)
  [[ $1 != cursor-past-gap ]] || what=(--test it -- chaos::an_answer_that_overtakes)
  (cd "$COPY/$1" && timeout "$TEST_SECONDS" cargo test --locked --no-fail-fast "${what[@]}") >"$2" 2>&1
}

for name in "${NAMES[@]}"; do
  patch=$ROOT/tests/planted/$name.patch
  [[ -f $patch ]] || die "there is no $patch"
  git apply --check "$patch" || die "$patch does not apply any more"
done

missed=()
for name in "${NAMES[@]}"; do
  mkdir "$COPY/$name"
  tar -c --exclude=./target --exclude=./.git --exclude=./fuzz/target . | tar -x -C "$COPY/$name"
  (cd "$COPY/$name" && git apply "$ROOT/tests/planted/$name.patch")
  log=$COPY/$name.log status=0
  run_tests "$name" "$log" || status=$?
  caught=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
  if grep -q '^error' "$log" && ! grep -q '^running ' "$log"; then
    tail -n 20 "$log" >&2
    die "with $name it does not compile"
  elif ((status)) && [[ $caught ]]; then
    printf '%-22s caught by\n' "$name"
    printf '    %s\n' "${caught//$'\n'/$'\n    '}"
  else
    missed+=("$name")
    printf '%-22s NOT CAUGHT (tests ended with %s)\n' "$name" "$status"
  fi
  rm -rf "${COPY:?}/$name"
done
((!${#missed[@]})) || die "not caught: ${missed[*]}"
