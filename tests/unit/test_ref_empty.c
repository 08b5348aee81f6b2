/* SPDX-License-Identifier: MIT
 *
 * test_ref_empty.c: empty arrays with other extents as large as can be: the result is empty, or refused as too large;
 * no number runs over on the way (builds with the undefined-behaviour sanitizer say so).
 */
#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "graph/graph.h"
#include "sweep.h"

#define E31 INT64_C(0x7fffffff)
#define E40 ((INT64_C(1) << 40) + 6) /* what is left of it in 32 bits tells its multiples apart */
#define E62 (INT64_C(1) << 62)

/* y = op(x, ..) and more inputs; the shape of y, or why not. */
typedef struct empty_case {
    const char *inputs, *op; /* of a function that gives y */
    struct {
        const char *name;
        int rank;
        int64_t dims[SM_MAX_RANK];
    } in[5];
    const char *why; /* NULL: it works */
    int64_t want[SM_MAX_RANK];
} empty_case;

#define IMAGE "tensor<fp32, [?, ?, ?, ?]> x"
#define TOO_LARGE "the result is too large"
static const empty_case cases[] = {
    {IMAGE, "depth_to_space(x = x, block_size = 2)", {{"x", 4, {0, 4, E40, E40}}}, NULL, {0, 1, 2 * E40, 2 * E40}},
    {IMAGE, "depth_to_space(x = x, block_size = 2)", {{"x", 4, {0, 4, E62, 1}}}, TOO_LARGE, {0}},
    {IMAGE, "pixel_shuffle(x = x, upscale_factor = 2)", {{"x", 4, {0, 4, 1, E62}}}, TOO_LARGE, {0}},
    {IMAGE, "space_to_depth(x = x, block_size = 2)", {{"x", 4, {0, E62, 2, 2}}}, TOO_LARGE, {0}},
    {IMAGE, "space_to_depth(x = x, block_size = 2)", {{"x", 4, {0, E40, E40, 0}}}, NULL, {0, 4 * E40, E40 / 2, 0}},
    {IMAGE,
     "pixel_unshuffle(x = x, downscale_factor = 2)",
     {{"x", 4, {0, E40, E40, 2}}},
     NULL,
     {0, 4 * E40, E40 / 2, 1}},
    {IMAGE,
     "space_to_batch(x = x, block_shape = [2, 2], paddings = tensor<int32, [2, 2]>([[0, 0], [0, 0]]))",
     {{"x", 4, {E62, 0, 2, 2}}},
     TOO_LARGE,
     {0}},
    {IMAGE,
     "space_to_batch(x = x, block_shape = [1, 1], paddings = tensor<int32, [2, 2]>([[1, 0], [0, 0]]))",
     {{"x", 4, {1, 0, INT64_MAX, 2}}},
     TOO_LARGE,
     {0}},
    {IMAGE,
     "space_to_batch(x = x, block_shape = [2, 2], paddings = tensor<int32, [2, 2]>([[2, 2], [0, 0]]))",
     {{"x", 4, {0, E40, E40, E40}}},
     NULL,
     {0, E40, E40 / 2 + 2, E40 / 2}},
    {IMAGE,
     "batch_to_space(x = x, block_shape = [2, 2], crops = tensor<int32, [2, 2]>([[0, 0], [0, 0]]))",
     {{"x", 4, {4, 0, E62, 2}}},
     TOO_LARGE,
     {0}},
    {IMAGE,
     "batch_to_space(x = x, block_shape = [2, 2], crops = tensor<int32, [2, 2]>([[1, 1], [0, 0]]))",
     {{"x", 4, {0, E40, E40, E40}}},
     NULL,
     {0, E40, 2 * E40 - 2, 2 * E40}},
    {IMAGE,
     "crop(x = x, crop_height = [2, 1], crop_width = [0, 1])",
     {{"x", 4, {0, E40, E40, E40}}},
     NULL,
     {0, E40, E40 - 3, E40 - 1}},
    {IMAGE,
     "sliding_windows(x = x, axis = 1, size = 2, stride = 3)",
     {{"x", 4, {0, 5, E62, 1}}},
     NULL,
     {0, 2, 2, E62, 1}},
    {"tensor<fp32, [?, ?, ?, ?, ?]> x",
     "conv(x = x, weight = tensor<fp32, [1, 1, 1, 1, 1]>([[[[[2]]]]]))",
     {{"x", 5, {0, 1, E31, E31, E31}}},
     "x is too large",
     {0}},
    {"tensor<fp32, [?, ?, ?, ?]> x, tensor<fp32, [0, ?, 1, 1]> w",
     "conv_transpose(x = x, weight = w, groups = 8)",
     {{"x", 4, {1, 0, 1, 1}}, {"w", 4, {0, E62 / 4, 1, 1}}},
     TOO_LARGE,
     {0}},
    {"tensor<fp32, [?, ?, ?]> x, tensor<fp32, [?, ?]> i, tensor<fp32, [?, ?]> h, tensor<fp32, [?, ?]> s, tensor<fp32, "
     "[?, "
     "?]> k",
     "lstm(x = x, weight_ih = i, weight_hh = h, initial_h = s, initial_c = k)",
     {{"x", 3, {0, 0, E62}}, {"i", 2, {0, E62}}, {"h", 2, {4, 1}}, {"s", 2, {0, 1}}, {"k", 2, {0, 1}}},
     "are too large",
     {0}},
    {"tensor<fp32, [?, ?, ?]> x, tensor<fp32, [?, ?]> i, tensor<fp32, [?, ?]> h, tensor<fp32, [?, ?]> s",
     "rnn(x = x, weight_ih = i, weight_hh = h, initial_h = s)",
     {{"x", 3, {0, 0, 2}}, {"i", 2, {0, 2}}, {"h", 2, {0, E62}}, {"s", 2, {0, E62}}},
     "are too large",
     {0}},
};

