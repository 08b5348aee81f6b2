# SPDX-License-Identifier: MIT
"""What `make install` gives: a tree under DESTDIR from which the example is built outside of this one, as C and as C++,
against the shared library and the static one, and runs as the program does; and the library's symbols are smelt.h's."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from smelt_cli import ROOT, SMELT, model

BUILD = pathlib.Path(SMELT).resolve().parent
HEADER = pathlib.Path(ROOT, "include", "smelt.h")
PROMPT = "Name the planets."


def sh(*args, **kw):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    assert p.returncode == 0, f"{args}\n{p.stdout}{p.stderr}"
    return p.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """DESTDIR after an installation, and an environment in which pkg-config and the loader know it."""
    root = tmp_path_factory.mktemp("destdir")
    sh("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root)
    pc, = root.rglob("smelt.pc")
    so, = root.rglob("libsmelt.so")
    env = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(root),
           "LD_LIBRARY_PATH": str(so.parent)}
    return root, env


def api():
    """Functions that the header declares."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"\b(smelt_\w+)\(", text))


def test_files(tree):
    root, _ = tree
    names = {str(p.relative_to(root)).split("/", 1)[1] for p in root.rglob("*") if not p.is_dir()}
    for want in (r".*bin/smelt", r".*include/smelt\.h", r".*lib.*/libsmelt\.a", r".*lib.*/libsmelt\.so",
                 r".*lib.*/libsmelt\.so\.\d+", r".*/pkgconfig/smelt\.pc"):
        assert any(re.fullmatch(want, n) for n in names), (want, names)
    assert not any("cmocka" in n or "test" in n for n in names), names
    (exe,) = root.rglob("bin/smelt")
    assert "smelt" in sh(exe, "--version")


def test_the_shared_library_exports_the_header_and_nothing_else(tree):
    root, _ = tree
    so, = root.rglob("libsmelt.so")
    names = {line.split()[-1] for line in sh("nm", "-D", "--defined-only", so).splitlines()}
    assert names == api() and len(names) > 20, names ^ api()


def test_the_static_library_defines_the_header(tree):
    root, _ = tree
    a, = root.rglob("libsmelt.a")
    names = {line.split()[-1] for line in sh("nm", "--defined-only", "-g", a).splitlines() if " T " in line}
    assert api() <= names, api() - names


@pytest.mark.parametrize("compiler, suffix, flags", [("cc", "c", ["-std=c11"]), ("c++", "cpp", ["-std=c++11"])])
@pytest.mark.parametrize("static", [False, True])
def test_the_example(tree, tmp_path, compiler, suffix, flags, static):
    root, env = tree
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    source = tmp_path / f"complete.{suffix}"
    shutil.copy(os.path.join(ROOT, "examples", "complete.c"), source)
    words = sh("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "smelt", env=env).split()
    if static:
        a, = root.rglob("libsmelt.a")
        words = [str(a) if w == "-lsmelt" else w for w in words]
    sh(compiler, "-Wall", "-Wextra", "-Werror", *flags, source, "-o", tmp_path / "complete", *words, env=env)
    needed = sh("readelf", "-d", tmp_path / "complete")
    assert ("libsmelt" in needed) != static
    if suffix == "cpp" and static:
        return  # linked, as the others were run
    said = sh(tmp_path / "complete", model("smollm2"), PROMPT, env=env)
    assert said == sh(SMELT, "run", "-q", model("smollm2"), "--temp", "0", "-n", "200", "-p", PROMPT)
    assert "Jupiter" in said
    bad = subprocess.run([tmp_path / "complete", "nothing.gguf", PROMPT], capture_output=True, text=True, env=env)
    assert bad.returncode == 3 and "nothing.gguf" in bad.stderr


def test_uninstall(tree):
    """Runs last: what was put there goes again."""
    root, _ = tree
    sh("make", "-C", ROOT, f"BUILD={BUILD}", "uninstall")
    left = [p for p in root.rglob("*") if not p.is_dir()]
    assert not left, left
