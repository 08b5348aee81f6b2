/* SPDX-License-Identifier: MIT
 *
 * test_cpu_written.c: programs as written on `cpu`: against `ref`, with any number of threads, states that are updated in
 * place and values that must not be, every allocation failing in turn.
 */
#include <math.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "graph/graph.h"
#include "sweep.h"

/* A program of text, its input x filled with numbers that repeat late, run `calls` times; outputs of the last call. */
typedef struct program {
    const char *text;
    sm_dtype dtype;
    int rank;
    int64_t dims[SM_MAX_RANK];
    int calls;
} program;

static sm_status run(const program *p, const sm_backend *b, int threads, sm_arrays *out, sm_err *err) {
    sm_graph *g = NULL;
    sm_exe *exe = NULL;
    sm_states states = {0};
    sm_arrays in = {0};
    const sm_limits lim = {.n_threads = threads};
    sm_status st = sm_graph_parse((sm_sv){p->text, strlen(p->text)}, "program", NULL, NULL, &g, err);
    sm_array *x = sm_arrays_add(&in);
    if (x == NULL)
        st = SM_RESOURCE;
    if (st == SM_OK)
        st = sm_array_new(x, "x", p->dtype, p->rank, p->dims, err);
    for (uint64_t i = 0; st == SM_OK && i < sm_array_numel(x); i++)
        ((float *)x->data)[i] = (float)sin((double)i * 0.7) * 2;
    if (st == SM_OK)
        st = b->compile(g->funcs[0], &lim, &exe, err);
    for (int i = 0; i < p->calls && st == SM_OK; i++) {
        sm_arrays_free(out);
        st = b->run(exe, &in, &states, out, err);
    }
    if (exe != NULL)
        b->free(&exe);
    sm_arrays_free(&in);
    sm_arrays_free(&states.a);
    sm_graph_free(&g);
    return st;
}

static void must_run(const program *p, const sm_backend *b, int threads, sm_arrays *out) {
    sm_err err = {0};
    if (run(p, b, threads, out, &err) != SM_OK)
        fail_msg("%s: %s", b->name, err.msg);
}

/* Within f32 rounding of ref's; the same bits for 1 to 4 threads. */
static void check(const program *p) {
    sm_arrays want = {0}, first = {0};
    double worst = 0;
    must_run(p, &sm_backend_ref, 2, &want);
    must_run(p, &sm_backend_cpu, 1, &first);
    assert_int_equal(want.n, first.n);
    for (size_t i = 0; i < want.n; i++) {
        uint64_t n = sm_array_numel(&want.v[i]);
        double scale = 1e-6;
        assert_int_equal(n, sm_array_numel(&first.v[i]));
        for (uint64_t k = 0; k < n; k++)
            scale = fmax(scale, fabs((double)((float *)want.v[i].data)[k]));
        for (uint64_t k = 0; k < n; k++) {
            if (isnan(((float *)want.v[i].data)[k]) && isnan(((float *)first.v[i].data)[k]))
                continue;
            double d = fabs((double)((float *)want.v[i].data)[k] - (double)((float *)first.v[i].data)[k]) / scale;
            worst = fmax(worst, d);
            if (!(d <= 1e-5))
                fail_msg("output %zu, element %zu: %g away from ref's, of %g", i, (size_t)k, d, scale);
        }
    }
    for (int t = 2; t <= 4; t++) {
        sm_arrays out = {0};
        must_run(p, &sm_backend_cpu, t, &out);
        for (size_t i = 0; i < out.n; i++)
            assert_memory_equal(out.v[i].data, first.v[i].data, sm_array_numel(&out.v[i]) * sizeof(float));
        sm_arrays_free(&out);
    }
    print_message("# largest difference to ref: %.1e of the largest element\n", worst);
    sm_arrays_free(&want);
    sm_arrays_free(&first);
}

static void vision(void **state) {
    static const program p = {
        "program(1.3) { func main<ios17>(tensor<fp32, [2, 8, 37, 41]> x) {"
        "tensor<fp16, [24, 8, 3, 3]> w0 = const()[val = tensor<fp16, [24, 8, 3, 3]>(RANDOM(1))];"
        "tensor<fp32, [2, 24, 19, 21]> a = conv(x = x, weight = w0, strides = [2, 2], pad_type = \"same\");"
        "tensor<fp32, [2, 24, 19, 21]> b = gelu(x = a, mode = \"EXACT\");"
        "tensor<fp32, [24, 1, 3, 3]> w1 = const()[val = tensor<fp32, [24, 1, 3, 3]>(RANDOM(2))];"
        "tensor<fp32, [2, 24, 19, 21]> c = conv(x = b, weight = w1, groups = 24, pad_type = \"custom\", pad = [1, 1, "
        "1, 1]);"
        "tensor<fp32, [18, 8, 2, 3]> w2 = const()[val = tensor<fp32, [18, 8, 2, 3]>(RANDOM(3))];"
        "tensor<fp32, [2, 18, 18, 17]> d = conv(x = c, weight = w2, groups = 3, dilations = [1, 2], pad_type = "
        "\"valid\");"
        "tensor<fp32, [2, 18, 18, 17]> e = instance_norm(x = d);"
        "tensor<fp32, [2, 18, 9, 8]> f = max_pool(x = e, kernel_sizes = [3, 2], strides = [2, 2], pad_type = "
        "\"custom\", pad = "
        "[1, 1, 0, 0]);"
        "tensor<fp32, [2, 18, 20, 11]> h = resize_bilinear(x = f, target_size_height = 20, target_size_width = 11);"
        "tensor<fp32, [2, 18, 20, 11]> i = softmax(x = h, axis = 1);"
        "tensor<fp32, [2, 18, 20, 11]> j = mul(x = i, y = h);"
        "tensor<fp32, [2, 18]> y = reduce_mean(x = j, axes = [2, 3]);"
        "} -> (e, h, i, y); }",
        SM_FP32,
        4,
        {2, 8, 37, 41},
        2};
    (void)state;
    check(&p);
}

