#!/usr/bin/env bash
# Runs the tests of a finished build and counts single cases: the last line is "N passed, N failed".
#
#   run_tests.sh [GROUP...]    groups: map docs macos unit graph kcheck arm e2e; default all
#
# C test programs are listed in $BUILD/tests/programs.txt and print TAP; a program that dies counts as one more failed
# case; $TESTS, a pattern of their names, chooses among them.  macos is tools/macos.sh.  arm builds for 64-bit ARM Linux
# (tools/cross.sh) and runs the kernel check and a real model under qemu-user.  e2e is pytest over tests/e2e and
# tests/golden with the oracles' environment, SMELT naming the program.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
log=$build/test-logs
passed=0
failed=0
[ $# -gt 0 ] || set -- map docs macos unit graph kcheck arm e2e
mkdir -p "$log"

# count PASSED FAILED TITLE LOGFILE
count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
    if [ "$2" -eq 0 ]; then
        printf '%-28s %6d passed\n' "$3" "$1"
    else
        printf '%-28s %6d passed, %d FAILED\n' "$3" "$1" "$2"
        tail -n 60 "$4" | sed 's/^/    /'
    fi
}

# tap OUT COMMAND...: runs a program that prints TAP; its exit status is left in OUT.rc
tap() {
    out=$1
    shift
    CMOCKA_MESSAGE_OUTPUT=TAP UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$@" >"$out" 2>&1 </dev/null
    echo $? >"$out.rc"
}

# count_tap TITLE OUT
count_tap() {
    title=$1
    out=$2
    rc=$(cat "$out.rc")
    ok=$(grep '^ok ' "$out" | grep -vc '# SKIP')
    bad=$(grep '^not ok ' "$out" | grep -vc '# SKIP')
    if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "exit status $rc" >>"$out"
        bad=1
    elif ! grep -qE '^(not )?ok ' "$out"; then
        echo "no test cases" >>"$out"
        bad=1
    fi
    count "$ok" "$bad" "$title" "$out"
    grep '# SKIP' "$out" | sed 's/^/    skipped: /'
}

# run_program GROUP COMMAND...
run_program() {
    group=$1
    shift
    tap "$log/$(basename "$1").log" "$@"
    count_tap "$group/$(basename "$1")" "$log/$(basename "$1").log"
}

run_map() {
    if tools/map.sh >"$log/map.log" 2>&1; then
        count 1 0 map "$log/map.log"
    else
        count 0 1 map "$log/map.log"
    fi
}

run_docs() {
    if tools/docs.sh --check >"$log/docs.log" 2>&1; then
        count 1 0 docs "$log/docs.log"
    else
        count 0 1 docs "$log/docs.log"
    fi
}

# A Mac needs no trial of it: the build is one.
run_macos() {
    [ "$(uname)" != Darwin ] || return 0
    if tools/macos.sh >"$log/macos.log" 2>&1; then
        count 1 0 macos "$log/macos.log"
    else
        count 0 1 macos "$log/macos.log"
    fi
}

# pytest_of TITLE LOGNAME ARGUMENT...
pytest_of() {
    title=$1
    out=$log/$2.log
    shift 2
    SMELT=$PWD/$build/smelt SMELT_MODELS=$PWD/$build/models SMELT_VOCABS=$PWD/$build/vocabs \
        "$build/oracle/bin/python" -m pytest -q -p no:cacheprovider -rs --color=no "$@" >"$out" 2>&1 </dev/null
    rc=$?
    last=$(grep -E '(passed|failed|error|skipped|no tests ran).* in [0-9.]+s' "$out" | tail -n 1)
    number() {
        printf '%s\n' "$last" | grep -oE "[0-9]+ $1" | head -n 1 | cut -d' ' -f1 | grep . || echo 0
    }
    ok=$(number passed)
    bad=$(($(number failed) + $(number error)))
    [ $rc -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    count "$ok" "$bad" "$title" "$out"
    grep -E '^SKIPPED' "$out" | sed 's/^/    /'
}

run_pytest() {
    dirs=
    for d in tests/e2e tests/golden; do
        [ -z "$(find $d -name 'test_*.py' 2>/dev/null | head -n 1)" ] || dirs="$dirs $d"
    done
    [ -n "$dirs" ] || return 0
    out=$log/fetch.log
    if ! tools/fetch_models.sh >"$out" 2>&1; then
        count 0 1 "e2e/fetch_models" "$out"
    fi
    # shellcheck disable=SC2086
    pytest_of e2e/pytest pytest $dirs
}

# The ARM kernels.  On an ARM machine the other groups have them; elsewhere they need Linux, its packages and qemu-user.
run_arm() {
    case $(uname -m) in
    aarch64 | arm64)
        echo "arm: native, the kernel check of this build"
        run_program arm "$build/tests/kcheck/kcheck"
        return
        ;;
    esac
    if [ "$(uname)" != Linux ] || ! command -v apt-get >/dev/null; then
        echo "    skipped: arm: needs ARM, or Debian's or Ubuntu's packages for it"
        return
    fi
    arm=$build/aarch64-linux
    if ! tools/cross.sh aarch64-linux smelt tests/kcheck/kcheck tests/unit/test_cpu_rows tests/unit/test_engine_steps \
        tests/unit/test_tensor_encoding tests/unit/test_tensor_dtype tests/unit/test_affine_encode \
        >"$log/arm-build.log" 2>&1; then
        count 0 1 arm/build "$log/arm-build.log"
        return
    fi
    emulator=$(tools/cross.sh aarch64-linux --wrapper)
    tools/fetch_models.sh smollm2 >"$log/fetch.log" 2>&1
    # shellcheck disable=SC2086
    for half in 1 2; do
        tap "$log/arm-kcheck-$half.log" $emulator "$arm/tests/kcheck/kcheck" --part $half/2 &
    done
    wait
    count_tap "arm/kcheck 1" "$log/arm-kcheck-1.log"
    count_tap "arm/kcheck 2" "$log/arm-kcheck-2.log"
    # shellcheck disable=SC2086
    for t in engine_steps tensor_encoding tensor_dtype affine_encode; do
        tap "$log/arm-test_$t.log" $emulator "$arm/tests/unit/test_$t"
        count_tap "arm/test_$t" "$log/arm-test_$t.log"
    done
    ARM_BUILD=$arm ARM_RUN=$emulator pytest_of arm/pytest arm-pytest tests/arm
}

for group; do
    case $group in
    unit | graph | kcheck)
        grep -q "^$group " "$build/tests/programs.txt" || count 0 1 "$group: no test programs" "$build/tests/programs.txt"
        while read -r g command; do
            if [ "$g" = "$group" ] && basename "${command%% *}" | grep -qE "${TESTS:-.}"; then
                # shellcheck disable=SC2086
                run_program "$g" $command
            fi
        done <"$build/tests/programs.txt"
        ;;
    map) run_map ;;
    docs) run_docs ;;
    macos) run_macos ;;
    arm) run_arm ;;
    e2e) run_pytest ;;
    *)
        echo "run_tests: unknown group '$group': wanted map, docs, macos, unit, graph, kcheck, arm or e2e" >&2
        exit 2
        ;;
    esac
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
