# SPDX-License-Identifier: MIT
"""Every weight of a package, decoded from what coremltools reads, against the package `gguf` decoding the source: the
errors are those that the conversion reported."""
import pathlib

import numpy as np
import pytest
from pkg_tools import (REAL, Errors, PackageTensor, alike, constants, converted, load_program, program_name, source,
                       source_tensors, tree)

SLAB = 1 << 20  # weights at a time


@pytest.mark.parametrize("name", REAL)
def test_every_weight_is_what_the_report_says(name):
    pkg, report = converted(name)
    consts = constants(load_program(pkg))
    told = {t["constant"]: t for t in report["tensors"]}
    checked = 0
    for src in source_tensors(source(name)):
        where = program_name(consts, src.name)
        got = PackageTensor(consts[where])
        assert got.shape == src.shape, src.name
        exact, rounded = Errors(), Errors()
        step = max(SLAB // src.shape[-1], 1) if len(src.shape) > 1 else src.shape[0]
        for lo in range(0, src.shape[0], step):
            want = src.rows(lo, lo + step)
            if ".post_" in src.name:  # norms of what is added to the residual stream
                want = want * np.float32(report["stream_scale"])
            product = got.product(lo, lo + step)
            half = product.astype(np.float16)
            exact.add(want, product)
            rounded.add(want, half)
            theirs = got.coremltools(lo, lo + step)
            if got.dense:
                assert np.array_equal(half, want.astype(np.float16)), src.name
            elif got.offset is None:  # one rounding, coremltools' as well
                assert theirs.dtype == np.float16 and np.array_equal(theirs, half), src.name
            else:  # coremltools rounds twice: code - offset, then the product
                limit = np.abs(product) * 2.0 ** -9.9 + 2.0 ** -24
                assert np.all(np.abs(theirs.astype(np.float32) - product) <= limit), src.name
        if where not in told:  # a small vector that shares the bytes of an equal one
            assert got.dense and exact.ref > 0 and len(src.shape) == 1, src.name
            continue
        t = told[where]
        checked += 1
        if t["how"] == "transcoded":
            assert exact.max == 0.0 == t["nmse"] == t["max_error"], src.name
        if not got.dense:  # a dense constant's error is its rounding alone
            assert alike(exact.nmse, t["nmse"]) and alike(exact.max, t["max_error"]), (src.name, exact.nmse, exact.max, t)
        assert alike(rounded.max, t["max_error_fp16"]), (src.name, rounded.max, t)
        if "nmse_fp16" in t:
            assert alike(rounded.nmse, t["nmse_fp16"]), (src.name, rounded.nmse, t)
    assert checked > 200


# One of each kind: rows that are taken out of their interleaving, a wide one, the largest.
THREE = ["blk.0.attn_q.weight", "blk.7.ffn_down.weight", "blk.29.ffn_up.weight"]


@pytest.mark.parametrize("quant, block, mode", [("int4", "32", "LINEAR_SYMMETRIC"), ("int8", "channel", "LINEAR_SYMMETRIC"),
                                                ("uint4", "channel", "LINEAR"), ("uint8", "64", "LINEAR")])
def test_new_codes_are_better_than_coremltools(quant, block, mode):
    """The form that was asked for, in the file; its error, as coremltools decodes it, below that of coremltools' own
    linear quantization of the same weights; and the report says so."""
    from coremltools.optimize._utils import compute_qparams_by_dtype, dequantize_by_scale_and_zp
    from coremltools.converters.mil.mil import types
    pkg, report = converted("smollm2", "--quant", quant, "--block", block)
    consts = constants(load_program(pkg))
    told = {t["constant"]: t for t in report["tensors"]}
    sources = {t.name: t for t in source_tensors(source("smollm2"))}
    matrices = [program_name(consts, n) for n, t in sources.items() if len(t.shape) == 2]
    assert len(matrices) == 211
    for m in matrices:
        op = consts[m]
        rows, cols = op.data.shape
        per = cols if block == "channel" else int(block)
        assert op.op_type == "constexpr_blockwise_shift_scale" and (op.offset is None) == (quant[0] == "i")
        assert op.scale.shape == (rows, cols // per) and np.all(op.scale.val >= 0)
        offset = "" if quant[0] == "i" else f", offset {quant}"
        assert told[m]["to"] == f"affine({quant}, fp16{offset}, [1, {per}])"
    for n in THREE:
        want = sources[n].all()
        t = told[program_name(consts, n)]
        per = want.shape[1] if block == "channel" else int(block)
        q, scale, zero = compute_qparams_by_dtype(want.astype(np.float16), types.string_to_builtin(quant), mode, [1, per])
        ours, theirs, product = Errors(), Errors(), Errors()
        theirs.add(want, dequantize_by_scale_and_zp(q, scale, zero))
        got = PackageTensor(consts[program_name(consts, n)])
        ours.add(want, got.coremltools(0, want.shape[0]))
        product.add(want, got.product(0, want.shape[0]))
        print(f"{n} {quant} {block}: {ours.nmse / theirs.nmse:.3f} of coremltools' error")
        assert t["how"] == "re-quantized"
        assert ours.nmse < theirs.nmse, (n, ours.nmse, theirs.nmse)
        assert alike(product.nmse, t["nmse"]) and alike(ours.max, t["max_error_fp16"]), (n, product.nmse, ours.max, t)


@pytest.mark.parametrize("quant, group", [("lut3", "32"), ("lut4", None), ("lut6", "8"), ("lut8", "0")])
def test_palettes_are_what_the_report_says(quant, group):
    """Codes and tables of the form that was asked for; what coremltools decodes from them has the reported errors."""
    pkg, report = converted("smollm2", "--quant", quant, *(["--group", group] if group else []))
    consts = constants(load_program(pkg))
    told = {t["constant"]: t for t in report["tensors"]}
    sources = {t.name: t for t in source_tensors(source("smollm2"))}
    for n, t in sources.items():
        if len(t.shape) != 2:
            continue
        op = consts[program_name(consts, n)]
        rows = {"0": t.shape[0], None: 16}.get(group) or int(group)
        assert op.op_type == "constexpr_lut_to_dense" and op.indices.shape == t.shape, n
        assert op.lut.shape == (t.shape[0] // rows, 1, 1 << int(quant[3:]), 1) and op.lut.val.dtype == np.float16
        assert told[program_name(consts, n)]["to"] == f"lut(uint{quant[3:]}, fp16, [{rows}, {t.shape[1]}])"
    for n in THREE:
        op, t, want = consts[program_name(consts, n)], told[program_name(consts, n)], sources[n].all()
        ours = Errors()
        ours.add(want, op.materialized_val_inference())
        assert t["how"] == "re-quantized"
        assert alike(ours.nmse, t["nmse"]) and alike(ours.max, t["max_error_fp16"]), (n, ours.nmse, ours.max, t)


def test_threads_do_not_change_a_byte():
    one, _ = converted("smollm2", "--quant", "lut4", "--group", "0", "-t", "1")
    three, _ = converted("smollm2", "--quant", "lut4", "--group", "0", "-t", "3")
    assert tree(one) == tree(three)
    one, _ = converted("smollm2", "--quant", "uint4", "--block", "channel", "-t", "1")
    three, _ = converted("smollm2", "--quant", "uint4", "--block", "channel", "-t", "3")
    one, three = pathlib.Path(one), pathlib.Path(three)
    files = [p.relative_to(one) for p in sorted(one.rglob("*")) if p.is_file()]
    assert len(files) >= 3
    for f in files:
        assert (one / f).read_bytes() == (three / f).read_bytes(), f


def test_no_quantization():
    """--quant none: dense fp16, the source's weights rounded once."""
    pkg, report = converted("smollm2", "--quant", "none")
    consts = constants(load_program(pkg))
    assert all(o.op_type == "const" for o in consts.values())
    assert report["widened"] >= 211 and report["kept"] == report["requantized"] == report["transcoded"] == 0
    for t in source_tensors(source("smollm2")):
        if t.name in THREE or t.name == "token_embd.weight":
            assert np.array_equal(consts[program_name(consts, t.name)].outputs[0].val, t.all().astype(np.float16)), t.name
