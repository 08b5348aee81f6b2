#!/usr/bin/env bash
# Compiles the library and the program for macOS on Apple silicon and links them, from Linux, with zig's clang and its
# copy of Apple's libSystem: what is compiled and linked, not that it runs.
#
#   macos.sh             fails unless the undefined symbols are exactly those of tests/macos/symbols.txt
#   macos.sh --update    writes that file anew; fails on a symbol that neither libSystem nor an outside library has
#
# Meson lists the sources, as for any build.  Of the outside libraries only the headers are taken, into a folder of their
# own, so that nothing else of this machine's headers is seen; what they define stays undefined at the link.  zig is the
# one of tests/requirements.txt, or $ZIG.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
build=${BUILD:-build}
here=$PWD/$build/macos
list=tests/macos/symbols.txt
python=$build/oracle/bin/python
zig=${ZIG:-$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')}
export ZIG_GLOBAL_CACHE_DIR=$here/cache ZIG_LOCAL_CACHE_DIR=$here/cache

# pkg-config name, then its headers
outside="libprotobuf-c protobuf-c
jansson jansson.h jansson_config.h
libpcre2-8 pcre2.h
libutf8proc utf8proc.h
libsodium sodium.h sodium
libzip zip.h zipconf.h
libedit histedit.h editline
sqlite3 sqlite3.h"

# --- headers, and a pkg-config that knows only them
mkdir -p "$here/pkgconfig"
rm -rf "$here/include"
mkdir -p "$here/include"
while read -r name headers; do
    from=$(pkg-config --variable=includedir "$name")
    for h in $headers; do
        ln -s "$from/$h" "$here/include/$h"
    done
    printf 'Name: %s\nDescription: headers of %s\nVersion: %s\nCflags: -I%s\nLibs:\n' "$name" "$name" \
        "$(pkg-config --modversion "$name")" "$here/include" >"$here/pkgconfig/$name.pc"
done <<EOF2
$outside
EOF2
cat >"$here/pkg-config" <<EOF2
#!/bin/sh
PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR=$here/pkgconfig exec pkg-config "\$@"
EOF2

# --- the compiler; Meson tells Apple's linker by these answers
cat >"$here/cc" <<EOF2
#!/bin/sh
seen= load=
case " \$* " in
*' -Wl,--version '*) echo 'ld: unknown option: --version' >&2; exit 1 ;;
*' -Wl,-v '*) echo '@(#)PROGRAM:ld  PROJECT:ld64-1000' >&2; exit 0 ;;
esac
# zig takes one word on undefined symbols, -force_load in one word with its file, and instruction sets as parts of a CPU.
for a; do
    shift
    case "\$load\$a" in
    -march=armv*) a=-mcpu=apple_m1\${a#*-a} ;;
    -Wl,-force_load)
        load=-Wl,-force_load,
        continue
        ;;
    -Wl,-undefined,*)
        [ -z "\$seen" ] || continue
        seen=1
        a=-Wl,-undefined,dynamic_lookup
        ;;
    esac
    set -- "\$@" "\$load\$a"
    load=
done
exec '$zig' cc -target aarch64-macos "\$@"
EOF2
chmod +x "$here/pkg-config" "$here/cc"
cat >"$here/cross.ini" <<EOF2
[binaries]
c = ['$here/cc']
ar = ['$zig', 'ar']
ranlib = ['$zig', 'ranlib']
pkgconfig = '$here/pkg-config'
[built-in options]
c_link_args = ['-Wl,-undefined,dynamic_lookup']
[host_machine]
system = 'darwin'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
EOF2

# --- compile and link
echo "$zig $outside" >"$here/stamp.new"
if [ ! -f "$here/build/build.ninja" ] || ! cmp -s "$here/stamp" "$here/stamp.new"; then
    rm -rf "$here/build"
    # (from there, because Meson's trials leave an object file where they run)
    (cd "$here" && meson setup build "$OLDPWD" --cross-file cross.ini -Dwerror=true -Doptimization=1 -Ddebug=false) \
        >"$here/setup.log" 2>&1 || { cat "$here/setup.log"; exit 1; }
    mv "$here/stamp.new" "$here/stamp"
fi
ninja -C "$here/build" smelt src/libsmelt.0.dylib >"$here/ninja.log" 2>&1 ||
    { grep -E 'error|warning|FAILED|undefined' "$here/ninja.log" || cat "$here/ninja.log"; exit 1; }

# --- the undefined symbols, each with the library that has it
{
    # (names of C begin with _; dyld's own helper does not)
    grep -oE "[^a-zA-Z0-9_\$](_|dyld_)[A-Za-z0-9_\$]+" "$(dirname "$zig")/lib/libc/darwin/libSystem.tbd" |
        sed -E 's/^._?/System /'
    while read -r name headers; do
        nm -D --defined-only "$(pkg-config --variable=libdir "$name")/lib${name#lib}.so" |
            awk -v lib="$name" '{ sub(/@.*/, "", $NF); print lib, $NF }'
    done <<EOF2
$outside
EOF2
} | sort -u >"$here/defined.txt"
for f in "$here/build/smelt" "$here"/build/src/libsmelt.0.dylib; do
    "$python" tests/tools/macho_undefined.py "$f"
done | sort -u | awk 'NR == FNR { if (!($2 in lib)) lib[$2] = $1; next } { print ($1 in lib ? lib[$1] : "nowhere"), $1 }' \
    "$here/defined.txt" - >"$here/symbols.txt"
if grep '^nowhere ' "$here/symbols.txt"; then
    echo "macos: neither libSystem nor an outside library has these" >&2
    exit 1
fi
if [ "${1:-}" = --update ]; then
    cp "$here/symbols.txt" "$list"
elif ! diff -u --label "expected ($list)" --label found "$list" "$here/symbols.txt"; then
    echo "macos: undefined symbols differ from $list; where they are right: tools/macos.sh --update" >&2
    exit 1
fi
file -b "$here/build/smelt" 2>/dev/null || true
echo "macos: compiled and linked for arm64, $(wc -l <"$list" | tr -d ' ') undefined symbols as expected; never run"
