#!/usr/bin/env python3
"""Makes GGUF models with random weights, for tests and benches: any family and size, written tensor by tensor.

    make_model.py OUT.gguf [--family llama|gemma3|qwen3] [--size tiny|small|1b|3b|8b] [--type q4_k ...] [--seed N]
                  [--layers N --width N --ff N --heads N --kv-heads N --head-dim N --vocab N] [--vocab-from FILE.gguf]
                  [--embed-type T] [--untied] [--biases] [--window N] [--ctx N] [--linear-rope F] [--rope-factors]
                  [--post-norm F]
                  [--chat-template JINJA] [--sampling KEY=VALUE]... [--repeat]

Quantized tensors are made of random codes with constant scales chosen so that a row of n has deviation 1/sqrt(n): no
quantizer runs, and a 1B model takes seconds; with --repeat, where each matrix is one slab of rows over and over, one of
8B takes as long as writing it.  The same arguments give the same bytes.  The vocabulary is copied from a
GGUF, or is a small one of bytes and made-up words.
"""
import argparse
import functools
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

SIZES = {  # layers, width, ff, heads, kv heads, head dim, vocabulary
    "tiny": (2, 256, 512, 4, 2, 64, 512),
    "small": (6, 512, 1536, 8, 2, 64, 4096),
    "1b": (16, 2048, 8192, 32, 8, 64, 128256),
    "3b": (28, 3072, 8192, 24, 8, 128, 128256),
    "8b": (32, 4096, 14336, 32, 8, 128, 128256),
}
TYPES = {t.name.lower(): t for t in (T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K,
                                     T.Q4_K, T.Q5_K, T.Q6_K)}


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--family", default="llama", choices=["llama", "gemma3", "qwen3"])
    p.add_argument("--size", default="tiny", choices=SIZES)
    p.add_argument("--type", default="q8_0", choices=TYPES)
    p.add_argument("--embed-type", choices=TYPES)
    p.add_argument("--seed", type=int, default=1)
    for name in ("layers", "width", "ff", "heads", "kv-heads", "head-dim", "vocab"):
        p.add_argument("--" + name, type=int)
    p.add_argument("--ctx", type=int, default=2048)
    p.add_argument("--window", type=int, default=0)
    p.add_argument("--vocab-from")
    p.add_argument("--chat-template", metavar="JINJA", help="chat template, as text")
    p.add_argument("--sampling", action="append", default=[], metavar="KEY=VALUE", help="general.sampling.KEY")
    p.add_argument("--repeat", action="store_true", help="matrices of one slab, repeated")
    p.add_argument("--untied", action="store_true")
    p.add_argument("--biases", action="store_true")
    p.add_argument("--linear-rope", type=float)
    p.add_argument("--rope-factors", action="store_true")
    p.add_argument("--post-norm", type=float, default=1.0, metavar="F", help="weights of gemma3's post norms times F")
    p.add_argument("--corrupt", choices=["bad-shape", "missing", "extra"], help="one fault, for error tests")
    return p.parse_args()


def f16_bytes(x, rows):
    return np.full((rows, 1), x, np.float16).view(np.uint8)


