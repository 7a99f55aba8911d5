#!/usr/bin/env bash
# Finds a Rust that can build logferry, or installs one, and prints what puts it on the PATH, for the shell:
#   eval "$(scripts/setup-rust.sh [rustfmt] [clippy])"
# The oldest version that will do is `rust-version` in Cargo.toml. In this order: the cargo that is there; the packages of
# Debian or Ubuntu, where they are new enough; rustup, from its package or from https://sh.rustup.rs. A rustfmt or clippy
# that cannot be had is said and is no failure. Prints nothing where nothing has to change.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../tests/services/common.bash
source "$ROOT/tests/services/common.bash"
MIN=$(sed -n 's/^rust-version *= *"\([^"]*\)".*/\1/p' "$ROOT/Cargo.toml")
COMPONENTS=("$@")
CARGO_BIN=${CARGO_HOME:-$HOME/.cargo}/bin
export DEBIAN_FRONTEND=noninteractive

say() { echo "setup-rust.sh: $*" >&2; }
at_least() { [[ $(printf '%s\n%s\n' "$MIN" "$1" | sort -V | head -n 1) == "$MIN" ]]; } # VERSION
new_enough() { at_least "$(cargo --version 2>/dev/null | awk '{print $2}')" && at_least "$(rustc --version 2>/dev/null | awk '{print $2}')"; }

use() { # FOLDER: from here on, and for who called us
  export PATH=$1:$PATH
  echo "export PATH=$1:\$PATH"
}

has() { # rustfmt | clippy
  case $1 in
    rustfmt) cargo fmt --version >/dev/null 2>&1 ;;
    clippy) cargo clippy --version >/dev/null 2>&1 ;;
    *) die "rustfmt or clippy, not '$1'" ;;
  esac
}

missing() {
  local one
  for one in ${COMPONENTS[@]+"${COMPONENTS[@]}"}; do has "$one" || echo "$one"; done
}

candidate() { # PACKAGE → the version that apt would install
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p'
}

install() { quietly as_root apt-get install -y --no-install-recommends ca-certificates "$@"; }

# "-web" is what Debian builds browsers with, years ahead of the release's own; Ubuntu has one package a version.
from_packages() {
  command -v apt-get >/dev/null || return 1
  quietly as_root apt-get update || say "going on with the package lists there are"
  local suffix versioned
  for suffix in "" -web; do
    at_least "$(candidate "cargo$suffix")" || continue
    local packages=("cargo$suffix" "rustc$suffix")
    [[ " ${COMPONENTS[*]-} " != *" rustfmt "* || ! $(candidate "rustfmt$suffix") ]] || packages+=("rustfmt$suffix")
    [[ " ${COMPONENTS[*]-} " != *" clippy "* || ! $(candidate "rust-clippy$suffix") ]] || packages+=("rust-clippy$suffix")
    say "installing ${packages[*]} $(candidate "cargo$suffix")"
    install "${packages[@]}" && return
  done
  versioned=$(apt-cache search --names-only '^cargo-1\.[0-9]+$' | awk '{print $1}' | sort -V | tail -n 1)
  [[ $versioned ]] && at_least "${versioned#cargo-}" || return 1
  say "installing $versioned"
  install "$versioned" "rustc-${versioned#cargo-}" && use "/usr/lib/rust-${versioned#cargo-}/bin"
}

from_rustup() {
  if ! command -v rustup >/dev/null; then
    if command -v apt-get >/dev/null && [[ ! -e /usr/bin/cargo && $(candidate rustup) ]]; then
      install rustup
    else
      command -v curl >/dev/null || install curl
      say "installing rustup into $CARGO_BIN, from https://sh.rustup.rs"
      # Into a file first: half a script must not run.
      local script
      script=$(mktemp)
      if curl --proto '=https' --tlsv1.2 -fsS -m 300 https://sh.rustup.rs >"$script"; then
        quietly sh "$script" -y --profile minimal --no-modify-path --default-toolchain none || true
      fi
      rm -f "$script"
      [[ -x $CARGO_BIN/rustup ]] || return 1
      use "$CARGO_BIN"
    fi
  fi
  say "installing the stable toolchain through rustup"
  quietly rustup toolchain install stable --profile minimal ${COMPONENTS[@]+$(printf -- '--component %s ' "${COMPONENTS[@]}")} || return 1
  export RUSTUP_TOOLCHAIN=stable
  echo "export RUSTUP_TOOLCHAIN=stable"
}

if ! command -v cargo >/dev/null && [[ -x $CARGO_BIN/cargo ]]; then use "$CARGO_BIN"; fi
if ! new_enough; then
  if command -v rustup >/dev/null; then from_rustup || true; fi
  new_enough || from_packages || true
  new_enough || from_rustup || true
  new_enough || die "logferry needs Rust $MIN or newer, and neither this system's packages nor rustup gave one; install it from https://rustup.rs and run this again"
fi

mapfile -t LACKING < <(missing)
if ((${#LACKING[@]})); then
  if command -v rustup >/dev/null; then
    quietly rustup component add "${LACKING[@]}" || true
  else
    if dpkg -S "$(command -v cargo)" >/dev/null 2>&1; then from_packages || true; fi
    if [[ $(missing) ]]; then from_rustup || true; fi
  fi
  mapfile -t LACKING < <(missing)
  ((${#LACKING[@]} == 0)) || say "going on without ${LACKING[*]}"
fi