static sm_status run(const empty_case *t, const sm_backend *b, sm_arrays *out, sm_err *err) {
    char text[1024];
    sm_graph *g = NULL;
    sm_exe *exe = NULL;
    sm_states states = {0};
    sm_arrays in = {0};
    const sm_limits lim = {.n_threads = 1};
    const sm_parse_opts o = {.foreign = true}; /* ranks are as they come */
    bool three = strncmp(t->op, "lstm", 4) == 0, two = strncmp(t->op, "rnn", 3) == 0;
    snprintf(text, sizeof text,
             "program(1.3) { func main<ios18>(%s) { tensor<fp32, [?]> y%s = %s; "
             "tensor<int32, [?]> shape_of_y = shape(x = y); } -> (shape_of_y); }",
             t->inputs,
             three ? ", tensor<fp32, [?]> y2, tensor<fp32, [?]> y3"
             : two ? ", tensor<fp32, [?]> y2"
                   : "",
             t->op);
    sm_status st = sm_graph_parse_with((sm_sv){text, strlen(text)}, "program", &o, &g, err);
    if (st != SM_OK)
        fail_msg("%s: %s", t->op, err->msg);
    for (size_t i = 0; i < SM_ARRAY_LEN(t->in) && t->in[i].name != NULL; i++) {
        sm_array *x = sm_arrays_add(&in);
        assert_non_null(x);
        /* what no file could hold, ops can make */
        assert_int_equal(sm_array_new(x, t->in[i].name, SM_FP32, 1, (int64_t[]){t->in[i].rank > 2 ? 0 : 64}, err),
                         SM_OK);
        x->rank = t->in[i].rank;
        memcpy(x->dims, t->in[i].dims, sizeof x->dims);
    }
    st = b->compile(g->funcs[0], &lim, &exe, err);
    if (st == SM_OK)
        st = b->run(exe, &in, &states, out, err);
    if (exe != NULL)
        b->free(&exe);
    sm_arrays_free(&in);
    sm_arrays_free(&states.a);
    sm_graph_free(&g);
    return st;
}

static void empty_arrays_of_large_extents(void **state) {
    const sm_backend *backends[] = {&sm_backend_ref, &sm_backend_cpu};
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++)
        for (int k = 0; k < 2; k++) {
            sm_arrays out = {0};
            sm_err err = {0};
            const empty_case *t = &cases[i];
            sm_status st = run(t, backends[k], &out, &err);
            if ((st == SM_OK) != (t->why == NULL) || (st != SM_OK && strstr(err.msg, t->why) == NULL))
                fail_msg("%s on %s: %s", t->op, backends[k]->name, err.msg);
            for (int a = 0; st == SM_OK && a < out.v[0].dims[0]; a++)
                assert_int_equal(((int32_t *)out.v[0].data)[a], (int32_t)t->want[a]);
            sm_arrays_free(&out);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_arrays_of_large_extents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
