#!/usr/bin/env bash
# The container images of the tests, built without a registry of images. One that is there is kept.
#   image.sh busybox   logferry-test/busybox:1   a static busybox and its applets, 2 MB, at once
#   image.sh python    logferry-test/python:1    a Debian cut down to the shell and python3 with its standard library,
#                                                90 MB, 30 s
#   image.sh systemd   logferry-test/systemd:1   a Debian with systemd as PID 1 and apt, 240 MB, 45 s;
#                                                `image.sh systemd-run` prints the options of docker run to boot it
#   image.sh systemd-docker   logferry-test/systemd-docker:1   the same with a Docker engine of its own, 450 MB, 80 s; to
#                                                be booted with a network of its own, as that engine makes a bridge
# A NAME that is none of these is a tag (REPOSITORY:TAG) for one more busybox image. Each prints the name of its image.
# Env: DOCKER_HOST; SUITE and MIRROR of the Debian (those of this machine unless set).
set -euo pipefail
# shellcheck source=common.bash
source "$(dirname "$0")/common.bash"

has() { docker image inspect "$1" >/dev/null 2>&1; }

import() { # FOLDER TAG [CHANGE…]; the folder becomes the image's root
  local folder=$1 tag=$2 changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  as_root tar -C "$folder" --numeric-owner -c . | docker import "${changes[@]}" - "$tag" >/dev/null
}

image_of_busybox() { # TAG
  local binary root=$WORK/root applet
  binary=$(command -v busybox) || die "no busybox on this machine: run install.sh docker"
  ! ldd "$binary" >/dev/null 2>&1 || die "$binary is not a static program: run install.sh docker"
  mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp}
  chmod 1777 "$root/tmp"
  cp "$binary" "$root/bin/busybox"
  for applet in $("$binary" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
  done
  echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
  echo root:x:0: >"$root/etc/group"
  import "$root" "$1" 'ENV PATH=/bin' 'CMD ["/bin/sh"]'
}

debian() { # FOLDER PACKAGES; the smallest Debian with these packages besides
  command -v debootstrap >/dev/null || PATH=$PATH:/usr/sbin
  command -v debootstrap >/dev/null || die "no debootstrap on this machine: run install.sh systemd-image-tools"
  local suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
  # shellcheck disable=SC2016 # apt's own variable
  local mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' "Codename: $suite" "Created-By: Packages" | head -n 1)}
  quietly as_root debootstrap --variant=minbase --include="$2" "$suite" "$1" ${mirror:+"$mirror"}
  as_root rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/log/bootstrap.log
}

image_of_python() { # TAG
  local root=$WORK/root
  debian "$root" python3-minimal,libpython3-stdlib
  # What only installing and reading need. A program that logs needs neither, and no package is ever added to this image.
  as_root rm -rf "$root"/usr/share/{doc,man,info,locale,i18n,zoneinfo,perl5,bash-completion} "$root"/usr/share/perl \
    "$root"/usr/lib/*-linux-gnu/{perl-base,gconv} \
    "$root"/usr/lib/{apt,udev,systemd} "$root"/usr/lib/python3*/{test,idlelib,lib2to3,ensurepip} \
    "$root"/var/{cache,lib/apt,lib/dpkg,log}
  import "$root" "$1" 'ENV PYTHONDONTWRITEBYTECODE=1' 'CMD ["python3"]'
}

image_of_systemd() { # TAG [PACKAGES]
  local root=$WORK/root
  debian "$root" "systemd,systemd-sysv,dbus${2:+,$2}"
  as_root rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
  : | as_root tee "$root/etc/machine-id" >/dev/null # empty: every container draws its own at its first boot
  import "$root" "$1" 'ENV container=docker' 'CMD ["/lib/systemd/systemd"]'
}

image_of_systemd-docker() { # TAG
  image_of_systemd "$1" docker.io
}

# Not --privileged: where the machine lacks one capability, the engine refuses that, but not this.
systemd_run_options() {
  echo --stop-signal SIGRTMIN+3 --cap-add ALL --cap-drop SYS_RESOURCE \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --tmpfs /run --tmpfs /run/lock --tmpfs /tmp --volume /sys/fs/cgroup:/sys/fs/cgroup
}

build() { # TAG COMMAND…
  local tag=$1
  shift
  mkdir -p "$CACHE"
  exec 9>"$CACHE/image.lock"
  flock 9
  if ! has "$tag"; then
    command -v docker >/dev/null || die "no docker client on this machine: run install.sh docker"
    docker version >/dev/null 2>&1 || die "no Docker engine answers: run dockerd.sh"
    WORK=$(mktemp -d)
    trap 'as_root rm -rf --one-file-system "$WORK"' EXIT
    "$@" "$tag"
  fi
  echo "$tag"
}

case ${1:-} in
  busybox | python | systemd | systemd-docker) build "logferry-test/$1:1" "image_of_$1" ;;
  systemd-run) systemd_run_options ;;
  *:*) build "$1" image_of_busybox ;;
  *) die "busybox, python, systemd, systemd-docker, systemd-run or a tag (REPOSITORY:TAG), not '${1:-}'" ;;
esac
