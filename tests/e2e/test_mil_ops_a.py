# SPDX-License-Identifier: MIT
"""MIL ops one by one in `ref`: elementwise, reductions, products, moves, lists, recurrent and random ops, compression, control
flow, each through a package of coremltools' Builder against coremltools' own value or a definition in numpy.
tests/tools/mil_harness.py says how; the tables of cases are in mil_cases_*.py beside it."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import mil_cases_elem  # noqa: E402
import mil_cases_move  # noqa: E402
import mil_cases_seq  # noqa: E402
from mil_harness import run_cases  # noqa: E402

TABLES = {"elem": mil_cases_elem, "move": mil_cases_move, "seq": mil_cases_seq}


@pytest.mark.parametrize("table", TABLES)
def test_ops(table):
    failed, figures = run_cases(TABLES[table].cases())
    print(figures)
    assert not failed, f"{len(failed)} failed\n" + "\n".join(f"{n}: {t}" for n, t in failed)
