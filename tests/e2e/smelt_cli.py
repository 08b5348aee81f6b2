# SPDX-License-Identifier: MIT
"""What end-to-end tests share: the program, the models, models made for a test, llama.cpp as an oracle.

$SMELT names the program (default build/smelt), $SMELT_MODELS the folder of the fetched models (default build/models).
"""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
MODELS = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
TOOLS = os.path.join(ROOT, "tests", "tools")


def model(name):
    return os.path.join(MODELS, name + ".gguf")


def smelt(*args, stdin=None, rc=0, env=None):
    """Runs the program; stdin is bytes (default: nothing).  Returns stdout as bytes and stderr as text."""
    p = subprocess.run([SMELT, *map(str, args)], input=stdin if stdin is not None else b"", capture_output=True,
                       env={**os.environ, **(env or {})}, timeout=1200)
    assert p.returncode == rc, f"exit {p.returncode}, wanted {rc}: smelt {' '.join(map(str, args))}\n{p.stderr.decode()}"
    return p.stdout, p.stderr.decode()


def smelt_json(*args, **kw):
    return json.loads(smelt(*args, "--json", **kw)[0])


def smelt_lines(*args, **kw):
    return [json.loads(line) for line in smelt(*args, "--json", **kw)[0].splitlines()]


def make_model(path, *args):
    subprocess.run([sys.executable, os.path.join(TOOLS, "make_model.py"), str(path), *map(str, args)], check=True)
    return str(path)


def f32_copy(source, path):
    subprocess.run([sys.executable, os.path.join(TOOLS, "f32_copy.py"), source, str(path)], check=True)
    return str(path)


class Llama:
    """llama.cpp on one file: greedy continuations with their most likely tokens, everything in f32 where it can be."""

    def __init__(self, path, ctx=1024):
        import xllamacpp as x

        p = x.CommonParams()
        p.model.path = path
        p.n_ctx = ctx
        p.n_parallel = 1
        p.warmup = False
        p.verbosity = 0
        p.cpuparams.n_threads = os.cpu_count()
        p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
        p.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = x.Server(p)

    def greedy(self, prompt, n, top=5, never=()):
        """prompt: text or ids; never: ids that are not to be chosen (the log-probabilities are those without that).
        Returns [(id, [(id, logprob), ...]), ...].  The server reports no token that leaves a character unfinished."""
        r = self.server.handle_completions({"prompt": prompt, "n_predict": n, "temperature": 0, "n_probs": top,
                                            "cache_prompt": False, "ignore_eos": True,
                                            "logit_bias": [[i, False] for i in never]})
        out = [(t["id"], [(q["id"], q["logprob"]) for q in t["top_logprobs"]])
               for t in r["choices"][0]["logprobs"]["content"]]
        assert len(out) == n, f"llama.cpp reported {len(out)} of {n} tokens for {prompt!r}"
        return out
