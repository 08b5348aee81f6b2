# SPDX-License-Identifier: MIT
"""What is said to wrong inputs, word for word (tests/golden/errors.txt), and that all of it says what to do next."""
import difflib
import os
import re
import sys

from smelt_cli import ROOT, SMELT

sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
os.environ.setdefault("SMELT", SMELT)
import make_errors  # noqa: E402


def without_lists(text):
    """Lists of what is supported grow."""
    return re.sub(r"(supported|wanted|there are)(:? )[\w-]+(, [\w-]+)+", r"\1\2LIST", text)


def test_error_texts():
    rows, left = make_errors.transcript()
    want = without_lists(open(make_errors.GOLDEN).read())
    got = without_lists(make_errors.as_text(rows))
    assert got == want, "make_errors.py --write makes it again:\n" + "\n".join(
        difflib.unified_diff(want.splitlines(), got.splitlines(), "errors.txt", "now", lineterm=""))
    assert left == sorted(["tiny.gguf", "empty.gguf", "text.gguf", "cut.gguf", "mamba.gguf", "notokenizer.gguf", "latin1.txt",
                           "prompt.txt", "long.txt", "folder", "empty.mlpackage"])
    for args, rc, out, err in rows:
        lines = err.splitlines()
        assert rc in (2, 3, 4, 5) and out == "", args
        assert len(lines) == 2 and all(line.startswith("smelt: ") for line in lines), (args, err)
        assert re.search(r"smelt |-\w|\.gguf|famil|checkpoint|text|supported|fetch", lines[1]), (args, lines[1])  # names what to type
    print(f"\n{len(rows)} messages, each with cause and next step")
