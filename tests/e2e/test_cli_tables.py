# SPDX-License-Identifier: MIT
"""What is made from the commands' tables: completions in real shells, manual pages, JSON of the help, settings."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import time

import gguf
import pytest

from smelt_cli import ROOT, SMELT, make_model, smelt, smelt_json

COMMANDS = [c["name"] for c in json.loads(subprocess.run([SMELT, "help", "--json"], capture_output=True).stdout)["commands"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place with files to complete: two models, a text, arrays, a folder."""
    d = tmp_path_factory.mktemp("complete")
    for name in ("model.gguf", "notes.txt", "step.npz"):
        (d / name).write_text("")
    (d / "Other.mlpackage").mkdir()
    for shell in ("bash", "zsh", "fish"):
        (d / f".{shell}").write_bytes(smelt("completions", shell)[0])
    return d


# words typed so far (the last one unfinished) -> what must be offered, what must not
CASES = [
    (["smelt", "conv"], {"convert"}, {"run"}),
    (["smelt", "run", "--ba"], {"--backend"}, {"--temp"}),
    (["smelt", "run", "x.gguf", "--backend", ""], {"cpu", "ref", "auto"}, {"model.gguf"}),
    (["smelt", "convert", "--kv", "s"], {"state"}, {"io"}),
    (["smelt", "convert", "--quant", "in"], {"int4", "int8"}, {"keep"}),
    (["smelt", "inspect", "mo"], {"model.gguf"}, {"notes.txt"}),
    (["smelt", "predict", "Oth"], {"Other.mlpackage"}, {"model.gguf"}),
    (["smelt", "predict", "--in", "s"], {"step.npz"}, {"notes.txt"}),
    (["smelt", "run", "--file", "no"], {"notes.txt"}, {"model.gguf"}),
    (["smelt", "run", "-f", "no"], {"notes.txt"}, {"model.gguf"}),
    (["smelt", "help", "tok"], {"tokenize"}, {"run"}),
    (["smelt", "completions", ""], {"bash", "zsh", "fish"}, {"model.gguf"}),
]


