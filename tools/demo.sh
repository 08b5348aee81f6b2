#!/usr/bin/env bash
# A first look: a small model, run as it is and as a Core ML package made of it, and whether both say the same.
#
# `make demo` has built the program.  Fetches SmolLM2-135M (94 MB, once), and exits 1 when the texts differ.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
smelt=$build/smelt
model=$build/models/smollm2.gguf
work=$build/demo
package=$work/SmolLM2.mlpackage
# A text without close calls.  Where two candidates are nearly as likely, the package's fp16 scales and offsets may choose
# the other one.
prompt='The months of the year:
1. January
2. February
3. March
4.'
tokens=36

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m') red=$(printf '\033[31m') off=$(printf '\033[0m')
else
    bold='' dim='' green='' red='' off=''
fi

step=0
title() {
    step=$((step + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$off"
}

# The command, then what it prints.
show() {
    printf '%s$ %s%s\n' "$dim" "$*" "$off"
    "$@"
}

indent() {
    sed 's/^/   /'
}

# number KEY FILE: the number after "KEY": in a line of JSON
number() {
    sed -n 's/.*"'"$1"'":\([0-9.]*\).*/\1/p' "$2" | head -n 1
}

megabytes() {
    du -skL "$1" | awk '{ printf "%.1f MB", $1 * 1024 / 1e6 }'
}

# run MODEL NAME: greedy text to NAME.txt, numbers to NAME.json
run() {
    "$smelt" run "$1" --raw --temp 0 -n $tokens -p "$prompt" -q >"$work/$2.txt"
    "$smelt" run "$1" --raw --temp 0 -n $tokens -p "$prompt" -q --json | tail -n 1 >"$work/$2.json"
}

# row LABEL MODEL NAME
row() {
    printf '   %-16s %10s %13s/s %11s/s %10.0f MB\n' "$1" "$(megabytes "$2")" "$(number prompt_tps "$work/$3.json" | cut -d. -f1)" \
        "$(number gen_tps "$work/$3.json" | cut -d. -f1)" \
        "$(awk -v b="$(number peak_rss_bytes "$work/$3.json")" 'BEGIN { print b / 1e6 }')"
}

mkdir -p "$work"
tools/fetch_models.sh smollm2

title "A language model, as a GGUF file"
show "$smelt" inspect "$model" | sed '/^metadata/,$d' | indent

title "The same model as a Core ML package for iOS 18 and macOS 15: its integer codes are kept"
start=$(date +%s)
show "$smelt" convert "$model" "$package" -c 512 -q | indent
printf '   took %d s\n' $(($(date +%s) - start))

title "Both, on this machine's processor"
run "$model" gguf
run "$package" package
printf '%s%s%s%s\n\n' "$dim" "$prompt" "$off" "$(cat "$work/gguf.txt")" | indent
printf '   %s%-16s %10s %15s %13s %13s%s\n' "$dim" "" "on disk" "prompt tokens" "new tokens" "peak memory" "$off"
row "GGUF" "$model" gguf
row "Core ML package" "$package" package

title "Do they say the same?"
if cmp -s "$work/gguf.txt" "$work/package.txt"; then
    printf '   %syes%s: %d tokens, chosen greedily, are the same text\n' "$green" "$off" "$(number generated "$work/package.json")"
    printf '   %swhere two candidates are nearly as likely, rounding may choose otherwise: docs/numerics.md%s\n\n' "$dim" "$off"
    printf 'To go on:\n'
    printf '   %s run %s -p "Name the planets."\n' "$smelt" "$package"
    printf '   %s inspect %s --graph | less\n' "$smelt" "$package"
else
    printf '   %sno%s: the package says\n' "$red" "$off"
    indent <"$work/package.txt"
    exit 1
fi
