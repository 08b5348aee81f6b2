/* SPDX-License-Identifier: MIT
 *
 * Inference, every op: statements as text, the type of y (or of y's symbolic elements) wanted, or an error.
 */
#include "graph/graph_int.h"
#include "sweep.h"

static const char *const head =
    "program(1.3) [symbols = string(\"n:1..64 kv:1..512 m:2..8\")] { func main<%s>("
    "tensor<fp16, [1, 4, n, 16]> q, tensor<fp16, [1, 4, kv, 16]> k, tensor<fp16, [2, 3]> x, tensor<fp32, [2, 3]> f,"
    "tensor<int32, [2, 3]> i, tensor<bool, [2, 3]> b, tensor<fp16, [n, 8]> a, tensor<fp32, [n, 8]> h, tensor<int32, "
    "[n]> ids,"
    "tensor<fp32, [n, 4, 8]> r, int32 s, tensor<int32, [3]> v, tensor<fp16, [m, kv]> mk, state<tensor<fp16, [4, kv]>> "
    "st,"
    "batch batch, bool p, tensor<fp16, [1, 8, n, 5]> im, tensor<fp32, [7]> seven) {"
    "tensor<int32, [4]> qs = shape(x = q); tensor<int32, [4]> ks = shape(x = k);"
    "int32 N = gather(x = qs, indices = int32(2)); int32 K = gather(x = ks, indices = int32(-2));"
    "int32 past = sub(x = K, y = N);";

/* Statements whose last result is y; its type, or a message.  '=' and elements behind the type: its symbolic value. */
typedef struct row {
    const char *code, *want;
} row;

