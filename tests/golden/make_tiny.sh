#!/bin/sh
# Makes tiny.gguf: a Llama of two layers with random Q4_0 weights, 300 made-up tokens and a chat template, for tests that
# want a whole model of 55 KB.  The same file comes out every time.
#
#     make_tiny.sh PYTHON      an interpreter with numpy and gguf (build/oracle/bin/python)
set -eu
cd "$(dirname "$0")"
"$1" ../tools/make_model.py tiny.gguf --type q4_0 --layers 2 --width 64 --ff 96 --heads 2 --kv-heads 1 --head-dim 32 \
    --vocab 300 --ctx 256 --chat-template \
    "{% for m in messages %}{{ '<s>' + m.role + ': ' + m.content + '</s>' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
