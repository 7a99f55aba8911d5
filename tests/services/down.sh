#!/usr/bin/env bash
# Stops what up.sh started, and every search engine that was started on a folder of the cache, whatever its port.
# What was found running stays; downloads, images and data stay too.
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

for pidfile in "$CACHE"/{elasticsearch,opensearch}-*/node-*/pid; do
  [[ ! -e $pidfile ]] || stop "$pidfile" &
done
"$HERE/dockerd.sh" down
wait