static const row rows[] = {
    /* elementwise, one operand */
    {"tensor<fp16, [2, 3]> y = abs(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = acos(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = asin(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = atan(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = ceil(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = clip(x = x, alpha = -1, beta = fp16(1));", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = clip(x = x, alpha = -1);", "beta is missing"},
    {"tensor<fp16, [2, 3]> y = cos(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = erf(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = exp(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = exp(x = st);", "wanted a tensor"},
    {"tensor<fp16, [2, 3]> y = exp(x = batch);", "wanted a tensor"},
    {"tensor<fp16, [2, 3]> y = exp2(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = floor(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = gelu(x = x, mode = \"TANH_APPROXIMATION\");", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = identity(x = x);", "tensor<fp16, [2, 3]>"},
    {"int32 y = identity(x = past);", "int32 = kv - n"},
    {"tensor<fp16, [2, 3]> y = inverse(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = leaky_relu(x = x, alpha = 0.1);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = log(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<bool, [2, 3]> y = logical_not(x = b);", "tensor<bool, [2, 3]>"},
    {"bool y = logical_not(x = bool(true));", "bool = 0"},
    {"tensor<fp16, [2, 3]> y = logical_not(x = x);", "wanted bool"},
    {"tensor<int32, [2, 3]> y = relu(x = i);", "tensor<int32, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = round(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = rsqrt(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = sigmoid(x = x);", "tensor<fp16, [2, 3]>"},
    {"int32 y = sign(x = N);", "int32 = 1"},
    {"tensor<fp16, [2, 3]> y = silu(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = sin(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = softplus(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = sqrt(x = x);", "tensor<fp16, [2, 3]>"},
    {"int32 y = square(x = int32(-3));", "int32 = 9"},
    {"tensor<fp16, [2, 3]> y = tanh(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<int16, [4]> y = cast(x = qs, dtype = \"int16\");", "tensor<int16, [4]> = 1, 4, n, 16"},
    {"uint8 y = cast(x = int32(300), dtype = \"uint8\");", "uint8 = ?"},
    {"bool y = cast(x = N, dtype = \"bool\");", "bool = 1"},
    {"int32 y = cast(x = fp16(-2.5), dtype = \"int32\");", "int32 = -2"},
    {"tensor<fp32, [2, 3]> y = cast(x = x, dtype = \"fp32\");", "tensor<fp32, [2, 3]>"},
    {"tensor<fp32, [2, 3]> y = cast(x = x, dtype = \"fp33\");", "\"fp33\" is not a type"},
    /* elementwise, two operands */
    {"tensor<fp16, [1, 4, n, 16]> y = add(x = q, y = fp16(1));", "tensor<fp16, [1, 4, n, 16]>"},
    {"int32 y = add(x = past, y = N);", "int32 = kv"},
    {"tensor<fp16, [2, 3]> y = add(x = x, y = f);", "wanted fp16, the type of x 'x'"},
    {"tensor<fp16, [?, 8]> y = add(x = a, y = tensor<fp16, [3, 1]>(RANDOM(1)));", "tensor<fp16, [3, 8]>"},
    {"tensor<fp16, [?, 8]> y = add(x = a, y = tensor<fp16, [1, 8]>(RANDOM(1)));", "tensor<fp16, [n, 8]>"},
    {"tensor<fp16, [1, 4, ?, 16]> y = add(x = q, y = k);", "tensor<fp16, [1, 4, ?0, 16]>"},
    {"tensor<fp16, [?, ?]> t = slice_by_index(x = mk, begin = [0, 0], end = [0, 1], end_mask = [true, false]);"
     "tensor<fp16, [?, ?]> y = mul(x = mk, y = t);",
     "tensor<fp16, [m, kv]>"},
    {"tensor<fp16, [2, 8]> y = add(x = x, y = tensor<fp16, [2, 8]>(RANDOM(1)));", "extents 3 and 8 do not broadcast"},
    {"tensor<int32, [3]> y = sub(x = tensor<int32, [3]>([5, 6, 7]), y = int32(2));", "tensor<int32, [3]> = 3, 4, 5"},
    {"int32 y = mul(x = N, y = int32(3));", "int32 = 3n"},
    {"int32 t = mul(x = N, y = K); int32 y = floor_div(x = t, y = K);", "int32 = ?"},
    {"int32 t = mul(x = N, y = K); int32 u = mul(x = K, y = N); int32 y = sub(x = t, y = u);", "int32 = 0"},
    {"int32 y = real_div(x = int32(-7), y = int32(2));", "int32 = -3"},
    {"int32 t = mul(x = N, y = int32(6)); int32 y = real_div(x = t, y = int32(2));", "int32 = 3n"},
    {"tensor<fp16, [2, 3]> y = real_div(x = x, y = fp16(2));", "tensor<fp16, [2, 3]>"},
    {"int32 y = floor_div(x = int32(-7), y = int32(2));", "int32 = -4"},
    {"int32 y = floor_div(x = N, y = N);", "int32 = 1"},
    {"int32 y = floor_div(x = N, y = int32(0));", "int32 = ?"},
    {"int32 y = mod(x = int32(-7), y = int32(4));", "int32 = 1"},
    {"int32 y = maximum(x = N, y = int32(0));", "int32 = n"},
    {"int32 y = minimum(x = N, y = int32(1));", "int32 = 1"},
    {"int32 y = pow(x = int32(3), y = int32(4));", "int32 = 81"},
    {"tensor<fp16, [2, 3]> y = pow(x = x, y = fp32(2));", "tensor<fp16, [2, 3]>"},
    {"tensor<bool, [4]> y = equal(x = qs, y = int32(-1));", "tensor<bool, [4]> = 0, 0, 0, 0"},
    {"tensor<bool, [4]> y = not_equal(x = qs, y = ks);", "tensor<bool, [4]> = 0, 0, ?, 0"},
    {"bool y = less(x = N, y = int32(65));", "bool = 1"},
    {"bool y = less_equal(x = N, y = int32(0));", "bool = 0"},
    {"bool y = greater(x = N, y = int32(64));", "bool = 0"},
    {"bool y = greater_equal(x = N, y = int32(1));", "bool = 1"},
    {"bool y = greater_equal(x = N, y = int32(2));", "bool = ?"},
    {"bool y = logical_and(x = p, y = bool(false));", "bool = 0"},
    {"bool y = logical_or(x = p, y = bool(true));", "bool = 1"},
    {"bool y = logical_xor(x = bool(true), y = bool(true));", "bool = 0"},
    {"tensor<bool, [2, 3]> y = logical_and(x = i, y = i);", "wanted bool"},
    {"tensor<fp16, [2, 3]> y = select(cond = b, a = x, b = fp16(0));", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = select(cond = b, a = fp16(1), b = fp16(0));", "tensor<fp16, [2, 3]>"},
    {"int32 y = select(cond = bool(false), a = int32(1), b = N);", "int32 = n"},
    {"tensor<fp16, [2, 3]> y = select(cond = i, a = x, b = x);", "wanted bool"},
    /* windows and images */
    {"tensor<fp16, [1, 6, ?, 14]> y = conv_transpose(x = q, weight = tensor<fp16, [4, 3, 3, 3]>(RANDOM(1)), groups = "
     "2, "
     "strides = [2, 1], pad_type = \"custom\", pad = [0, 0, 2, 2]);",
     "tensor<fp16, [1, 6, 2n + 1, 14]>"},
    {"tensor<fp16, [1, 3, ?, 32]> y = conv_transpose(x = q, weight = tensor<fp16, [4, 3, 3, 3]>(RANDOM(1)), strides = "
     "[2, 2], "
     "pad_type = \"same\");",
     "tensor<fp16, [1, 3, 2n, 32]>"},
    {"tensor<fp16, [1, 3, 9, 20]> y = conv_transpose(x = q, weight = tensor<fp16, [4, 3, 3, 3]>(RANDOM(1)), "
     "output_shape = [1, "
     "4, 9, 20]);",
     "output_shape's channels: extents 4 and 3 are never equal"},
    {"tensor<fp16, [1, 2, ?, 14]> y = conv_quantized(x = q, weight = tensor<uint8, [2, 4, 1, 3]>(RANDOM(1)), "
     "quantization_type "
     "= \"linear\", quant_scale = fp16(1), quant_bias = tensor<fp16, [2]>(RANDOM(1)));",
     "tensor<fp16, [1, 2, n, 14]>"},
    {"tensor<fp16, [1, 2, ?, 14]> y = conv_quantized(x = q, weight = tensor<uint8, [2, 4, 1, 3]>(RANDOM(1)), "
     "quantization_type "
     "= \"lut\", quant_scale = fp16(1), quant_bias = fp16(1));",
     "wanted linear, found \"lut\""},
    {"tensor<fp16, [1, 4, ?, 8]> y = avg_pool(x = q, kernel_sizes = [3, 2], strides = [1, 2], pad_type = \"custom\", "
     "pad = [1, "
     "1, 0, 1]);",
     "tensor<fp16, [1, 4, n, 8]>"},
    {"tensor<fp16, [1, 4, ?, 8]> y = max_pool(x = q, kernel_sizes = [1, 3], strides = [1, 2], pad_type = \"same\");",
     "tensor<fp16, [1, 4, n, 8]>"},
    {"tensor<fp16, [1, 4, ?, 6]> y = l2_pool(x = q, kernel_sizes = [1, 2], strides = [1, 3], pad_type = \"valid\", "
     "ceil_mode = "
     "true);",
     "tensor<fp16, [1, 4, n, 6]>"},
    {"tensor<fp16, [1, 4, ?, 6]> y = l2_pool(x = q, kernel_sizes = [1, 2], pad_type = \"same\", ceil_mode = true);",
     "ceil_mode: not together with pad_type same"},
    {"tensor<fp16, [1, 4, ?, 6]> y = max_pool(x = q, kernel_sizes = [1, 17], pad_type = \"valid\");",
     "axis 3 is shorter than the kernel"},
    {"tensor<fp16, [1, 4, n, 16]> y = batch_norm(x = q, mean = tensor<fp16, [4]>(RANDOM(1)), variance = tensor<fp16, "
     "[4]>(RANDOM(1)));",
     "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = instance_norm(x = q, beta = tensor<fp16, [3]>(RANDOM(1)));",
     "beta: extents 3 and 4 are never equal"},
    {"tensor<fp16, [1, 4, n, 16]> y = instance_norm(x = q);", "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = local_response_norm(x = q, size = 3);", "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = local_response_norm(x = q, size = 0);", "size: wanted 1 or more"},
    {"tensor<fp16, [1, 4, ?, 24]> y = upsample_nearest_neighbor(x = q, scale_factor_height = 3, scale_factor_width = "
     "1.5);",
     "tensor<fp16, [1, 4, 3n, 24]>"},
    {"tensor<fp16, [1, 4, ?, 8]> y = upsample_bilinear(x = q, scale_factor_height = 1.5, scale_factor_width = 0.5);",
     "tensor<fp16, [1, 4, ?0, 8]>"},
    {"tensor<fp16, [1, 4, ?, 8]> y = upsample_bilinear(x = q, half_pixel_centers = true);",
     "half_pixel_centers: not together with align_corners"},
    {"tensor<fp16, [1, 4, 5, 6]> y = resize_nearest_neighbor(x = q, target_size_height = 5, target_size_width = 6);",
     "tensor<fp16, [1, 4, 5, 6]>"},
    {"tensor<fp16, [1, 4, 1, 6]> y = resize_bilinear(x = q, target_size_width = 6, sampling_mode = "
     "\"OFFSET_CORNERS\");",
     "tensor<fp16, [1, 4, 1, 6]>"},
    {"tensor<fp16, [1, 4, 1, 6]> y = resize_bilinear(x = q, sampling_mode = \"CORNERS\");", "found \"CORNERS\""},
    {"tensor<fp16, [1, 4, ?, 9]> y = resize(x = q, shape = [7, 0, 9], resized_dims = uint32(2));",
     "tensor<fp16, [1, 4, n, 9]>"},
    {"tensor<fp16, [1, 4, ?, 9]> y = resize(x = q, shape = [7, 0, 9], resized_dims = uint32(4));", "resized_dims"},
    {"tensor<fp16, [1, 4, ?, 13]> y = crop(x = q, crop_height = [0, 0], crop_width = [1, 2]);",
     "tensor<fp16, [1, 4, n, 13]>"},
    {"tensor<fp16, [1, 4, ?, 13]> y = crop(x = q, crop_height = [0, 0], crop_width = [9, 8]);",
     "takes more than x has"},
    {"tensor<fp16, [7, 1, 4, 2, 3]> y = crop_resize(x = q, roi = tensor<fp16, [7, 1, 5, 1, 1]>(RANDOM(1)), "
     "target_height = 2, "
     "target_width = 3);",
     "tensor<fp16, [7, 1, 4, 2, 3]>"},
    {"tensor<fp16, [1, 4, 2, 3]> y = crop_resize(x = q, boxes = tensor<fp16, [1, 4]>(RANDOM(1)), target_height = 2, "
     "target_width "
     "= 3);",
     "tensor<fp16, [1, 4, 2, 3]>"},
    {"tensor<fp16, [2, 4, 1, 1]> y = crop_resize(x = q, boxes = tensor<fp16, [2, 4]>(RANDOM(1)));",
     "without box_indices"},
    {"tensor<fp16, [1, 4, 1, 1]> y = crop_resize(x = q);", "wanted either roi"},
    {"tensor<fp16, [1, 4, 2, 3]> y = affine(x = q, transform_matrix = tensor<fp16, [1, 6]>(RANDOM(1)), output_height = "
     "2, "
     "output_width = 3, sampling_mode = \"bilinear\", padding_mode = \"constant\", padding_value = fp16(0), "
     "coordinates_mode = "
     "\"normalized_minus_one_to_one\", align_corners = true);",
     "tensor<fp16, [1, 4, 2, 3]>"},
    {"tensor<fp16, [1, 4, 2, 3]> y = resample(x = q, coordinates = tensor<int32, [1, 2, 3, 2]>(RANDOM(1)), "
     "sampling_mode = "
     "\"nearest\", padding_mode = \"border\", padding_value = fp16(0), coordinates_mode = \"unnormalized\", "
     "align_corners = "
     "true);",
     "tensor<fp16, [1, 4, 2, 3]>"},
    {"tensor<fp16, [1, 1, ?, 32]> y = depth_to_space(x = q, block_size = 2);", "tensor<fp16, [1, 1, 2n, 32]>"},
    {"tensor<fp16, [1, 1, ?, 32]> y = pixel_shuffle(x = q, upscale_factor = 3);", "axis 1: 4 does not divide by 9"},
    {"tensor<fp16, [1, 1, ?, 32]> y = pixel_shuffle(x = q, upscale_factor = 2);", "tensor<fp16, [1, 1, 2n, 32]>"},
    {"tensor<fp16, [1, 16, ?, 8]> y = space_to_depth(x = q, block_size = 2);", "tensor<fp16, [1, 16, ?0, 8]>"},
    {"tensor<fp16, [1, 16, ?, 8]> y = pixel_unshuffle(x = q, downscale_factor = uint32(2));",
     "tensor<fp16, [1, 16, ?0, 8]>"},
    {"tensor<fp16, [3, 4, ?, 6]> y = space_to_batch(x = q, block_shape = [1, 3], paddings = tensor<int32, [2, 2]>([0, "
     "0, 1, 1]));",
     "tensor<fp16, [3, 4, n, 6]>"},
    {"tensor<fp16, [1, 4, ?, 15]> y = batch_to_space(x = q, block_shape = [1, 1], crops = tensor<int32, [2, 2]>([0, 0, "
     "1, 0]));",
     "tensor<fp16, [1, 4, n, 15]>"},
    {"tensor<fp16, [1, 4, ?, 15]> y = batch_to_space(x = q, block_shape = [2, 1], crops = tensor<int32, [2, 2]>([0, 0, "
     "1, 0]));",
     "axis 0: 1 does not divide by 2"},
    {"tensor<fp16, [1, 4, ?, 3, 16]> y = sliding_windows(x = q, axis = 2, size = 3);",
     "tensor<fp16, [1, 4, n - 2, 3, 16]>"},
    {"tensor<fp16, [1, 4, ?, 7, 4]> y = sliding_windows(x = q, axis = -1, size = 4, stride = 2);",
     "tensor<fp16, [1, 4, n, 7, 4]>"},
    {"tensor<fp16, [1, 4, 5]> y, tensor<fp16, [1, 2, 5]> t, tensor<int32, [1, 5]> u = non_maximum_suppression(boxes = "
     "tensor<fp16, [1, 4, 9]>(RANDOM(1)), scores = tensor<fp16, [1, 2, 9]>(RANDOM(1)), iou_threshold = fp16(0), "
     "max_boxes = 5);",
     "tensor<fp16, [1, 4, 5]>"},
    {"tensor<fp16, [1, 4, 5]> u, tensor<fp16, [1, 2, 5]> t, tensor<int32, [1, 5]> places, tensor<int32, [1]> y = "
     "non_maximum_suppression(boxes = tensor<fp16, [1, 9, 4]>(RANDOM(1)), scores = tensor<fp16, [1, 9, 2]>(RANDOM(1)), "
     "iou_threshold = fp16(0), score_threshold = fp16(0), max_boxes = 5);",
     "tensor<int32, [1]>"},
    /* reductions and norms */
    {"fp16 y = reduce_sum(x = x);", "fp16"},
    {"int32 y = reduce_sum(x = qs);", "int32 = n + 21"},
    {"tensor<fp16, [1, 4, n, 1]> y = reduce_mean(x = q, axes = [-1], keep_dims = true);", "tensor<fp16, [1, 4, n, 1]>"},
    {"tensor<fp16, [4, 16]> y = reduce_max(x = q, axes = [0, 2]);", "tensor<fp16, [4, 16]>"},
    {"tensor<fp16, [4, 16]> y = reduce_max(x = q, axes = [0, 4]);", "axis 4 of a value with 4 axes"},
    {"tensor<fp16, [4, 16]> y = reduce_max(x = q, axes = [0, -4]);", "axis 0 twice"},
    {"int32 y = reduce_min(x = tensor<int32, [3]>([4, 2, 3]));", "int32 = 2"},
    {"int32 y = reduce_prod(x = qs);", "int32 = 64n"},
    {"tensor<fp16, [3]> y = reduce_sum_square(x = x, axes = [0]);", "tensor<fp16, [3]>"},
    {"tensor<fp16, [2]> y = reduce_l2_norm(x = x, axes = [1]);", "tensor<fp16, [2]>"},
    {"tensor<int32, [1, 4, n]> y = reduce_argmax(x = q);", "tensor<int32, [1, 4, n]>"},
    {"tensor<int32, [1, 4, 1, 16]> y = reduce_argmin(x = q, axis = 2, keep_dims = true);",
     "tensor<int32, [1, 4, 1, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = softmax(x = q, axis = -1);", "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = softmax(x = q, axis = 4);", "axis 4 of a value with 4 axes"},
    {"tensor<fp16, [2, 3]> y = layer_norm(x = x, axes = [-1], gamma = tensor<fp16, [3]>(RANDOM(1)));",
     "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = l2_norm(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = cumsum(x = x, axis = 1);", "tensor<fp16, [2, 3]>"},
    /* products */
    {"tensor<fp16, [n, 5]> y = linear(x = a, weight = tensor<fp16, [5, 8]>(RANDOM(1)));", "tensor<fp16, [n, 5]>"},
    {"tensor<fp32, [n, 5]> y = linear(x = h, weight = tensor<fp16, [5, 8]>(RANDOM(1)), bias = tensor<fp32, "
     "[5]>(RANDOM(1)));",
     "tensor<fp32, [n, 5]>"},
    {"tensor<fp16, [n, 5]> y = linear(x = a, weight = tensor<fp16, [5, 7]>(RANDOM(1)));",
     "extents 8 and 7 are never equal"},
    {"tensor<fp16, [n, 5]> y = linear(x = a, weight = tensor<fp16, [5, 8]>(RANDOM(1)), bias = tensor<fp16, "
     "[6]>(RANDOM(1)));",
     "wanted one element per row of weight"},
    {"tensor<fp16, [1, 4, n, kv]> y = matmul(x = q, y = k, transpose_y = true);", "tensor<fp16, [1, 4, n, kv]>"},
    {"tensor<fp16, [1, 4, 16, 16]> y = matmul(x = q, y = q, transpose_x = true);", "tensor<fp16, [1, 4, 16, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = matmul(x = q, y = tensor<fp16, [16, 16]>(RANDOM(1)));",
     "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = matmul(x = q, y = x);", "extents 16 and 2 are never equal"},
    {"tensor<fp32, [3]> y = matmul(x = tensor<fp32, [2]>(RANDOM(1)), y = f);", "tensor<fp32, [3]>"},
    {"tensor<fp16, [1, n, 4, kv]> y = einsum(equation = \"bhnd,bhkd->bnhk\", values = (q, k));",
     "tensor<fp16, [1, n, 4, kv]>"},
    {"tensor<fp16, [1, n, 4, kv]> y = einsum(equation = \"bhn,bhkd->bnhk\", values = (q, k));", "has fewer axes"},
    {"tensor<fp16, [1, n, 4, kv]> y = einsum(equation = \"bhnd,bhkd->bnhz\", values = (q, k));",
     "names an axis that no operand has"},
    {"tensor<fp16, [1, 6, n, 5]> y = conv(x = im, weight = tensor<fp16, [6, 8, 1, 1]>(RANDOM(1)));",
     "tensor<fp16, [1, 6, n, 5]>"},
    {"tensor<fp16, [1, 6, ?, 3]> y = conv(x = im, weight = tensor<fp16, [6, 4, 2, 3]>(RANDOM(1)), groups = 2);",
     "tensor<fp16, [1, 6, n - 1, 3]>"},
    {"tensor<fp16, [1, 6, ?, 3]> y = conv(x = im, weight = tensor<fp16, [6, 8, 1, 3]>(RANDOM(1)), pad_type = "
     "\"custom\", "
     "pad = [1, 0, 1, 1], strides = [1, 2]);",
     "tensor<fp16, [1, 6, n + 1, 3]>"},
    {"tensor<fp16, [1, 6, ?, 3]> y = conv(x = im, weight = tensor<fp16, [6, 8, 3, 3]>(RANDOM(1)), pad_type = \"same\", "
     "strides = [1, 2]);",
     "tensor<fp16, [1, 6, n, 3]>"},
    {"tensor<fp16, [1, 6, n, 5]> y = conv(x = im, weight = tensor<fp16, [6, 7, 1, 1]>(RANDOM(1)));",
     "extents 8 and 7 are never equal"},
    {"tensor<fp16, [1, 4, n, 16]> y = scaled_dot_product_attention(query = q, key = k, value = k);",
     "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = scaled_dot_product_attention(query = q, key = k, value = q);",
     "tensor<fp16, [1, 4, n, 16]>"},
    /* shapes and moves */
    {"tensor<fp16, [1, n, 64]> y = reshape(x = q, shape = [1, -1, 64]);", "tensor<fp16, [1, n, 64]>"},
    {"tensor<fp16, [?]> y = reshape(x = mk, shape = [-1]);", "tensor<fp16, [?0]>"},
    {"tensor<int32, [2]> t = shape(x = mk); tensor<fp16, [?]> f1 = reshape(x = mk, shape = [-1]);"
     "tensor<fp16, [?, ?]> y = reshape(x = f1, shape = t);",
     "tensor<fp16, [m, kv]>"},
    {"tensor<int32, [3]> t = concat(axis = 0, values = (int32(1), int32(-1), N)); tensor<fp16, [1, ?, ?]> y = "
     "reshape(x = q, shape = t);",
     "tensor<fp16, [1, 64, n]>"},
    {"tensor<fp16, [1, 4, ?, 2, 8]> y = reshape(x = q, shape = [1, 4, -1, 2, 8]);", "tensor<fp16, [1, 4, n, 2, 8]>"},
    {"tensor<fp16, [n, 16]> t = slice_by_index(x = q, begin = [0, 0, 0, 0], end = [1, 1, 0, 16], end_mask = [false, "
     "false, true, true], "
     "squeeze_mask = [true, true, false, false]); tensor<fp16, [n, 4, 4]> y = reshape(x = t, shape = [0, 4, -1]);",
     "x has no axis there to copy"},
    {"tensor<fp16, [2, 3, 1]> y = reshape(x = x, shape = [2, 3, 0]);", "wanted 18 elements"},
    {"tensor<fp16, [6]> y = reshape(x = x, shape = [-1, -1]);", "-1 twice"},
    {"tensor<fp16, [6]> y = reshape(x = x, shape = [4, -1]);", "do not divide by 4"},
    {"tensor<fp16, [?, ?, ?]> y = reshape(x = x, shape = v);", "tensor<fp16, [?0, ?1, ?2]>"},
    {"tensor<int32, [1, 1]> y = reshape(x = N, shape = [1, 1]);", "tensor<int32, [1, 1]> = n"},
    {"tensor<fp16, [1, n, 4, 16]> y = transpose(x = q, perm = [0, 2, 1, -1]);", "tensor<fp16, [1, n, 4, 16]>"},
    {"tensor<fp16, [1, n, 4, 16]> y = transpose(x = q, perm = [0, 2, 2, 3]);", "not a permutation of 4 axes"},
    {"tensor<int32, [3, 2]> y = transpose(x = tensor<int32, [2, 3]>([1, 2, 3, 4, 5, 6]), perm = [1, 0]);",
     "tensor<int32, [3, 2]> = 1, 4, 2, 5, 3, 6"},
    {"tensor<int32, [1]> y = expand_dims(x = past, axes = [0]);", "tensor<int32, [1]> = kv - n"},
    {"tensor<fp16, [2, 1, 3, 1]> y = expand_dims(x = x, axes = [-1, 1]);", "tensor<fp16, [2, 1, 3, 1]>"},
    {"tensor<fp16, [4, n, 16]> y = squeeze(x = q);", "tensor<fp16, [4, n, 16]>"},
    {"tensor<fp16, [4, n, 16]> y = squeeze(x = q, axes = [0]);", "tensor<fp16, [4, n, 16]>"},
    {"tensor<fp16, [1, 4, 16]> y = squeeze(x = q, axes = [2]);", "tensor<fp16, [1, 4, 16]>"},
    {"tensor<fp16, [1, n, 16]> y = squeeze(x = q, axes = [1]);", "axis 1 is not of extent 1"},
    {"tensor<int32, [4]> y = concat(axis = 0, values = (int32(1), tensor<int32, [2]>([2, 3]), past));",
     "tensor<int32, [4]> = 1, 2, 3, kv - n"},
    {"tensor<fp16, [1, 4, ?, 16]> y = concat(axis = 2, values = (q, k));", "tensor<fp16, [1, 4, n + kv, 16]>"},
    {"tensor<fp16, [1, 8, n, 16]> y = concat(axis = 1, values = (q, k));", "tensor<fp16, [1, 8, n, 16]>"},
    {"tensor<fp16, [2, 6]> y = concat(axis = -1, values = (x, f));", "wanted fp16, the type of the first"},
    {"tensor<fp16, [5, 3]> y = concat(axis = 1, values = (x, tensor<fp16, [5, 3]>(RANDOM(1))));",
     "extents 2 and 5 are never equal"},
    {"tensor<int32, [2]> y = stack(axis = 0, values = (N, K));", "tensor<int32, [2]> = n, kv"},
    {"tensor<fp16, [2, 2, 3]> y = stack(axis = 1, values = (x, x));", "tensor<fp16, [2, 2, 3]>"},
    {"tensor<fp16, [2, 1]> t, tensor<fp16, [2, 2]> y = split(x = x, split_sizes = [1, 2], axis = 1);",
     "tensor<fp16, [2, 2]>"},
    {"tensor<int32, [2]> t, tensor<int32, [2]> y = split(x = qs, num_splits = 2, axis = 0);",
     "tensor<int32, [2]> = n, 16"},
    {"tensor<fp16, [2, 1]> t, tensor<fp16, [2, 2]> y = split(x = x, num_splits = 2, axis = 1);",
     "axis 1 does not divide into 2"},
    {"tensor<fp16, [2, 1]> t, tensor<fp16, [2, 2]> y = split(x = x, split_sizes = [1, 1], axis = 1);",
     "split_sizes sum to 2"},
    {"tensor<fp16, [1, 4, ?, 16]> y = slice_by_size(x = k, begin = [0, 0, 2, 0], size = [1, 4, -1, 16]);",
     "tensor<fp16, [1, 4, kv - 2, 16]>"},
    {"tensor<int32, [2]> y = slice_by_size(x = qs, begin = [1], size = [2]);", "tensor<int32, [2]> = 4, n"},
    {"tensor<fp16, [3, 3]> y = slice_by_size(x = x, begin = [0, 0], size = [3, 3]);", "axis 0: 3 elements of x's 2"},
    {"tensor<fp16, [1, 4, n, 8]> y = slice_by_index(x = q, begin = [0, 0, 0, 8], end = [1, 4, 0, 16], end_mask = "
     "[true, true, true, false]);",
     "tensor<fp16, [1, 4, n, 8]>"},
    {"tensor<fp16, [1, 4, 1, 16]> y = slice_by_index(x = q, begin = [0, 0, -1, 0], end = [0, 0, 0, 0], end_mask = "
     "[true, true, true, true]);",
     "tensor<fp16, [1, 4, 1, 16]>"},
    {"tensor<fp16, [1, 4, ?, 16]> y = slice_by_index(x = q, begin = [0, 0, 0, 0], end = [0, 0, -1, 0], end_mask = "
     "[true, true, false, true]);",
     "tensor<fp16, [1, 4, n - 1, 16]>"},
    {"tensor<fp16, [4, 16]> y = slice_by_index(x = q, begin = [0, 0, -1, 0], end = [0, 0, 0, 0], end_mask = [true, "
     "true, true, true], "
     "squeeze_mask = [true, false, true, false]);",
     "tensor<fp16, [4, 16]>"},
    {"tensor<int32, [2]> y = slice_by_index(x = qs, begin = [3], end = [-5], stride = [-2]);",
     "tensor<int32, [2]> = 16, 4"},
    {"int32 y = slice_by_index(x = qs, begin = [2], end = [0], squeeze_mask = [true]);", "int32 = n"},
    {"tensor<fp16, [2, 2]> y = slice_by_index(x = x, begin = [0, 0], end = [2, 9], stride = [1, 2]);",
     "tensor<fp16, [2, 2]>"},
    {"tensor<fp16, [2, 2]> y = slice_by_index(x = x, begin = [0], end = [2]);", "wanted 2 elements, one per axis of x"},
    {"tensor<fp16, [2, 2]> y = slice_by_index(x = x, begin = [0, 0], end = [2, 2], stride = [1, 0]);",
     "stride: axis 1"},
    {"tensor<int32, [1]> t = expand_dims(x = s, axes = [0]); int32 u = add(x = s, y = N); tensor<int32, [1]> w = "
     "expand_dims(x = u, axes = [0]);"
     "tensor<fp32, [?]> y = slice_by_index(x = seven, begin = t, end = w);",
     "tensor<fp32, [n]>"},
    {"tensor<int32, [4]> t = concat(axis = 0, values = (int32(0), int32(0), past, int32(0)));"
     "tensor<int32, [4]> u = concat(axis = 0, values = (int32(1), int32(4), K, int32(16)));"
     "tensor<fp16, [1, 4, kv, 16]> y = slice_update(x = k, update = q, begin = t, end = u);",
     "tensor<fp16, [1, 4, kv, 16]>"},
    {"tensor<fp16, [2, 3]> y = slice_update(x = x, update = tensor<fp16, [2, 2]>(RANDOM(1)), begin = [0, 0], end = [2, "
     "1]);",
     "axis 1 does not fit the slice"},
    {"tensor<fp16, [n, 3]> y = gather(x = x, indices = ids);", "tensor<fp16, [n, 3]>"},
    {"tensor<fp16, [2, n]> y = gather(x = x, indices = ids, axis = -1);", "tensor<fp16, [2, n]>"},
    {"tensor<fp16, [2, 3]> y = gather(x = x, indices = x);", "wanted integers"},
    {"int32 y = gather(x = qs, indices = int32(4));", "element 4 of a value with 4"},
    {"tensor<fp16, [2, 2]> y = gather(x = x, indices = tensor<int32, [2, 2]>([0, 1, 1, 0]), axis = 1, batch_dims = 1);",
     "tensor<fp16, [2, 2]>"},
    {"tensor<fp16, [2, 3]> y = gather_along_axis(x = x, indices = i, axis = 1);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2]> y = gather_nd(x = x, indices = tensor<int32, [2, 2]>([0, 1, 1, 0]));", "tensor<fp16, [2]>"},
    {"tensor<fp16, [2]> y = gather_nd(x = x, indices = tensor<int32, [2, 3]>([0, 1, 1, 0, 0, 0]));",
     "index vectors of 3 for 2 axes"},
    {"tensor<fp16, [2, 3]> y = scatter(data = x, indices = tensor<int32, [1]>([0]), updates = tensor<fp16, [1, "
     "3]>(RANDOM(1)), mode = \"update\");",
     "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = scatter_nd(data = x, indices = tensor<int32, [1, 2]>([0, 1]), updates = tensor<fp16, "
     "[1]>(RANDOM(1)));",
     "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [4, 3]> y = tile(x = x, reps = [2, 1]);", "tensor<fp16, [4, 3]>"},
    {"tensor<int32, [2]> t = stack(axis = 0, values = (N, s)); tensor<fp16, [?, ?]> y = tile(x = x, reps = t);",
     "tensor<fp16, [2n, ?0]>"},
    {"tensor<fp16, [4, 3]> y = tile(x = x, reps = [2]);", "wanted 2 elements, one per axis of x"},
    {"tensor<int32, [2]> y = shape(x = mk);", "tensor<int32, [2]> = m, kv"},
    {"tensor<fp16, [1, ?]> t = concat(axis = 0, values = (int32(1), past)); tensor<fp16, [1, ?]> y = fill(shape = t, "
     "value = fp16(0));",
     "t is declared"},
    {"tensor<int32, [2]> t = concat(axis = 0, values = (int32(1), past)); tensor<fp16, [1, ?]> y = fill(shape = t, "
     "value = fp16(0));",
     "tensor<fp16, [1, kv - n]>"},
    {"tensor<int32, [2]> y = fill(shape = [2], value = int32(7));", "tensor<int32, [2]> = 7, 7"},
    {"tensor<fp32, [2]> y = fill(shape = [2]);", "tensor<fp32, [2]>"},
    {"tensor<int32, [2, 3]> y = fill_like(ref_tensor = x, value = int32(1));",
     "tensor<int32, [2, 3]> = 1, 1, 1, 1, 1, 1"},
    {"int32 t = add(x = s, y = N); tensor<int32, [?]> y = range_1d(start = s, end = t, step = int32(1));",
     "tensor<int32, [n]>"},
    {"tensor<int32, [3]> y = range_1d(start = int32(7), end = int32(1), step = int32(-2));",
     "tensor<int32, [3]> = 7, 5, 3"},
    {"tensor<int32, [2]> t = range_1d(start = N, end = N, step = int32(1)); tensor<int32, [0]> y = identity(x = t);",
     "tensor<int32, [0]>"},
    {"int32 t = add(x = N, y = int32(2)); tensor<int32, [2]> y = range_1d(start = N, end = t, step = int32(1));",
     "tensor<int32, [2]> = n, n + 1"},
    {"tensor<fp32, [3]> y = range_1d(start = fp32(0), end = fp32(1.5), step = fp32(0.6));", "tensor<fp32, [3]>"},
    {"tensor<int32, [3]> y = range_1d(start = int32(0), end = int32(1), step = int32(0));", "is 0"},
    {"tensor<fp16, [2, 6]> y = pad(x = x, pad = [1, 2], mode = \"constant\", constant_val = fp16(0));",
     "tensor<fp16, [2, 6]>"},
    {"tensor<fp16, [n, 8]> y = pad(x = a, pad = [1, 0, 0, 0]);", "tensor<fp16, [n + 1, 8]>"},
    {"tensor<fp16, [n, 8]> y = pad(x = a, pad = [1]);", "wanted two elements for each"},
    {"tensor<fp16, [2, 3]> y = band_part(x = x, lower = -1, upper = 0);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [n, 9]> y = one_hot(indices = ids, one_hot_vector_size = 9, on_value = fp16(1));",
     "tensor<fp16, [n, 9]>"},
    {"tensor<fp16, [2, 2]> t, tensor<int32, [2, 2]> y = topk(x = x, k = 2, axis = 1);", "tensor<int32, [2, 2]>"},
    {"tensor<fp16, [2, 1]> y = topk(x = x, axis = 1, return_indices = false);", "tensor<fp16, [2, 1]>"},
    {"tensor<int32, [2, 3]> y = argsort(x = x);", "tensor<int32, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = reverse(x = x, axes = [0]);", "tensor<fp16, [2, 3]>"},
    /* activations */
    {"tensor<fp16, [2, 3]> y = atanh(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = cosh(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = sinh(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = tan(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = relu6(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = softsign(x = x);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = clamped_relu(x = x, alpha = 0.1, beta = 2);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = clamped_relu(x = x, alpha = 0.1);", "beta is missing"},
    {"tensor<fp16, [2, 3]> y = elu(x = x, alpha = 0.1);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = linear_activation(x = x, alpha = 0.1, beta = 2);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = scaled_tanh(x = x, alpha = 0.1, beta = 2);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = sigmoid_hard(x = x, alpha = 0.1, beta = 2);", "tensor<fp16, [2, 3]>"},
    {"tensor<int32, [2, 3]> y = threshold(x = i, alpha = int32(1));", "tensor<int32, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = thresholded_relu(x = x, alpha = seven);", "wanted one element"},
    {"tensor<fp16, [2, 3]> y = thresholded_relu(x = x, alpha = 1);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [1, 8, n, 5]> y = prelu(x = im, alpha = tensor<fp16, [8]>(RANDOM(1)));",
     "tensor<fp16, [1, 8, n, 5]>"},
    {"tensor<fp16, [1, 8, n, 5]> y = prelu(x = im, alpha = tensor<fp16, [5]>(RANDOM(1)));",
     "extents 5 and 8 are never equal"},
    {"tensor<fp16, [2, 3]> y = prelu(x = x, alpha = tensor<fp16, [3]>(RANDOM(1)));",
     "wanted floats [n, channels, ...]"},
    {"tensor<fp16, [1, 4, n, 16]> y = softplus_parametric(x = q, alpha = tensor<fp32, [4]>(RANDOM(1)), beta = "
     "tensor<fp32, [4]>(RANDOM(2)));",
     "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = softplus_parametric(x = q, alpha = tensor<fp32, [4]>(RANDOM(1)), beta = "
     "tensor<fp32, [4, 1]>(RANDOM(2)));",
     "wanted a vector of floats"},
    /* more reductions */
    {"tensor<fp16, [2]> y = reduce_l1_norm(x = x, axes = [1]);", "tensor<fp16, [2]>"},
    {"tensor<fp16, [1, 4, n, 1]> y = reduce_log_sum(x = q, axes = [-1], keep_dims = true);",
     "tensor<fp16, [1, 4, n, 1]>"},
    {"tensor<fp16, [1, 4, n, 1]> y = reduce_log_sum_exp(x = q, axes = [-1], keep_dims = true);",
     "tensor<fp16, [1, 4, n, 1]>"},
    {"tensor<uint16, [2]> y = reduce_argmax(x = x, output_dtype = \"uint16\");", "tensor<uint16, [2]>"},
    {"tensor<uint16, [2]> y = reduce_argmin(x = x, output_dtype = \"fp16\");", "\"fp16\" is no integer type"},
    /* recurrent: q's n steps as [n, 4, 8] (r) */
    {"tensor<fp32, [1, 4, 6]> t, tensor<fp32, [4, 6]> y = rnn(x = r, initial_h = tensor<fp32, [4, 6]>(RANDOM(1)), "
     "weight_ih = tensor<fp32, [6, 8]>(RANDOM(2)), weight_hh = tensor<fp32, [6, 6]>(RANDOM(3)));",
     "tensor<fp32, [4, 6]>"},
    {"tensor<fp32, [n, 4, 2]> y, tensor<fp32, [4, 2]> t = gru(x = r, initial_h = tensor<fp32, [4, 2]>(RANDOM(1)), "
     "weight_ih = tensor<fp32, [6, 8]>(RANDOM(2)), weight_hh = tensor<fp32, [6, 2]>(RANDOM(3)), output_sequence = "
     "true);",
     "tensor<fp32, [n, 4, 2]>"},
    {"tensor<fp32, [n, 4, 2]> y, tensor<fp32, [4, 2]> t = gru(x = r, initial_h = tensor<fp32, [4, 2]>(RANDOM(1)), "
     "weight_ih = tensor<fp32, [6, 8]>(RANDOM(2)), weight_hh = tensor<fp32, [6, 3]>(RANDOM(3)));",
     "weight_ih: extents 6 and 9 are never equal"},
    {"tensor<fp32, [n, 4, 2]> y, tensor<fp32, [4, 2]> t = gru(x = r, initial_h = tensor<fp32, [4, 2]>(RANDOM(1)), "
     "weight_ih = tensor<fp32, [6, 8]>(RANDOM(2)), weight_hh = tensor<fp32, [6, 2]>(RANDOM(3)), direction = "
     "\"bidirectional\");",
     "direction: unknown word"},
    {"tensor<fp32, [n, 4, 4]> y, tensor<fp32, [4, 4]> t, tensor<fp32, [4, 4]> u = lstm(x = r, initial_h = tensor<fp32, "
     "[4, 4]>(RANDOM(1)), initial_c = tensor<fp32, [4, 4]>(RANDOM(1)), weight_ih = tensor<fp32, [8, 8]>(RANDOM(2)), "
     "weight_hh = tensor<fp32, [8, 2]>(RANDOM(3)), weight_ih_back = tensor<fp32, [8, 8]>(RANDOM(2)), weight_hh_back = "
     "tensor<fp32, [8, 2]>(RANDOM(3)), direction = \"bidirectional\", output_sequence = true);",
     "tensor<fp32, [n, 4, 4]>"},
    {"tensor<fp32, [1, 4, 2]> y, tensor<fp32, [4, 2]> t, tensor<fp32, [4, 2]> u = lstm(x = r, initial_h = tensor<fp32, "
     "[4, 2]>(RANDOM(1)), initial_c = tensor<fp32, [4, 2]>(RANDOM(1)), weight_ih = tensor<fp32, [8, 8]>(RANDOM(2)), "
     "weight_hh = tensor<fp32, [8, 2]>(RANDOM(3)), activation = \"gelu\");",
     "activation: unknown word \"gelu\""},
    /* more moves */
    {"tensor<fp16, [4, ?]> y = flatten2d(x = q, axis = 2);", "tensor<fp16, [4, 16n]>"},
    {"tensor<fp16, [2, 3]> y = flatten2d(x = x, axis = -1);", "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [6, 1]> y = flatten2d(x = x, axis = 2);", "tensor<fp16, [6, 1]>"},
    {"tensor<fp16, [6, 1]> y = flatten2d(x = x, axis = 3);", "3 of a value with 2 axes"},
    {"tensor<fp16, [1, 4, ?, 16]> y = reshape_like(x = x, ref_tensors = (a, q), begins = (0, -1), ends = (0, 9), "
     "end_masks = (false, true));",
     "wanted 16 elements"},
    {"tensor<fp16, [4, ?, 16]> y = reshape_like(x = q, ref_tensors = (q, q), begins = (1, -1), ends = (3, 9), "
     "end_masks = (false, true));",
     "tensor<fp16, [4, n, 16]>"},
    {"tensor<fp16, [4, ?, 16]> y = reshape_like(x = q, ref_tensors = (q, q), begins = (1), ends = (3, 9), "
     "end_masks = (false, true));",
     "lists of one length"},
    {"tensor<fp16, [2, 3]> y = scatter_along_axis(data = x, indices = i, updates = x, axis = 1);",
     "tensor<fp16, [2, 3]>"},
    {"tensor<fp16, [2, 3]> y = scatter_along_axis(data = x, indices = v, updates = x, axis = 1);",
     "of as many axes, at least one"},
    {"tensor<fp16, [n, 8]> y = reverse_sequence(x = a, lengths = ids, seq_axis = 1, batch_axis = 0);",
     "tensor<fp16, [n, 8]>"},
    {"tensor<fp16, [2, 3]> y = reverse_sequence(x = x, lengths = v, seq_axis = 1, batch_axis = 0);",
     "extents 3 and 2 are never equal"},
    {"tensor<int32, [?, 4]> y = non_zero(x = q);", "tensor<int32, [?0, 4]>"},
    /* random, codes */
    {"tensor<fp32, [4]> y = random_bernoulli(shape = [4]);", "tensor<fp32, [4]>"},
    {"tensor<fp16, [?, ?, ?]> y = random_normal(shape = v, mean = fp16(0), stddev = fp16(1));",
     "tensor<fp16, [?0, ?1, ?2]>"},
    {"tensor<fp16, [1, 4, n, 16]> y = random_uniform(shape = qs, low = fp16(0));", "tensor<fp16, [1, 4, n, 16]>"},
    {"tensor<fp16, [2]> y = random_normal(shape = [2], mean = fp16(0), stddev = fp32(1));",
     "wanted floats of one type"},
    {"tensor<fp16, [2]> y = random_uniform(shape = [-2]);", "element 0 is negative"},
    {"tensor<fp16, [n, 3]> y = random_categorical(x = a, size = 3, mode = \"probs\");", "tensor<fp16, [n, 3]>"},
    {"tensor<fp16, [n, 3]> y = random_categorical(x = a, size = -3);", "is -3"},
    {"tensor<int8, [n, 8]> y = quantize(input = h, scale = fp32(0.1), output_dtype = \"int8\");",
     "tensor<int8, [n, 8]>"},
    {"tensor<int8, [n, 8]> y = quantize(input = h, scale = fp32(0.1), output_dtype = \"int16\");",
     "\"int16\" is neither int8 nor uint8"},
    {"tensor<int8, [n, 8]> y = quantize(input = h, scale = tensor<fp32, [8]>(RANDOM(1)), output_dtype = \"int8\");",
     "wanted one element, or a vector and axis"},
    {"tensor<int8, [n, 8]> t = quantize(input = h, scale = fp32(0.1), output_dtype = \"int8\"); tensor<fp16, [n, 8]> y "
     "= "
     "dequantize(input = t, scale = tensor<fp16, [8]>(RANDOM(1)), axis = -1);",
     "tensor<fp16, [n, 8]>"},
    {"tensor<fp16, [2, 3]> y = dequantize(input = x, scale = fp16(1));", "wanted int8 or uint8"},
    /* lists */
    {"list<tensor<fp16, [2, 3]>, ?> y = make_list(dtype = \"fp16\", elem_shape = (2, 3));",
     "list<tensor<fp16, [2, 3]>, ?>"},
    {"list<tensor<fp16, [2, 3]>, 4> y = make_list(init_length = 4, dynamic_length = false, dtype = \"fp16\", "
     "elem_shape = (2, 3));",
     "list<tensor<fp16, [2, 3]>, 4>"},
    {"list<fp32, ?> y = make_list();", "list<fp32, ?>"},
    {"list<tensor<fp16, [2, 3]>, 4> y = make_list(init_length = 4, dtype = \"fp16\", elem_shape = (-2, 3));",
     "wanted a number of 0 or more"},
    {"list<tensor<fp16, [2, ?]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (2, string(\"e\"))); "
     "list<tensor<fp16, [2, 3]>, ?> y = list_write(ls = l, index = s, value = x);",
     "list<tensor<fp16, [2, 3]>, ?>"},
    {"list<tensor<fp16, [2, 4]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (2, 4)); "
     "list<tensor<fp16, [2, 3]>, ?> y = list_write(ls = l, index = s, value = x);",
     "extents 4 and 3 are never equal"},
    {"list<tensor<fp16, [8]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (8)); "
     "list<tensor<fp16, [8]>, ?> y = list_scatter(ls = l, indices = ids, value = a);",
     "list<tensor<fp16, [8]>, ?>"},
    {"list<tensor<fp16, [8]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (8)); "
     "tensor<fp16, [8]> y = list_read(ls = l, index = 0);",
     "tensor<fp16, [8]>"},
    {"list<tensor<fp16, [8]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (8)); "
     "tensor<fp16, [n, 8]> y = list_gather(ls = l, indices = ids);",
     "tensor<fp16, [n, 8]>"},
    {"list<tensor<fp16, [8]>, 5> l = make_list(init_length = 5, dynamic_length = false, dtype = \"fp16\", elem_shape = "
     "(8)); int32 y = list_length(ls = l);",
     "int32 = 5"},
    {"int32 y = list_length(ls = x);", "wanted a list"},
    {"list<tensor<fp16, [8]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (8)); tensor<fp16, [8]> y = exp(x = l);",
     "wanted a tensor"},
    {"list<tensor<fp16, [2, 3]>, ?> l = make_list(dtype = \"fp16\", elem_shape = (2, 3)); "
     "int32 t, list<tensor<fp16, [2, 3]>, ?> y = while_loop(loop_vars = (int32(0), l)) "
     "block(int32 c, list<tensor<fp16, [2, 3]>, ?> d) { bool go = less(x = c, y = int32(4)); } -> (go) "
     "block(int32 e, list<tensor<fp16, [2, 3]>, ?> g) "
     "{ int32 c1 = add(x = e, y = int32(1)); list<tensor<fp16, [2, 3]>, ?> g1 = list_write(ls = g, index = e, value = "
     "x); } "
     "-> (c1, g1);",
     "list<tensor<fp16, [2, 3]>, ?>"},
    /* masks beside values */
    {"tensor<uint1, [4, 8]> t, tensor<fp16, [6]> y = constexpr_sparse_blockwise_shift_scale(data_mask = tensor<uint1, "
     "[4, 8]>(RANDOM(1)), nonzero_data = tensor<int4, [6]>(RANDOM(2)), scale = tensor<fp16, [4, 2]>(RANDOM(3)));",
     "tensor<fp16, [6]>"},
    {"tensor<uint1, [4, 8]> t, tensor<fp16, [6]> y = constexpr_sparse_blockwise_shift_scale(data_mask = tensor<uint1, "
     "[4, 8]>(RANDOM(1)), nonzero_data = tensor<int4, [6]>(RANDOM(2)), scale = tensor<fp16, [4, 3]>(RANDOM(3)));",
     "axis 1 does not divide the mask's 8"},
    {"tensor<uint1, [8, 8]> t, tensor<fp16, [12]> y = constexpr_lut_to_sparse(indices_mask = tensor<uint1, "
     "[4, 8]>(RANDOM(1)), indices_nonzero_data = tensor<uint2, [6]>(RANDOM(2)), lut = tensor<fp16, [1, 1, 4, "
     "2]>(RANDOM(3)), vector_axis = 0);",
     "tensor<fp16, [12]>"},
    /* states, blocks */
    {"tensor<fp16, [4, kv]> y = read_state(input = st);", "tensor<fp16, [4, kv]>"},
    {"tensor<fp16, [4, kv]> y = read_state(input = x);", "wanted a state"},
    {"tensor<fp16, [4, kv]> y = read_state(input = st); write_state(input = st, data = y);", "tensor<fp16, [4, kv]>"},
    {"write_state(input = st, data = x); fp16 y = reduce_sum(x = x);", "extents 2 and 4 are never equal"},
    {"tensor<fp16, [?, ?]> y = cond(pred = p) block() { } -> (x) block() { tensor<fp16, [?, ?]> t = slice_by_index(x = "
     "x, begin = [0, 0], "
     "end = [1, 3]); } -> (t);",
     "tensor<fp16, [?0, 3]>"},
    {"tensor<fp16, [2, 3]> y = cond(pred = p) block() { } -> (x) block() { } -> (f);",
     "result 0 has another type in the other block"},
    {"int32 t, tensor<fp16, [2, 3]> y = while_loop(loop_vars = (int32(0), x)) block(int32 c, tensor<fp16, [2, 3]> d) "
     "{ bool go = less(x = c, y = int32(4)); } -> (go) block(int32 e, tensor<fp16, [2, 3]> g) "
     "{ int32 c1 = add(x = e, y = int32(1)); tensor<fp16, [2, 3]> g1 = exp(x = g); } -> (c1, g1);",
     "tensor<fp16, [2, 3]>"},
    {"int32 y = while_loop(loop_vars = (int32(0))) block(int32 c) { } -> (c) block(int32 e) { } -> (e);",
     "wanted one bool"},
    /* constants that decode at load time */
    {"tensor<fp16, [4, 64]> y = constexpr_blockwise_shift_scale(data = tensor<int4, [4, 64]>(RANDOM(1)), scale = "
     "tensor<fp16, [4, 2]>(RANDOM(2)));",
     "tensor<fp16, [4, 64]>"},
    {"tensor<fp16, [4, 64]> y = constexpr_blockwise_shift_scale(data = tensor<int4, [4, 64]>(RANDOM(1)), scale = "
     "tensor<fp16, [4, 3]>(RANDOM(2)));",
     "axis 1 does not divide data's 64"},
    {"tensor<fp16, [4, 8]> y = constexpr_lut_to_dense(indices = tensor<uint2, [4, 8]>(RANDOM(1)), lut = tensor<fp16, "
     "[1, 1, 4, 1]>(RANDOM(2)));",
     "tensor<fp16, [4, 8]>"},
    {"tensor<fp16, [8, 8]> y = constexpr_lut_to_dense(indices = tensor<uint2, [4, 8]>(RANDOM(1)), lut = tensor<fp16, "
     "[1, 1, 4, 2]>(RANDOM(2)), vector_axis = 0);",
     "tensor<fp16, [8, 8]>"},
    {"tensor<fp16, [4, 8]> y = constexpr_affine_dequantize(quantized_data = tensor<int8, [4, 8]>(RANDOM(1)), "
     "zero_point = int8(0), "
     "scale = tensor<fp16, [4]>(RANDOM(2)), axis = 0);",
     "tensor<fp16, [4, 8]>"},
    {"tensor<fp32, [2]> y = constexpr_cast(source_val = tensor<fp16, [2]>(RANDOM(1)), output_dtype = \"fp32\");",
     "tensor<fp32, [2]>"},
    {"tensor<fp16, [2, 8]> y = constexpr_sparse_to_dense(nonzero_data = tensor<fp16, [3]>(RANDOM(1)), mask = "
     "tensor<uint1, [2, 8]>(RANDOM(2)));",
     "tensor<fp16, [2, 8]>"},
    {"tensor<fp16, [2, 8]> y = constexpr_sparse_to_dense(nonzero_data = tensor<fp16, [3]>(RANDOM(1)), mask = "
     "tensor<uint8, [2]>(RANDOM(2)), "
     "shape = tensor<uint32, [2]>([2, 8]));",
     "tensor<fp16, [2, 8]>"},
    /* composites */
    {"tensor<fp32, [n, 8]> y = smelt.embed(ids = ids, table = tensor<fp16, [9, 8]>(RANDOM(1)));",
     "tensor<fp32, [n, 8]>"},
    {"tensor<fp32, [n, 8]> y = smelt.rms_norm(x = h, gamma = tensor<fp16, [8]>(RANDOM(1)), eps = 1e-5);",
     "tensor<fp32, [n, 8]>"},
    {"tensor<fp32, [n, 8]> y = smelt.rms_norm(x = h, gamma = tensor<fp16, [7]>(RANDOM(1)), eps = 1e-5);",
     "extents 7 and 8 are never equal"},
    {"tensor<fp32, [n, 8]> y = smelt.rms_norm(x = h);", "eps is missing"},
    {"tensor<fp32, [n, 4, 8]> y = smelt.rope_table(x = r, pos = ids, cos = tensor<fp32, [9, 4]>(RANDOM(1)), sin = "
     "tensor<fp32, [9, 4]>(RANDOM(2)));",
     "tensor<fp32, [n, 4, 8]>"},
    {"tensor<fp32, [n, 4, 8]> y = smelt.rope_table(x = r, pos = ids, cos = tensor<fp32, [9, 5]>(RANDOM(1)), sin = "
     "tensor<fp32, [9, 5]>(RANDOM(2)));",
     "at most half of the head's 8 elements"},
    {"tensor<fp32, [n, 4, 8]> y = smelt.rope(x = r, pos = ids, inv_freq = tensor<fp32, [4]>(RANDOM(1)));",
     "tensor<fp32, [n, 4, 8]>"},
    {"tensor<fp32, [n, 4, 8]> y = smelt.rope(x = r, pos = ids, inv_freq = tensor<fp32, [5]>(RANDOM(1)));",
     "wanted at most half of the head's 8 elements"},
    {"tensor<fp32, [n, 2, 8]> t = slice_by_index(x = r, begin = [0, 0, 0], end = [0, 2, 0], end_mask = [true, false, "
     "true]);"
     "tensor<fp32, [n, 4, 8]> y = smelt.attention(q = r, k = t, v = t, batch = batch, slot = 0, scale = 0.25);",
     "tensor<fp32, [n, 4, 8]>"},
    {"tensor<fp32, [n, 3, 8]> t = slice_by_index(x = r, begin = [0, 0, 0], end = [0, 3, 0], end_mask = [true, false, "
     "true]);"
     "tensor<fp32, [n, 4, 8]> y = smelt.attention(q = r, k = t, v = t, batch = batch, slot = 0, scale = 0.25);",
     "wanted a multiple of k's 3 heads"},
    {"tensor<fp32, [n, 4, 8]> y = smelt.attention(q = r, k = r, v = r, batch = x, slot = 0, scale = 0.25);",
     "wanted a batch"},
    {"tensor<fp32, [n, 8]> y = smelt.gated_mlp(x = h, gate = tensor<fp16, [5, 8]>(RANDOM(1)), up = tensor<fp16, [5, "
     "8]>(RANDOM(1)), "
     "down = tensor<fp32, [8, 5]>(RANDOM(1)), act = \"gelu_tanh\");",
     "tensor<fp32, [n, 8]>"},
    {"tensor<fp32, [n, 9]> y = smelt.lm_head(x = h, weight = tensor<fp16, [9, 8]>(RANDOM(1)), softcap = 30);",
     "tensor<fp32, [n, 9]>"},
};

static bool used[SM_OP_COUNT_];

static const sm_value *find(const sm_func *f, const char *name) {
    const sm_value *found = NULL;
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        used[n->op] = true;
        for (int i = 0; i < n->n_out; i++)
            if (strcmp(n->out[i]->name, name) == 0)
                found = n->out[i];
    }
    return found;
}

/* Numbers anonymous symbols in order of appearance and prints "type = elements"; unknown elements are "?". */
static void describe(const sm_graph *g, const sm_value *v, bool elems, sm_str *out) {
    char buf[1024];
    int anon[64], shown = 0;
    for (int k = 0; k < 64; k++)
        anon[k] = -1;
    for (int a = 0; a < v->type.rank; a++) {
        sm_lin l;
        if (sm_dim_known(v->type.dims[a]) || !sm_lin_of(g, v->type.dims[a], &l))
            continue;
        for (int t = 0; t < l.n; t++)
            if (g->priv->syms.v[l.sym[t]].anon && l.sym[t] < 64 && anon[l.sym[t]] < 0)
                anon[l.sym[t]] = shown++;
    }
    sm_str_adds(out, sm_type_print(g, &v->type, anon, false, buf, sizeof buf));
    int64_t n = sm_type_numel(&v->type, SM_SYM_ELEMS);
    for (int64_t i = 0; elems && i < n; i++) {
        int k = v->sym != NULL ? sm_dim_as_symbol(g, v->sym[i]) : -1;
        bool unknown = v->sym == NULL || (k >= 0 && g->priv->syms.v[k].anon);
        sm_str_adds(out, i == 0 ? " = " : ", ");
        sm_str_adds(out, unknown ? "?" : sm_dim_print(g, v->sym[i], buf, sizeof buf));
    }
}

static bool run_row(const row *r, const char *opset) {
    sm_str text = SM_STR_INIT, have = SM_STR_INIT;
    sm_err err = {0};
    sm_graph *g;
    sm_str_addf(&text, head, opset);
    sm_str_adds(&text, r->code);
    sm_str_adds(&text, "} -> (y); }");
    sm_status st = sm_graph_parse((sm_sv){text.p, text.n}, "row", NULL, NULL, &g, &err);
    if (st == SM_OK) {
        const sm_value *y = find(g->funcs[0], "y");
        describe(g, y, strchr(r->want, '=') != NULL, &have);
        sm_err bad = {0};
        if (sm_verify(g, &bad) != SM_OK)
            sm_str_adds(&have, bad.msg);
    }
    bool ok = st == SM_OK ? strcmp(sm_str_z(&have), r->want) == 0 : strstr(err.msg, r->want) != NULL;
    if (!ok)
        print_message("%s\n  wanted %s\n  got    %s\n", r->code, r->want, st == SM_OK ? sm_str_z(&have) : err.msg);
    sm_graph_free(&g);
    sm_str_free(&text);
    sm_str_free(&have);
    return ok;
}

static void every_op(void **state) {
    (void)state;
    int bad = 0;
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        bad += !run_row(&rows[i], "ios18");
    assert_int_equal(bad, 0);
    for (int op = 0; op < SM_OP_COUNT_; op++)
        if (!used[op])
            print_message("no row for %s\n", sm_op_row_of((sm_op)op)->name), bad++;
    assert_int_equal(bad, 0);
}

/* 0 in a shape counts from the right from iOS17 on. */
static void zero_copies(void **state) {
    (void)state;
    row left = {"tensor<fp16, [1, 4, ?]> y = reshape(x = q, shape = [0, 0, -1]);", "tensor<fp16, [1, 4, 16n]>"};
    row right = {"tensor<fp16, [4, n, 16]> y = reshape(x = q, shape = [0, 0, -1]);", "tensor<fp16, [4, n, 16]>"};
    assert_true(run_row(&left, "ios16"));
    assert_true(run_row(&right, "ios17"));
}

static bool parse_all(void *ctx) {
    static const char text[] =
        "program(1.3) [symbols = string(\"n:1..8\")] { func main<ios18>(tensor<fp16, [n, 4]> x, state<tensor<fp16, [2, "
        "4]>> s, int32 i) {"
        "tensor<fp16, [3, 4]> w = const()[enc = string(\"affine(int4, fp16, [1, 4])\"), val = tensor<fp16, [3, "
        "4]>(RANDOM(3))];"
        "tensor<fp16, [n, 3]> y = linear(x = x, weight = w); tensor<int32, [2]> sh = shape(x = y);"
        "tensor<int32, [2]> c = concat(axis = 0, values = (i, int32(4))); tensor<fp16, [?, 4]> t = fill(shape = c, "
        "value = fp16(1));"
        "tensor<fp16, [n, 3]> z = cond(pred = bool(true)) block() { tensor<fp16, [n, 3]> e = exp(x = y); } -> (e) "
        "block() { } -> (y);"
        "} -> (z, t, sh); }";
    sm_graph *g = NULL;
    sm_err err = {0};
    sm_str out = SM_STR_INIT;
    (void)ctx;
    sm_status st = sm_graph_parse((sm_sv){text, sizeof text - 1}, "sweep", NULL, NULL, &g, &err);
    if (st == SM_OK)
        st = sm_verify(g, &err);
    if (st == SM_OK)
        st = sm_func_remove_dead(g->funcs[0], &err);
    if (st == SM_OK)
        st = sm_graph_print(g, NULL, &out, &err);
    sm_graph_free(&g);
    sm_str_free(&out);
    if (st != SM_OK && st != SM_RESOURCE)
        fail_msg("another error: %s", err.msg);
    return st == SM_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    assert_true(sweep(parse_all, NULL) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op),
        cmocka_unit_test(zero_copies),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
