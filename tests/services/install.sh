#!/usr/bin/env bash
# Installs, with apt, what the tests need and this machine lacks. Debian and Ubuntu; as root, or through sudo.
#   install.sh [GROUP…]      without a group: all
#   build                 C compiler, cmake, clang: for the crates with C inside (aws-lc, zstd)
#   docker                an engine, its parts, the static busybox that the test image is made of, and podman
#   java                  JDK 17 for OpenSearch, JDK 21 or newer for Elasticsearch, maven to fetch both
#   systemd-image-tools   debootstrap, for the images that are a Debian
#   packaging             what builds and checks the packages and units
#   tools                 logrotate, ip, curl: what single tests call
# Prints nothing where nothing is missing.
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

ELASTICSEARCH_JAVA=21 # the oldest major release that it starts on
WANTED=()

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }
known() { [[ $(apt-cache policy "$1" 2>/dev/null) == *Candidate:\ [0-9]* ]]; }

want() { # PACKAGE [COMMAND]: missing where neither the package nor a command of that name is there
  installed "$1" || { [[ ${2:-} ]] && command -v "$2" >/dev/null; } || WANTED+=("$1")
}

want_java() {
  want curl curl
  want maven mvn
  jdk_between 17 17 >/dev/null || WANTED+=(openjdk-17-jdk-headless)
  jdk_between $ELASTICSEARCH_JAVA 99 >/dev/null && return
  local major
  for major in 25 24 23 22 21; do
    known "openjdk-$major-jdk-headless" && WANTED+=("openjdk-$major-jdk-headless") && return
  done
  echo "install.sh: this distribution has no JDK $ELASTICSEARCH_JAVA or newer, so Elasticsearch 9 cannot run (8.19 will); to have it, unpack one under /usr/lib/jvm or set JAVA_HOME" >&2
}

group() {
  case $1 in
    build)
      want gcc gcc
      want g++ g++
      want make make
      want cmake cmake
      want clang clang
      want pkg-config pkg-config
      ;;
    docker)
      want docker.io dockerd
      want containerd containerd
      want runc runc
      want iptables iptables
      want curl curl
      want busybox-static
      want podman podman
      ;;
    java) want_java ;;
    systemd-image-tools) want debootstrap debootstrap ;;
    packaging)
      want dpkg-dev dpkg-shlibdeps
      want lintian lintian
      want systemd systemd-analyze
      ;;
    tools)
      want logrotate logrotate
      want iproute2 ip
      want curl curl
      ;;
    all) for one in build docker java systemd-image-tools packaging tools; do group $one; done ;;
    *) die "no group '$1': build, docker, java, systemd-image-tools, packaging, tools or all" ;;
  esac
}

command -v apt-get >/dev/null || die "works with apt only; the groups at the head of this file say what to install by other means"
(($#)) || set -- all
export DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin
lists=$(find /var/lib/apt/lists -name '*Packages*' -print -quit 2>/dev/null || true)
[[ $lists ]] || quietly as_root apt-get update # else no package is known by name
for name in "$@"; do group "$name"; done
((${#WANTED[@]})) || exit 0

mapfile -t WANTED < <(printf '%s\n' "${WANTED[@]}" | sort -u)
quietly as_root apt-get update || echo "install.sh: going on with the package lists there are" >&2
quietly as_root apt-get install -y --no-install-recommends "${WANTED[@]}" || die "could not install: ${WANTED[*]}"
