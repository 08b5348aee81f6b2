# SPDX-License-Identifier: MIT
"""smelt bench: figures that follow from each other and from the files; tables, chart, trace and past runs that agree.

One thread and small models: other work on the machine makes any speed possible, so none is asserted.
"""
import csv
import json
import math
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from smelt_cli import ROOT, SMELT, make_model, smelt, smelt_json

TINY = os.path.join(ROOT, "tests", "golden", "tiny.gguf")
LAYERS, WIDTH, KV_HEADS, DIM = 2, 256, 2, 64  # of make_model's size "tiny"

os.environ["SMELT_LIMITS_MS"] = "30"  # their accuracy is no matter here


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("bench") / "m.gguf", "--type", "q8_0", "--untied")


@pytest.fixture(scope="module")
def ran(path, tmp_path_factory):
    """One run with everything, kept."""
    d = tmp_path_factory.mktemp("ran")
    t0 = time.time()
    rows = smelt_json("bench", path, "-p", "24,300", "-n", "3", "-d", "0,70", "-b", "1,2", "-r", "3", "-t", "1", "--csv",
                      d / "x.csv", "--svg", d / "x.svg", "--trace", d / "x.json", "--db", d / "x.db")
    print(f"\n{len(rows)} tests of 3 repetitions in {time.time() - t0:.1f} s; limits {rows[0]['limit_read_gbps']:.1f} GB/s, "
          f"{rows[0]['limit_int8_tops']:.3f} Top/s; tg3 {next(r for r in rows if r['test'] == 'tg3')['tps']:.0f} tok/s")
    return d, rows


def test_names_and_order(ran):
    want = [f"{t}{d}{b}" for b in ("", "@b2") for d in ("", "@d70") for t in ("pp24", "pp300", "tg3")]
    assert [r["test"] for r in ran[1]] == want
    for r in ran[1]:
        m = re.fullmatch(r"(pp|tg)(\d+)(?:@d(\d+))?(?:@b(\d+))?", r["test"])
        assert (r["kind"], r["tokens"], r["depth"], r["sequences"]) == (
            "prompt" if m[1] == "pp" else "generation", int(m[2]), int(m[3] or 0), int(m[4] or 1))


def test_speeds_are_those_of_the_times(ran):
    for r in ran[1]:
        tokens = r["tokens"] * r["sequences"]
        tps = [tokens / s for s in r["seconds"]]
        assert r["repetitions"] == len(tps) == 3
        assert r["tps"] == pytest.approx(statistics.mean(tps), rel=1e-6)
        assert r["stddev"] == pytest.approx(statistics.stdev(tps), rel=1e-5, abs=1e-6)
        assert r["median"] == pytest.approx(statistics.median(tps), rel=1e-6)
        assert r["best"] == pytest.approx(max(tps), rel=1e-6)
        assert r["tps_per_sequence"] == pytest.approx(r["tps"] / r["sequences"], rel=1e-6)
        if r["kind"] == "prompt":
            assert all(f >= s for f, s in zip(r["first_token_seconds"], r["seconds"]))
            assert r["ttft_ms"] == pytest.approx(1e3 * statistics.mean(r["first_token_seconds"]), rel=1e-6)
        else:
            assert "ttft_ms" not in r


def test_rates_are_shares_of_the_limits(ran):
    for r in ran[1]:
        assert r["gbps"] == pytest.approx(r["bytes_per_token"] * r["tps"] / 1e9, rel=1e-6)
        assert r["gflops"] == pytest.approx(r["flops_per_token"] * r["tps"] / 1e9, rel=1e-6)
        read, ops = r["gbps"] / r["limit_read_gbps"], r["gflops"] / (r["limit_int8_tops"] * 1e3)
        assert r["roofline_read"] == pytest.approx(read, rel=1e-6) and r["roofline_ops"] == pytest.approx(ops, rel=1e-6)
        assert r["roofline"] == pytest.approx(max(read, ops), rel=1e-6)
        assert r["bound"] == ("memory" if read >= ops else "integer")
        assert 0 < r["load_s"] < r["load_to_first_token_s"] and r["peak_memory_bytes"] >= r["step_weight_bytes"]


