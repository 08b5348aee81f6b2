# SPDX-License-Identifier: MIT
"""Makes tests/fixtures/anyone: small Core ML packages by coremltools from PyTorch, with PyTorch's outputs recorded.

    python tests/golden/make_anyone.py [NAME ...]        (all without a name)

Wants torch 2.7.0 and coremltools 9.0 (and scikit-learn for vector palettes); tests never run it.  Weights are random
from fixed seeds and are rounded to fp16 first.  A compressed package's outputs are PyTorch's, in f32, on the weights that
coremltools decodes from that package: they are read back and put into the module before the recording.

golden.npz of a fixture: `ncalls`; per call NN: `NN.pkg` (file beside it), `NN.fn` (function, "" the default),
`NN.in.<input>`, `NN.out.<output>`.  Calls of one package run in order on states that start as zeros.
"""
import os
import shutil
import sys
import warnings

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

warnings.filterwarnings("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(os.path.dirname(HERE), "fixtures", "anyone")
H, L, HEADS, KV, D, VOCAB, CTX, MLP = 32, 2, 4, 2, 8, 96, 64, 64
MASKED = -40000.0


# ------------------------------------------------------------------ helpers
def as_half(module):
    """Weights rounded to fp16, kept as f32."""
    with torch.no_grad():
        for p in list(module.parameters()) + list(module.buffers()):
            if p.is_floating_point():
                p.copy_(p.half().float())
    return module.eval()


def folder(name):
    path = os.path.join(OUT, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def tensor(a):
    a = np.asarray(a)
    return torch.from_numpy(a.astype(np.float32) if a.dtype == np.float16 else a.astype(np.int64) if a.dtype == np.int32 else a)


class Recorder:
    def __init__(self, name):
        self.dir, self.n, self.z = folder(name), 0, {}

    def path(self, file):
        return os.path.join(self.dir, file)

    def call(self, pkg, inputs, outputs, fn=""):
        key = f"{self.n:02d}"
        self.z[key + ".pkg"], self.z[key + ".fn"] = pkg, fn
        for k, v in inputs.items():
            self.z[f"{key}.in.{k}"] = v
        for k, v in outputs.items():
            v = v.detach().numpy() if isinstance(v, torch.Tensor) else np.asarray(v)
            self.z[f"{key}.out.{k}"] = v.astype(np.int32) if v.dtype == np.int64 else v
        self.n += 1

    def save(self):
        np.savez_compressed(self.path("golden.npz"), ncalls=self.n, **self.z)
        size = sum(os.path.getsize(os.path.join(b, f)) for b, _, fs in os.walk(self.dir) for f in fs)
        print(f"{os.path.basename(self.dir)}: {self.n} calls, {size} bytes", flush=True)


def convert(module, example, inputs, outputs, target="iOS18", states=None, script=False, **more):
    traced = torch.jit.script(module) if script else torch.jit.trace(module, example, check_trace=False)
    kw = dict(inputs=inputs, minimum_deployment_target=getattr(ct.target, target), skip_model_load=True, convert_to="mlprogram")
    if outputs is not None:
        kw["outputs"] = outputs
    if states:
        kw["states"] = states
    kw.update(more)
    return ct.convert(traced, **kw)


def out16(*names):
    return [ct.TensorType(name=n, dtype=np.float16) for n in names]


def weights_of(model):
    """{const's name: values} after decoding"""
    from coremltools.converters.mil.frontend.milproto.load import load
    dense = cto.decompress_weights(model)
    program = load(dense.get_spec(), dense.get_spec().specificationVersion, dense.weights_dir)
    return {op.outputs[0].name: np.asarray(op.outputs[0].val) for f in program.functions.values() for op in f.operations
            if op.op_type == "const" and isinstance(op.outputs[0].val, np.ndarray)}


def take_weights(module, *models):
    """Puts what the packages decode to into the module, by name."""
    found = {}
    for m in models:
        found.update(weights_of(m))
    with torch.no_grad():
        for name, p in list(module.named_parameters()) + list(module.named_buffers()):
            flat, old = name.replace(".", "_"), p.detach().numpy().ravel()
            named = [v for k, v in found.items() if v.size == p.numel() and (
                k == flat or k.startswith((flat + "_to_fp16", flat + "_palettized", flat + "_quantized")))]
            # passes fold some weights into constants of other names: the one that is nearly this
            near = [v for v in found.values() if v.size == p.numel() >= 32
                    and np.corrcoef(v.ravel().astype(np.float64), old)[0, 1] > 0.6]
            for v in (named or near)[:1]:
                p.copy_(torch.from_numpy(np.array(v, np.float32)).reshape(p.shape))
            assert named or near or p.numel() < 256 or "ache" in name, name
    return module


def mask_of(n, past, total, dtype=np.float16):
    m = np.where(np.arange(total)[None] <= past + np.arange(n)[:, None], 0.0, MASKED)
    return m[None, None].astype(dtype)


# ------------------------------------------------------------------ language models
class RMSNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(1 + 0.1 * torch.randn(n))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


class DoubledNorm(nn.Module):
    """RMS norm as layer_norm over [x, -x]."""

    def __init__(self, n):
        super().__init__()
        self.weight, self.n = nn.Parameter(1 + 0.1 * torch.randn(n)), n

    def forward(self, x):
        y = F.layer_norm(torch.cat([x, -x], dim=-1), (2 * self.n,), eps=1e-5)
        return y[..., :self.n] * self.weight


def turn(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def angles(pos):
    inv = (1.0 / (10000.0 ** (torch.arange(0, D, 2).float() / D))).half().float()
    a = pos[..., None].float() * inv
    return torch.cat([a, a], -1)


class Attn(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(H, HEADS * D, bias=False)
        self.k = nn.Linear(H, KV * D, bias=False)
        self.v = nn.Linear(H, KV * D, bias=False)
        self.o = nn.Linear(HEADS * D, H, bias=False)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2, self.attn = RMSNorm(H), RMSNorm(H), Attn()
        self.gate, self.up = nn.Linear(H, MLP, bias=False), nn.Linear(H, MLP, bias=False)
        self.down = nn.Linear(MLP, H, bias=False)


def repeat_kv(x, times):
    b, h, n, d = x.shape
    return x[:, :, None].expand(b, h, times, n, d).reshape(b, h * times, n, d)


def spread(module, scale=2.0):
    """Larger random weights, so that logits tell tokens apart."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() >= 2:
                p.mul_(scale)
    return module


class StatefulLlama(nn.Module):
    """The published recipe: caches are buffers, the causal mask tells where the call's tokens go."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, H)
        self.layers = nn.ModuleList(Layer() for _ in range(L))
        self.norm, self.head = RMSNorm(H), nn.Linear(H, VOCAB, bias=False)
        self.register_buffer("inv", (1.0 / (10000.0 ** (torch.arange(0, D, 2).float() / D))))
        self.register_buffer("keyCache", torch.zeros(L, 1, KV, CTX, D))
        self.register_buffer("valueCache", torch.zeros(L, 1, KV, CTX, D))

    def forward(self, inputIds, causalMask):
        n, end = inputIds.shape[1], causalMask.shape[-1]
        past = end - n
        x = self.embed(inputIds)
        pos = torch.arange(past, end).float()
        a = pos[:, None] * self.inv[None]
        a = torch.cat([a, a], -1)[None, None]
        cos, sin = a.cos(), a.sin()
        for i, lay in enumerate(self.layers):
            y = lay.n1(x)
            q = turn(lay.attn.q(y).view(1, n, HEADS, D).transpose(1, 2), cos, sin)
            k = turn(lay.attn.k(y).view(1, n, KV, D).transpose(1, 2), cos, sin)
            v = lay.attn.v(y).view(1, n, KV, D).transpose(1, 2)
            self.keyCache[i:i + 1, :, :, past:end] = k[None]
            self.valueCache[i:i + 1, :, :, past:end] = v[None]
            keys = repeat_kv(self.keyCache[i, :, :, :end], HEADS // KV)
            values = repeat_kv(self.valueCache[i, :, :, :end], HEADS // KV)
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=causalMask)
            x = x + lay.attn.o(y.transpose(1, 2).reshape(1, n, HEADS * D))
            y = lay.n2(x)
            x = x + lay.down(F.silu(lay.gate(y)) * lay.up(y))
        return self.head(self.norm(x))


def llama_stateful():
    torch.manual_seed(1)
    r, m = Recorder("llama_stateful_gqa_int4"), as_half(spread(StatefulLlama()))
    n, kv = ct.RangeDim(1, CTX, default=1), ct.RangeDim(1, CTX, default=1)
    shape = (L, 1, KV, CTX, D)
    pkg = convert(m, (torch.zeros(1, 2, dtype=torch.int32), torch.zeros(1, 1, 2, 5)),
                  [ct.TensorType("inputIds", (1, n), np.int32), ct.TensorType("causalMask", (1, 1, n, kv), np.float16)],
                  out16("logits"),
                  states=[ct.StateType(ct.TensorType(shape=shape, dtype=np.float16), name=s) for s in ("keyCache", "valueCache")])
    pkg = cto.linear_quantize_weights(pkg, cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32, weight_threshold=512)))
    pkg.save(r.path("model.mlpackage"))
    take_weights(m, pkg)
    with torch.no_grad():
        m.keyCache.zero_(), m.valueCache.zero_()
        past, ids = 0, [3, 17, 5, 60, 8, 21, 90]
        for step in range(5):
            given = {"inputIds": np.array([ids], np.int32), "causalMask": mask_of(len(ids), past, past + len(ids))}
            logits = m(tensor(given["inputIds"]), tensor(given["causalMask"]))
            r.call("model.mlpackage", given, {"logits": logits})
            past, ids = past + len(ids), [int(logits[0, -1].argmax())]
    r.save()


class KvIoLlama(nn.Module):
    """Caches come and go as arguments, one pair a layer; the mask of the tokenizer's kind becomes a causal one inside."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, H)
        self.layers = nn.ModuleList(Layer() for _ in range(L))
        self.norm, self.head = RMSNorm(H), nn.Linear(H, VOCAB, bias=False)
        self.register_buffer("inv", (1.0 / (10000.0 ** (torch.arange(0, D, 2).float() / D))))

    def forward(self, input_ids, attention_mask, position_ids, *past):
        n = input_ids.shape[1]
        x = self.embed(input_ids)
        a = position_ids[:, None, :, None].float() * self.inv[None, None, None]
        a = torch.cat([a, a], -1)
        cos, sin = a.cos(), a.sin()
        total = attention_mask.shape[1]
        rows = torch.arange(n)[:, None] + (total - n)
        seen = (torch.arange(total)[None] <= rows)[None, None] & (attention_mask[:, None, None] > 0)
        bias = torch.where(seen, torch.tensor(0.0), torch.tensor(-30000.0))
        out = []
        for i, lay in enumerate(self.layers):
            y = lay.n1(x)
            q = turn(lay.attn.q(y).view(1, n, HEADS, D).transpose(1, 2), cos, sin)
            k = turn(lay.attn.k(y).view(1, n, KV, D).transpose(1, 2), cos, sin)
            v = lay.attn.v(y).view(1, n, KV, D).transpose(1, 2)
            k, v = torch.cat([past[2 * i], k], 2), torch.cat([past[2 * i + 1], v], 2)
            out += [k, v]
            s = q @ repeat_kv(k, HEADS // KV).transpose(2, 3) / (D ** 0.5) + bias
            y = F.softmax(s, dim=-1) @ repeat_kv(v, HEADS // KV)
            x = x + lay.attn.o(y.transpose(1, 2).reshape(1, n, HEADS * D))
            y = lay.n2(x)
            x = x + lay.down(F.silu(lay.gate(y)) * lay.up(y))
        return (self.head(self.norm(x)), *out)


def llama_kv_io():
    torch.manual_seed(2)
    r, m = Recorder("llama_kv_io"), as_half(spread(KvIoLlama()))
    n, past_dim, total = ct.RangeDim(1, CTX, default=1), ct.RangeDim(1, CTX, default=1), ct.RangeDim(1, 2 * CTX, default=2)
    names = [f"past_key_values_{i}_{w}" for i in range(L) for w in ("key", "value")]
    made = [f"present_{i}_{w}" for i in range(L) for w in ("key", "value")]
    ins = [ct.TensorType("input_ids", (1, n), np.int32), ct.TensorType("attention_mask", (1, total), np.int32),
           ct.TensorType("position_ids", (1, n), np.int32)]
    ins += [ct.TensorType(s, (1, KV, past_dim, D), np.float16) for s in names]

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.m = m

        def forward(self, input_ids, attention_mask, position_ids, a, b, c, d):
            return self.m(input_ids, attention_mask, position_ids, a, b, c, d)

    example = (torch.zeros(1, 2, dtype=torch.int32), torch.ones(1, 5, dtype=torch.int32), torch.zeros(1, 2, dtype=torch.int32),
               *[torch.zeros(1, KV, 3, D) for _ in names])
    pkg = convert(Named(), example, ins, out16("logits", *made), target="iOS17")
    pkg.save(r.path("model.mlpackage"))
    with torch.no_grad():
        caches = [torch.zeros(1, KV, 1, D) for _ in names]  # one hidden column: the least that the range takes
        mask, pos, ids = [0], 0, [4, 44, 13, 7, 80]
        for step in range(4):
            mask += [1] * len(ids)
            given = {"input_ids": np.array([ids], np.int32), "attention_mask": np.array([mask], np.int32),
                     "position_ids": np.arange(pos, pos + len(ids), dtype=np.int32)[None]}
            given.update({k: c.numpy() for k, c in zip(names, caches)})
            got = m(*[tensor(given[k]) for k in ("input_ids", "attention_mask", "position_ids")], *caches)
            r.call("model.mlpackage", given, dict(zip(["logits", *made], got)))
            pos, ids, caches = pos + len(ids), [int(got[0][0, -1].argmax())], list(got[1:])
    r.save()


class TextLlama(nn.Module):
    """Without caches, as a traced model(input_ids, attention_mask): the mask is made as transformers makes it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, H)
        self.layers = nn.ModuleList(Layer() for _ in range(L))
        self.norm, self.head = RMSNorm(H), nn.Linear(H, VOCAB, bias=False)
        self.register_buffer("inv", (1.0 / (10000.0 ** (torch.arange(0, D, 2).float() / D))))

    def mask(self, n, attention_mask):
        least, place = -3e4, torch.arange(0, n)
        m = torch.full((n, n), least).triu(1) * (torch.arange(n) > place.reshape(-1, 1))
        m = m[None, None].expand(1, 1, -1, -1).clone()
        padding = m[:, :, :, :n] + attention_mask[:, None, None, :]
        return m.masked_fill(padding == 0, least)

    def forward(self, input_ids, attention_mask):
        n = input_ids.shape[1]
        x, bias = self.embed(input_ids), self.mask(n, attention_mask)
        a = (self.inv[None, :, None].expand(1, -1, 1) @ torch.arange(0, n)[None, None].float()).transpose(1, 2)
        a = torch.cat([a, a], -1)
        cos, sin = a.cos()[:, None], a.sin()[:, None]
        for lay in self.layers:
            y = lay.n1(x)
            q = turn(lay.attn.q(y).view(1, n, HEADS, D).transpose(1, 2), cos, sin)
            k = turn(lay.attn.k(y).view(1, n, KV, D).transpose(1, 2), cos, sin)
            v = lay.attn.v(y).view(1, n, KV, D).transpose(1, 2)
            s = q @ repeat_kv(k, HEADS // KV).transpose(2, 3) / (D ** 0.5) + bias
            y = F.softmax(s, dim=-1) @ repeat_kv(v, HEADS // KV)
            x = x + lay.attn.o(y.transpose(1, 2).reshape(1, n, HEADS * D))
            y = lay.n2(x)
            x = x + lay.down(F.silu(lay.gate(y)) * lay.up(y))
        return self.head(self.norm(x))


def llama_text():
    torch.manual_seed(21)
    r, m = Recorder("llama_text"), as_half(spread(TextLlama()))
    n = ct.RangeDim(1, CTX, default=8)
    pkg = convert(m, (torch.zeros(1, 8, dtype=torch.int32), torch.ones(1, 8, dtype=torch.int32)),
                  [ct.TensorType("input_ids", (1, n), np.int32), ct.TensorType("attention_mask", (1, n), np.int32)],
                  out16("logits"), target="iOS16")
    pkg.save(r.path("flexible.mlpackage"))
    ids = np.array([[4, 44, 13, 7, 80, 2, 31, 9, 66, 5, 71]], np.int32)
    with torch.no_grad():
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        r.call("flexible.mlpackage", given, {"logits": m(tensor(ids), tensor(given["attention_mask"]))})

    class Fixed(nn.Module):
        """Of 12 tokens: the mask is a constant, and so are cosines and sines; logits of the last token only."""

        def __init__(self):
            super().__init__()
            self.m = m

        def forward(self, input_ids):
            return self.m(input_ids, torch.ones(1, 12))[:, -1:]

    pkg = convert(Fixed(), (torch.zeros(1, 12, dtype=torch.int32),), [ct.TensorType("input_ids", (1, 12), np.int32)],
                  out16("logits"), target="iOS16")
    pkg.save(r.path("fixed.mlpackage"))
    ids = np.array([[4, 44, 13, 7, 80, 2, 31, 9, 66, 5, 71, 18]], np.int32)
    with torch.no_grad():
        r.call("fixed.mlpackage", {"input_ids": ids}, {"logits": Fixed()(tensor(ids))})
    r.save()


# ------------------------------------------------------------------ parts in the channel-first layout
CHUNKS, BATCH, SPLITS = 2, 8, 4


def conv1(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 1, bias=False)


class ConvLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = DoubledNorm(H), DoubledNorm(H)
        self.q, self.k, self.v, self.o = conv1(H, HEADS * D), conv1(H, KV * D), conv1(H, KV * D), conv1(HEADS * D, H)
        self.gate, self.up, self.down = conv1(H, MLP), conv1(H, MLP), conv1(MLP, H)


def channels(x):
    return x.permute(0, 2, 1).unsqueeze(2)


class Chunk(nn.Module):
    """Some layers: one state for keys and values of all of them; `current_pos` is where the call's tokens go."""

    def __init__(self, n_layers, last, kind):
        super().__init__()
        self.layers = nn.ModuleList(ConvLayer() for _ in range(n_layers))
        self.n_layers, self.kind = n_layers, kind
        self.norm = DoubledNorm(H) if last else None
        a = angles(torch.arange(CTX))
        self.register_buffer("cos_cached", a.cos())
        self.register_buffer("sin_cached", a.sin())
        self.register_buffer("kv_cache_0", torch.zeros(2 * n_layers, KV, CTX, D))

    def run(self, hidden_states, position_ids, causal_mask, current_pos, update_mask=None):
        x = hidden_states
        n = x.shape[1]
        cos, sin = self.cos_cached[position_ids].view(1, 1, n, D), self.sin_cached[position_ids].view(1, 1, n, D)
        for i, lay in enumerate(self.layers):
            y = channels(lay.n1(x))
            q = turn(lay.q(y).view(1, HEADS, D, n).permute(0, 1, 3, 2), cos, sin)
            k = turn(lay.k(y).view(1, KV, D, n).permute(0, 1, 3, 2), cos, sin)
            v = lay.v(y).view(1, KV, D, n).permute(0, 1, 3, 2)
            if update_mask is not None:  # every position is written: the old one or the new one
                self.kv_cache_0[i:i + 1] = self.kv_cache_0[i:i + 1] * (1 - update_mask) + k * update_mask
                self.kv_cache_0[self.n_layers + i:self.n_layers + i + 1] = (
                    self.kv_cache_0[self.n_layers + i:self.n_layers + i + 1] * (1 - update_mask) + v * update_mask)
            else:
                self.kv_cache_0[i:i + 1, :, current_pos:current_pos + n] = k
                self.kv_cache_0[self.n_layers + i:self.n_layers + i + 1, :, current_pos:current_pos + n] = v
            keys = repeat_kv(self.kv_cache_0[i:i + 1], HEADS // KV)
            values = repeat_kv(self.kv_cache_0[self.n_layers + i:self.n_layers + i + 1], HEADS // KV)
            s = torch.matmul(q, keys.transpose(2, 3)) * (D ** -0.5) + causal_mask
            y = torch.matmul(F.softmax(s, dim=-1), values)
            y = lay.o(channels(y.permute(0, 2, 1, 3).reshape(1, n, HEADS * D)))
            x = x + y.squeeze(2).permute(0, 2, 1)
            y = channels(lay.n2(x))
            y = lay.down(F.silu(lay.gate(y)) * lay.up(y))
            x = x + y.squeeze(2).permute(0, 2, 1)
        return x if self.norm is None else self.norm(x)

    def forward(self, hidden_states, position_ids, causal_mask, current_pos):
        return self.run(hidden_states, position_ids, causal_mask, current_pos)


class MaskChunk(Chunk):
    def forward(self, hidden_states, update_mask, position_ids, causal_mask, current_pos):
        return self.run(hidden_states, position_ids, causal_mask, current_pos, update_mask) + 0 * current_pos.to(torch.float32)


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, H)

    def forward(self, input_ids):
        return self.embed_tokens(input_ids)


class SplitHead(nn.Module):
    def __init__(self, argmax):
        super().__init__()
        self.heads = nn.ModuleList(conv1(H, VOCAB // SPLITS) for _ in range(SPLITS))
        self.argmax = argmax

    def forward(self, hidden_states):
        y = channels(hidden_states)
        parts = [h(y).squeeze(2).permute(0, 2, 1) for h in self.heads]
        if not self.argmax:
            return tuple(parts)
        idx = [p.argmax(-1) for p in parts]
        val = [p.max(-1)[0] for p in parts]
        return torch.cat(idx, -1).to(torch.int32), torch.cat(val, -1)


def lut(pkg, nbits, group=8, mode="kmeans", **more):
    cfg = cto.OpPalettizerConfig(mode=mode, nbits=nbits, weight_threshold=256, **(
        {"granularity": "per_grouped_channel", "group_size": group} if group else {}), **more)
    return cto.palettize_weights(pkg, cto.OptimizationConfig(global_config=cfg))


def chunk_inputs(n, mask=False):
    ins = [ct.TensorType("hidden_states", (1, n, H), np.float16)]
    if mask:
        ins.append(ct.TensorType("update_mask", (1, 1, CTX, 1), np.float16))
    return ins + [ct.TensorType("position_ids", (n,), np.int32), ct.TensorType("causal_mask", (1, 1, n, CTX), np.float16),
                  ct.TensorType("current_pos", (1,), np.int32)]


def chunk_example(n, mask=False):
    e = [torch.zeros(1, n, H)] + ([torch.zeros(1, 1, CTX, 1)] if mask else [])
    return tuple(e + [torch.zeros(n, dtype=torch.int32), torch.zeros(1, 1, n, CTX), torch.zeros(1, dtype=torch.int32)])


def kv_state(n_layers):
    return [ct.StateType(ct.TensorType(shape=(2 * n_layers, KV, CTX, D), dtype=np.float16), name="kv_cache_0")]


META = """model_info:
  name: tiny-conv-ctx{ctx}
  version: 0.3.4
  description: |
    random weights, in the layout of published channel-first language models
  license: MIT
  framework: Core ML
  parameters:
    context_length: {ctx}
    batch_size: {batch}
    lut_embeddings: none
    lut_ffn: 4
    lut_lmhead: 6
    num_chunks: {chunks}
    model_prefix: tiny
    embeddings: tiny_embeddings.mlpackage
    lm_head: {head}
    ffn: tiny_FFN_PF_lut4_chunk_01of{chunks:02d}.mlpackage
    split_lm_head: {splits}
    argmax_in_model: {argmax}
"""


def conv_parts():
    torch.manual_seed(3)
    r = Recorder("conv_parts")
    emb = as_half(spread(Embeddings(), 1.0))
    chunks = [as_half(spread(Chunk(1, i == CHUNKS - 1, "infer"))) for i in range(CHUNKS)]
    heads = [as_half(spread(SplitHead(False))), SplitHead(True)]
    heads[1].load_state_dict(heads[0].state_dict())
    pkg = convert(emb, (torch.zeros(1, 1, dtype=torch.int32),),
                  [ct.TensorType("input_ids", ct.EnumeratedShapes([[1, 1], [1, BATCH]], default=[1, 1]), np.int32)],
                  out16("hidden_states"))
    pkg.save(r.path("tiny_embeddings.mlpackage"))
    files = []
    for i, c in enumerate(chunks):
        tmp, parts = [], []
        for fn, n in (("infer", 1), ("prefill", BATCH)):
            with torch.no_grad():
                c.kv_cache_0.zero_()
            p = convert(c, chunk_example(n), chunk_inputs(n), out16("output_hidden_states"), states=kv_state(1))
            p = lut(p, 4)
            tmp.append(os.path.join(r.dir, f"_{fn}.mlpackage"))
            p.save(tmp[-1])
            parts.append(p)
        desc = ct.utils.MultiFunctionDescriptor()
        for fn, path in zip(("infer", "prefill"), tmp):
            desc.add_function(path, src_function_name="main", target_function_name=fn)
        desc.default_function_name = "infer"
        files.append(f"tiny_FFN_PF_lut4_chunk_{i + 1:02d}of{CHUNKS:02d}.mlpackage")
        ct.utils.save_multifunction(desc, r.path(files[-1]))
        take_weights(c, parts[0])
        with torch.no_grad():
            c.kv_cache_0.zero_()
        for t in tmp:
            shutil.rmtree(t)
    outs = [f"logits{i + 1}" for i in range(SPLITS)]
    plain = lut(convert(heads[0], (torch.zeros(1, 1, H),), [ct.TensorType("hidden_states", (1, 1, H), np.float16)], out16(*outs)), 6)
    plain.save(r.path("tiny_lm_head_lut6.mlpackage"))
    take_weights(heads[0], plain)
    heads[1].load_state_dict(heads[0].state_dict())
    arg = lut(convert(heads[1], (torch.zeros(1, 1, H),), [ct.TensorType("hidden_states", (1, 1, H), np.float16)],
                      [ct.TensorType(name="argmax_idx", dtype=np.int32), ct.TensorType(name="argmax_val", dtype=np.float16)]), 6)
    arg.save(r.path("tiny_lm_head_argmax_lut6.mlpackage"))
    with open(r.path("meta.yaml"), "w") as f:
        f.write(META.format(ctx=CTX, batch=BATCH, chunks=CHUNKS, splits=SPLITS, argmax="false", head="tiny_lm_head_lut6.mlpackage"))
    prompt = [5, 9, 33, 71, 2, 18, 64, 90, 11, 40]

    def step(ids, past, fn):
        n = len(ids)
        given = {"input_ids": np.array([ids], np.int32)}
        x = emb(tensor(given["input_ids"]))
        r.call("tiny_embeddings.mlpackage", given, {"hidden_states": x})
        for c, file in zip(chunks, files):
            # what one part hands on is fp16, as an app's buffers are
            given = {"hidden_states": x.numpy().astype(np.float16), "position_ids": np.arange(past, past + n, dtype=np.int32),
                     "causal_mask": mask_of(n, past, CTX), "current_pos": np.array([past], np.int32)}
            x = c(*[tensor(given[k]) for k in ("hidden_states", "position_ids", "causal_mask", "current_pos")])
            r.call(file, given, {"output_hidden_states": x}, fn)
        return x

    with torch.no_grad():
        step(prompt[:BATCH], 0, "prefill")
        past = BATCH
        for ids in [[t] for t in prompt[BATCH:]] + [None] * 2:
            ids = ids if ids is not None else [token]
            x = step(ids, past, "infer")
            given = {"hidden_states": x.numpy().astype(np.float16)}
            parts = heads[0](tensor(given["hidden_states"]))
            r.call("tiny_lm_head_lut6.mlpackage", given, dict(zip(outs, parts)))
            idx, val = heads[1](tensor(given["hidden_states"]))
            r.call("tiny_lm_head_argmax_lut6.mlpackage", given, {"argmax_idx": idx, "argmax_val": val})
            token = int(torch.cat(parts, -1).argmax())
            past += 1
    r.save()


def conv_update_mask():
    torch.manual_seed(4)
    r, m = Recorder("conv_update_mask"), as_half(spread(MaskChunk(1, True, "infer")))
    pkg = convert(m, chunk_example(1, True), chunk_inputs(1, True), out16("output_hidden_states"), states=kv_state(1))
    pkg.save(r.path("model.mlpackage"))
    gen = np.random.default_rng(4)
    with torch.no_grad():
        m.kv_cache_0.zero_()
        for past in range(4):
            up = np.zeros((1, 1, CTX, 1), np.float16)
            up[0, 0, past] = 1
            given = {"hidden_states": gen.standard_normal((1, 1, H)).astype(np.float16), "update_mask": up,
                     "position_ids": np.array([past], np.int32), "causal_mask": mask_of(1, past, CTX),
                     "current_pos": np.array([past], np.int32)}
            y = m(*[tensor(given[k]) for k in ("hidden_states", "update_mask", "position_ids", "causal_mask", "current_pos")])
            r.call("model.mlpackage", given, {"output_hidden_states": y})
    r.save()


# ------------------------------------------------------------------ several functions, targets, compression
class Mlp(nn.Module):
    def __init__(self, n_in=32, n_mid=64, n_out=16):
        super().__init__()
        self.a, self.b = nn.Linear(n_in, n_mid), nn.Linear(n_mid, n_out)

    def forward(self, x):
        return self.b(F.gelu(self.a(x)))


class Adapted(nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base, self.low, self.high = base, nn.Linear(32, 4, bias=False), nn.Linear(4, 16, bias=False)

    def forward(self, x):
        return self.base(x) + self.high(self.low(x))


def multifunction():
    torch.manual_seed(5)
    r = Recorder("multifunction")
    base = as_half(spread(Mlp()))
    mods, paths = {"plain": base, "adapted": as_half(Adapted(base))}, {}
    for fn, m in mods.items():
        p = convert(m, (torch.zeros(1, 32),), [ct.TensorType("x", (1, 32), np.float16)], out16("y"))
        paths[fn] = r.path(f"_{fn}.mlpackage")
        p.save(paths[fn])
    desc = ct.utils.MultiFunctionDescriptor()
    for fn, path in paths.items():
        desc.add_function(path, src_function_name="main", target_function_name=fn)
    desc.default_function_name = "plain"
    ct.utils.save_multifunction(desc, r.path("model.mlpackage"))
    gen = np.random.default_rng(5)
    with torch.no_grad():
        for fn in ("", "plain", "adapted"):
            x = gen.standard_normal((1, 32)).astype(np.float16)
            r.call("model.mlpackage", {"x": x}, {"y": mods[fn or "plain"](tensor(x))}, fn)
    for p in paths.values():
        shutil.rmtree(p)
    r.save()


class Block(nn.Module):
    """Attention without cache, and an MLP: what every target has."""

    def __init__(self):
        super().__init__()
        self.n, self.qkv, self.o, self.mlp = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32), Mlp(32, 64, 32)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.qkv(self.n(x)).view(b, n, 3, 4, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.o(y.transpose(1, 2).reshape(b, n, 32))
        return x + self.mlp(x)


def targets():
    torch.manual_seed(6)
    r, m = Recorder("targets"), as_half(spread(Block()))
    x32 = np.random.default_rng(6).standard_normal((1, 6, 32)).astype(np.float32)
    for t in ("iOS15", "iOS16", "iOS17", "iOS18"):
        dt = np.float32 if t == "iOS15" else np.float16
        p = convert(m, (torch.zeros(1, 6, 32),), [ct.TensorType("x", (1, ct.RangeDim(1, 12, default=6), 32), dt)],
                    [ct.TensorType(name="y", dtype=dt)], target=t,
                    compute_precision=ct.precision.FLOAT32 if t == "iOS15" else ct.precision.FLOAT16)
        file = f"block_{t}.mlpackage"
        p.save(r.path(file))
        with torch.no_grad():
            x = x32.astype(dt)
            r.call(file, {"x": x}, {"y": m(tensor(x))})
    r.save()


def compressed(joint=False):
    """One MLP under every compression op and granularity; joint: under two at once."""
    r = Recorder("compressed_twice" if joint else "compressed")
    gen = np.random.default_rng(7)

    def one(name, target, *steps):
        if joint != (len(steps) > 1):
            return
        torch.manual_seed(7)
        m = as_half(spread(Mlp()))
        p = convert(m, (torch.zeros(1, 32),), [ct.TensorType("x", (1, 32), np.float16)], out16("y"), target=target)
        for s in steps:
            p = s(p)
        file = f"{name}.mlpackage"
        p.save(r.path(file))
        take_weights(m, p)
        x = gen.standard_normal((1, 32)).astype(np.float16)
        with torch.no_grad():
            r.call(file, {"x": x}, {"y": m(tensor(x))})

    def prune(p, joint=False):
        return cto.prune_weights(p, cto.OptimizationConfig(global_config=cto.OpMagnitudePrunerConfig(
            target_sparsity=0.6, weight_threshold=256)), **({"joint_compression": True} if joint else {}))

    def linear(p, dtype, granularity, joint=False, mode="linear_symmetric", **more):
        return cto.linear_quantize_weights(p, cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(
            mode=mode, dtype=dtype, granularity=granularity, weight_threshold=256, **more)),
            **({"joint_compression": True} if joint else {}))

    def palette(p, nbits, joint=False, **more):
        return cto.palettize_weights(p, cto.OptimizationConfig(global_config=cto.OpPalettizerConfig(
            mode="kmeans", nbits=nbits, weight_threshold=256, **more)), **({"joint_compression": True} if joint else {}))

    one("lut4_grouped_channel", "iOS18", lambda p: palette(p, 4, granularity="per_grouped_channel", group_size=8))
    one("lut3_tensor", "iOS18", lambda p: palette(p, 3))
    one("lut1_tensor", "iOS18", lambda p: palette(p, 1))
    one("lut4_vector2", "iOS18", lambda p: palette(p, 4, cluster_dim=2))
    one("lut4_int8_table", "iOS18", lambda p: palette(p, 4), lambda p: linear(p, "int8", "per_tensor", joint=True))
    one("lut4_channel_scale", "iOS18", lambda p: palette(p, 4, granularity="per_grouped_channel", group_size=16,
                                                         enable_per_channel_scale=True))
    one("lut6_ios16", "iOS16", lambda p: palette(p, 6))
    one("lut4_ios17", "iOS17", lambda p: palette(p, 4))
    one("int8_channel_ios16", "iOS16", lambda p: linear(p, "int8", "per_channel"))
    one("uint8_asym_ios16", "iOS16", lambda p: linear(p, "uint8", "per_channel", mode="linear"))
    one("int8_tensor_ios17", "iOS17", lambda p: linear(p, "int8", "per_tensor"))
    one("int4_block16", "iOS18", lambda p: linear(p, "int4", "per_block", block_size=16))
    one("uint4_asym_block16", "iOS18", lambda p: linear(p, "uint4", "per_block", mode="linear", block_size=16))
    one("sparse_ios16", "iOS16", prune)
    one("sparse_ios18", "iOS18", prune)
    one("sparse_lut4", "iOS18", prune, lambda p: palette(p, 4, joint=True))
    one("sparse_int8", "iOS18", prune, lambda p: linear(p, "int8", "per_channel", joint=True))
    r.save()


def compressed_twice():
    compressed(joint=True)


# ------------------------------------------------------------------ encoder, vision, control flow
class Bc1sNorm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight, self.bias = nn.Parameter(1 + 0.1 * torch.randn(n)), nn.Parameter(0.1 * torch.randn(n))

    def forward(self, x):
        z = x - x.mean(1, keepdim=True)
        z = z * (z.pow(2).mean(1, keepdim=True) + 1e-5).rsqrt()
        return (z + self.bias.view(1, -1, 1, 1)) * self.weight.view(1, -1, 1, 1)


class Bc1sLayer(nn.Module):
    def __init__(self, n, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Conv2d(n, n, 1) for _ in range(4))
        self.up, self.down = nn.Conv2d(n, 2 * n, 1), nn.Conv2d(2 * n, n, 1)
        self.n1, self.n2, self.heads, self.d = Bc1sNorm(n), Bc1sNorm(n), heads, n // heads

    def forward(self, x, mask):
        q, k, v = self.q(x), self.k(x), self.v(x)
        out = []
        for h in range(self.heads):
            s = slice(h * self.d, (h + 1) * self.d)
            keys = k.transpose(1, 3)[:, :, :, s]
            w = torch.einsum("bchq,bkhc->bkhq", q[:, s] * self.d ** -0.5, keys) + mask
            out.append(torch.einsum("bkhq,bchk->bchq", w.softmax(1), v[:, s]))
        x = self.n1(x + self.o(torch.cat(out, 1)))
        return self.n2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self, n=32, vocab=64, most=32):
        super().__init__()
        self.words, self.places = nn.Embedding(vocab, n), nn.Embedding(most, n)
        self.norm = Bc1sNorm(n)
        self.layers = nn.ModuleList(Bc1sLayer(n, 4) for _ in range(2))
        self.pre, self.cls = nn.Conv2d(n, n, 1), nn.Conv2d(n, 2, 1)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.places.weight[:input_ids.shape[1]]
        x = self.norm(x.transpose(1, 2).unsqueeze(2))
        mask = ((1.0 - attention_mask.float()) * -1e4)[:, :, None, None]
        for lay in self.layers:
            x = lay(x, mask)
        return self.cls(F.relu(self.pre(x[:, :, :, 0:1]))).squeeze(-1).squeeze(-1)


def encoder():
    torch.manual_seed(8)
    r, m = Recorder("encoder_bc1s"), as_half(spread(Encoder(), 1.5))
    shapes = ct.EnumeratedShapes([[1, 8], [1, 16], [1, 32]], default=[1, 8])
    p = convert(m, (torch.zeros(1, 8, dtype=torch.int32), torch.ones(1, 8, dtype=torch.int32)),
                [ct.TensorType("input_ids", shapes, np.int32), ct.TensorType("attention_mask", shapes, np.int32)], out16("logits"))
    p.save(r.path("model.mlpackage"))
    gen = np.random.default_rng(8)
    with torch.no_grad():
        for n, real in ((8, 8), (16, 11), (32, 30)):
            given = {"input_ids": gen.integers(0, 64, (1, n)).astype(np.int32),
                     "attention_mask": (np.arange(n) < real).astype(np.int32)[None]}
            r.call("model.mlpackage", given, {"logits": m(*[tensor(given[k]) for k in ("input_ids", "attention_mask")])})
    r.save()


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.dw, self.b2 = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.pw, self.b3 = nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16)
        self.up, self.fc = nn.ConvTranspose2d(16, 4, 2, stride=2), nn.Linear(16, 5)
        for b in (self.b1, self.b2, self.b3):
            b.running_mean = torch.randn_like(b.running_mean) * 0.2
            b.running_var = torch.rand_like(b.running_var) + 0.5

    def forward(self, image):
        x = F.relu6(self.b1(self.c1(image)))
        x = F.hardswish(self.b2(self.dw(x)))
        x = F.max_pool2d(x, 2)
        x = self.b3(self.pw(F.leaky_relu(x, 0.1)))  # an activation between: this norm stays an op
        small = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)
        wide = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        near = F.interpolate(small, scale_factor=2, mode="nearest")
        return self.fc(F.adaptive_avg_pool2d(wide + near, 1).flatten(1)), torch.sigmoid(self.up(x))


def cnn():
    torch.manual_seed(9)
    r, m = Recorder("cnn"), as_half(Cnn())
    p = convert(m, (torch.zeros(1, 3, 16, 16),),
                [ct.ImageType("image", (1, 3, 16, 16), scale=1 / 128.0, bias=[-1.0, -0.9, -0.8], color_layout=ct.colorlayout.RGB)],
                out16("scores", "map"))
    p.save(r.path("model.mlpackage"))
    image = np.random.default_rng(9).integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        # the scale and bias of an image are numbers of the program, in fp16
        bias = torch.tensor([-1.0, -0.9, -0.8]).half().float().view(1, 3, 1, 1)
        scores, where = m(tensor(image) / 128 + bias)
    r.call("model.mlpackage", {"image": image}, {"scores": scores, "map": where})
    r.save()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.m = Mlp(8, 16, 3)

    def forward(self, x):
        return F.softmax(self.m(x), -1)


def classifier():
    torch.manual_seed(10)
    r, m = Recorder("classifier"), as_half(spread(Classifier()))
    p = convert(m, (torch.zeros(1, 8),), [ct.TensorType("x", (1, 8), np.float32)], None,
                classifier_config=ct.ClassifierConfig(["cat", "dog", "a bird"]))
    p.save(r.path("model.mlpackage"))
    x = np.random.default_rng(10).standard_normal((1, 8)).astype(np.float32)
    with torch.no_grad():
        y = m(tensor(x))
    r.call("model.mlpackage", {"x": x}, {"classLabel_probs": y[0], "classLabel": y[0].argmax().to(torch.int32)})
    r.save()


class Flow(nn.Module):
    """Scripted: a branch on data, and a loop that runs until its data says so."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            y = self.a(x)
        else:
            y = x * 2.0 - 1.0
        for _ in range(3):
            y = y * 0.5 + x
        while y.abs().max() < 10.0:
            y = y * 1.5
        return y


def flow():
    torch.manual_seed(11)
    r, m = Recorder("control_flow"), as_half(Flow())
    p = convert(m, None, [ct.TensorType("x", (2, 4), np.float32)], [ct.TensorType(name="y", dtype=np.float32)], script=True,
                compute_precision=ct.precision.FLOAT32)
    p.save(r.path("model.mlpackage"))
    gen = np.random.default_rng(11)
    with torch.no_grad():
        for sign in (1.0, -1.0):
            x = (sign * np.abs(gen.standard_normal((2, 4)))).astype(np.float32)
            r.call("model.mlpackage", {"x": x}, {"y": m(tensor(x))})
    r.save()


# ------------------------------------------------------------------ pipelines and what is refused
def pipeline():
    torch.manual_seed(12)
    r = Recorder("pipeline")
    a, b = as_half(spread(Mlp(16, 32, 24))), as_half(spread(Mlp(24, 24, 8)))
    first = convert(a, (torch.zeros(1, 16),), [ct.TensorType("x", (1, 16), np.float16)], out16("middle"))
    second = convert(b, (torch.zeros(1, 24),), [ct.TensorType("middle", (1, 24), np.float16)], out16("y"))
    ct.utils.make_pipeline(first, second).save(r.path("model.mlpackage"))
    x = np.random.default_rng(12).standard_normal((1, 16)).astype(np.float16)
    with torch.no_grad():
        y = b(a(tensor(x)))
    r.call("model.mlpackage", {"x": x}, {"y": y})
    # the same as one file: weights that are few stand in the program itself
    tiny = [as_half(spread(nn.Linear(2, 3))), as_half(spread(nn.Linear(3, 2)))]
    parts = [convert(tiny[0], (torch.zeros(1, 2),), [ct.TensorType("x", (1, 2), np.float16)], out16("middle")),
             convert(tiny[1], (torch.zeros(1, 3),), [ct.TensorType("middle", (1, 3), np.float16)], out16("y"))]
    with open(r.path("pipeline.mlmodel"), "wb") as f:
        f.write(ct.utils.make_pipeline(*parts).get_spec().SerializeToString())
    with open(r.path("program.mlmodel"), "wb") as f:
        f.write(parts[0].get_spec().SerializeToString())
    x = np.array([[0.5, -1.25]], np.float16)
    with torch.no_grad():
        mid = tiny[0](tensor(x))
        r.call("pipeline.mlmodel", {"x": x}, {"y": tiny[1](mid)})
        r.call("program.mlmodel", {"x": x}, {"middle": mid})
    r.save()


def legacy():
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder
    path = folder("legacy")
    b = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", datatypes.Array(2))])
    b.add_inner_product("ip", np.ones((2, 3), np.float32), np.zeros(2, np.float32), 3, 2, True, "x", "y")
    ct.models.MLModel(b.spec, skip_model_load=True).save(os.path.join(path, "network.mlmodel"))
    print("legacy")


ALL = [llama_stateful, llama_kv_io, llama_text, conv_parts, conv_update_mask, multifunction, targets, compressed, compressed_twice, encoder, cnn, classifier, flow,
       pipeline, legacy]

if __name__ == "__main__":
    wanted = sys.argv[1:]
    for make in ALL:
        if not wanted or make.__name__ in wanted:
            make()
