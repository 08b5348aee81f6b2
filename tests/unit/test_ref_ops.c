/* SPDX-License-Identifier: MIT
 *
 * test_ref_ops.c: every op of `ref` against recorded results (tests/golden/make_ops.py says what is in ops.bin).
 *
 * Each case becomes a graph of one node and runs four ways: operands as inputs of known extents, of unknown extents (floats),
 * as constants, and with one thread less or more; results must agree with the record, and with each other bit for bit.
 * Then the same on `cpu`, which takes its kernels for some of them.
 */
#include <math.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/files.h"
#include "sweep.h"

enum { MAX_ARRAYS = 4096, MAX_CASES = 1024, MAX_FIELDS = 6, MAX_LIST = 8 };

typedef struct record {
    char name[96];
    char *field[MAX_FIELDS]; /* number, op, slot, kind, text; into `text` */
    char text[96];
    sm_dtype dtype;
    int rank;
    int64_t dims[SM_MAX_RANK], n;
    const uint8_t *data;
} record;

typedef struct op_case {
    char name[64];
    const record *r;
    int n;
} op_case;

static record records[MAX_ARRAYS];
static op_case cases[MAX_CASES];
static int n_records, n_cases;

/* ---- the file ---- */

static const uint8_t *take_name(const uint8_t *p, char *out) {
    memcpy(out, p + 1, p[0]);
    out[p[0]] = 0;
    return p + 1 + p[0];
}

static const uint8_t *take_record(const uint8_t *p, record *r) {
    char dtype[32];
    p = take_name(p, r->name);
    p = take_name(p, dtype);
    r->dtype = sm_dtype_of_name(sm_sv_of(dtype));
    r->rank = *p++;
    r->n = 1;
    for (int i = 0; i < r->rank; i++, p += 2) {
        r->dims[i] = p[0] | p[1] << 8;
        r->n *= r->dims[i];
    }
    r->data = p;
    memcpy(r->text, r->name, sizeof r->text);
    char *rest = r->text;
    for (int i = 0; i < MAX_FIELDS; i++)
        r->field[i] = rest != NULL ? strsep(&rest, ":") : NULL;
    return p + sm_dtype_size(r->dtype, (uint64_t)r->n);
}

static void read_cases(sm_str *file) {
    if (sm_file_read(SMELT_GOLDEN "/ops.bin", 16 << 20, file, NULL) != SM_OK)
        exit(1);
    const uint8_t *p = (const uint8_t *)file->p, *end = p + file->n;
    while (p < end && n_records < MAX_ARRAYS) {
        record *r = &records[n_records++];
        p = take_record(p, r);
        if (n_cases == 0 || strncmp(cases[n_cases - 1].r->name, r->name, 4) != 0) {
            op_case *c = &cases[n_cases++];
            c->r = r;
            snprintf(c->name, sizeof c->name, "%s %s", r->field[1], r->field[0]);
        }
        cases[n_cases - 1].n++;
    }
}

/* ---- one case as a graph ---- */

typedef enum mode { AS_INPUTS, AS_UNKNOWN, AS_CONSTANTS, MODES } mode;

typedef struct one_op {
    sm_graph *g;
    sm_func *f;
    sm_arrays in;
} one_op;

/* The record as a constant; its codes are packed when it stands for a dtype below a byte. */
static sm_value *constant_of(sm_builder *b, const record *r) {
    sm_dtype t = r->field[4] != NULL && r->field[3][0] == 'c' ? sm_dtype_of_name(sm_sv_of(r->field[4])) : r->dtype;
    uint8_t packed[4096] = {0};
    const void *data = r->data;
    if (t != r->dtype) {
        for (int64_t i = 0; i < r->n; i++)
            sm_code_put(t, packed, (uint64_t)i, sm_code_get(r->dtype, r->data, (uint64_t)i));
        data = packed;
    }
    return sm_const_data(b, r->field[2], t, r->rank, r->dims, data);
}

static sm_value *operand_of(sm_builder *b, one_op *o, const record *r, mode m, const char *name) {
    if (r->field[3][0] == 's')
        return sm_const_str(b, r->field[4] != NULL ? r->field[4] : "");
    if (r->field[3][0] == 'c' || m == AS_CONSTANTS)
        return constant_of(b, r);
    sm_type t = {.kind = SM_V_TENSOR, .dtype = r->dtype, .rank = r->rank};
    for (int i = 0; i < r->rank; i++)
        t.dims[i] = m == AS_UNKNOWN && sm_dtype_kind(r->dtype) == 'f' ? SM_DIM_UNKNOWN : r->dims[i];
    sm_array *a = sm_arrays_add(&o->in);
    assert_int_equal(sm_array_new(a, name, r->dtype, r->rank, r->dims, NULL), SM_OK);
    if (r->n > 0)
        memcpy(a->data, r->data, sm_dtype_size(r->dtype, (uint64_t)r->n));
    return sm_build_input(b, name, t);
}

static sm_status build_case(const op_case *c, mode m, one_op *o, sm_err *err) {
    sm_builder b;
    sm_op op;
    sm_value *in[SM_MAX_SLOTS] = {NULL}, *list[MAX_LIST];
    int n_list = 0;
    assert_true(sm_op_of_name(sm_sv_of(c->r->field[1]), &op));
    SM_TRY(sm_graph_new(&o->g, err));
    SM_TRY(sm_func_new(o->g, "main", 9, &o->f, err));
    sm_build_start(&b, o->f);
    for (int i = 0; i < c->n; i++) {
        const record *r = &c->r[i];
        if (strcmp(r->field[2], "out") == 0)
            continue;
        bool in_list = r->field[3][0] == 'l';
        char name[64];
        snprintf(name, sizeof name, "%s%s", r->field[2], in_list ? r->field[4] : "");
        sm_value *v = operand_of(&b, o, r, m, name);
        if (in_list)
            list[n_list++] = v;
        else
            in[sm_op_slot(op, r->field[2])] = v;
    }
    sm_node *n = sm_build_node(&b, op, "y", in, list, n_list);
    for (int i = 0; n != NULL && i < n->n_out; i++)
        sm_build_output(&b, n->out[i], NULL);
    return sm_build_end(&b, err);
}