def blocks(rng, kind, n, std):
    """n blocks of a quantized type as bytes [n, size]; decoded values have mean about 0 and deviation std."""
    def raw(k):
        return rng.integers(0, 256, (n, k), np.uint8)

    def i8(lo, hi, k):
        return rng.integers(lo, hi, (n, k), np.int8).view(np.uint8)

    f = lambda x: f16_bytes(x, n)
    if kind == T.Q8_0:
        d = std / 73.3
        return np.concatenate([f(d), i8(-127, 128, 32)], 1)
    if kind == T.Q4_0:
        return np.concatenate([f(std / 4.61), raw(16)], 1)
    if kind == T.Q4_1:
        d = std / 4.61
        return np.concatenate([f(d), f(-7.5 * d), raw(16)], 1)
    if kind == T.Q5_0:
        return np.concatenate([f(std / 9.23), raw(4), raw(16)], 1)
    if kind == T.Q5_1:
        d = std / 9.23
        return np.concatenate([f(d), f(-15.5 * d), raw(4), raw(16)], 1)
    if kind == T.Q2_K:  # scales: low nibble scale, high nibble min
        s = rng.integers(8, 16, (n, 16), np.uint8)
        d = std / (1.12 * 11.5)
        return np.concatenate([s | s << 4, raw(64), f(d), f(1.5 * d)], 1)
    if kind == T.Q3_K:
        return np.concatenate([raw(32), raw(64), raw(12), f(std / (2.29 * 18.5))], 1)
    if kind in (T.Q4_K, T.Q5_K):  # 8 scales and 8 mins of 6 bits; equal, so that dmin = mean code * d centres them
        s = rng.integers(32, 64, (n, 8), np.uint8)
        lo, hi = s[:, :4], s[:, 4:]
        packed = np.concatenate([lo | (hi >> 4) << 6, lo | (hi >> 4) << 6, (hi & 15) | (hi & 15) << 4], 1)
        if kind == T.Q4_K:
            d = std / (4.61 * 47.5)
            return np.concatenate([f(d), f(7.5 * d), packed, raw(128)], 1)
        d = std / (9.23 * 47.5)
        return np.concatenate([f(d), f(15.5 * d), packed, raw(32), raw(128)], 1)
    if kind == T.Q6_K:
        return np.concatenate([raw(128), raw(64), i8(-64, 64, 16), f(std / (18.5 * 37))], 1)
    raise SystemExit(f"no generator for {kind}")


def fitting(kind, cols):
    """The type, or one with smaller blocks when a row is no whole number of its blocks."""
    for t in (kind, T.Q8_0, T.F16):
        if t in (T.F32, T.F16, T.BF16) or cols % gguf.GGML_QUANT_SIZES[t][0] == 0:
            return t


