/* SPDX-License-Identifier: MIT
 *
 * test_convert_split.c: weights are counted for the package that they come to, whatever ops use them.
 */
#include "graph/graph.h"
#include "job/convert_split.h"
#include "sweep.h"

/* Bytes: table 512; first layer q 128, behind its attention 256 + 256 (an MLP of single ops); second layer q 128 behind a
 * pair of 3200 each, all before its attention; the head uses the table again. */
static const char text[] =
    "program(1.3) [symbols = string(\"t:1.. r:0..\")] {"
    "func main<rows>(tensor<int32, [t]> ids, tensor<int32, [t]> pos, tensor<int32, [r]> out, batch b) {"
    "tensor<fp16, [32, 8]> table = const()[val = tensor<fp16, [32, 8]>(RANDOM(1))];"
    "tensor<fp16, [8, 8]> wq = const()[val = tensor<fp16, [8, 8]>(RANDOM(2))];"
    "tensor<fp16, [16, 8]> w1 = const()[val = tensor<fp16, [16, 8]>(RANDOM(3))];"
    "tensor<fp16, [8, 16]> w2 = const()[val = tensor<fp16, [8, 16]>(RANDOM(4))];"
    "tensor<fp16, [200, 8]> w3 = const()[val = tensor<fp16, [200, 8]>(RANDOM(5))];"
    "tensor<fp16, [8, 200]> w4 = const()[val = tensor<fp16, [8, 200]>(RANDOM(6))];"
    "tensor<fp16, [8, 8]> wr = const()[val = tensor<fp16, [8, 8]>(RANDOM(7))];"
    "tensor<fp32, [t, 8]> x = smelt.embed(ids = ids, table = table);"
    "tensor<fp32, [t, 8]> q1 = linear(x = x, weight = wq);"
    "tensor<fp32, [t, 1, 8]> q = reshape(x = q1, shape = [-1, 1, 8]);"
    "tensor<fp32, [t, 1, 8]> a = smelt.attention(q = q, k = q, v = q, batch = b, slot = 0, scale = 0.25);"
    "tensor<fp32, [t, 8]> a1 = reshape(x = a, shape = [-1, 8]);"
    "tensor<fp32, [t, 8]> y = add(x = x, y = a1);"
    "tensor<fp32, [t, 16]> u = linear(x = y, weight = w1);"
    "tensor<fp32, [t, 16]> u1 = relu(x = u);"
    "tensor<fp32, [t, 8]> d = linear(x = u1, weight = w2);"
    "tensor<fp32, [t, 8]> z = add(x = y, y = d);"
    "tensor<fp32, [t, 200]> p = linear(x = z, weight = w3);"
    "tensor<fp32, [t, 8]> p1 = linear(x = p, weight = w4);"
    "tensor<fp32, [t, 8]> q2 = linear(x = p1, weight = wr);"
    "tensor<fp32, [t, 1, 8]> q3 = reshape(x = q2, shape = [-1, 1, 8]);"
    "tensor<fp32, [t, 1, 8]> a2 = smelt.attention(q = q3, k = q3, v = q3, batch = b, slot = 1, scale = 0.25);"
    "tensor<fp32, [t, 8]> a3 = reshape(x = a2, shape = [-1, 8]);"
    "tensor<fp32, [t, 8]> o = add(x = z, y = a3);"
    "tensor<fp32, [r, 8]> last = gather(x = o, indices = out, axis = 0);"
    "tensor<fp32, [r, 32]> logits = smelt.lm_head(x = last, weight = table);"
    "} -> (logits); }";

enum { EMBED = 512, FIRST = 128 + 512, SECOND = 128 + 6400, HEAD = 512 };

/* cuts "after" in order, ended by 0, for packages of at most `size` bytes; those of no cut at all are refused. */
static void expect(sm_graph *g, int size, const int *after) {
    char words[32];
    sm_convert_parts p;
    sm_err err = {0};
    snprintf(words, sizeof words, "size:%d", size);
    sm_status st = sm_convert_parts_of(words, g->funcs[0], &p, &err);
    if (after == NULL) {
        assert_int_equal(st, SM_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "takes"));
        return;
    }
    if (st != SM_OK)
        fail_msg("%s: %s", words, err.msg);
    int n = 0;
    for (; after[n] != 0; n++)
        assert_true(n < p.n - 1 && p.cut[n].after == after[n]);
    assert_int_equal(p.n, n + 1);
}

static void packages_hold_what_they_may(void **state) {
    sm_graph *g;
    sm_err err = {0};
    (void)state;
    if (sm_graph_parse((sm_sv){text, strlen(text)}, "program", NULL, NULL, &g, &err) != SM_OK)
        fail_msg("%s", err.msg);
    expect(g, EMBED + FIRST + SECOND + HEAD, (int[]){0});
    expect(g, EMBED + FIRST + SECOND, (int[]){2, 0});
    expect(g, SECOND + HEAD, (int[]){1, 0});
    expect(g, SECOND + HEAD - 1, (int[]){1, 2, 0});
    expect(g, SECOND, (int[]){1, 2, 0});
    expect(g, SECOND - 1, NULL);
    sm_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packages_hold_what_they_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