/* ---- results ---- */

static bool same_float(double a, double b, double scale) {
    if (isnan(b) || isinf(b))
        return isnan(b) ? isnan(a) : a == b;
    return fabs(a - b) <= 4e-6 * scale;
}

static void check_result(const op_case *c, const record *want, const sm_array *got) {
    bool floats = sm_dtype_kind(want->dtype) == 'f';
    double scale = 1e-3;
    if (got->rank != want->rank || memcmp(got->dims, want->dims, sizeof got->dims[0] * (size_t)got->rank) != 0)
        fail_msg("%s: result %s has another shape (rank %d)", c->name, want->field[3], got->rank);
    if (floats != (sm_dtype_kind(got->dtype) == 'f'))
        fail_msg("%s: result %s is %s, wanted %s", c->name, want->field[3], sm_dtype_name(got->dtype),
                 sm_dtype_name(want->dtype));
    for (int64_t i = 0; i < want->n; i++) {
        double v = want->dtype == SM_BOOL ? want->data[i] : sm_elem_get(want->dtype, want->data, (uint64_t)i);
        scale = isfinite(v) ? fmax(scale, fabs(v)) : scale;
    }
    for (int64_t i = 0; i < want->n; i++) {
        double a = got->dtype == SM_BOOL ? ((uint8_t *)got->data)[i] : sm_elem_get(got->dtype, got->data, (uint64_t)i);
        double b = want->dtype == SM_BOOL ? want->data[i] : sm_elem_get(want->dtype, want->data, (uint64_t)i);
        if (floats ? !same_float(a, b, scale) : a != b)
            fail_msg("%s: result %s, element %d: %.9g, wanted %.9g", c->name, want->field[3], (int)i, a, b);
    }
}

/* Twice with one executable: what the first run leaves behind must not show in the second. */
static void run_case(const op_case *c, const sm_backend *backend, mode m, int threads, sm_arrays *out) {
    one_op o = {0};
    sm_exe *exe = NULL;
    sm_states states = {0};
    sm_err err = {0};
    const sm_limits lim = {.n_threads = threads};
    sm_status st = build_case(c, m, &o, &err);
    if (st == SM_OK)
        st = backend->compile(o.f, &lim, &exe, &err);
    if (st == SM_OK)
        st = backend->run(exe, &o.in, &states, out, &err);
    sm_arrays_free(out);
    if (st == SM_OK)
        st = backend->run(exe, &o.in, &states, out, &err);
    if (st != SM_OK)
        fail_msg("%s, %s, mode %d: %s", c->name, backend->name, (int)m, err.msg);
    int k = 0;
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->r[i].field[2], "out") == 0)
            check_result(c, &c->r[i], &out->v[k++]);
    assert_int_equal(k, (int)out->n);
    backend->free(&exe);
    sm_arrays_free(&o.in);
    sm_arrays_free(&states.a);
    sm_graph_free(&o.g);
}

static void test_case(void **state) {
    static const sm_backend *const backends[] = {&sm_backend_ref, &sm_backend_cpu};
    const op_case *c = *state;
    for (size_t k = 0; k < SM_ARRAY_LEN(backends); k++) {
        sm_arrays first = {0};
        run_case(c, backends[k], AS_INPUTS, 1, &first);
        for (int m = 0; m < MODES; m++) {
            sm_arrays out = {0};
            run_case(c, backends[k], (mode)m, m == AS_INPUTS ? 3 : 2, &out);
            for (size_t i = 0; i < out.n && (k == 0 || m != AS_CONSTANTS);
                 i++) /* packed weights add in another order */
                assert_memory_equal(out.v[i].data, first.v[i].data,
                                    sm_dtype_size(first.v[i].dtype, sm_array_numel(&first.v[i])));
            sm_arrays_free(&out);
        }
        sm_arrays_free(&first);
    }
}

/* Every composite has a case, but attention, which needs more than one step.  MIL's ops go through packages of single ops
 * besides (tests/e2e/test_mil_ops_*.py), where it is checked that all of them do. */
static void test_all_composites_have_cases(void **state) {
    (void)state;
    for (int op = 0; op < SM_OP_COUNT_; op++) {
        bool found = op == SM_OP_ATTENTION || !sm_op_is_composite((sm_op)op);
        for (int i = 0; i < n_cases && !found; i++)
            found = strcmp(cases[i].r->field[1], sm_op_row_of((sm_op)op)->name) == 0;
        if (!found)
            fail_msg("no case for op %s", sm_op_row_of((sm_op)op)->name);
    }
}

int main(void) {
    static struct CMUnitTest tests[MAX_CASES + 1];
    sm_str file = SM_STR_INIT;
    read_cases(&file);
    for (int i = 0; i < n_cases; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name, .test_func = test_case, .initial_state = &cases[i]};
    tests[n_cases] =
        (struct CMUnitTest){.name = "every composite has a case", .test_func = test_all_composites_have_cases};
    int failed = _cmocka_run_group_tests("ref_ops", tests, (size_t)n_cases + 1, NULL, NULL);
    sm_str_free(&file);
    return failed;
}