def weight(rng, kind, rows, cols, std):
    """Slabs of rows as bytes, so that no tensor is ever whole in memory."""
    step = max(1, (1 << 22) // cols)
    for r in range(0, rows, step):
        n = min(step, rows - r)
        if kind in (T.F32, T.F16, T.BF16):
            x = rng.standard_normal((n, cols), np.float32) * np.float32(std)
            if kind == T.BF16:
                yield gguf.quants.quantize(x, T.BF16).view(np.uint8)
            else:
                yield x.astype(np.float32 if kind == T.F32 else np.float16).view(np.uint8)
        else:
            yield blocks(rng, kind, n * cols // gguf.GGML_QUANT_SIZES[kind][0], std)


@functools.lru_cache(None)
def slab_of(seed, kind, cols, std):
    return np.ascontiguousarray(next(weight(np.random.default_rng(seed), kind, (1 << 22) // cols, cols, std)))


def repeated(seed, kind, cols, std):
    while True:
        yield slab_of(seed, kind, cols, std)


def synthetic_vocab(w, n):
    tokens, scores, types = ["<unk>", "<s>", "</s>"], [0.0, 0.0, 0.0], [2, 3, 3]
    for b in range(256):
        tokens.append(f"<0x{b:02X}>")
        scores.append(0.0)
        types.append(6)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["\u2581"] + list(letters) + ["\u2581" + c for c in letters]
    words += [a + b for a in letters for b in letters] + ["\u2581" + a + b for a in letters for b in letters]
    for i in range(n - len(tokens)):
        tokens.append(words[i] if i < len(words) else f"\u2581w{i}")
        scores.append(-float(i))
        types.append(1)
    if n < 260:
        raise SystemExit("--vocab: wanted at least 260")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens[:n])
    w.add_token_scores(scores[:n])
    w.add_token_types(types[:n])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    return n


def copied_vocab(w, path):
    r = gguf.GGUFReader(path)
    for key, field in r.fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            w.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    return len(r.fields["tokenizer.ggml.tokens"].data)


def main():
    a = parse()
    preset = SIZES[a.size]
    layers, width, ff, heads, kv, dim, vocab = (
        given if given else preset[i]
        for i, given in enumerate((a.layers, a.width, a.ff, a.heads, a.kv_heads, a.head_dim, a.vocab)))
    kind = TYPES[a.type]
    embed_kind = TYPES[a.embed_type or a.type]
    w = gguf.GGUFWriter(a.out, a.family)
    w.add_name(f"random {a.family} {a.size}")
    w.add_block_count(layers)
    w.add_context_length(a.ctx)
    w.add_embedding_length(width)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(1e-6 if a.family != "llama" else 1e-5)
    w.add_key_length(dim)
    w.add_value_length(dim)
    w.add_rope_freq_base({"llama": 10000.0, "gemma3": 1e6, "qwen3": 1e6}[a.family])
    if a.family == "llama":
        w.add_rope_dimension_count(dim)
    if a.family == "gemma3" or a.window:
        w.add_sliding_window(a.window or 512)
    if a.linear_rope:
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(a.linear_rope)
    for key, value in (s.split("=") for s in a.sampling):
        (w.add_int32 if key == "top_k" else w.add_float32)("general.sampling." + key, float(value) if key != "top_k" else int(value))
    vocab = copied_vocab(w, a.vocab_from) if a.vocab_from else synthetic_vocab(w, vocab)

    if a.chat_template:
        w.add_chat_template(a.chat_template)

    tensors = []  # name, shape, type, deviation

    def matrix(name, rows, cols, t=kind):
        tensors.append((name, (rows, cols), fitting(t, cols), cols ** -0.5))

    def vector(name, n, std=0.1):
        tensors.append((name, (n,), T.F32, std))

    matrix("token_embd.weight", vocab, width, embed_kind)
    if a.rope_factors:
        vector("rope_freqs.weight", dim // 2, None)
    for i in range(layers):
        b = f"blk.{i}."
        vector(b + "attn_norm.weight", width)
        for n, rows in (("q", heads * dim), ("k", kv * dim), ("v", kv * dim)):
            matrix(b + f"attn_{n}.weight", rows, width)
            if a.biases:
                vector(b + f"attn_{n}.bias", rows, 0.5)
        matrix(b + "attn_output.weight", width, heads * dim)
        if a.family in ("gemma3", "qwen3"):
            vector(b + "attn_q_norm.weight", dim)
            vector(b + "attn_k_norm.weight", dim)
        if a.family == "gemma3":
            vector(b + "post_attention_norm.weight", width)
            vector(b + "post_ffw_norm.weight", width)
        vector(b + "ffn_norm.weight", width)
        matrix(b + "ffn_gate.weight", ff, width)
        matrix(b + "ffn_up.weight", ff, width)
        matrix(b + "ffn_down.weight", width, ff)
    vector("output_norm.weight", width)
    if a.untied:
        matrix("output.weight", vocab, width, embed_kind)
    if a.corrupt == "missing":
        tensors = [t for t in tensors if t[0] != "blk.1.ffn_up.weight"]
    if a.corrupt == "extra":
        vector("blk.0.surprise.weight", width)
    if a.corrupt == "bad-shape":
        tensors = [(n, (s[0], s[1] * 2) if n == "blk.1.ffn_up.weight" else s, t, d) for n, s, t, d in tensors]

    for name, shape, t, _ in tensors:
        block, size = gguf.GGML_QUANT_SIZES[t]
        nbytes = int(np.prod(shape)) // block * size
        if t in (T.F32, T.F16):
            w.add_tensor_info(name, shape, np.dtype(np.float32 if t == T.F32 else np.float16), nbytes)
        else:
            bytes_shape = shape[:-1] + (shape[-1] // block * size,)
            w.add_tensor_info(name, bytes_shape, np.dtype(np.uint8), nbytes, raw_dtype=t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    out = w.fout[0]
    w.write_padding(out, out.tell())
    for i, (name, shape, t, std) in enumerate(tensors):
        block, size = gguf.GGML_QUANT_SIZES[t]
        rng = np.random.default_rng([a.seed, i])
        start = out.tell()
        if std is None:
            out.write(np.linspace(1, 8, shape[0], dtype=np.float32).tobytes())
        elif len(shape) == 1:
            mean = 0.0 if name.endswith("bias") else 1.0
            times = a.post_norm if ".post_" in name else 1.0
            out.write((times * (mean + std * rng.standard_normal(shape[0]))).astype(np.float32).tobytes())
        else:
            left = shape[0] * (shape[1] // block * size)
            for slab in repeated(a.seed, t, shape[1], std) if a.repeat else weight(rng, t, shape[0], shape[1], std):
                out.write(memoryview(slab).cast("B")[:left])
                left -= slab.nbytes
                if left <= 0:
                    break
        w.write_padding(out, out.tell() - start)
    w.close()


if __name__ == "__main__":
    main()
