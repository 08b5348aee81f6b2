"""Seeds of the package fuzzers, small on purpose.

    make_package_seeds.py PKG.mlpackage...     corpus_mlmodel/ and corpus_blob/, one file a package
    make_package_seeds.py                      corpus_npz/

The packages in the tree were those of tests/tools/make_pkgs and of tests/e2e/test_packages_format.py (pytest
--basetemp), those under 20 KB.
"""
import io
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def save(corpus, name, data):
    d = os.path.join(HERE, "corpus_" + corpus)
    os.makedirs(d, exist_ok=True)
    if len(data) < 20000:
        with open(os.path.join(d, name), "wb") as f:
            f.write(data)
        print(corpus, name, len(data))


def npz(save_with, **arrays):
    b = io.BytesIO()
    save_with(b, **arrays)
    return b.getvalue()


for pkg in sys.argv[1:]:
    name = os.path.basename(pkg.rstrip("/")).removesuffix(".mlpackage")
    root = os.path.join(pkg, "Data", "com.apple.CoreML")
    model = open(os.path.join(root, "model.mlmodel"), "rb").read()
    path = os.path.join(root, "weights", "weight.bin")
    weights = open(path, "rb").read() if os.path.exists(path) else b""
    if len(weights) < 65536:
        save("mlmodel", name, struct.pack("<H", len(weights)) + weights + model)
    if 64 < len(weights) < 2000:
        save("blob", name, weights)

if len(sys.argv) == 1:
    two = np.arange(6, dtype=np.float32).reshape(2, 3)
    save("npz", "stored", npz(np.savez, x=two, y=np.int64(3), z=np.zeros((0, 4), np.uint8)))
    save("npz", "deflated", npz(np.savez_compressed, x=np.zeros(1000, np.float16), f=np.asfortranarray(two.T)))
    save("npz", "strings", npz(np.savez, s=np.array("main"), b=np.array([True, False])))
    for version in (1, 2, 3):
        b = io.BytesIO()
        np.lib.format.write_array(b, two, version=(version, 0))
        save("npz", f"entry_{version}", b"\1" + b.getvalue())
