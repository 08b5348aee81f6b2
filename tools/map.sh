#!/usr/bin/env bash
# Prints which room of src/ includes which, with counts, and fails when
#   - a room includes a room above it or another one on its level,
#   - two files under src/ have the same name,
#   - a file reads or writes floats by the locale (base/number.h does it by the point),
#   - a header does not compile alone.
# map.sh --counts prints the graph only.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
failed=0

# ---- layering: one level a line, lowest first; include/smelt.h is implemented by src/api/ ---------------------------
levels='base
tensor
graph text
format
model pass
backend
plan cluster
engine tune
job
api
server
cli
stub'

roots=src
[ ! -d include ] || roots='src include'
# shellcheck disable=SC2086
find $roots -name '*.[ch]' -o -name '*.def' -path 'src/*' -o -name '*.inc' -path 'src/*' | LC_ALL=C sort | xargs awk -v levels="$levels" '
BEGIN {
    n = split(levels, line, "\n")
    for (i = 1; i <= n; i++) {
        m = split(line[i], room, " ")
        for (j = 1; j <= m; j++) {
            level[room[j]] = i
            order[++count] = room[j]
        }
    }
    for (i = 1; i < ARGC; i++)
        exists[ARGV[i]] = 1
}
function room_of(path,    part) {
    split(path, part, "/")
    return part[1] == "include" ? "smelt.h" : part[2]
}
function complain(text) {
    print FILENAME ":" FNR ": " text > "/dev/stderr"
    bad = 1
}
FNR == 1 {
    from = room_of(FILENAME)
    folder = FILENAME
    sub(/[^\/]*$/, "", folder)
    if (from != "smelt.h" && !(from in level))
        complain("room " from "/ has no level in tools/map.sh")
    files[from]++
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0
    sub(/^[^"]*"/, "", name)
    sub(/".*/, "", name)
    if (("src/" name) in exists) to = room_of("src/" name)
    else if ((folder name) in exists) to = room_of(folder name)
    else if (("include/" name) in exists) to = "smelt.h"
    else next                                   # generated, or a library header
    if (to == from) next
    edges[from, to]++
    if (to == "smelt.h") {
        if (level[from] < level["api"]) complain(from "/ includes smelt.h, which is above it")
    } else if (from == "smelt.h") {
        complain("the public header includes \"" name "\"")
    } else if (from == "stub") {                # answers for an absent library, by the header that asks
        next
    } else if (level[from] > level["api"] && to != "base") {
        complain(from "/ includes \"" name "\": it may see smelt.h and base/ only")
    } else if (level[to] > level[from]) {
        complain(from "/ includes \"" name "\": " to "/ is above it")
    } else if (level[to] == level[from]) {
        complain(from "/ includes \"" name "\": " to "/ is on its level")
    }
}
END {
    order[++count] = "smelt.h"
    for (i = 1; i <= count; i++) {
        if (!files[order[i]]) continue
        out = ""
        for (j = 1; j <= count; j++)
            if (edges[order[i], order[j]]) out = out sprintf("  %s %d", order[j], edges[order[i], order[j]])
        printf "%-9s %3d files ->%s\n", order[i], files[order[i]], out == "" ? "  nothing" : out
    }
    exit bad
}' || failed=1
[ "${1:-}" != --counts ] || exit $failed

# ---- names -----------------------------------------------------------------------------------------------------------
doubled=$(find src -type f ! -name meson.build | sed 's|.*/||' | LC_ALL=C sort | uniq -d)
for name in $doubled; do
    echo "two files named $name: $(find src -name "$name" | tr '\n' ' ')" >&2
    failed=1
done

# ---- floats: the program leaves LC_NUMERIC alone, the library cannot know -----------------------------------------------
if grep -rnE '(^|[^_a-z])(strto[df]|atof|vsnprintf)\(|(^|[^_])s(nprint|scan)f\([^;]*%[-+#0-9.*]*l?[aefg]' src --include='*.c' |
    grep -vE '^src/(base/number\.c|cli/)'; then
    echo "floats by the locale: use base/number.h" >&2
    failed=1
fi

# ---- headers alone ---------------------------------------------------------------------------------------------------
generated=$(find "$build/src" -name '*.h' 2>/dev/null | sed 's|/[^/]*$||' | sort -u | sed 's/^/-I/')
generated="-I$build/src $generated"
libs=$(pkg-config --cflags libprotobuf-c jansson libpcre2-8 libutf8proc libsodium libzip libcrypto 2>/dev/null)
headers=0
for header in $(find $roots -name '*.h' | LC_ALL=C sort); do
    headers=$((headers + 1))
    # shellcheck disable=SC2086
    if ! printf '#include "%s"\n' "${header#*/}" |
        ${CC:-cc} -std=gnu11 -D_GNU_SOURCE -fsyntax-only -Wall -Wextra -Isrc -Iinclude $generated $libs -x c -; then
        echo "$header does not compile alone" >&2
        failed=1
    fi
done

[ $failed -ne 0 ] || echo "map: no upward or sideways edges, names unique, $headers headers compile alone"
exit $failed
