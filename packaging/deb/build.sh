#!/usr/bin/env bash
# Makes logferry_VERSION_ARCHITECTURE.deb with plain dpkg-deb, and prints its path.
#   build.sh [--binary FILE] [--output FOLDER]
# Without --binary the release binary is built first. FOLDER is deb/ in cargo's target folder unless given.
# Env: CARGO_TARGET_DIR; DEB_MAINTAINER ("NAME <ADDRESS>", to be set by whoever gives packages away); SOURCE_DATE_EPOCH
# (else that of the last commit), by which two builds of the same binary are the same to the byte.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HERE=$ROOT/packaging/deb
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
MAINTAINER=${DEB_MAINTAINER:-The logferry authors <logferry@example.org>}
BINARY=
OUTPUT=$TARGET/deb

die() {
  echo "build.sh: $*" >&2
  exit 1
}

while (($#)); do
  case $1 in
    --binary) BINARY=${2:?"--binary needs a file"} ;;
    --output) OUTPUT=${2:?"--output needs a folder"} ;;
    *) die "--binary FILE or --output FOLDER, not '$1'" ;;
  esac
  shift 2
done
command -v dpkg-deb >/dev/null || die "no dpkg-deb on this machine"
command -v python3 >/dev/null || die "no python3 on this machine: apt-get install python3"
if [[ ! $BINARY ]]; then
  (cd "$ROOT" && cargo build --release --locked) >&2
  BINARY=$TARGET/release/logferry
fi
[[ -x $BINARY ]] || die "no program at $BINARY"

VERSION=$(sed -n '/^\[package\]/,/^\[/s/^version *= *"\([^"]*\)".*/\1/p' "$ROOT/Cargo.toml")
VERSION=${VERSION/-/\~} # to dpkg 1.0~rc.1 is older than 1.0
ARCHITECTURE=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
TREE=$WORK/tree
DOC=$TREE/usr/share/doc/logferry
umask 022

install -D -m 0755 "$BINARY" "$TREE/usr/bin/logferry"
install -D -m 0644 "$ROOT/systemd/logferry.service" "$TREE/lib/systemd/system/logferry.service"
# It may come to hold a secret: root alone reads it.
install -D -m 0600 "$ROOT/config/logferry.toml" "$TREE/etc/logferry/logferry.toml"
install -D -m 0644 "$ROOT/README.md" "$DOC/README.md"
install -D -m 0644 "$HERE/copyright" "$DOC/copyright"
install -D -m 0644 "$HERE/README.Debian" "$DOC/README.Debian"
# What `logferry setup azure` writes with its defaults, and the sample of a task that ships its own logs.
install -d "$TREE/usr/share/logferry/azure/queries"
install -m 0644 "$ROOT"/packaging/azure/*.bicep "$TREE/usr/share/logferry/azure/"
install -m 0755 "$ROOT"/packaging/azure/*.sh "$TREE/usr/share/logferry/azure/"
install -m 0644 "$ROOT"/packaging/azure/queries/*.kql "$TREE/usr/share/logferry/azure/queries/"
install -d "$TREE/usr/share/logferry/elasticsearch/queries"
install -m 0644 "$ROOT"/packaging/elasticsearch/queries/*.json "$TREE/usr/share/logferry/elasticsearch/queries/"
# Alerts for Prometheus, and an example of metrics out of records.
install -D -m 0644 "$ROOT/packaging/prometheus/alerts.yml" "$TREE/usr/share/logferry/prometheus/alerts.yml"
install -D -m 0644 "$ROOT/config/agent-metrics.toml" "$TREE/usr/share/logferry/agent-metrics.toml"
install -d "$TREE/usr/share/man/man1" "$TREE/usr/share/lintian/overrides"
install -m 0644 "$HERE/lintian-overrides" "$TREE/usr/share/lintian/overrides/logferry"
gzip -9n <"$HERE/logferry.1" >"$TREE/usr/share/man/man1/logferry.1.gz"
# The versions, in Debian's form; what changed stands in the project's own list of changes.
{
  printf 'logferry (%s) unstable; urgency=medium\n\n' "$VERSION"
  printf '  * What is new in this version stands in NEWS.md.gz beside this file.\n\n'
  printf ' -- %s  %s\n' "$MAINTAINER" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$DOC/changelog.gz"
gzip -9n <"$ROOT/CHANGELOG.md" >"$DOC/NEWS.md.gz"
"$HERE/third-party.py" "$ROOT" | gzip -9n >"$DOC/third-party-licences.txt.gz"

# The C library is the only one that the program is linked with; which version it needs, its symbols say.
DEPENDS=
if command -v dpkg-shlibdeps >/dev/null; then
  mkdir -p "$WORK/debian" && : >"$WORK/debian/control"
  DEPENDS=$(cd "$WORK" && dpkg-shlibdeps -O "$TREE/usr/bin/logferry" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
fi
# As dpkg counts: files in whole KiB, and 1 for all else. What `du` says depends on the disk of the moment.
SIZE_KIB=$(find "$TREE" \( -type f -printf '%s\n' \) -o -printf '1\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
mkdir -p "$TREE/DEBIAN"
cat >"$TREE/DEBIAN/control" <<CONTROL
Package: logferry
Version: $VERSION
Architecture: $ARCHITECTURE
Maintainer: $MAINTAINER
Installed-Size: $SIZE_KIB
Depends: ${DEPENDS:-libc6}, ca-certificates
Suggests: docker.io | docker-ce
Section: admin
Priority: optional
Description: ships every log line off a machine before it is gone
 logferry reads files and the output of Docker containers, turns lines into
 records that say which run, task and machine they belong to, keeps them in a
 durable buffer on disk and delivers them in batches to Azure Monitor (Logs
 Ingestion API) and to Elasticsearch or OpenSearch. When the machine is about to
 be deleted, it delivers what is left and says whether that was everything.
CONTROL
echo /etc/logferry/logferry.toml >"$TREE/DEBIAN/conffiles"
install -m 0755 "$HERE/postinst" "$HERE/prerm" "$HERE/postrm" "$TREE/DEBIAN/"
(cd "$TREE" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)

mkdir -p "$OUTPUT"
PACKAGE=$OUTPUT/logferry_${VERSION}_$ARCHITECTURE.deb
dpkg-deb --root-owner-group -Zxz --build "$TREE" "$PACKAGE" >/dev/null
echo "$PACKAGE"
