#!/usr/bin/env bash
# Prometheus and promtool of this distribution, unpacked into the cache folder that common.bash names: nothing is installed
# and no service is started, tests start their own.
#   prometheus.sh   prints the folder of both programs: that of PROMETHEUS_DIR or of the PATH, where they are there
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

UNPACKED=$CACHE/prometheus

has_both() { [[ -x $1/prometheus && -x $1/promtool ]]; }

found=$(command -v prometheus || true)
for folder in "${PROMETHEUS_DIR:-}" "${found%/*}" "$UNPACKED/usr/bin"; do
  if [[ $folder ]] && has_both "$folder"; then
    realpath "$folder"
    exit
  fi
done

command -v apt-get >/dev/null || die "works with apt only: install Prometheus by other means, and set PROMETHEUS_DIR"
mkdir -p "$CACHE"
WORK=$(mktemp -d "$CACHE/prometheus.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"
# The lists may be older than what the archive holds.
apt-get download prometheus >/dev/null 2>&1 || { quietly as_root apt-get update && quietly apt-get download prometheus; } ||
  die "the package prometheus could not be fetched"
dpkg-deb -x prometheus_*.deb unpacked
has_both unpacked/usr/bin || die "the package prometheus has no promtool"
rm -rf "$UNPACKED"
mv unpacked "$UNPACKED"
echo "$UNPACKED/usr/bin"