def bash_offers(words, folder, shell="bash"):
    script = """source .bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _smelt; printf '%s\\n' "${COMPREPLY[@]}" """
    p = subprocess.run([shell, "--norc", "-c", script, "bash", *words], cwd=folder, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return set(filter(None, (w.rstrip("/") for w in p.stdout.split("\n"))))


@pytest.mark.parametrize("words, offered, others", CASES, ids=lambda c: " ".join(c[1:]) if isinstance(c, list) else "")
def test_bash(folder, words, offered, others):
    got = bash_offers(words, folder)
    assert offered <= got and not others & got


def test_bash_value_behind_equals(folder):
    assert bash_offers(["smelt", "convert", "--kv", "=", "s"], folder) == {"state"}
    assert bash_offers(["smelt", "convert", "--kv", "="], folder) == {"state", "io", "none"}
    assert bash_offers(["smelt", "run", "m.gguf", "--prompt", ""], folder) == set()  # any text: nothing to offer
    assert bash_offers(["smelt", "tokenize", "m.gguf", "-p", "mo"], folder) == set()


def test_bash_offers_every_option_of_every_command(folder):
    for c in COMMANDS:
        options = {o["name"] for o in smelt_json("help", c)["options"]}
        assert bash_offers(["smelt", c, "--"], folder) == options and "--json" in options


@pytest.mark.parametrize("words, offered, others", CASES, ids=lambda c: " ".join(c[1:]) if isinstance(c, list) else "")
@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish(folder, words, offered, others):
    line = " ".join(w or "" for w in words)
    p = subprocess.run(["fish", "--no-config", "-c", f"source .fish; complete -C {json.dumps(line)}"], cwd=folder,
                       capture_output=True, text=True, env={**os.environ, "HOME": str(folder)})
    assert p.returncode == 0, p.stderr
    got = [w.split("\t")[0].rstrip("/") for w in p.stdout.splitlines()]
    assert offered <= set(got)
    if any("." in w for w in offered):  # fish puts files with other endings behind
        assert set(got[:len(offered)]) == offered
    else:
        assert not others & set(got)


class Zsh:
    """An interactive zsh in a terminal: keys in, the edited line out (a widget on ^X writes it to a file)."""

    def __init__(self, folder):
        self.line = folder / ".line"
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", HOME=str(folder), ZDOTDIR=str(folder))
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.keys("autoload -U compinit; compinit -u -D; source .zsh; unsetopt LIST_BEEP; zstyle ':completion:*' menu no\n"
                  "dump() { print -r -- $BUFFER > .line; BUFFER=; }; zle -N dump; bindkey '^X' dump; print READY >.line\n")
        assert self.wait() == "READY"

    def keys(self, text):
        os.write(self.fd, text.encode())

    def wait(self):
        end = time.time() + 20
        while time.time() < end:
            if select.select([self.fd], [], [], 0.02)[0]:
                os.read(self.fd, 65536)
            if self.line.exists() and self.line.read_text().endswith("\n"):
                text = self.line.read_text().rstrip("\n")
                self.line.unlink()
                return text
        raise AssertionError("zsh did not answer")

    def complete(self, text):
        self.keys(text + "\t")
        self.keys("\x18")
        return self.wait()

    def close(self):
        self.keys("\x03exit\n")
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh(folder):
    z = Zsh(folder)
    try:
        for typed, wanted in [("smelt conv", "smelt convert "), ("smelt run --back", "smelt run --backend="),
                              ("smelt convert --kv st", "smelt convert --kv state "),
                              ("smelt convert --kv=st", "smelt convert --kv=state "),
                              ("smelt inspect mo", "smelt inspect model.gguf "),
                              ("smelt predict --in st", "smelt predict --in step.npz "),
                              ("smelt run -f no", "smelt run -f notes.txt "), ("smelt help tok", "smelt help tokenize "),
                              ("smelt completions b", "smelt completions bash ")]:
            assert z.complete(typed).rstrip() == wanted.rstrip(), typed
    finally:
        z.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_parse(folder, shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    p = subprocess.run([shell, "-n", f".{shell}"], cwd=folder, capture_output=True, text=True)
    assert p.returncode == 0 and p.stderr == ""
    assert smelt_json("completions", shell) == {"shell": shell, "script": (folder / f".{shell}").read_text()}


def test_unknown_shell():
    assert "wanted bash, zsh or fish" in smelt("completions", "tcsh", rc=2)[1]


# ------------------------------------------------------------------ manual pages
@pytest.mark.parametrize("page", [""] + COMMANDS)
def test_man_pages(page):
    out = smelt("help", "--man", *filter(None, [page]))[0]
    assert b"\n.Dt SMELT" in out
    if not shutil.which("mandoc"):
        pytest.skip("no mandoc here")
    lint = subprocess.run(["mandoc", "-Tlint"], input=out, capture_output=True, text=False).stdout.decode()
    # references between pages that are not installed, and words of 80 letters, are nobody's fault
    faults = [f for f in lint.splitlines() if "referenced manual not found" not in f]
    assert faults == []
    text = subprocess.run(["mandoc", "-Tutf8", "-Owidth=200"], input=out, capture_output=True).stdout.decode()
    text = " ".join(re.sub(".\b", "", text).split())
    for o in smelt_json("help", page)["options"] if page else []:
        assert o["name"] in text and " ".join(o["help"].split()) in text
    if not page:
        assert all(f"smelt-{c}(1)" in text for c in COMMANDS) and "SMELT_DEBUG" in text


def test_pages_and_completions_are_installed(tmp_path):
    (tmp_path / "build/meson-logs").mkdir(parents=True)
    env = {**os.environ, "MESON_INSTALL_DESTDIR_PREFIX": str(tmp_path), "MESON_BUILD_ROOT": str(tmp_path / "build")}
    subprocess.run([os.path.join(ROOT, "man", "install.sh"), os.path.abspath(SMELT), "share/man", "share"], check=True, env=env)
    pages = tmp_path / "share/man/man1"
    assert sorted(p.name for p in pages.iterdir()) == sorted(["smelt.1", *(f"smelt-{c}.1" for c in COMMANDS)])
    for c in COMMANDS:
        assert (pages / f"smelt-{c}.1").read_bytes() == smelt("help", "--man", c)[0]
    for shell, path in [("bash", "bash-completion/completions/smelt"), ("zsh", "zsh/site-functions/_smelt"),
                        ("fish", "fish/vendor_completions.d/smelt.fish")]:
        assert (tmp_path / "share" / path).read_bytes() == smelt("completions", shell)[0]
    listed = (tmp_path / "build/meson-logs/pages.txt").read_text().split("\n")[:-1]  # what make uninstall removes
    assert sorted(listed) == sorted(str(p) for p in (tmp_path / "share").rglob("*") if p.is_file())


# ------------------------------------------------------------------ help, settings
def test_help_as_json():
    j = smelt_json("help")
    assert j["version"] in smelt("--version")[0].decode() and json.loads(smelt("--version", "--json")[0]) == {"version": j["version"]}
    for c in j["commands"]:
        assert c == smelt_json("help", c["name"])
        text = smelt("help", c["name"])[0].decode()
        assert all(o["name"] in text for o in c["options"])
        names = [o["name"] for o in c["options"]]
        assert len(set(names)) == len(names) and {"--json", "--threads", "--ctx", "--help"} <= set(names)


def test_strangers_in_the_environment():
    def warnings(**env):
        return [w for w in smelt("knobs", env=env)[1].splitlines() if "environment" in w]

    assert warnings() == []
    assert warnings(SMELT_DEBGU="1") == ["smelt: environment: SMELT_DEBGU is no setting of smelt; did you mean SMELT_DEBUG?"]
    assert "smelt knobs" in warnings(SMELT_PARALLELISM="1")[0]
    assert len(warnings(SMELT_DEBGU="1", SMELT_FOO="2")) == 2
    assert smelt("knobs", "-q", env={"SMELT_DEBGU": "1"})[1] == ""


def test_knobs_say_value_and_default():
    rows = {k["name"]: k for k in smelt_json("knobs", env={"SMELT_KV_PAGE": "32"})}
    assert rows["SMELT_KV_PAGE"]["value"] == "32" and rows["SMELT_KV_PAGE"]["default"] == "64"
    with open(os.path.join(ROOT, "src", "base", "knobs.def")) as f:
        assert list(rows) == re.findall(r'^KNOB\(\w+, "(\w+)"', f.read(), re.M)
    assert b"(default: 64)" in smelt("knobs")[0]


# ------------------------------------------------------------------ --json where it was missing
def test_predict_says_what_it_wrote(tmp_path):
    fixture = os.path.join(ROOT, "tests", "fixtures", "llama_kvio_ios17_lut", "llama_kvio_ios17_lut.mlpackage")
    out = tmp_path / "out"
    assert "no.npz" in smelt("predict", fixture, "--in", tmp_path / "no.npz", "--out", out, rc=3)[1]
    assert not out.exists()  # nothing was computed: no folder
    out.mkdir()
    smelt("predict", fixture, "--in", tmp_path / "no.npz", "--out", out, rc=3)
    assert out.exists()  # it was there before


def test_convert_reports_both_errors(tmp_path):
    source = make_model(tmp_path / "m.gguf", "--type", "q4_k")
    for t in smelt_json("convert", source, tmp_path / "m.mlpackage", "-c", "32")["tensors"]:
        assert {"nmse", "nmse_fp16", "max_error", "max_error_fp16"} <= set(t)
        assert t["nmse_fp16"] >= 0.99 * t["nmse"]


def test_convert_names_the_files_tensors(tmp_path):
    """A head in pieces: each says which rows of which tensor of the file it is, and what the package calls it."""
    source = make_model(tmp_path / "m.gguf", "--layers", 1, "--width", 64, "--ff", 64, "--vocab", 40000)
    args = ("convert", source, tmp_path / "m.mlpackage", "-c", "32", "--units", "cpuAndNeuralEngine")
    tensors = smelt_json(*args)["tensors"]
    assert {t["name"] for t in tensors} == {t.name for t in gguf.GGUFReader(source).tensors}
    assert len({t["constant"] for t in tensors}) == len(tensors)
    rows = sorted(tuple(t["rows"]) for t in tensors if "rows" in t and t["name"] == "token_embd.weight")
    assert len(rows) >= 3 and rows[0][0] == 0 and rows[-1][1] == 40000
    assert all(a[1] == b[0] for a, b in zip(rows, rows[1:]))
    assert not any("rows" in t for t in tensors if t["name"] != "token_embd.weight")
    told = smelt(*args, "-v")[1]
    assert all(f"token_embd.weight, rows {a} to {b - 1}" in told for a, b in rows)


@pytest.mark.parametrize("args, scaled, in_blocks, words", [
    (["--quant", "auto", "--block", "64"], 8, 0, "--block 64: without effect on 8 of 8 tensors with scales"),
    (["--quant", "int8", "--block", "64"], 8, 8, None),
    (["--quant", "int8", "--block", "channel"], 8, 8, None),
    (["--quant", "none", "--block", "64"], 0, 0, "--block 64: without effect, no tensor has scales"),
])
def test_convert_says_where_blocks_are_not_as_asked(tmp_path, args, scaled, in_blocks, words):
    source = make_model(tmp_path / "m.gguf", "--layers", 1)
    args = ("convert", source, tmp_path / "m.mlpackage", "-c", "32", *args)
    j = smelt_json(*args)
    assert (j["scaled"], j["in_blocks"]) == (scaled, in_blocks)
    text = smelt(*args)[0].decode()
    assert words in text if words else "--block" not in text


def test_run_names_the_missing_file_before_the_missing_prompt(tmp_path):
    absent = tmp_path / "no.gguf"
    assert f"{absent}: no such file" in smelt("run", absent, rc=3)[1]
    source = make_model(tmp_path / "m.gguf", "--layers", 1)
    assert "wanted a prompt, found 0 bytes" in smelt("run", source, rc=3)[1]
    assert "wants one: wanted one of them" in smelt("run", absent, "--raw", "--chat-template", "x", rc=2)[1]
