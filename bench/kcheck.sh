#!/usr/bin/env bash
# Times every kernel of every instruction set this machine has, one call at a time on one core: the calls that kcheck
# checks, on shapes of small models.  Arguments go through: --json, --only TEXT (part of a kernel's name).
#
#   bench/kcheck.sh --only 'qgemm w4'
set -eu
cd "$(dirname "$0")/.."
exec "${BUILD:-build}/tests/kcheck/kcheck" --bench "$@"