def test_bytes_and_operations_follow_from_the_model(ran, path):
    """What a step must read and compute, from the shapes alone."""
    d, rows = ran
    weights = rows[0]["step_weight_bytes"]
    vocab, ff, heads = 512, 512, 4
    per_layer = WIDTH * heads * DIM * 2 + 2 * WIDTH * KV_HEADS * DIM + 3 * WIDTH * ff
    matrices = LAYERS * per_layer + vocab * WIDTH
    # Packed: 8 bits and a scale for each 32 or less, no more than the file's tensors, which have an embedding besides.
    assert matrices <= weights <= rows[0]["file_bytes"]
    position = LAYERS * KV_HEADS * 2 * DIM * 2
    head = 2 * vocab * WIDTH
    for r in rows:
        n, depth, seqs = r["tokens"], r["depth"], r["sequences"]
        assert r["cache_bytes"] == position * (depth + n) * seqs
        # every multiplication of a matrix, and of attention at its position
        low = 2 * LAYERS * per_layer + (head if r["kind"] == "generation" else head / n)
        attention = sum(LAYERS * heads * (depth + i + 1) * 4 * DIM for i in range(n)) / n
        assert low + attention < r["flops_per_token"] < 1.2 * (low + attention)
        if r["kind"] == "generation":
            cache = sum(position * (depth + i + 2) for i in range(n)) / n  # what it sees, and itself written
            assert r["bytes_per_token"] == pytest.approx(weights / seqs + cache, rel=1e-6)
        else:
            # 256 rows a step; without its logits a step does not read the head
            step = 256 // seqs
            ends = [min(n, (k + 1) * step) for k in range(math.ceil(n / step))]
            starts = [0] + ends[:-1]
            cache = sum(position * (depth + b + b - a) for a, b in zip(starts, ends)) * seqs
            whole = len(ends) * weights
            assert r["bytes_per_token"] * n * seqs <= whole + cache + 1
            if len(ends) == 1:
                assert r["bytes_per_token"] * n * seqs == pytest.approx(whole + cache, rel=1e-6)
            else:
                assert r["bytes_per_token"] * n * seqs >= whole + cache - (len(ends) - 1) * vocab * WIDTH * 1.3


def rows_in_chart(rows):
    return [r for r in rows if r["kind"] == "prompt"] + [r for r in rows if r["kind"] == "generation"]


def test_table_chart_and_database_agree(ran, path):
    d, rows = ran
    table = list(csv.DictReader(open(d / "x.csv", newline="")))
    assert len(table) == len(rows)
    for line, r in zip(table, rows):
        assert set(line) == {k for k, v in rows[0].items() if not isinstance(v, list)}
        for key, text in line.items():
            if key not in r:
                assert text == ""
            elif isinstance(r[key], str):
                assert text == r[key]
            else:
                assert float(text) == pytest.approx(r[key], rel=1e-8)
    db = sqlite3.connect(d / "x.db")
    db.row_factory = sqlite3.Row
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    kept = db.execute("SELECT * FROM results JOIN runs ON runs.id = results.run ORDER BY results.rowid").fetchall()
    assert len(kept) == len(rows)
    for line, r in zip(kept, rows):
        for key in line.keys():
            if key == "seconds":
                assert json.loads(line[key]) == pytest.approx(r[key], rel=1e-8)
            elif key not in ("id", "run") and key in r:
                assert line[key] == (r[key] if isinstance(r[key], str) else pytest.approx(r[key], rel=1e-8)), key
            elif key not in ("id", "run"):
                assert key == "ttft_ms" and line[key] is None
    svg = ET.parse(d / "x.svg").getroot()
    texts = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    bars = [b for b in svg.iter("{http://www.w3.org/2000/svg}rect") if b.get("class")]
    assert len(bars) == len(rows) and all(r["test"] in texts for r in rows)
    limits = [p for p in svg.iter("{http://www.w3.org/2000/svg}path") if p.get("class") in ("roof", "far")]
    assert len(limits) == len(rows)
    for p, bar, r in zip(limits, bars, rows_in_chart(rows)):
        if p.get("class") == "roof":  # as far from the bar's end as the mean is from the limit
            end = float(re.match(r"M([\d.]+) ", p.get("d"))[1]) - float(bar.get("x"))
            assert float(bar.get("width")) / end == pytest.approx(r["roofline"], abs=0.01)
    for kind, css in (("prompt", "pp"), ("generation", "tg")):
        of = [r["tps"] for r in rows if r["kind"] == kind]
        width = [float(b.get("width")) for b in bars if b.get("class") == css]
        assert all(w / width[0] == pytest.approx(v / of[0], abs=0.01) for w, v in zip(width, of))


