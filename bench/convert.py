#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast models are converted, and in how much memory: a row for each model and form of weights.

    bench/convert.py [--sizes 1b,3b,8b] [--types q4_0,f16] [--quant auto,int4] [--threads 2] [--runs 1] [--limit MB]
                     [--work DIR] [--keep] [MODEL.gguf ...]

Models named are measured as they are; those of --sizes are made of random weights in --work (the 8B ones: 4.5 GB as q4_0,
16 GB as f16) and removed after their rows, unless --keep.  Every conversion is a process of its own, timed by the
operating system: of several runs the one with the median wall time is printed.

    source    bytes of the model file, in MB (10^6)
    wall      seconds, until the package is on the disk
    cpu       seconds of all threads, the system's work for them included
    MB/s      of source, by the clock, and by CPU second: what one core does
    peak      most memory that the process had resident, pages of mapped files included
    apart     of it, what is no mapped file: the program's own report

--limit MB runs each conversion in a control group that may use no more memory than that, page cache included, which takes
root and a mounted memory controller (version 1 or 2).  Without random models: --sizes ''.  $SMELT is the program.
"""
import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SMELT = os.environ.get("SMELT", os.path.join(HERE, "..", "build", "smelt"))
MAKE_MODEL = os.path.join(HERE, "..", "tests", "tools", "make_model.py")


def words(text):
    return [w for w in text.split(",") if w]


@contextlib.contextmanager
def limited(mb):
    """A control group of that much memory: yields what a child does to enter it."""
    if not mb:
        yield None
        return
    old = os.path.isdir("/sys/fs/cgroup/memory")
    group = os.path.join("/sys/fs/cgroup/memory" if old else "/sys/fs/cgroup", f"smelt-bench-{os.getpid()}")
    os.mkdir(group)
    try:
        with open(os.path.join(group, "memory.limit_in_bytes" if old else "memory.max"), "w") as f:
            f.write(str(mb << 20))

        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))
        yield enter
    finally:
        os.rmdir(group)


def run(model, out, quant, threads, enter):
    """(wall, cpu, peak, apart) of one conversion; what an earlier one wrote is removed before, which is not timed."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryFile("w+") as log:
        start = os.times().elapsed
        p = subprocess.Popen([SMELT, "convert", model, out, "--quant", quant, "--threads", str(threads)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=enter)
        _, status, use = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        wall = os.times().elapsed - start
        log.seek(0)
        text = log.read()
    if p.returncode != 0:
        raise SystemExit(f"convert.py: {model} --quant {quant} ended with {p.returncode}\n{text}")
    apart = re.search(r"not mapped files ([0-9.]+) MB", text)
    resident = use.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return wall, use.ru_utime + use.ru_stime, resident / 1e6, float(apart[1]) if apart else float("nan")


def rows(name, model, a, enter):
    source = os.path.getsize(model) / 1e6
    out = os.path.join(a.work, "bench.mlpackage")
    for quant in words(a.quant):
        wall, cpu, peak, apart = sorted(run(model, out, quant, a.threads, enter) for _ in range(a.runs))[a.runs // 2]
        print(f"{name:24} {quant:6} {source:8.0f} {wall:7.2f} {cpu:7.2f} {source / wall:7.0f} {source / cpu:9.0f} "
              f"{peak:7.0f} {apart:6.0f}", flush=True)
    shutil.rmtree(out, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("--sizes", default="1b,3b,8b")
    p.add_argument("--types", default="q4_0,f16")
    p.add_argument("--quant", default="auto,int4")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=1)
    p.add_argument("--limit", type=int, default=0, metavar="MB")
    p.add_argument("--work", default=".")
    p.add_argument("--keep", action="store_true")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{a.threads} threads, {os.cpu_count()} processors, load {load:.1f}"
          + (f", {a.limit} MB of memory at most" if a.limit else ""))
    print(f"{'model':24} {'quant':6} {'source':>8} {'wall':>7} {'cpu':>7} {'MB/s':>7} {'MB/s/core':>9} {'peak':>7} {'apart':>6}")
    with limited(a.limit) as enter:
        for model in a.models:
            rows(os.path.basename(model), model, a, enter)
        for size in words(a.sizes):
            for kind in words(a.types):
                model = os.path.join(a.work, f"bench-{size}-{kind}.gguf")
                if not os.path.exists(model):
                    subprocess.run([sys.executable, MAKE_MODEL, model + ".part", "--size", size, "--type", kind, "--repeat",
                                    *(["--untied"] if size == "8b" else [])], check=True)
                    os.rename(model + ".part", model)
                rows(f"random {size} {kind}", model, a, enter)
                if not a.keep:
                    os.remove(model)


if __name__ == "__main__":
    main()
