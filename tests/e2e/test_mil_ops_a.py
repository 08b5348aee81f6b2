# SPDX-License-Identifier: MIT
"""MIL ops one by one in `ref`, all of those that coremltools knows: elementwise, reductions, products, moves, lists, recurrent and random ops, compression, control
flow, each through a package of coremltools' Builder against coremltools' own value or a definition in numpy.
tests/tools/mil_harness.py says how; the tables of cases are in mil_cases_*.py beside it."""
import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import mil_cases_elem  # noqa: E402
import mil_cases_move  # noqa: E402
import mil_cases_seq  # noqa: E402
import test_mil_ops_b  # noqa: E402
from mil_harness import (Function, Program, TARGET, mb, ops_def, predict, registered, round_trip, run_cases,  # noqa: E402
                         slots_of, types, write_package)

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
          "classify": "labels and dictionaries are no tensors: the reader carries the probabilities (test_anyone.py)"}
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


# ------------------------------------------------------------------ programs of more than one op
def package(inputs, build, folder, opset=9):
    """inputs: {name: (shape, type)}, a type of None: a state of fp16."""
    specs = {k: mb.state_tensor_placeholder(s, types.fp16) if t is None else mb.placeholder(s, dtype=t, allow_rank0_input=True)
             for k, (s, t) in inputs.items()}
    prog = Program()
    with Function(specs, opset_version=TARGET[opset]) as func:
        out = build(**func.inputs)
        func.set_outputs(list(out) if isinstance(out, (list, tuple)) else [out])
    prog.add_function("main", func)
    return write_package(prog, opset, folder)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_states_in_blocks(steps, tmp_path):
    """A state written in a loop and in a branch inside it, read behind the loop."""
    def build(s, n):
        def write(i):
            value = mb.add(x=mb.read_state(input=s), y=np.float16(1))
            return mb.coreml_update_state(state=s, value=value)

        def body(i):
            even = mb.equal(x=mb.mod(x=i, y=2), y=0)
            seen = mb.cond(pred=even, _true_fn=lambda: write(i), _false_fn=lambda: mb.read_state(input=s))
            return mb.add(x=i, y=mb.cast(x=mb.greater(x=mb.reduce_sum(x=seen), y=np.float16(-1)), dtype="int32"))
        turns = mb.while_loop(_cond=lambda i: mb.less(x=i, y=n), _body=body, loop_vars=(np.int32(0),))
        turns = turns[0] if isinstance(turns, (list, tuple)) else turns
        return mb.add(x=mb.cast(x=mb.read_state(input=s), dtype="fp32"), y=mb.cast(x=turns, dtype="fp32"))
    pkg = package({"s": ((2,), None), "n": ((), types.int32)}, build, tmp_path)
    out, err = predict(pkg, {"n": np.array(steps, np.int32)})
    assert not err
    (got,) = out.values()
    assert got.tolist() == [(steps + 1) // 2 + steps] * 2


REFUSED = {  # what only shows at run time: build over x [3, 4] and i [3], a value of i, the op named
    "gather": (lambda x, i: mb.gather(x=x, indices=i), [0, 3, 0], "gather"),
    "gather far": (lambda x, i: mb.gather(x=x, indices=i), [0, -2**31, 0], "gather"),
    "gather validated": (lambda x, i: mb.gather(x=x, indices=i, validate_indices=True), [0, -1, 0], "gather"),
    "scatter": (lambda x, i: mb.scatter(data=x, indices=i, updates=x), [0, 1, 2**31 - 1], "scatter"),
    "scatter_along_axis": (lambda x, i: mb.scatter_along_axis(data=i, indices=i, updates=i), [0, 7, 0], "scatter_along_axis"),
    "reverse_sequence": (lambda x, i: mb.reverse_sequence(x=x, lengths=i, seq_axis=1, batch_axis=0), [0, 5, 0],
                         "reverse_sequence"),
    "list_read": (lambda x, i: mb.list_read(ls=mb.make_list(init_length=2, elem_shape=(4,)), index=first(i)), [2, 0, 0],
                  "list_read"),
    "list_write before": (lambda x, i: mb.list_length(ls=mb.list_write(ls=mb.make_list(elem_shape=(3, 4)), index=first(i), value=x)),
                          [-1, 0, 0], "list_write"),
    "list_write fixed": (lambda x, i: mb.list_length(ls=mb.list_write(ls=mb.make_list(
        init_length=2, dynamic_length=False, elem_shape=(3, 4)), index=first(i), value=x)), [2, 0, 0], "list_write"),
    "list_gather": (lambda x, i: mb.list_gather(ls=mb.make_list(init_length=2, elem_shape=(4,)), indices=i), [0, 1, 2],
                    "list_gather"),
    "list_scatter": (lambda x, i: mb.list_length(ls=mb.list_scatter(ls=mb.make_list(elem_shape=(4,)), indices=i, value=x)),
                     [0, 2**31 - 1, 0], "list_scatter"),
    "make_list": (lambda x, i: mb.list_length(ls=mb.make_list(init_length=first(i), elem_shape=(2**20, 2**20, 2**20))),
                  [2**31 - 1, 0, 0], "make_list"),
    "make_list short": (lambda x, i: mb.list_length(ls=mb.make_list(init_length=first(i), elem_shape=(4,))), [-1, 0, 0], "make_list"),
    "random_uniform": (lambda x, i: mb.shape(x=mb.random_uniform(shape=i)), [2**31 - 1] * 3, "random_uniform"),
    "random_normal": (lambda x, i: mb.shape(x=mb.random_normal(shape=i)), [2, -1, 2], "random_normal"),
    "random_categorical": (lambda x, i: mb.random_categorical(x=mb.mul(x=x, y=np.float32(0)), mode="probs"), [0, 0, 0],
                           "random_categorical"),
    "slice_by_index": (lambda x, i: mb.slice_by_index(x=x, begin=mb.concat(values=(first(i), 0), axis=0), end=[3, 4],
                                            squeeze_mask=[True, False]), [3, 0, 0], "slice_by_index"),
}


def first(i):
    return mb.gather(x=i, indices=0, axis=0)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    """Values that no op may take end the call with 3, 4 or 5 and the op's name; the process holds nothing absurd."""
    build, value, op = REFUSED[name]
    pkg = package({"x": ((3, 4), types.fp32), "i": ((3,), types.int32)}, build, tmp_path)
    out, err = predict(pkg, {"x": np.ones((3, 4), np.float32), "i": np.array(value, np.int32)})
    assert out is None and f"'{op}'" in err, err
    assert err.split(":")[0] in ("exit 3", "exit 4", "exit 5"), err
