#!/usr/bin/env bash
# Finds what a build or a test run needs and is not here, by name, and installs it.
#
#   setup.sh build    compiler, meson and libraries
#   setup.sh demo     these, and a Python with pip or venv, which the demo's model is fetched with
#   setup.sh test     these, what the tests and sanitizer builds need, and the Python oracles in $BUILD/oracle
#
# As root on Debian or Ubuntu it calls apt-get itself; elsewhere it prints the one command to run and exits 2.
# Says nothing when nothing is missing.
set -eu
cd "$(dirname "$0")/.."
mode=${1:-build}
build=${BUILD:-build}
case $mode in
build | demo | test) ;;
*)
    echo "usage: tools/setup.sh build|demo|test" >&2
    exit 2
    ;;
esac

# name, Debian and Ubuntu package, Homebrew formula
tools_build="cc build-essential -
meson meson meson
ninja ninja-build ninja
pkg-config pkg-config pkgconf
protoc-c protobuf-c-compiler protobuf-c"
tools_test="clang clang -
clang-format clang-format clang-format"
libs_build="libprotobuf-c libprotobuf-c-dev protobuf-c
jansson libjansson-dev jansson
libpcre2-8 libpcre2-dev pcre2
libutf8proc libutf8proc-dev utf8proc
libsodium libsodium-dev libsodium
libzip libzip-dev libzip
libcrypto libssl-dev -
sqlite3 libsqlite3-dev -
libedit libedit-dev -"
libs_test="cmocka libcmocka-dev cmocka"

tools=$tools_build
libs=$libs_build
# For the group `arm` of the tests, which other machines than these do without.
[ "$(uname) $(uname -m)" != "Linux x86_64" ] || tools_test="$tools_test
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu -
qemu-aarch64 qemu-user -"
if [ "$mode" = test ]; then
    tools="$tools
$tools_test"
    libs="$libs
$libs_test"
fi

have_lib() {
    case $1$(uname) in libeditDarwin | sqlite3Darwin) return 0 ;; esac # part of the system there, without pkg-config files
    [ "$1$(uname)" != libcryptoDarwin ] || return 0 # Homebrew keeps it out of sight; libsodium does its work
    pkg-config --exists "$1" 2>/dev/null
}

# The first interpreter that can make a virtual environment and that the oracles have wheels for.
find_python() {
    for p in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
        if "$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$p"
            return 0
        fi
    done
    return 1
}

have_pip() {
    [ -x "$build/oracle/bin/python" ] || python3 -m pip --version >/dev/null 2>&1 ||
        python3 -c 'import venv, ensurepip' 2>/dev/null || find_python >/dev/null
}

stamp=$build/oracle/requirements.txt
oracle_ready() {
    [ -x "$build/oracle/bin/python" ] && cmp -s tests/requirements.txt "$stamp"
}

find_missing() {
    names=
    debian=
    brew=
    need() {
        names="$names $1"
        debian="$debian $2"
        [ "$3" = - ] || brew="$brew $3"
    }
    while read -r name deb formula; do
        command -v "$name" >/dev/null 2>&1 || need "$name" "$deb" "$formula"
    done <<EOF
$tools
EOF
    while read -r name deb formula; do
        have_lib "$name" || need "$name" "$deb" "$formula"
    done <<EOF
$libs
EOF
    if [ "$mode" = test ] && ! oracle_ready && ! find_python >/dev/null; then
        need python3 "python3 python3-venv" python@3.13
    fi
    if [ "$mode" = demo ] && ! have_pip; then
        need python3 "python3 python3-venv" python@3.13
    fi
    [ -z "$names" ]
}

if ! find_missing; then
    echo "setup: missing:$names" >&2
    if [ "$(uname)" = Darwin ]; then
        echo "setup: run this, then make again:  xcode-select -p >/dev/null || xcode-select --install; brew install$brew" >&2
        exit 2
    elif ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: install the packages that hold these, then make again (Debian names):$debian" >&2
        exit 2
    elif [ "$(id -u)" != 0 ]; then
        echo "setup: run this, then make again:  sudo apt-get install -y$debian" >&2
        exit 2
    fi
    echo "setup: apt-get install$debian" >&2
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $debian >/dev/null 2>&1 ||
        { apt-get update >/dev/null && apt-get install -y --no-install-recommends $debian >/dev/null; }
    hash -r
    if ! find_missing; then
        echo "setup: still missing after the installation:$names" >&2
        exit 2
    fi
fi

if [ "$mode" = test ] && ! oracle_ready; then
    echo "setup: installing the Python oracles in $build/oracle" >&2
    python=$(find_python)
    mkdir -p "$build"
    rm -rf "$build/oracle"
    "$python" -m venv "$build/oracle"
    "$build/oracle/bin/python" -m pip install -q --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt "$stamp"
fi