def test_trace(ran):
    d, rows = ran
    t = json.loads((d / "x.json").read_text())
    events = [e for e in t["traceEvents"] if e["ph"] == "X"]
    assert {e["args"]["name"] for e in t["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_name"} == {"thread 0"}
    steps = [e for e in events if e["cat"] == "step"]
    assert [e["name"] for e in steps] == ["pp24", "tg1"]
    for s in steps:
        inside = [e for e in events if e is not s and s["ts"] <= e["ts"] < s["ts"] + s["dur"]]
        kinds = [e["cat"] for e in inside]
        assert kinds.count("attention") == kinds.count("gated_mlp") == LAYERS and kinds.count("lm_head") == 1
        assert kinds.count("rms_norm") == 2 * LAYERS + 1 and kinds[0] == "embed" and "rope" in kinds
        for a, b in zip(inside, inside[1:]):  # one thread: one after the other, within the step
            assert a["ts"] + a["dur"] <= b["ts"] + 0.002
        assert inside[-1]["ts"] + inside[-1]["dur"] <= s["ts"] + s["dur"] + 0.002
        read = sum(e["args"]["bytes"] for e in inside if e["cat"] in ("linear", "gated_mlp", "lm_head"))
        assert rows[0]["step_weight_bytes"] < read < 2 * rows[0]["step_weight_bytes"]  # and the rows that they multiply


def test_text_and_history(path, tmp_path):
    """Twice in the usual place: the second has a ratio to the first; another model has none."""
    env = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path / "none")}
    args = ["-p", "8", "-n", "2", "-r", "1", "-t", "1"]
    assert smelt("bench", "--history", env=env)[0] == b"no past runs\n"
    assert smelt_json("bench", "--history", env=env) == []
    tps = []
    for _ in range(2):
        out, err = smelt("bench", path, *args, "--trace", tmp_path / "t.json", env=env)
        text = out.decode()
        assert err == ""
        line = dict(re.findall(r"^\| (pp8|tg2) \| ([\d.]+) \|", text, re.M))
        assert set(line) == {"pp8", "tg2"}
        tps.append({k: float(v) for k, v in line.items()})
        for part in ("- machine: ", "- limits", "- model: ", "m.gguf", "q8_0", "backend cpu, 1 threads", "- load: ", "- memory: "):
            assert part in text
        for phase in re.findall(r"\n((?:pp8|tg1): [\d.]+ ms in 1 step\n\n.*?)(?=\n\n|\Z)", text, re.S):
            total = float(re.search(r": ([\d.]+) ms", phase)[1])
            parts = [float(x) for x in re.findall(r"\| ([\d.]+) \| [\d.]+ % \|", phase)]
            assert len(parts) > 8 and sum(parts) == pytest.approx(total, rel=0.01, abs=0.01)
    smelt("bench", TINY, *args, env=env)
    assert oct((tmp_path / "smelt").stat().st_mode & 0o777) == "0o700"
    past = smelt_json("bench", "--history", env=env)
    assert [(p["file"], p["test"]) for p in past] == [("m.gguf", "pp8"), ("m.gguf", "tg2")] * 2 + [("tiny.gguf", "pp8"), ("tiny.gguf", "tg2")]
    assert ["ratio" in p for p in past] == [False, False, True, True, False, False]
    for p, run in zip(past[:4], (tps[0], tps[0], tps[1], tps[1])):
        assert p["tps"] == pytest.approx(run[p["test"]], abs=0.006)
    for i in (2, 3):
        assert past[i]["ratio"] == pytest.approx(past[i]["tps"] / past[i - 2]["tps"], rel=1e-6)
    assert len(smelt_json("bench", "--history", path, env=env)) == 4
    text = smelt("bench", "--history", "tiny.gguf", env=env)[0].decode().splitlines()
    assert len(text) == 4 and all(line.startswith("| ") for line in text[2:]) and "tg2" in text[3]
    smelt("bench", TINY, "-p", "0", "-n", "1", "-r", "1", "-t", "1", "--no-save", env=env)
    assert len(smelt_json("bench", "--history", env=env)) == 6


def test_a_name_with_markup(path, tmp_path):
    odd = tmp_path / 'a<b>&"c|d,e.gguf'
    os.symlink(path, odd)
    row, = smelt_json("bench", odd, "-p", "0", "-n", "1", "-r", "1", "-t", "1", "--backend", "ref", "--csv", tmp_path / "x.csv",
                      "--svg", tmp_path / "x.svg", "--db", tmp_path / "x.db")
    assert row["file"] == odd.name and row["backend"] == "ref" and row["bound"] in ("memory", "f32")
    assert ET.parse(tmp_path / "x.svg").getroot() is not None
    assert next(csv.DictReader(open(tmp_path / "x.csv", newline="")))["file"] == odd.name
    assert smelt_json("bench", "--history", odd, "--db", tmp_path / "x.db")[0]["file"] == odd.name


