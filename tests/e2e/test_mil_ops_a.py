# SPDX-License-Identifier: MIT
"""MIL ops one by one in `ref`, all of those that coremltools knows: elementwise, reductions, products, moves, lists, recurrent and random ops, compression, control
flow, each through a package of coremltools' Builder against coremltools' own value or a definition in numpy.
tests/tools/mil_harness.py says how; the tables of cases are in mil_cases_*.py beside it."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import mil_cases_elem  # noqa: E402
import mil_cases_move  # noqa: E402
import mil_cases_seq  # noqa: E402
import test_mil_ops_b  # noqa: E402
from mil_harness import ops_def, registered, round_trip, run_cases, slots_of  # noqa: E402

TABLES = {"elem": mil_cases_elem, "move": mil_cases_move, "seq": mil_cases_seq}


@pytest.mark.parametrize("table", TABLES)
def test_ops(table):
    failed, figures = run_cases(TABLES[table].cases())
    print(figures)
    assert not failed, f"{len(failed)} failed\n" + "\n".join(f"{n}: {t}" for n, t in failed)


@pytest.mark.parametrize("table", TABLES)
def test_rewritten(table):
    """Read and written by us, packages of the same ops load in coremltools and give the same outputs."""
    failed, n = round_trip(TABLES[table].cases())
    print(f"{n} forms")
    assert not failed, f"{len(failed)} failed\n" + "\n".join(f"{k}: {t}" for k, t in failed)


NO_OPS = {"const": "a constant is a value of the graph", "_const_symbolic": "coremltools' own, never in a file",
          "classify": "labels and dictionaries are no tensors: the reader carries the probabilities (test_classifier)"}
OTHERWISE = {"write_state": "test_states_in_blocks; coremltools calls it coreml_update_state",
             "read_state": "test_states_in_blocks"}
FIRST = 6  # specification of iOS15


def test_every_op():
    """coremltools' registry, ops.def and the tables of cases name the same ops, from the same versions on."""
    rows, known = ops_def(), registered()
    mil = {k: v for k, v in rows.items() if v > 0}
    missing = sorted(set(known) - set(mil) - set(NO_OPS))
    assert not missing, f"not in ops.def: {missing}"
    assert sorted(set(mil) - set(known)) == ["write_state"]
    since = {k: (v, max(FIRST, min(known[k]))) for k, v in mil.items() if k in known and v != max(FIRST, min(known[k]))}
    assert not since, f"(ops.def, coremltools): {since}"
    cases = [c for m in TABLES.values() for c in m.cases()]
    cases += [c for k, f in vars(test_mil_ops_b).items() if k.endswith("_cases") and k != "run_cases" for c in f()]
    untested = sorted(set(mil) - {c.op for c in cases} - set(OTHERWISE))
    assert not untested, f"no case: {untested}"
    print(f"{len(mil)} ops of {len(known)} registered, {len(cases)} cases")


def test_every_slot():
    """The parameters of every version of every op, and the version that brought them."""
    wrong = []
    for op, versions in slots_of().items():
        for version, (row, names) in versions.items():
            if row is None:
                continue
            here = {k for k, since in row.items() if since <= version}
            if names - here:
                wrong.append(f"{op}@{version} lacks {sorted(names - here)}")
            early = {k for k in here - names if row[k] == version}
            if early:
                wrong.append(f"{op}@{version} has {sorted(early)}, which coremltools has not")
    assert not wrong, "\n".join(wrong)
