#!/usr/bin/env python3
"""f32_copy.py IN.gguf OUT.gguf: the same model with all weights decoded to F32, written tensor by tensor.

Decoding is gguf-py's, so that a comparison on the copy is independent of smelt's own decoders."""
import sys
import gguf
import numpy as np
from gguf.quants import dequantize


def main(source, out):
    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(out, r.fields["general.architecture"].contents())
    for key, field in r.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        w.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        shape = tuple(int(n) for n in reversed(t.shape))
        w.add_tensor_info(t.name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    f = w.fout[0]
    w.write_padding(f, f.tell())
    for t in r.tensors:
        start = f.tell()
        rows = t.data.reshape(-1, t.data.shape[-1])
        for i in range(0, len(rows), 4096):
            f.write(dequantize(rows[i:i + 4096], t.tensor_type).astype(np.float32).tobytes())
        w.write_padding(f, f.tell() - start)
    w.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
