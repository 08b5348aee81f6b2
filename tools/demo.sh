#!/usr/bin/env bash
# A first look: fetches a small model, runs it, turns it into a Core ML package, runs the package, compares the two.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
smelt=$build/smelt
model=$build/models/smollm2.gguf
package=$build/demo/SmolLM2.mlpackage

tools/fetch_models.sh smollm2
mkdir -p "$build/demo"

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
show "$smelt" run "$model" --temp 0 -n 32 -p "Name the planets."
show "$smelt" convert "$model" "$package" -c 512
show "$smelt" run "$package" --tokenizer "$model" --temp 0 -n 32 -p "Name the planets."
show "$smelt" check "$model" "$package"
