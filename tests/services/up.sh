#!/usr/bin/env bash
# Brings up all that the tests against real parts need, and prints where it is, for the shell:
#   eval "$(tests/services/up.sh)"
#   up.sh [IMAGE…]   with more images than busybox and python: systemd, systemd-docker
# Installs what is missing (install.sh), fetches Prometheus (prometheus.sh), then starts an engine (dockerd.sh), images
# (image.sh), OpenSearch and Elasticsearch; whatever runs or is there is used as it is. With nothing cached: 2 minutes;
# with all of it there: 1 s. The end: down.sh.
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

mkdir -p "$CACHE"
"$HERE/install.sh" docker java systemd-image-tools tools
DOCKER_HOST=$("$HERE/dockerd.sh" up)
export DOCKER_HOST
PROMETHEUS_DIR=$("$HERE/prometheus.sh")

URLS=$(mktemp -d)
trap 'rm -rf "$URLS"' EXIT
"$HERE/elasticsearch.sh" up >"$URLS/elasticsearch" &
elasticsearch=$!
"$HERE/opensearch.sh" up >"$URLS/opensearch" &
opensearch=$!
for image in busybox python "$@"; do "$HERE/image.sh" "$image" >/dev/null; done &
images=$!

failed=()
wait $elasticsearch || failed+=(elasticsearch)
wait $opensearch || failed+=(opensearch)
wait $images || failed+=(images)
((${#failed[@]} == 0)) || die "did not come up: ${failed[*]}"

echo "export ELASTICSEARCH_URL=$(<"$URLS/elasticsearch")"
echo "export OPENSEARCH_URL=$(<"$URLS/opensearch")"
echo "export DOCKER_HOST=$DOCKER_HOST"
echo "export PROMETHEUS_DIR=$PROMETHEUS_DIR"
