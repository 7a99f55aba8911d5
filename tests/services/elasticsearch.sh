#!/usr/bin/env bash
# A real Elasticsearch for the tests, on the loopback interface: the server alone, as that is what Maven Central has (no
# security, no ILM, no `_data_stream`: a data stream comes and goes with FOLDER, so tests give theirs names of their own).
#   elasticsearch.sh [up] [PORT] [FOLDER]   print the URL of a node that answers: where no PORT is given, that of
#                                           ELASTICSEARCH_URL; else one started here (or before), which outlives this script
#   elasticsearch.sh down [PORT] [FOLDER]   stop it; its data stays in FOLDER
# PORT is 9200 unless given; FOLDER, of the node's data and log, lies in the cache folder named in common.bash.
# Env: ES_OPTS, more node settings ('thread_pool.write.size=1 thread_pool.write.queue_size=1'), ES_HEAP (512m),
#      ES_VERSION (9.5.3; without a JDK 21 or newer 8.19.21), JAVA_HOME, MVN (mvn and its options).
set -euo pipefail
# shellcheck source=engine.bash
source "$(dirname "$0")/engine.bash"

ENGINE=elasticsearch
VERSION=${ES_VERSION:-$(jdk_between 21 99 >/dev/null && echo 9.5.3 || echo 8.19.21)}
DEFAULT_PORT=9200
JAVA_RANGE="21 99"
[[ $VERSION != 8.* ]] || JAVA_RANGE="17 24"
URL_VARIABLE=ELASTICSEARCH_URL
OPTS_VARIABLE=ES_OPTS
HEAP=${ES_HEAP:-512m}
SETTING_PREFIX=

# The HTTP layer is a module in a layer of its own; its jar carries the descriptor.
arrange() {
  local module=modules/transport-netty4 inside=META-INF/es-plugins/transport-netty4
  (cd "$module" && "$JDK/bin/jar" xf transport-netty4-*.jar "$inside" && mv "$inside"/* . && rm -r META-INF)
}

command_line() {
  # shellcheck disable=SC2054 # commas inside the options
  COMMAND=("$JDK/bin/java" "-Xms$HEAP" "-Xmx$HEAP" "-Djava.io.tmpdir=$NODE/tmp" "-Des.path.home=$HOME_DIR"
    -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true
    -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true
    --enable-native-access=ALL-UNNAMED,org.elasticsearch.nativeaccess,org.apache.lucene.core
    --module-path "$HOME_DIR/lib" --add-modules ALL-MODULE-PATH,jdk.incubator.vector
    "$HERE/elasticsearch/LocalNode.java" "$HOME_DIR")
}

engine "$@"
