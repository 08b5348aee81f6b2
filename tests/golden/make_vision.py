#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes vision.npz: what PyTorch gives for functions that Core ML's ops are documented to equal.

    python make_vision.py       needs numpy and torch (made with 2.7.0, CPU); the same numbers come out every time

`cases` is JSON: [op, opset, parameters] in MIL's terms; arrays NNN.slot are the operands, NNN.out PyTorch's result."""
import itertools
import json
import os

import numpy as np
import torch
import torch.nn.functional as F

RNG = np.random.default_rng(5)
arrays, cases = {}, []


def f32(*shape, lo=-2.0, hi=2.0):
    return RNG.uniform(lo, hi, shape).astype(np.float32)


def case(op, opset, params, out, **operands):
    k = f"{len(cases):03d}."
    cases.append([op, opset, params])
    arrays.update({k + name: v for name, v in operands.items()})
    arrays[k + "out"] = out.numpy()


def t(x):
    return torch.from_numpy(x)


def twice(pad):
    return [v for p in pad for v in (p, p)]


# convolutions
for nd, conv, size, k, stride, pad, dilation, groups in [
        (1, F.conv1d, (9,), (3,), (2,), (1,), (2,), 1), (1, F.conv1d, (8,), (1,), (1,), (0,), (1,), 4),
        (2, F.conv2d, (7, 9), (3, 2), (2, 1), (1, 0), (1, 2), 2), (2, F.conv2d, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1), 4),
        (2, F.conv2d, (5, 7), (1, 1), (1, 1), (0, 0), (1, 1), 1), (3, F.conv3d, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2), 1)]:
    x, w, b = f32(2, 4, *size), f32(8, 4 // groups, *k), f32(8)
    case("conv", 6, dict(strides=list(stride), pad_type="custom", pad=twice(pad), dilations=list(dilation), groups=groups),
         conv(t(x), t(w), t(b), stride, pad, dilation, groups), x=x, weight=w, bias=b)
for conv, size, k, stride, pad, extra, dilation, groups in [
        (F.conv_transpose1d, (5,), (4,), (2,), (1,), (1,), (1,), 2), (F.conv_transpose2d, (4, 5), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
        (F.conv_transpose2d, (3, 4), (2, 3), (3, 1), (0, 1), (0, 0), (1, 2), 2),
        (F.conv_transpose3d, (3, 3, 2), (2, 3, 2), (2, 1, 2), (1, 0, 0), (0, 0, 1), (1, 2, 1), 1)]:
    x, w, b = f32(1, 4, *size), f32(4, 3, *k), f32(3 * groups)
    y = conv(t(x), t(w), t(b), stride, pad, extra, groups, dilation)
    case("conv_transpose", 6, dict(strides=list(stride), pad_type="custom", pad=twice(pad), dilations=list(dilation),
                                   groups=groups, output_shape=list(y.shape)), y, x=x, weight=w, bias=b)

# pools
for ceil, include, (k, stride, pad) in itertools.product((False, True), (False, True),
                                                        [((3, 2), (2, 2), (1, 1)), ((4, 3), (3, 2), (2, 1))]):
    x = f32(1, 2, 9, 10)
    case("avg_pool", 6, dict(kernel_sizes=list(k), strides=list(stride), pad_type="custom", pad=twice(pad), ceil_mode=ceil,
                             exclude_padding_from_average=not include),
         F.avg_pool2d(t(x), k, stride, pad, ceil, include), x=x)
    case("max_pool", 6, dict(kernel_sizes=list(k), strides=list(stride), pad_type="custom", pad=twice(pad), ceil_mode=ceil),
         F.max_pool2d(t(x), k, stride, pad, 1, ceil), x=x)
x = f32(1, 2, 5, 6, 7)
case("avg_pool", 6, dict(kernel_sizes=[2, 3, 2], strides=[2, 1, 3], pad_type="custom", pad=[1, 1, 0, 0, 1, 1]),
     F.avg_pool3d(t(x), (2, 3, 2), (2, 1, 3), (1, 0, 1)), x=x)

# norms
x, mean, var, g, b = f32(2, 5, 3, 4), f32(5), f32(5, lo=0.1), f32(5), f32(5)
case("batch_norm", 6, dict(epsilon=1e-5), F.batch_norm(t(x), t(mean), t(var), t(g), t(b)), x=x, mean=mean, variance=var, gamma=g,
     beta=b)
case("instance_norm", 6, dict(epsilon=1e-5), F.instance_norm(t(x), weight=t(g), bias=t(b)), x=x, gamma=g, beta=b)
case("layer_norm", 6, dict(axes=[-2, -1], epsilon=1e-5), F.layer_norm(t(x), (3, 4)), x=x)
for size in (2, 3, 5):
    case("local_response_norm", 6, dict(size=size, alpha=0.3, beta=0.75, k=1.5),
         F.local_response_norm(t(x), size, 0.3, 0.75, 1.5), x=x)

# resizing
x = f32(1, 2, 5, 6)
for h, w in ((10, 9), (3, 4), (5, 13)):
    case("resize_bilinear", 6, dict(target_size_height=h, target_size_width=w, sampling_mode="UNALIGN_CORNERS"),
         F.interpolate(t(x), (h, w), mode="bilinear", align_corners=False), x=x)
    case("resize_bilinear", 6, dict(target_size_height=h, target_size_width=w, sampling_mode="STRICT_ALIGN_CORNERS"),
         F.interpolate(t(x), (h, w), mode="bilinear", align_corners=True), x=x)
    case("resize_nearest_neighbor", 6, dict(target_size_height=h, target_size_width=w),
         F.interpolate(t(x), (h, w), mode="nearest-exact"), x=x)
for fh, fw in ((2, 3), (1, 2)):
    case("upsample_nearest_neighbor", 6, dict(scale_factor_height=fh, scale_factor_width=fw),
         F.interpolate(t(x), scale_factor=(fh, fw), mode="nearest"), x=x)
    for align in (True, False):
        case("upsample_bilinear", 6, dict(scale_factor_height=fh, scale_factor_width=fw, align_corners=align),
             F.interpolate(t(x), scale_factor=(fh, fw), mode="bilinear", align_corners=align), x=x)

# sampling: reflection about pixel centres is Core ML's reflection, about their edges its symmetric mode
at = f32(1, 4, 3, 2, lo=-2.5, hi=2.5)
for mode, (pad, align), name in itertools.product(
        ("bilinear", "nearest"), [("zeros", True), ("zeros", False), ("border", True), ("border", False), ("reflection", True),
                                  ("reflection", False)], [None]):
    name = {"zeros": "constant", "border": "border", "reflection": "reflection" if align else "symmetric"}[pad]
    case("resample", 6, dict(sampling_mode=mode, padding_mode=name, padding_value=0.0,
                             coordinates_mode="normalized_minus_one_to_one", align_corners=align),
         F.grid_sample(t(x), t(at), mode, pad, align), x=x, coordinates=at)
m = f32(1, 6, lo=-1, hi=1)
for h, w in ((4, 3), (6, 7)):
    grid = F.affine_grid(t(m).reshape(1, 2, 3), (1, 2, h, w), align_corners=True)
    case("affine", 6, dict(output_height=h, output_width=w, sampling_mode="bilinear", padding_mode="constant", padding_value=0.0,
                           coordinates_mode="normalized_minus_one_to_one", align_corners=True),
         F.grid_sample(t(x), grid, "bilinear", "zeros", True), x=x, transform_matrix=m)
x = f32(2, 8, 4, 6)
case("pixel_shuffle", 6, dict(upscale_factor=2), F.pixel_shuffle(t(x), 2), x=x)

out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vision.npz")
np.savez_compressed(out, cases=np.array(json.dumps(cases)), **arrays)
print(f"{len(cases)} cases, {os.path.getsize(out)} bytes, torch {torch.__version__}")
