#!/usr/bin/env bash
# Fuzzes one file reader with clang's libFuzzer under the address and undefined-behaviour sanitizers.
#
#   tests/fuzz/run.sh gguf|miltext|raise|mlmodel|folder|blob|npz|tokenizer|prompt|template [SECONDS]     default 60
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
mlmodel) sources=$(ls src/base/*.c src/tensor/*.c src/graph/*.c src/format/{blobfile,chain,folder,foreign,mlmodelc,mlpackage,pbwire}*.c) ;;
folder) sources= ;; # the whole library
blob) sources=$(ls src/base/*.c src/tensor/*.c src/format/blobfile.c) ;;
npz) sources=$(ls src/base/*.c src/tensor/*.c src/format/npz.c) ;;
miltext) sources=$(ls src/base/*.c src/tensor/*.c src/graph/*.c) ;;
raise) sources=$(ls src/base/*.c src/tensor/*.c src/graph/*.c src/pass/*.c) ;;
tokenizer | prompt | template) sources=$(ls src/base/*.c src/tensor/*.c src/text/*.c) ;;
*)
    echo "run.sh: unknown target '$name': wanted gguf, miltext, raise, mlmodel, folder, blob, npz, tokenizer, prompt or template" >&2
    exit 2
    ;;
esac
mkdir -p "$work/corpus" "$work/format"
libs="-lm -ljansson"
max_len=4096
entropic=1
case $name in
mlmodel)
    protoc-c --proto_path=src/format/proto --c_out="$work/format" src/format/proto/coreml.proto
    sources="$sources $work/format/coreml.pb-c.c"
    libs="-lm -lprotobuf-c -ljansson -lsodium"
    max_len=20000
    ;;
raise) max_len=14000 ;;
folder)
    libs="-lm -lprotobuf-c -ljansson -lsodium -lcrypto -lpcre2-8 -lutf8proc -lzip"
    max_len=60000
    entropic=0 # its bookkeeping takes as long as the runs, for so much code
    ;;
npz) libs="-lm -ljansson -lzip" ;;
tokenizer | prompt | template) libs="-lm -lpcre2-8 -lutf8proc -ljansson" ;;
esac
timeout=10
[ "$name" != template ] || timeout=100 # a template may reach its limits: 2 s, and half a minute with sanitizers
flags="-std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
    -ffp-contract=off -Isrc -I$work -I$work/format"
# loops of an instruction set are compiled for it (src/tensor/meson.build), those of other machines left out
avx2="-mavx2 -mfma -mf16c"
avx512="$avx2 -mavx512f -mavx512bw -mavx512vl -mavx512dq"
objects=
plain=
if [ "$name" = folder ]; then
    set -- -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
    [ -f "$work/lib/build.ninja" ] || CC=clang meson setup "$work/lib" -Doptimization=1 -Db_ndebug=false \
        -Dc_args="$*" -Dc_link_args="$*" >"$work/setup.log" || {
        cat "$work/setup.log" >&2
        exit 1
    }
    ninja -C "$work/lib" src/libsmelt.a >"$work/make.log" || {
        cat "$work/make.log" >&2
        exit 1
    }
    objects=$work/lib/src/libsmelt.a
fi
for s in $sources; do
    case $(uname -m):$s in
    x86_64:*_avx2.c) set_flags=$avx2 ;;
    x86_64:*_avx512.c) set_flags=$avx512 ;;
    x86_64:*_avx512vnni.c) set_flags="$avx512 -mavx512vnni" ;;
    aarch64:*_neon.c) set_flags=" " ;;
    *_avx2.c | *_avx512.c | *_avx512vnni.c | *_neon.c) continue ;;
    *)
        plain="$plain $s"
        continue
        ;;
    esac
    o=$work/$(basename "$s" .c).o
    # shellcheck disable=SC2086
    clang $flags $set_flags -c "$s" -o "$o"
    objects="$objects $o"
done
# shellcheck disable=SC2086
clang $flags -DSMELT_VERSION='"fuzz"' "tests/fuzz/fuzz_$name.c" $plain $objects $libs -pthread -o "$work/fuzz"
exec "$work/fuzz" -max_total_time="$seconds" -max_len=$max_len -entropic=$entropic -timeout=$timeout -artifact_prefix="$work/" "$work/corpus" \
    "tests/fuzz/corpus_$name"
