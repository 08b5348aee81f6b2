#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coremltools' conversion of a decoder beside smelt's, in one run: seconds, CPU seconds and resident memory of each.

    bench/convert_peer.py [--layers 3,6] [--quant none,int4,lut4] [--runs 3] [--work DIR]

Wants torch and coremltools 9 in the Python that runs it, numpy and gguf too.  Both get the same shapes (SmolLM2's: width
576, 49152 ids, tied head) with random weights: coremltools a traced PyTorch module with states for the caches, smelt a GGUF
of F16.  coremltools converts (trace, ct.convert to iOS18 in fp16) and then compresses (linear_quantize_weights in blocks of
32, or palettize_weights per tensor), each saved to disk; smelt's one command does all of it.  Every measurement is a
process of its own; the one with the median time is printed.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SMELT = os.environ.get("SMELT", os.path.join(HERE, "..", "build", "smelt"))
MAKE_MODEL = os.path.join(HERE, "..", "tests", "tools", "make_model.py")
D, FF, HEADS, KV, DIM, VOCAB, CTX = 576, 1536, 9, 3, 64, 49152, 512


def peer(layers, quant, out):
    """The child: converts and compresses, printing the seconds of each step."""
    import warnings
    warnings.filterwarnings("ignore")
    import coremltools as ct
    import coremltools.optimize.coreml as cto
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(D))

        def forward(self, x):
            return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * self.w

    class Layer(nn.Module):
        def __init__(self, i):
            super().__init__()
            self.i, self.a, self.m = i, Norm(), Norm()
            self.q, self.k, self.v = (nn.Linear(D, n * DIM, bias=False) for n in (HEADS, KV, KV))
            self.o = nn.Linear(HEADS * DIM, D, bias=False)
            self.g, self.u, self.d = nn.Linear(D, FF, bias=False), nn.Linear(D, FF, bias=False), nn.Linear(FF, D, bias=False)

        def forward(self, x, mask, cos, sin, past, end, keys, values):
            def heads(t, n):
                return t.view(1, -1, n, DIM).transpose(1, 2)

            def turn(t):
                a, b = t.chunk(2, -1)
                return t * cos + torch.cat([-b, a], -1) * sin
            h = self.a(x)
            q, k, v = turn(heads(self.q(h), HEADS)), turn(heads(self.k(h), KV)), heads(self.v(h), KV)
            keys[self.i:self.i + 1, :, past:end] = k
            values[self.i:self.i + 1, :, past:end] = v
            k = keys[self.i:self.i + 1, :, :end].repeat_interleave(HEADS // KV, 1)
            v = values[self.i:self.i + 1, :, :end].repeat_interleave(HEADS // KV, 1)
            y = F.scaled_dot_product_attention(q, k, v, mask)
            x = x + self.o(y.transpose(1, 2).reshape(1, -1, HEADS * DIM))
            h = self.m(x)
            return x + self.d(F.silu(self.g(h)) * self.u(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.layers, self.n = nn.Embedding(VOCAB, D), nn.ModuleList(Layer(i) for i in range(layers)), Norm()
            angle = torch.outer(torch.arange(CTX).float(), 10000.0 ** (-torch.arange(0, DIM, 2).float() / DIM))
            self.register_buffer("angle", torch.cat([angle, angle], -1))
            self.register_buffer("keys", torch.zeros(layers, KV, CTX, DIM))
            self.register_buffer("values", torch.zeros(layers, KV, CTX, DIM))

        def forward(self, ids, mask):
            end, n = mask.shape[-1], ids.shape[1]
            past = end - n
            cos, sin = self.angle[past:end].cos(), self.angle[past:end].sin()
            x = self.e(ids)
            for layer in self.layers:
                x = layer(x, mask, cos, sin, past, end, self.keys, self.values)
            return F.linear(self.n(x), self.e.weight)

    torch.manual_seed(0)
    with torch.no_grad():
        model = Model().eval()
        start = time.time()
        traced = torch.jit.trace(model, (torch.zeros(1, 4, dtype=torch.int32), torch.zeros(1, 1, 4, 9)), check_trace=False)
        n, end = ct.RangeDim(1, CTX, default=1), ct.RangeDim(1, CTX, default=1)
        shape = (layers, KV, CTX, DIM)
        package = ct.convert(
            traced, minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
            inputs=[ct.TensorType("inputIds", (1, n), np.int32), ct.TensorType("causalMask", (1, 1, n, end), np.float16)],
            outputs=[ct.TensorType("logits", dtype=np.float16)],
            states=[ct.StateType(ct.TensorType(shape=shape, dtype=np.float16), name) for name in ("keys", "values")])
        package.save(out)
    print("converted", time.time() - start, flush=True)
    start = time.time()
    if quant == "int4":
        config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4",
                                                                    granularity="per_block", block_size=32))
        package = cto.linear_quantize_weights(package, config)
    elif quant.startswith("lut"):
        config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="kmeans", nbits=int(quant[3:])))
        package = cto.palettize_weights(package, config)
    if quant != "none":
        shutil.rmtree(out)
        package.save(out)
    print("compressed", time.time() - start, flush=True)


def timed(command):
    """(wall, cpu, resident MB, output) of a process."""
    with tempfile.TemporaryFile("w+") as log:
        start = time.time()
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        _, status, use = os.wait4(p.pid, 0)
        wall = time.time() - start
        p.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if p.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: ended with {p.returncode}\n{text[-3000:]}")
    return wall, use.ru_utime + use.ru_stime, use.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), text


def median(command, runs, out):
    found = []
    for _ in range(runs):
        shutil.rmtree(out, ignore_errors=True)
        found.append(timed(command))
    return sorted(found)[runs // 2]


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--layers", default="3,6")
    p.add_argument("--quant", default="none,int4,lut4")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--work", default=".")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    out, gguf = os.path.join(a.work, "peer.mlpackage"), os.path.join(a.work, "peer.gguf")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; coremltools' steps: convert + compress, without imports")
    print(f"{'layers':>6} {'quant':6} {'':12} {'wall s':>8} {'cpu s':>8} {'peak MB':>8}")
    for layers in map(int, a.layers.split(",")):
        subprocess.run([sys.executable, MAKE_MODEL, gguf, "--family", "llama", "--type", "f16", "--layers", str(layers), "--width",
                        str(D), "--ff", str(FF), "--heads", str(HEADS), "--kv-heads", str(KV), "--head-dim", str(DIM), "--vocab",
                        str(VOCAB), "--repeat"], check=True)
        for quant in a.quant.split(","):
            wall, cpu, rss, text = median([sys.executable, __file__, "--peer", str(layers), quant, out], a.runs, out)
            steps = [float(line.split()[1]) for line in text.splitlines() if line.startswith(("converted ", "compressed "))]
            print(f"{layers:6} {quant:6} {'coremltools':12} {wall:8.2f} {cpu:8.2f} {rss:8.0f}   {steps[0]:.2f} + {steps[1]:.2f}",
                  flush=True)
            group = ["--group", "0"] if quant.startswith("lut") else []
            wall2, cpu2, rss2, _ = median([SMELT, "convert", gguf, out, "-c", str(CTX), "--quant", quant, *group], a.runs, out)
            print(f"{layers:6} {quant:6} {'smelt':12} {wall2:8.2f} {cpu2:8.2f} {rss2:8.0f}   {sum(steps) / wall2:.0f}x of the steps, "
                  f"{rss / rss2:.0f}x less memory", flush=True)
        os.remove(gguf)
    shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
