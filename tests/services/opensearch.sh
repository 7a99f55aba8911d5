#!/usr/bin/env bash
# A real OpenSearch for the tests, on the loopback interface, without the security plugin.
#   opensearch.sh [up] [PORT] [FOLDER]   print the URL of a node that answers: where no PORT is given, that of OPENSEARCH_URL;
#                                        else one started here (or before), which outlives this script
#   opensearch.sh down [PORT] [FOLDER]   stop it; its data stays in FOLDER
# PORT is 9201 unless given; FOLDER, of the node's data and log, lies in the cache folder named in common.bash.
# Env: OS_OPTS, more node settings ('thread_pool.write.size=1 thread_pool.write.queue_size=1'), OS_HEAP (512m),
#      OS_VERSION, JAVA_HOME, MVN (mvn and its options).
set -euo pipefail
# shellcheck source=engine.bash
source "$(dirname "$0")/engine.bash"

ENGINE=opensearch
VERSION=${OS_VERSION:-2.19.6}
DEFAULT_PORT=9201
JAVA_RANGE="11 23" # newer ones have no SecurityManager, which it installs
URL_VARIABLE=OPENSEARCH_URL
OPTS_VARIABLE=OS_OPTS
HEAP=${OS_HEAP:-512m}
SETTING_PREFIX=-E

# The HTTP layer is a module of its own class loader. Its jar from Maven Central lacks what the distribution puts beside it.
arrange() {
  cat >modules/transport-netty4/plugin-descriptor.properties <<PROPERTIES
name=transport-netty4
description=HTTP and transport over Netty
classname=org.opensearch.transport.Netty4Plugin
version=$VERSION
opensearch.version=$VERSION
java.version=11
PROPERTIES
  # The class loader is for Netty's last thread: where that may not start, a stop waits 30 s for it.
  cat >modules/transport-netty4/plugin-security.policy <<'POLICY'
grant {
  permission java.net.SocketPermission "*", "accept,connect";
  permission java.lang.RuntimePermission "getClassLoader";
  permission java.lang.RuntimePermission "setContextClassLoader";
};
POLICY
}

command_line() {
  # shellcheck disable=SC2054 # commas inside the options
  COMMAND=(env "OPENSEARCH_TMPDIR=$NODE/tmp" "$JDK/bin/java" "-Xms$HEAP" "-Xmx$HEAP" -Xss1m
    -Djava.security.manager=allow -Djava.locale.providers=SPI,COMPAT -Dfile.encoding=UTF-8 "-Djava.io.tmpdir=$NODE/tmp"
    -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true -Dio.netty.allocator.numDirectArenas=0
    -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true -Dopensearch.distribution.type=tar
    "-Dopensearch.path.home=$HOME_DIR" "-Dopensearch.path.conf=$HOME_DIR/config")
  # It asks the C library, through JNA, whether it is root, and would refuse. Without JNA's native half it cannot ask.
  ((EUID)) || COMMAND+=(-Djna.nosys=true -Djna.nounpack=true)
  COMMAND+=(-cp "$HOME_DIR/lib/*" org.opensearch.bootstrap.OpenSearch)
}

engine "$@"
