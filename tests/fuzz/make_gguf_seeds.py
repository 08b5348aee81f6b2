#!/usr/bin/env python3
"""Small GGUF files by hand, one per thing that the format can say: writes corpus_gguf/ beside this file.

    python3 tests/fuzz/make_gguf_seeds.py
"""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FMT = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(t, v):
    if t == STRING:
        return text(v)
    if t == ARRAY:
        elem, items = v
        return struct.pack("<IQ", elem, len(items)) + b"".join(value(elem, x) for x in items)
    return struct.pack("<" + FMT[t], v)


def gguf(keys=(), tensors=(), version=3, align=32):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for k, t, v in keys:
        out += text(k) + struct.pack("<I", t) + value(t, v)
    data = b""
    for name, dims, kind, raw in tensors:
        data += b"\0" * (-len(data) % align)
        out += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, len(data))
        data += raw
    return out + b"\0" * (-len(out) % align) + data


def seeds():
    yield "empty", gguf()
    yield "v2", gguf([("general.architecture", STRING, "llama")], version=2)
    yield "scalars", gguf([(f"k{t}", t, {STRING: "text", F32: 1.5, F64: -2.5, BOOL: 1}.get(t, 1)) for t in range(13) if t != ARRAY])
    yield "arrays", gguf([(f"a{t}", ARRAY, (t, [{STRING: "x"}.get(t, 1)] * 3)) for t in range(13) if t != ARRAY])
    yield "nested", gguf([("n", ARRAY, (ARRAY, [(U8, [1, 2]), (STRING, ["a", ""]), (ARRAY, [(I64, [])])]))])
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
             12: (256, 144), 13: (256, 176), 14: (256, 210), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2)}
    yield "types", gguf([], [(f"t{k}", (n,), k, bytes(i * 7 & 255 for i in range(b))) for k, (n, b) in sizes.items()])
    yield "shapes", gguf([("general.alignment", U32, 8)], [("m", (32, 2, 1, 2), 8, bytes(136)), ("s", (), 0, bytes(4))], align=8)
    yield "split", gguf([("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 2)], [("a", (1,), 0, bytes(4))])
    yield "unknown_type", gguf([], [("q", (32,), 20, bytes(18))])
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)


if __name__ == "__main__":
    folder = os.path.join(HERE, "corpus_gguf")
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