/* As many positions as x has, but not at their places. */
static void points_elsewhere(void **state) {
    static const program p = {
        "program(1.3) { func main<ios17>(tensor<fp32, [2, 8, 3, 3]> x) {"
        "tensor<fp32, [24, 8, 1, 1]> w = const()[val = tensor<fp32, [24, 8, 1, 1]>(RANDOM(1))];"
        "tensor<fp32, [2, 24, 3, 3]> a = conv(x = x, weight = w, strides = [2, 2], pad_type = \"custom\", pad = [1, 1, "
        "1, 1]);"
        "tensor<fp32, [2, 24, 9, 1]> b = conv(x = x, weight = w, strides = [1, 3], pad_type = \"custom\", pad = [4, 2, "
        "0, 0]);"
        "} -> (a, b); }",
        SM_FP32,
        4,
        {2, 8, 3, 3},
        1};
    (void)state;
    check(&p);
}

static void language(void **state) {
    static const program p = {
        "program(1.3) { func main<ios18>(tensor<fp32, [1, 70, 96]> x) {"
        "tensor<fp16, [96, 96]> wq = const()[val = tensor<fp16, [96, 96]>(RANDOM(4))];"
        "tensor<fp32, [200, 96]> wu = const()[val = tensor<fp32, [200, 96]>(RANDOM(5))];"
        "tensor<fp32, [1, 70, 96]> n = layer_norm(x = x, axes = [-1]);"
        "tensor<fp32, [1, 70, 96]> q = linear(x = n, weight = wq);"
        "tensor<fp32, [1, 70, 3, 32]> r = reshape(x = q, shape = [1, 70, 3, 32]);"
        "tensor<fp32, [1, 3, 70, 32]> t = transpose(x = r, perm = [0, 2, 1, 3]);"
        "tensor<fp32, [1, 3, 70, 32]> a = scaled_dot_product_attention(query = t, key = t, value = t, attn_mask = "
        "tensor<fp32, [1, 1, 70, 70]>(RANDOM(6)));"
        "tensor<fp32, [1, 3, 70, 70]> s = matmul(x = t, y = t, transpose_y = true);"
        "tensor<fp32, [1, 3, 70, 70]> u = softmax(x = s, axis = -1);"
        "tensor<fp32, [1, 3, 70, 32]> v = matmul(x = u, y = a);"
        "tensor<fp32, [1, 3, 32, 32]> w = matmul(x = t, y = v, transpose_x = true);"
        "tensor<fp32, [1, 70, 200]> h = linear(x = x, weight = wu, bias = tensor<fp32, [200]>(RANDOM(7)));"
        "tensor<fp32, [1, 70, 200]> y = silu(x = h);"
        "} -> (a, v, w, y); }",
        SM_FP32,
        3,
        {1, 70, 96},
        2};
    (void)state;
    check(&p);
}

/* k is updated in place, for write_state follows; what was read before and is read after must stay. */
/* A weight of zero times inf is NaN, for however many rows. */
static void nothing_of_infinity(void **state) {
    static const int64_t rows[] = {1, 3, 4, 40};
    char text[1024];
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++) {
        program p = {text, SM_FP32, 4, {1, 1, rows[i], 2}, 1};
        sm_arrays out = {0};
        snprintf(text, sizeof text,
                 "program(1.3) { func main<ios18>(tensor<fp32, [1, 1, %d, 2]> x) {"
                 "tensor<fp32, [1, 1, %d, 2]> a = scaled_dot_product_attention(query = x, key = tensor<fp32, [1, 1, 3, "
                 "2]>(RANDOM(6)), value = tensor<fp32, [1, 1, 3, 2]>([[[[1, 2], [3, 4], [inf, 5]]]]), "
                 "attn_mask = tensor<fp32, [1, 1, 1, 3]>([[[[0, 0, -inf]]]]));} -> (a); }",
                 (int)rows[i], (int)rows[i]);
        check(&p);
        must_run(&p, &sm_backend_cpu, 1, &out);
        for (int64_t r = 0; r < rows[i]; r++) {
            assert_true(isnan(((float *)out.v[0].data)[2 * r]));
            assert_true(isfinite(((float *)out.v[0].data)[2 * r + 1]));
        }
        sm_arrays_free(&out);
    }
}

