# SPDX-License-Identifier: MIT
"""smelt doctor: what it says of this machine against the system's own words; a model's bound from its own figures."""
import os
import re
import resource
import shutil
import subprocess
import sys
import time

import pytest

from smelt_cli import SMELT, make_model, model, smelt, smelt_json

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def check(j, name):
    return next(c for c in j["checks"] if c["name"] == name)


@linux
def test_machine_is_this_one():
    j = smelt_json("doctor", "--quick")
    info = open("/proc/cpuinfo").read()
    m = j["machine"]
    assert m["threads"] == len(re.findall(r"^processor\s*:", info, re.M)) and m["usable_threads"] == len(os.sched_getaffinity(0))
    for key, name in [("flags", "features"), ("Features", "features")]:
        found = re.search(rf"^{key}\s*: (.*)$", info, re.M)
        if found:
            assert m[name] == found[1].split()
    found = re.search(r"^model name\s*: (.*)$", info, re.M)
    if found:
        assert m["cpu"] == found[1]
    assert m["architecture"] == os.uname().machine and os.uname().release in m["os"]
    total = int(re.search(r"^MemTotal:\s*(\d+) kB", open("/proc/meminfo").read(), re.M)[1]) * 1024
    assert j["memory"]["total"] == total and 0 < j["memory"]["available"] <= total
    lock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert j["memory"]["lock_limit"] == (None if lock == resource.RLIM_INFINITY else lock)
    fs = os.statvfs(".")
    assert j["memory"]["disk_free"] == pytest.approx(fs.f_bavail * fs.f_frsize, rel=0.05)
    if shutil.which("getconf"):
        p = subprocess.run(["getconf", "LEVEL1_DCACHE_SIZE"], capture_output=True, text=True)
        l1 = [c["bytes"] for c in m["caches"] if c["level"] == 1 and c["kind"] == "data"]
        if l1 and p.stdout.strip().isdigit() and int(p.stdout) > 0:
            assert l1 == [int(p.stdout)]
    assert j["measured"] is None


@linux
def test_fewer_processors():
    one = sorted(os.sched_getaffinity(0))[0]
    if len(os.sched_getaffinity(0)) < 2 or not shutil.which("taskset"):
        pytest.skip("one processor only")
    out = subprocess.run(["taskset", "-c", str(one), SMELT, "doctor", "--quick"], capture_output=True, text=True).stdout
    assert re.search(r"warn +processors +1 of \d+ threads may be used", out)


def test_kernels_and_the_setting_that_holds_them_back():
    j = smelt_json("doctor", "--quick")
    features = set(j["machine"]["features"])
    assert j["kernels"][0] == {"name": "c", "needs": "", "there": True, "used": True}
    for k in j["kernels"][1:]:
        if features:
            assert k["there"] == (set(k["needs"].split()) <= features), k
        assert k["used"] == k["there"]
    assert "advice" not in check(j, "kernels") or len(j["kernels"]) == 1 or not j["kernels"][1]["there"]
    held = smelt_json("doctor", "--quick", env={"SMELT_CPU": "c"})
    assert [k["used"] for k in held["kernels"]] == [True] + [False] * (len(held["kernels"]) - 1)
    assert check(held, "kernels")["verdict"] == "warn"
    assert "SMELT_CPU" in smelt("doctor", "--quick", env={"SMELT_CPU": "z80"}, rc=2)[1]


def test_libraries_are_those_of_the_system():
    j = smelt_json("doctor", "--quick")
    assert {"protobuf-c", "jansson", "pcre2", "utf8proc", "libsodium", "libzip"} <= set(j["libraries"])
    for name, module in [("jansson", "jansson"), ("protobuf-c", "libprotobuf-c"), ("libsodium", "libsodium"),
                         ("libzip", "libzip"), ("pcre2", "libpcre2-8")]:
        p = subprocess.run(["pkg-config", "--modversion", module], capture_output=True, text=True)
        if p.returncode == 0:
            assert j["libraries"][name].split(",")[0].startswith(p.stdout.strip()), name
    assert "Unicode" in j["libraries"]["pcre2"] and "Unicode" in j["libraries"]["utf8proc"]
    assert {b["name"] for b in j["backends"]} >= {"cpu", "ref", "null"} and all(b["available"] for b in j["backends"][:2])
    used = set().union(*(k["needs"].split() for k in j["kernels"]))
    assert not used & {g["name"] for g in j["missing"]}  # what kernels use is not said to be unused


def test_measures_and_bounds_a_model():
    t0 = time.time()
    j = smelt_json("doctor", model("smollm2"), "-c", "1024")
    took = time.time() - t0
    p, m = j["measured"], j["model"]
    print(f"read {p['read_gbps_1']:.1f} and {p['read_gbps']:.1f} GB/s, int8 {p['int8_tops']:.3f} Top/s, "
          f"f32 {p['f32_gflops']:.1f} Gflop/s in {p['seconds']:.2f} s ({took:.2f} s in all)")
    for a, b, least, most in [("read_gbps_1", "read_gbps", 0.1, 3000), ("int8_tops_1", "int8_tops", 1e-4, 500),
                              ("f32_gflops_1", "f32_gflops", 0.05, 50000)]:
        assert least < p[a] <= p[b] < most
    assert p["working_set_bytes"] >= 64 << 20 and p["seconds"] < 20
    i = smelt_json("inspect", model("smollm2"), "-c", "1024")["memory"]
    assert m["total_bytes"] == i["total_bytes"] and m["read_bytes_per_token"] == i["read_bytes_per_token"]
    assert m["tokens_per_second_at_most"] == pytest.approx(p["read_gbps"] * 1e9 / m["read_bytes_per_token"], rel=1e-4)
    assert check(j, "model")["verdict"] == ("warn" if m["total_bytes"] > j["memory"]["available"] else "ok")


def test_model_that_does_not_fit(tmp_path):
    path = make_model(tmp_path / "m.gguf", "--layers", "4", "--ctx", str(1 << 24), "--heads", "32", "--kv-heads", "32",
                      "--head-dim", "256", "--width", "256")
    j = smelt_json("doctor", path, "--quick", "-c", str(1 << 24))
    assert j["model"]["kv_bytes"] == 4 * (1 << 24) * 32 * 2 * 256 * 2
    c = check(j, "model")
    if j["model"]["total_bytes"] > j["memory"]["total"]:
        assert c["verdict"] == "warn" and "does not fit" in c["advice"]


def test_text_and_errors(tmp_path):
    out, err = smelt("doctor", "--quick")
    text = out.decode()
    for part in ("machine", "kernels", "backends", "libraries", "checks"):
        assert re.search(rf"^{part}", text, re.M)
    assert "measured" not in text and "\x1b" not in text and err == ""
    j = smelt_json("doctor", "--quick")
    for c in j["checks"]:
        assert re.search(rf"{c['verdict']} +{re.escape(c['name'])} ", text)
    assert "no such file" in smelt("doctor", "/no/such.gguf", rc=3)[1]
    (tmp_path / "b.gguf").write_bytes(b"GGUF\3\0\0\0")
    assert "b.gguf" in smelt("doctor", tmp_path / "b.gguf", rc=3)[1]