def bad_databases(d):
    text = d / "text.db"
    text.write_text("these are notes, and not a database\n" * 40)
    foreign = d / "foreign.db"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE songs(name TEXT)")
    db.commit()
    later = d / "later.db"
    db = sqlite3.connect(later)
    db.executescript("CREATE TABLE runs(id); PRAGMA application_id=1397574722; PRAGMA user_version=99;")
    broken = d / "broken.db"
    smelt("bench", TINY, "-p", "0", "-n", "1", "-r", "1", "-t", "1", "--db", broken)
    data = bytearray(broken.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    broken.write_bytes(data)
    return [(text, 3, "not a database"), (foreign, 3, "something else"), (later, 4, "99"), (broken, 3, "malformed"),
            (d / "none" / "x.db", 3, "unable to open")]


def test_a_database_that_cannot_be_used_stops_no_result(path, tmp_path):
    for file, rc, says in bad_databases(tmp_path):
        before = file.read_bytes() if file.exists() else None
        out, err = smelt("bench", TINY, "-p", "0", "-n", "1", "-r", "1", "-t", "1", "--db", file, "--json", rc=rc)
        assert json.loads(out)[0]["test"] == "tg1"
        assert file.name in err and says in err and "--db" in err, err
        assert (file.read_bytes() if file.exists() else None) == before
        _, err = smelt("bench", "--history", "--db", file, rc=3 if before is None else rc)
        assert file.name in err
    # In the usual place it is only said.
    usual = tmp_path / "state" / "smelt"
    usual.mkdir(parents=True)
    (usual / "bench.db").write_text("no database")
    out, err = smelt("bench", TINY, "-p", "0", "-n", "1", "-r", "1", "-t", "1", env={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert b"| tg1 |" in out and "not kept" in err and "bench.db" in err


def test_wrong_wishes(path, tmp_path):
    for args, part in [(["-p", "5x"], "--n-prompt"), (["-p", ""], "--n-prompt"), (["-n", "4,,5"], "--n-gen"),
                       (["-n", "-4"], "--n-gen"), (["-d", "99999999"], "--n-depth"), (["-b", "0"], "--sequences"),
                       (["-p", "1," * 40 + "1"], "at most 32"), (["-p", "0", "-n", "0"], "nothing"), (["-r", "0"], "--repetitions"),
                       (["--history", "-p", "4"], "--history"), (["--db", "x", "--no-save"], "--no-save")]:
        _, err = smelt("bench", path, *args, rc=2)
        assert part in err, err
    out, err = smelt("bench", path, "-d", "3000", "-n", "5", "-c", "256", rc=5)
    assert out == b"" and "3512" in err and "256" in err and "pp512@d3000" in err
    _, err = smelt("bench", path, "-d", "3000", "-n", "5", rc=5)  # the model holds 2048
    assert "3512" in err and "2048" in err
    for option in ("--csv", "--svg", "--trace"):
        _, err = smelt("bench", path, option, tmp_path / "none" / "x", rc=3)
        assert str(tmp_path / "none") in err
    assert "ref" in smelt("bench", path, "--backend", "ref", "--trace", tmp_path / "x", rc=4)[1]
    assert "no such file" in smelt("bench", "/no/such.gguf", rc=3)[1]
    assert os.listdir(tmp_path) == []


def test_ctrl_c_stops(path, tmp_path):
    p = subprocess.Popen([SMELT, "bench", path, "-p", "1000", "-n", "1000", "-r", "1000", "-t", "1", "--csv", str(tmp_path / "x.csv"),
                          "--db", str(tmp_path / "x.db")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=60)
    assert p.returncode == 130 and out == b"" and not (tmp_path / "x.csv").exists()


def test_without_sqlite(path, tmp_path):
    """The program as it is where the library is absent: it measures and says that it keeps nothing."""
    program = os.path.join(os.path.dirname(SMELT), "tests", "tools", "smelt_no_sqlite")
    if not os.path.exists(program):
        pytest.skip("not built")
    run = lambda *a: subprocess.run([program, "bench", *map(str, a)], capture_output=True, text=True,
                                    env={**os.environ, "XDG_STATE_HOME": str(tmp_path)})
    args = ["-p", "0", "-n", "1", "-r", "1", "-t", "1"]
    p = run(TINY, *args)
    assert p.returncode == 0 and "| tg1 |" in p.stdout and p.stderr == ""
    p = run(TINY, *args, "--db", tmp_path / "x.db")
    assert p.returncode == 4 and "| tg1 |" in p.stdout and "without SQLite" in p.stderr
    p = run("--history")
    assert p.returncode == 4 and p.stdout == "" and "without SQLite" in p.stderr
    p = subprocess.run([program, "doctor", "--quick", "--json"], capture_output=True, text=True)
    assert "sqlite3" in {g["name"] for g in json.loads(p.stdout)["missing"]} and "sqlite3" not in json.loads(p.stdout)["libraries"]
    assert os.listdir(tmp_path) == []
