#!/usr/bin/env bash
# Which lines of src/ the tests run: builds with gcov's counters in $BUILD-cov, runs the tests there, prints a table by room
# and names the files under 85 %.
#
#   coverage.sh [GROUP...]     groups of tools/run_tests.sh; default: all that run on this machine's own instructions
#
# The whole report is left in $BUILD-cov/coverage.html.  Lines for other instruction sets and systems are not compiled here
# and do not count.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh test
build=${BUILD:-build}
export BUILD=$build-cov
command -v gcovr >/dev/null || {
    echo "coverage: gcovr is missing: apt-get install gcovr (Debian), brew install gcovr (Homebrew)" >&2
    exit 2
}
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" -Db_coverage=true -Dbuildtype=debugoptimized >/dev/null
for d in oracle models vocabs; do
    [ ! -e "$build/$d" ] || [ -e "$BUILD/$d" ] || ln -s "$PWD/$build/$d" "$BUILD/$d"
done
ninja -C "$BUILD" >/dev/null
find "$BUILD" -name '*.gcda' -delete
[ $# -gt 0 ] || set -- unit graph kcheck e2e
export PYTEST_ADDOPTS="--ignore=tests/e2e/test_install.py" # the counters are symbols of their own
tools/run_tests.sh "$@" || echo "coverage: some tests failed; what they ran is counted" >&2
gcovr -r . -f src/ --object-directory "$BUILD" --gcov-ignore-parse-errors --csv "$BUILD/coverage.csv" \
    --html-details "$BUILD/coverage.html" >/dev/null
tail -n +2 "$BUILD/coverage.csv" | LC_ALL=C sort | awk -F, '
function close_room() {
    if (room != "")
        printf "%-12s %6d lines  %5.1f %%%s\n%s", room, lines, 100 * hit / lines, hit / lines < 0.85 ? "  under 85 %" : "", low
    lines = hit = 0
    low = ""
}
{
    split($1, part, "/")
    if (part[2] != room) close_room()
    room = part[2]
    lines += $2
    hit += $3
    all += $2
    got += $3
    if ($2 > 0 && $3 / $2 < 0.85) low = low sprintf("    %-44s %5d lines  %5.1f %%\n", $1, $2, 100 * $3 / $2)
}
END {
    close_room()
    printf "%-12s %6d lines  %5.1f %%\n", "all", all, 100 * got / all
}'
