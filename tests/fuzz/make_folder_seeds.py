"""Seeds of the folder fuzzer: small packages, compiled packages and models in parts, each a tree of files in one.

    make_folder_seeds.py     corpus_folder/

Made of the fixtures' packages and of tiny models that smelt (SMELT, default build/smelt) converts.  The form is that of
fuzz_folder.c.  Blobs of more than BLOB bytes are made zeros: they stand for weights, and hold nothing that is read on
opening.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
SMELT = os.environ.get("SMELT", os.path.join(os.path.dirname(TESTS), "build", "smelt"))
FIXTURES = os.path.join(TESTS, "fixtures", "anyone")
BLOB, MOST = 256, 50000
sys.path.insert(0, os.path.join(TESTS, "tools"))
import mlmodelc  # noqa: E402

TINY = ["--layers", 1, "--width", 32, "--ff", 32, "--heads", 2, "--kv-heads", 1, "--head-dim", 16, "--vocab", 288, "--ctx", 64]


def blank_blobs(data):
    """A weight file with its large blobs zero."""
    out, at = bytearray(data), 64
    for at in range(64, len(data) - 63, 64):
        sentinel, _, n, begin = struct.unpack_from("<IIQQ", data, at)
        if sentinel == 0xDEADBEEF and begin == at + 64 and n > BLOB:
            out[begin:begin + n] = bytes(n)
    return bytes(out)


def pack(folder):
    out = b""
    for base, dirs, files in os.walk(folder):
        dirs.sort()
        for name in sorted(files):
            path = os.path.join(base, name)
            data = open(path, "rb").read()
            if name == "weight.bin":
                data = blank_blobs(data)
            assert b"\n@file " not in data and b"\n@zeros " not in data
            out += b"@file " + os.path.relpath(path, folder).encode() + b"\n"
            at = 0
            for z in re.finditer(rb"\0{96,}", data):
                out += data[at:z.start()] + b"\n@zeros %d\n" % (z.end() - z.start())
                at = z.end()
            out += data[at:] + b"\n"
    return out


def save(name, folder):
    data = pack(folder)
    assert len(data) < MOST, (name, len(data))
    with open(os.path.join(HERE, "corpus_folder", name), "wb") as f:
        f.write(data)
    print(name, len(data))


def convert(tmp, name, *args):
    out = os.path.join(tmp, name)
    subprocess.run([SMELT, "convert", os.path.join(tmp, "tiny.gguf"), out, "-q", *map(str, args)], check=True)
    return out


def main():
    tmp = tempfile.mkdtemp()
    os.makedirs(os.path.join(HERE, "corpus_folder"), exist_ok=True)
    for name, path in {"classifier": "classifier/model", "pipeline": "pipeline/model", "flow": "control_flow/model",
                       "multi": "multifunction/model", "palette": "compressed/lut4_grouped_channel",
                       "sparse": "compressed/sparse_ios18", "twice": "compressed_twice/sparse_lut4",
                       "block": "targets/block_iOS17"}.items():
        pkg = os.path.join(FIXTURES, path + ".mlpackage")
        save(name, pkg)
        dialect = "1.0" if name in ("pipeline", "flow", "sparse") else "1.3"
        save(name + "_c", mlmodelc.convert(pkg, os.path.join(tmp, name + ".mlmodelc"), dialect,
                                           "json" if name in ("flow", "block") else "text"))
    subprocess.run([sys.executable, os.path.join(TESTS, "tools", "make_model.py"), os.path.join(tmp, "tiny.gguf"),
                    *map(str, TINY)], check=True)
    ane = ["--units", "cpuAndNeuralEngine", "--functions", "decode:1", "--quant", "none"]
    for name, args in {"gpu": ["--quant", "int4"], "kv_io": ["--kv", "io", "--target", "iOS16"], "ane": ane}.items():
        pkg = convert(tmp, name + ".mlpackage", "-c", 16, *args)
        save(name, pkg)
        save(name + "_c", mlmodelc.convert(pkg, os.path.join(tmp, name + ".mlmodelc"), "1.0" if name == "kv_io" else "1.3"))
    parts = convert(tmp, "parts", "-c", 16, "--split", "units", "--quant", "int8")
    save("parts", parts)
    loose = convert(tmp, "loose", "-c", 16, "--split", "units", *ane)
    os.remove(os.path.join(loose, "smelt.json"))
    with open(os.path.join(loose, "meta.yaml"), "w") as f:
        f.write("model_info:\n  name: tiny\n  parameters:\n    lm_head: head.mlpackage\n")
    save("loose", loose)
    for p in os.listdir(loose):
        if p.endswith(".mlpackage"):
            mlmodelc.convert(os.path.join(loose, p), os.path.join(loose, p.replace(".mlpackage", ".mlmodelc")))
            shutil.rmtree(os.path.join(loose, p))
    save("loose_c", loose)
    shutil.rmtree(tmp)


main()