static void states(void **state) {
    static const program p = {"program(1.3) { func main<ios18>(tensor<fp32, [1, 4]> x, state<tensor<fp16, [3, 4]>> k) {"
                              "tensor<fp16, [3, 4]> a = read_state(input = k);"
                              "tensor<fp16, [1, 4]> u = cast(x = x, dtype = \"fp16\");"
                              "tensor<fp16, [1, 4]> one = add(x = u, y = fp16(1));"
                              "tensor<fp16, [3, 4]> b = slice_update(x = a, update = u, begin = [1, 0], end = [2, 4]);"
                              "write_state(input = k, data = b);"
                              "tensor<fp16, [3, 4]> c = read_state(input = k);"
                              "tensor<fp16, [3, 4]> d = slice_update(x = c, update = one, begin = [0, 0], end = [1, "
                              "4]);" /* c is read below */
                              "write_state(input = k, data = d);"
                              "tensor<fp16, [3, 4]> e = sub(x = d, y = c);"
                              "tensor<fp16, [3, 4]> f = slice_update(x = e, update = one, begin = [2, 0], end = [3, "
                              "4]);" /* not a state: e dies */
                              "tensor<fp16, [3, 4]> g = read_state(input = k);"
                              "tensor<fp16, [3, 4]> h = slice_update(x = g, update = one, begin = [2, 0], end = [3, "
                              "4]);" /* k keeps g */
                              "tensor<fp16, [3, 4]> i = read_state(input = k);"
                              "} -> (e, f, h, i); }",
                              SM_FP32,
                              2,
                              {1, 4},
                              3};
    sm_arrays out = {0};
    float x[4];
    (void)state;
    check(&p);
    must_run(&p, &sm_backend_cpu, 1, &out);
    for (int i = 0; i < 4; i++)
        x[i] = (float)sin((double)i * 0.7) * 2;
    for (int i = 0; i < 4; i++) { /* third call: row 0 held x + 1 before */
        assert_true(((float *)out.v[0].data)[i] == 0 && ((float *)out.v[0].data)[8 + i] == 0);
        assert_true(((float *)out.v[2].data)[8 + i] == x[i] + 1);
        assert_true(((float *)out.v[3].data)[i] == x[i] + 1 && ((float *)out.v[3].data)[4 + i] == x[i]);
        assert_true(((float *)out.v[3].data)[8 + i] == 0);
    }
    sm_arrays_free(&out);
}

static bool run_all(void *ctx) {
    static const program p = {
        "program(1.3) { func main<ios18>(tensor<fp32, [1, 4, 5, 6]> x, state<tensor<fp16, [2, 3]>> k) {"
        "tensor<fp32, [1, 4, 5, 6]> a = conv(x = x, weight = tensor<fp32, [4, 4, 1, 1]>(RANDOM(1)), pad_type = "
        "\"valid\");"
        "tensor<fp32, [1, 4, 5, 6]> b = conv(x = a, weight = tensor<fp32, [4, 1, 3, 3]>(RANDOM(2)), groups = 4, "
        "pad_type = "
        "\"same\");"
        "tensor<fp32, [1, 4, 5, 6]> s = softmax(x = b, axis = 1);"
        "tensor<fp32, [1, 4, 2, 3]> c = avg_pool(x = s, kernel_sizes = [2, 2], strides = [2, 2], pad_type = \"valid\");"
        "tensor<fp32, [1, 4, 5, 3]> d = resize_bilinear(x = c, target_size_height = 5, target_size_width = 3);"
        "tensor<fp32, [1, 4, 5, 5]> e = matmul(x = d, y = d, transpose_y = true);"
        "tensor<fp32, [1, 4, 5, 3]> q = scaled_dot_product_attention(query = d, key = d, value = d);"
        "tensor<fp32, [1, 4, 5, 7]> l = linear(x = q, weight = tensor<fp32, [7, 3]>(RANDOM(3)));"
        "tensor<fp32, [1, 4, 3, 3]> m = matmul(x = d, y = d, transpose_x = true);"
        "tensor<fp16, [2, 3]> r = read_state(input = k);"
        "tensor<fp16, [2, 3]> w = slice_update(x = r, update = tensor<fp16, [1, 3]>(RANDOM(4)), begin = [0, 0], end = "
        "[1, 3]);"
        "write_state(input = k, data = w);"
        "} -> (e, l, m, w); }",
        SM_FP32,
        4,
        {1, 4, 5, 6},
        2};
    sm_arrays out = {0};
    sm_err err = {0};
    (void)ctx;
    sm_status st = run(&p, &sm_backend_cpu, 1, &out, &err);
    sm_arrays_free(&out);
    if (st != SM_OK && st != SM_RESOURCE)
        fail_msg("%s", err.msg);
    return st == SM_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    print_message("# %ld allocations failed in turn\n", sweep(run_all, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vision),   cmocka_unit_test(points_elsewhere),
        cmocka_unit_test(language), cmocka_unit_test(nothing_of_infinity),
        cmocka_unit_test(states),   cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
