#!/usr/bin/env bash
# Fuzzes one file reader with clang's libFuzzer under the address and undefined-behaviour sanitizers.
#
#   tests/fuzz/run.sh gguf|miltext [SECONDS]     default 60
#
# Starts from corpus_NAME/, keeps what it learns in $BUILD/fuzz/NAME, and leaves an input
# that breaks the reader there too.
set -eu
cd "$(dirname "$0")/../.."
name=${1:?"wanted a target: gguf"}
seconds=${2:-60}
work=${BUILD:-build}/fuzz/$name
case $name in
gguf) sources=$(ls src/base/*.c src/tensor/*.c src/format/gguf_*.c) ;;
miltext) sources=$(ls src/base/*.c src/tensor/*.c src/graph/*.c) ;;
*)
    echo "run.sh: unknown target '$name': wanted gguf or miltext" >&2
    exit 2
    ;;
esac
mkdir -p "$work/corpus"
# shellcheck disable=SC2086
clang -std=gnu11 -D_GNU_SOURCE -DSMELT_VERSION='"fuzz"' -g -O1 -fsanitize=fuzzer,address,undefined \
    -fno-sanitize-recover=undefined -ffp-contract=off -Isrc "tests/fuzz/fuzz_$name.c" $sources -lm -pthread \
    -o "$work/fuzz"
exec "$work/fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=10 -artifact_prefix="$work/" "$work/corpus" \
    "tests/fuzz/corpus_$name"
