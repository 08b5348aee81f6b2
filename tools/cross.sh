#!/usr/bin/env bash
# Builds for another machine than this one, with the compiler and the emulator that are installed here.
#
#   cross.sh aarch64-linux [NINJA ARGUMENT...]    into $BUILD/aarch64-linux, its libraries into $BUILD/aarch64-root
#
# The libraries of the other machine are Debian's or Ubuntu's packages for it, by name, unpacked into a folder: apt is
# given lists, a cache and a package state of its own there, so that this machine is left as it is and root is not
# needed.  What runs is run under qemu-user: the cross file's exe_wrapper, or  cross.sh aarch64-linux --wrapper  prints
# the command to put before a program.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
case ${1:-} in
aarch64-linux)
    arch=arm64
    triple=aarch64-linux-gnu
    ;;
*)
    echo "usage: tools/cross.sh aarch64-linux [--wrapper | NINJA ARGUMENT...]" >&2
    exit 2
    ;;
esac
target=$1
shift
mkdir -p "$build"
case $build in /*) ;; *) build=$PWD/$build ;; esac
root=$build/${target%-*}-root
packages="libc6-dev libprotobuf-c-dev libjansson-dev libpcre2-dev libutf8proc-dev libsodium-dev libzip-dev libedit-dev libcmocka-dev"

if [ "${1:-}" = --wrapper ]; then
    echo "qemu-aarch64 -L $root" # $QEMU_CPU says which CPU, else it is one that has everything
    exit 0
fi

# apt for the other architecture, whose state is below $root.tmp.  Ubuntu keeps what is not x86 at another place than
# the one in the machine's own list.
apt_of_target() {
    apt-get -qq -o APT::Architecture=$arch -o APT::Architectures=$arch -o Debug::NoLocking=1 \
        -o Acquire::Languages=none -o APT::Sandbox::User= -o Dir::State="$root.tmp/state" -o Dir::Cache="$root.tmp/cache" \
        -o Dir::State::status="$root.tmp/status" -o Dir::Etc="$root.tmp/etc" "$@"
}

make_sources() {
    mkdir -p "$root.tmp"/{state/lists/partial,cache/archives/partial,etc}
    : >"$root.tmp/status"
    cp -R /etc/apt/. "$root.tmp/etc/"
    if grep -q '^ID=ubuntu' /etc/os-release; then
        find "$root.tmp/etc" \( -name '*.list' -o -name '*.sources' \) -exec sed -i -E \
            's#https?://([a-z.]*archive|security)\.ubuntu\.com/ubuntu#http://ports.ubuntu.com/ubuntu-ports#g' {} +
    fi
}

# The root is made aside and moved into place when it is whole; its stamp says from which packages.
if [ "$(cat "$root/.packages" 2>/dev/null)" != "$packages" ]; then
    echo "cross: $arch packages into ${root#"$PWD"/}" >&2
    rm -rf "$root" "$root.tmp"
    make_sources
    # a list of a third party that has nothing for the architecture is no failure; a package missing below is
    apt_of_target update >"$root.tmp/log" 2>&1 || true
    # shellcheck disable=SC2086
    if ! apt_of_target install -y --no-install-recommends --download-only $packages >>"$root.tmp/log" 2>&1; then
        tail -n 5 "$root.tmp/log" >&2
        echo "cross: apt has no $arch packages here: wanted $packages" >&2
        exit 2
    fi
    mkdir "$root.tmp/root"
    for deb in "$root.tmp"/cache/archives/*.deb; do
        dpkg -x "$deb" "$root.tmp/root"
    done
    # what points to / must point into the root
    find "$root.tmp/root" -type l -lname '/*' | while read -r link; do
        ln -sfn "$root$(readlink "$link")" "$link"
    done
    echo "$packages" >"$root.tmp/root/.packages"
    mv "$root.tmp/root" "$root"
    rm -rf "$root.tmp"
fi

if [ ! -f "$build/$target/build.ninja" ]; then
    printf "[constants]\nroot = '%s'\n" "$root" >"$build/$target.ini"
    # the machine's own settings are not the target's
    env -u CC -u CFLAGS -u LDFLAGS -u PKG_CONFIG_PATH meson setup "$build/$target" --cross-file "$build/$target.ini" \
        --cross-file "tools/cross/$target.ini" "-Dwerror=${WERROR:-false}" ${CROSS_SETUP:-} >"$build/$target.log" 2>&1 ||
        { tail -n 20 "$build/$target.log" >&2; exit 1; }
fi
exec ninja -C "$build/$target" "$@"
