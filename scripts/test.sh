#!/usr/bin/env bash
# All tests, or some.
#   scripts/test.sh [STEP…]
#     fmt         rustfmt
#     clippy      lints, warnings as errors
#     deny        licences, sources and versions of the dependencies; known vulnerabilities where their list can be reached
#     shell       shellcheck over the scripts
#     unit        cargo test: unit tests, and integration tests against a real Docker engine, Elasticsearch and OpenSearch
#     planted     five bugs planted in a copy, each of which the tests must catch
#     packaging   a release build, the .deb of it, its life in a container with systemd, and the end of a machine whose
#                 containers log
# On Debian and Ubuntu, as root or through sudo, it installs what is missing (Rust, a C compiler, Docker, Java, search
# engines; the first run takes some 20 minutes on two cores) and starts what the tests need. That goes on running, until
# tests/services/down.sh. Safe to run twice. Ends with each step's result and time; exit code 1 where one failed.
# Env: ELASTICSEARCH_URL, OPENSEARCH_URL and DOCKER_HOST name services to use instead; CARGO_TARGET_DIR; STRICT=1 makes a
# step that is skipped, for want of its tool, a failure.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
SERVICES=$ROOT/tests/services
ADVISORIES_SECONDS=60 # to fetch the list of known vulnerabilities
SKIPPED=75            # what a step returns that could not run
cd "$ROOT"

rust_format() {
  cargo fmt --version >/dev/null 2>&1 || { echo "no rustfmt here" && return "$SKIPPED"; }
  cargo fmt --check
}

lints() {
  cargo clippy --version >/dev/null 2>&1 || { echo "no clippy here" && return "$SKIPPED"; }
  cargo clippy --locked --all-targets -- -D warnings
}

dependencies() {
  # Without optimisation it is built in one minute instead of many, and is fast enough.
  cargo deny --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug cargo-deny || return 1
  cargo deny --locked check bans licenses sources || return 1
  if timeout "$ADVISORIES_SECONDS" cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
  else
    echo "advisories not checked: their database cannot be reached from here"
  fi
}

scripts() {
  if ! command -v shellcheck >/dev/null && command -v apt-get >/dev/null; then
    quietly as_root apt-get install -y --no-install-recommends shellcheck || return 1
  fi
  command -v shellcheck >/dev/null || { echo "no shellcheck here" && return "$SKIPPED"; }
  shellcheck -x -P SCRIPTDIR .ci/run scripts/*.sh tests/services/*.sh tests/services/*.bash \
    tests/packaging/*.sh tests/packaging/*.bash \
    packaging/azure/*.sh packaging/deb/build.sh packaging/deb/{postinst,prerm,postrm}
}

tests() {
  services || return 1
  cargo test --locked
}

planted() {
  command -v git >/dev/null || { echo "no git here" && return "$SKIPPED"; }
  scripts/planted-bugs.sh
}

packaging() {
  "$SERVICES/install.sh" packaging || return 1
  services systemd systemd-docker || return 1
  cargo build --release --locked || return 1
  local binary=${CARGO_TARGET_DIR:-target}/release/logferry
  LOGFERRY_BINARY=$binary tests/packaging/run.sh || return 1
  LOGFERRY_BINARY=$binary tests/packaging/shutdown.sh
}

services() { # [IMAGE…]
  local found
  found=$("$SERVICES/up.sh" "$@") || return 1
  eval "$found"
}

step() { # STEP
  case $1 in
    fmt) rust_format ;;
    clippy) lints ;;
    deny) dependencies ;;
    shell) scripts ;;
    unit) tests ;;
    planted) planted ;;
    packaging) packaging ;;
  esac
}

prepare() {
  if command -v apt-get >/dev/null; then
    "$SERVICES/install.sh" build
    if ! command -v python3 >/dev/null; then quietly as_root apt-get install -y --no-install-recommends python3; fi
  fi
  local path
  path=$("$ROOT/scripts/setup-rust.sh" rustfmt clippy)
  eval "$path"
}

ALL=(fmt clippy deny shell unit planted packaging)
STEPS=("$@")
((${#STEPS[@]})) || STEPS=("${ALL[@]}")
for one in "${STEPS[@]}"; do
  [[ " ${ALL[*]} " == *" $one "* ]] || die "no step '$one', but ${ALL[*]}"
done

prepare
RESULTS=()
WORST=0
for one in "${STEPS[@]}"; do
  printf '\n== %s\n' "$one"
  before=$SECONDS status=0
  # In a shell of its own: what a step exports or where it goes is its own affair.
  (step "$one") || status=$?
  result=ok
  if ((status == SKIPPED)) && [[ ! ${STRICT:-} ]]; then
    result=skipped
  elif ((status)); then
    result=FAILED WORST=1
  fi
  RESULTS+=("$(printf '%-10s %-8s %5d s' "$one" "$result" $((SECONDS - before)))")
done

printf '\n== summary\n'
printf '%s\n' "${RESULTS[@]}"
exit $WORST
