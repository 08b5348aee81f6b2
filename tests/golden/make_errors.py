#!/usr/bin/env python3
"""Makes errors.txt: what the program says to wrong inputs, word for word.

    make_errors.py [--write]      prints the transcript, or writes it beside this file

Commands run in a folder of made files, so that messages hold no path of the machine; $SMELT names the program.  Read the
difference before committing it: every message must say the cause with its numbers, and what to do next.
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SMELT = os.environ.get("SMELT", os.path.join(HERE, "..", "..", "build", "smelt"))
GOLDEN = os.path.join(HERE, "errors.txt")

CASES = [line.split() for line in """
frobnicate
conver tiny.gguf out.mlpackage
help evla
serve tiny.gguf
bench
bench tiny.gguf -p 5x
bench tiny.gguf -d 100000 -c 256
bench tiny.gguf --csv folder/none/x.csv
bench --history --db prompt.txt
pull hf:owner/name
run
run tiny.gguf more.gguf -p x
run tiny.gguf --tmp 1 -p x
run tiny.gguf -p
run tiny.gguf -p x --raw=yes
run tiny.gguf -p x -f prompt.txt
run tiny.gguf -p x -n many
run tiny.gguf -p x -t 0
run tiny.gguf -p x --temp hot
run tiny.gguf -p x --temp -1
run tiny.gguf -p x --top-p 1.5
run tiny.gguf -p x --backend cuda
run tiny.gguf -p x --lora adapter.gguf
run missing.gguf -p x
run folder -p x
run empty.gguf -p x
run text.gguf -p x
run cut.gguf -p x
run mamba.gguf -p x
run hf:owner/name -p x
run tiny.gguf
run tiny.gguf -i --json
run tiny.gguf -f latin1.txt
run tiny.gguf -f missing.txt
run tiny.gguf -f folder
run tiny.gguf -f long.txt -c 16
run notokenizer.gguf -p x
detokenize tiny.gguf 5 six
detokenize tiny.gguf 9999999
eval tiny.gguf
eval tiny.gguf --ids 1,2,9999999
inspect text.gguf --weights
convert tiny.gguf
convert tiny.gguf out.xyz
convert tiny.gguf out.gguf --to pdf
convert tiny.gguf out.mlpackage --kv ring
convert tiny.gguf out.mlpackage --target iOS17 --kv state
convert tiny.gguf out.mlpackage --target iOS16 --quant int4
convert tiny.gguf out.mlpackage --target iOS14
convert tiny.gguf out.mlpackage --seq 0
convert tiny.gguf out.mlpackage --seq 1..9999999
convert tiny.gguf out.mlpackage --functions decode
convert tiny.gguf out.mlpackage --units cpuAndNeuralEngine --precision fp32
convert tiny.gguf out.mlpackage --units cpuAndNeuralEngine --quant int4 --block 32
convert tiny.gguf out.mlpackage --split 2
convert tiny.gguf out --split halves
convert tiny.gguf out --split 99
convert tiny.gguf out.mlpackage --quant int3
convert tiny.gguf out.mlpackage --target iOS12
convert tiny.gguf folder
convert missing.gguf out.mlpackage
convert tiny.gguf nowhere/out.mlpackage
predict tiny.gguf --in a.npz --out results
inspect empty.mlpackage
""".strip().splitlines()]


def fill(folder):
    tiny = open(os.path.join(HERE, "tiny.gguf"), "rb").read()
    arch = tiny.index(b"general.architecture") + 20 + 4 + 8
    name = tiny[arch:arch + 5]
    files = {"tiny.gguf": tiny, "empty.gguf": b"", "text.gguf": b"this is a text", "cut.gguf": tiny[:len(tiny) // 2],
             "mamba.gguf": tiny.replace(name, b"mamba"), "notokenizer.gguf": tiny.replace(b"tokenizer.ggml.model", b"tokenizer.ggml.wrong"),
             "latin1.txt": "four é".encode() + b"\xe9t\xe9", "prompt.txt": b"a b c\n", "long.txt": b"word " * 100}
    for f, data in files.items():
        with open(os.path.join(folder, f), "wb") as out:
            out.write(data)
    os.makedirs(os.path.join(folder, "folder"))
    with open(os.path.join(folder, "folder", "diary.txt"), "w") as out:
        out.write("keep me")
    os.makedirs(os.path.join(folder, "empty.mlpackage"))


def transcript():
    """[(arguments, exit status, standard output, standard error)]"""
    folder = tempfile.mkdtemp()
    fill(folder)
    rows = []
    for args in CASES:
        p = subprocess.run([os.path.abspath(SMELT), *args], cwd=folder, input=b"", capture_output=True, timeout=300)
        rows.append((args, p.returncode, p.stdout.decode(), p.stderr.decode()))
    left = sorted(os.listdir(folder))
    shutil.rmtree(folder)
    return rows, left


def as_text(rows):
    return "".join(f"$ smelt {' '.join(args)}\n{err}[{rc}]\n\n" for args, rc, _, err in rows)


if __name__ == "__main__":
    text = as_text(transcript()[0])
    if sys.argv[1:] == ["--write"]:
        with open(GOLDEN, "w") as f:
            f.write(text)
    else:
        sys.stdout.write(text)
