#!/usr/bin/env bash
# Makes the pages of docs/ that come from sources: docs/cli.md from the program's own tables, docs/ops.md from
# graph/ops.def and the table of ref's kernels.
#
#   docs.sh            writes them
#   docs.sh --check    fails when they are out of date, when a relative link of a page leads nowhere, or when a page names a
#                      file of the tree that is not there
set -eu
cd "$(dirname "$0")/.."
smelt=${BUILD:-build}/smelt
pages="README.md CONTRIBUTING.md $(ls docs/*.md)"

# A | inside a code span would end the cell of a table.
cli() {
    "$smelt" help --markdown | sed ':a; s/^\(| `\([^`|\\]\|\\|\)*\)|\([^`]*`\)/\1\\|\3/; ta'
}

ops() {
    echo '<!-- Made by tools/docs.sh from graph/ops.def. -->'
    echo '# Ops'
    echo
    echo 'The vocabulary of the graph. `from` is the first Core ML version that has the op; `smelt` marks a composite, which never'
    echo 'reaches a package. `ref`: the reference backend runs it. `cpu`: a fast kernel in programs as written, or a step of models;'
    echo "other ops of programs run there with ref's kernels. \`lower\`: programs that smelt makes of models may hold it."
    echo '`raise`: programs of models may hold it and still become models again. `fuzzed`: a seed of the fuzzers of program text'
    echo 'or of package programs has it.'
    echo
    echo '| op | operands | from | ref | cpu | lower | raise | fuzzed | meaning |'
    echo '|---|---|---|---|---|---|---|---|---|'
    seeds=$(mktemp)
    cat tests/fuzz/corpus_miltext/* tests/fuzz/corpus_raise/* tests/fuzz/corpus_mlmodel/* >"$seeds"
    tr '\n' ' ' <src/graph/ops.def | sed 's/OP(\([A-Z_0-9]*\), "/\nOP(\1, "/g' | grep '^OP([A-Z0-9_]*, "' | sed 's/" *"//g' |
        while IFS= read -r row; do
            id=$(sed 's/^OP(\([A-Z0-9_]*\),.*/\1/' <<<"$row")
            name=$(cut -d'"' -f2 <<<"$row")
            since=$(cut -d'"' -f3 <<<"$row" | tr -dc '0-9')
            inputs=$(cut -d'"' -f4 <<<"$row" | sed 's/:[a-zA-Z]*//g; s/@[0-9]*//g')
            doc=$(cut -d'"' -f6 <<<"$row" | sed 's/|/\\|/g')
            case $since in
            0) from=smelt ;;
            6) from='iOS 15' ;; 7) from='iOS 16' ;; 8) from='iOS 17' ;; 9) from='iOS 18' ;; *) from='iOS 26' ;;
            esac
            ref=
            ! grep -q "\[SM_OP_$id\]" src/backend/ref/ref_ops.c || ref=yes
            cpu=
            ! grep -q "SM_OP_$id\b" src/backend/cpu/written.c src/backend/cpu/rowplan.c || cpu=yes
            lift=$(cut -d'"' -f5 <<<"$row" | sed 's/, *$//; s/.*, *//')
            lower= raise= fuzzed=
            [ "$lift" != ELEM ] && ! grep -q "SM_OP_$id\b" src/pass/lower*.c || lower=yes
            [ "$lift" != ELEM ] && ! grep -q "SM_OP_$id\b" src/pass/raise*.c src/pass/fuse.c || raise=yes
            ! grep -aq "\b$name\b" "$seeds" || fuzzed=yes
            printf '| `%s` | `%s` | %s | %s | %s | %s | %s | %s | %s |\n' "$name" "$inputs" "$from" "$ref" "$cpu" "$lower" "$raise" \
                "$fuzzed" "$doc"
        done
    rm -f "$seeds"
}

if [ "${1:-}" != --check ]; then
    cli >docs/cli.md
    ops >docs/ops.md
    exit
fi

failed=0
complain() {
    echo "docs: $*" >&2
    failed=1
}
cli | cmp -s - docs/cli.md || complain "docs/cli.md is out of date: tools/docs.sh"
ops | cmp -s - docs/ops.md || complain "docs/ops.md is out of date: tools/docs.sh"
for page in $pages; do
    for link in $(grep -o ']([^)#]*' "$page" | cut -c3- | grep -v '^[a-z]*:' || true); do
        [ -e "$(dirname "$page")/$link" ] || complain "$page: link to $link leads nowhere"
    done
    # `room/file.c` is under src/; the rest is from the root.
    for path in $(grep -o '`[a-z0-9_./-]*[a-z0-9_]\.\(c\|h\|def\|py\|sh\|proto\)`' "$page" | tr -d '`' | sort -u); do
        [ -e "$path" ] || [ -e "src/$path" ] || [ -n "$(find src tests tools include -name "${path##*/}" -path "*$path")" ] ||
            complain "$page: there is no $path"
    done
done
[ $failed = 0 ] && echo "docs: pages are current, links and files are there"
exit $failed
