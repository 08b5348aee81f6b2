/* SPDX-License-Identifier: MIT
 *
 * encode.c: picks, per constant, the encoding that a profile holds.
 *
 * Runs on row form, before lower, which never changes an encoding.  Nothing is converted here: a constant only gets
 * another wanted encoding, and its bytes are made when the writer asks.
 *
 *   matrices     (rank 2, read by linear, gated_mlp, lm_head, embed): by the quantization asked for.  `auto` keeps the
 *                codes of the checkpoint where the profile can hold them, as affine blocks; what has no codes becomes
 *                the activation dtype
 *   inv_freq     stays fp32: angles are computed in fp32
 *   the rest     (norm weights, biases) the activation dtype
 *
 * A constant used twice (a tied head) is re-encoded once and stays one constant, unless its uses want different forms.
 */
#include "pass/encode_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const quants[] = {"auto", "keep", "none", "int4", "int8", "uint4", "uint8",
                                     "lut1", "lut2", "lut3", "lut4", "lut6", "lut8"};

const char *sm_quant_name(sm_quant q) {
    return quants[q];
}

bool sm_quant_of_name(const char *name, sm_quant *out) {
    for (size_t i = 0; i < SM_ARRAY_LEN(quants); i++)
        if (strcmp(name, quants[i]) == 0) {
            *out = (sm_quant)i;
            return true;
        }
    return false;
}

const char *sm_const_said(const sm_const *c, char out[SM_SAID]) {
    snprintf(out, SM_SAID, "tensor '%.*s'", (int)SM_MIN(c->src.name.n, (size_t)100), c->src.name.p);
    return out;
}

int64_t sm_divisor_of(int64_t n, int64_t most) {
    while (n % most != 0)
        most--;
    return most;
}

/* Weights of a row that share a scale: as asked for, else 32 where the package holds blocks, else the row. */
static int64_t block_of(const sm_profile *p, int64_t cols) {
    if (p->quant_block != 0)
        return p->quant_block > 0 ? p->quant_block : cols;
    return p->blocks && sm_target_has(p->opset, SM_FEATURE_BLOCK_CODES) ? 32 : cols;
}

/* Encodes by block along the last axis; the block must divide it.  Unsigned codes have a zero point of their type. */
static sm_status want_affine(const sm_const *c, const sm_profile *p, sm_dtype code, sm_encoding *out, sm_err *err) {
    int64_t cols = sm_tensor_cols(&c->src), block = block_of(p, cols);
    char name[SM_SAID];
    SM_TRY(sm_target_want(p->opset, SM_FEATURE_CHANNEL_CODES, sm_const_said(c, name), err));
    if (sm_dtype_bits(code) < 8)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_CODES_4, sm_const_said(c, name), err));
    if (block != cols)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_BLOCK_CODES, sm_const_said(c, name), err));
    if (block != cols && !p->blocks) {
        SM_FAIL(err, SM_UNSUPPORTED,
                "%s: weights in blocks of %" PRId64 " fall off the Neural Engine, fail to compile there or give wrong "
                "numbers",
                sm_const_said(c, name), block);
        return sm_err_hint(err, "use --quant lut4 or lut6, or --block channel");
    }
    if (cols % block != 0) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: rows of %" PRId64 " weights do not divide into blocks of %" PRId64,
                sm_const_said(c, name), cols, block);
        return sm_err_hint(err, "blocks of %" PRId64 " fit this tensor", sm_divisor_of(cols, block));
    }
    *out = sm_enc_affine(code, p->act, sm_dtype_kind(code) == 'u' ? code : SM_NONE, c->src.rank, block);
    return SM_OK;
}

/* ------------------------------------------------------------------ codes that are there */
/* Does the package hold this encoding as it is? */
static bool holds_affine(const sm_encoding *e, const sm_tensor *t, const sm_profile *p) {
    bool codes = e->code == SM_INT4 || e->code == SM_UINT4 || e->code == SM_INT8 || e->code == SM_UINT8;
    bool row = e->block[t->rank - 1] == sm_tensor_cols(t), one = true;
    for (int a = 0; a < t->rank - 1; a++)
        one &= e->block[a] == 1;
    if (!codes || e->aux != p->act || (!row && !p->blocks))
        return false;
    if (!sm_target_has(p->opset, SM_FEATURE_BLOCK_CODES))
        return sm_target_has(p->opset, SM_FEATURE_CHANNEL_CODES) && sm_dtype_bits(e->code) == 8 && row && one &&
               (e->off == SM_NONE || e->off == e->code);
    return e->off == SM_NONE || e->off == e->code || (p->float_offset && e->off == p->act);
}

static bool holds_palette(const sm_encoding *e, const sm_tensor *t, const sm_profile *p) {
    bool whole = e->vec <= 1 && e->sc == SM_NONE && e->code != SM_UINT3;
    for (int a = 0; a < t->rank; a++)
        whole &= e->block[a] == t->dims[a];
    return sm_target_has(p->opset, whole ? SM_FEATURE_PALETTES : SM_FEATURE_GROUP_PALETTES);
}

/* The nearest form that holds about the same: where blocks are, integers (for tables of 8 bits); where only palettes are
 * safe, the smallest palette that is near enough. */
static sm_status nearest(const sm_const *c, const sm_profile *p, sm_dtype code, bool table, sm_encoding *out,
                         sm_err *err) {
    bool four = sm_dtype_bits(code) <= 4 && sm_target_has(p->opset, SM_FEATURE_CODES_4) && !table;
    if (!sm_target_has(p->opset, SM_FEATURE_CHANNEL_CODES))
        return SM_OK; /* dense */
    if (p->blocks || (table && !sm_target_has(p->opset, SM_FEATURE_GROUP_PALETTES)))
        return want_affine(c, p, four ? SM_INT4 : SM_INT8, out, err);
    return sm_want_near_palette(c, p, out, err);
}

/* The encoding for a matrix under `auto` and `keep`. */
static sm_status keep_codes(const sm_const *c, const sm_profile *p, bool table, sm_encoding *out, sm_err *err) {
    sm_encoding e;
    int sub;
    sm_dtype code;
    bool has_min;
    *out = sm_enc_dense(p->act);
    if (!sm_is_coded(&c->src, &sub, &code, &has_min)) {
        if (c->src.enc.id == SM_ENC_LUT && holds_palette(&c->src.enc, &c->src, p))
            *out = c->src.enc;
        return SM_OK;
    }
    bool found = c->src.enc.id == SM_ENC_AFFINE;
    if (found)
        e = c->src.enc;
    else
        found = sm_affine_for(&c->src, &e);
    if (found && p->act == SM_FP32) { /* the scales and offsets are exact then */
        e.aux = SM_FP32;
        e.off = e.off == SM_FP16 ? SM_FP32 : e.off;
    }
    if (found && holds_affine(&e, &c->src, p)) {
        *out = e;
        return SM_OK;
    }
    return nearest(c, p, code, table, out, err);
}

/* table: its rows are looked up. */
static sm_status want_for_matrix(const sm_const *c, const sm_profile *p, bool table, sm_encoding *out, sm_err *err) {
    static const sm_dtype codes[] = {SM_UINT1, SM_UINT2, SM_UINT3, SM_UINT4, SM_UINT6, SM_UINT8};
    switch (p->quant) {
    case SM_QUANT_NONE:
        *out = sm_enc_dense(p->act);
        return SM_OK;
    case SM_QUANT_INT4:
    case SM_QUANT_INT8:
        return want_affine(c, p, p->quant == SM_QUANT_INT4 ? SM_INT4 : SM_INT8, out, err);
    case SM_QUANT_UINT4:
    case SM_QUANT_UINT8:
        return want_affine(c, p, p->quant == SM_QUANT_UINT4 ? SM_UINT4 : SM_UINT8, out, err);
    case SM_QUANT_LUT1:
    case SM_QUANT_LUT2:
    case SM_QUANT_LUT3:
    case SM_QUANT_LUT4:
    case SM_QUANT_LUT6:
    case SM_QUANT_LUT8:
        return sm_want_palette(c, p, codes[p->quant - SM_QUANT_LUT1], p->quant_group, out, err);
    case SM_QUANT_AUTO:
        return keep_codes(c, p, table, out, err);
    case SM_QUANT_KEEP: {
        sm_carry how;
        SM_TRY(keep_codes(c, p, table, out, err));
        SM_TRY(sm_transcode_how(&c->src, out, &how, err));
        if (how == SM_CARRY_REQUANTIZED || (how == SM_CARRY_WIDENED && c->src.enc.id != SM_ENC_DENSE)) {
            char from[64], name[SM_SAID];
            const sm_target *t = sm_target_of(p->opset);
            SM_FAIL(err, SM_UNSUPPORTED, "%s: the codes of %s cannot be kept in the '%s' design for %s",
                    sm_const_said(c, name), sm_enc_print(&c->src.enc, c->src.rank, from, sizeof from), p->name,
                    t != NULL ? t->ios : "?");
            return sm_err_hint(err, "use --quant auto for the nearest form, or --quant int4, int8 or none");
        }
        return SM_OK;
    }
    }
    return SM_FAIL(err, SM_USAGE, "unknown quantization %d", (int)p->quant);
}

typedef enum const_role { ROLE_VECTOR, ROLE_MATRIX, ROLE_ANGLES, ROLE_PARAM } const_role;

static bool reads_matrix(sm_op op) {
    return op == SM_OP_EMBED || op == SM_OP_LINEAR || op == SM_OP_GATED_MLP || op == SM_OP_LM_HEAD;
}

static const_role role_of(const sm_node *n, int slot) {
    const sm_slot *s = &sm_op_row_of(n->op)->slot[slot];
    const sm_value *v = n->in[slot];
    if (s->kind != 't' || v->type.rank == 0 || sm_dtype_kind(v->type.dtype) != 'f')
        return ROLE_PARAM;
    if (n->op == SM_OP_ROPE && strcmp(s->name, "inv_freq") == 0)
        return ROLE_ANGLES;
    return v->type.rank == 2 && reads_matrix(n->op) ? ROLE_MATRIX : ROLE_VECTOR;
}

/* Norm weights and biases are small: what fp16 cannot hold is noticed before anything is written. */
static sm_status check_range(const sm_const *c, const sm_profile *p, sm_err *err) {
    size_t n;
    if (p->act != SM_FP16 || c->src.part[SM_PART_DATA].p == NULL)
        return SM_OK;
    float *x = sm_const_decode(c, &n);
    if (x == NULL)
        return SM_NOMEM(err);
    sm_status st = SM_OK;
    for (size_t i = 0; i < n && st == SM_OK; i++)
        if (isfinite(x[i]) && !isfinite(sm_round_f16(x[i])))
            st = SM_FAIL(err, SM_UNSUPPORTED, "tensor '%.*s': element %zu is %g, which fp16 cannot hold",
                         (int)c->src.name.n, c->src.name.p, i, (double)x[i]);
    sm_free(x);
    return st;
}

/* A constant has one re-encoded form per dtype and use; uses that want the same share it. */
enum { USE_PRODUCT, USE_TABLE, USES };

typedef struct encoder {
    sm_rebuild r;
    const sm_profile *p;
    sm_profile wide;          /* *p for nodes in fp32 */
    sm_value **form[2][USES]; /* by whether in fp32, and use; by old value id */
    sm_err *err;
} encoder;

static sm_status encoding_of(encoder *e, const sm_value *v, const_role role, bool table, const sm_profile *p,
                             sm_encoding *want) {
    *want = sm_enc_dense(p->act);
    if (e->p->as_is) {
        if (v->cst->src.enc.id != SM_ENC_DENSE)
            *want = v->cst->src.enc;
        return SM_OK;
    }
    return role == ROLE_MATRIX ? want_for_matrix(v->cst, p, table, want, e->err) : check_range(v->cst, p, e->err);
}

static sm_status encode_const(encoder *e, const sm_node *n, int slot, bool wide) {
    sm_value *v = n->in[slot];
    const_role role = role_of(n, slot);
    if (role == ROLE_PARAM || role == ROLE_ANGLES)
        return SM_OK;
    const sm_profile *p = wide ? &e->wide : e->p;
    int use = role == ROLE_MATRIX && n->op == SM_OP_EMBED ? USE_TABLE : USE_PRODUCT;
    sm_value **form = &e->form[wide][use][v->id], *other = e->form[wide][!use][v->id];
    if (*form == NULL) {
        sm_encoding want;
        SM_TRY(encoding_of(e, v, role, use == USE_TABLE, p, &want));
        sm_dtype decoded = e->p->as_is && want.id != SM_ENC_DENSE ? v->cst->src.dtype : p->act;
        if (other != NULL && sm_enc_eq(&want, &other->cst->want, v->cst->src.rank))
            *form = other;
        else
            *form = sm_const_as(&e->r.b, v, &want, decoded);
    }
    e->r.map[v->id] = *form;
    return SM_OK;
}

static sm_status encode_nodes(encoder *e, const sm_func *f) {
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        bool wide = sm_profile_is_wide(e->p, n);
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
            if (n->in[i] != NULL && n->in[i]->cst != NULL)
                SM_TRY(encode_const(e, n, i, wide));
        sm_build_copy(&e->r.b, n, e->r.map);
    }
    return SM_OK;
}

sm_status sm_pass_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err) {
    encoder e = {.p = p, .wide = *p, .err = err};
    bool room = true;
    e.wide.act = SM_FP32;
    for (int i = 0; i < 2 * USES; i++) {
        e.form[i / USES][i % USES] = sm_value_map_new(f->graph);
        room &= e.form[i / USES][i % USES] != NULL;
    }
    sm_status st = room ? sm_rebuild_start(&e.r, f, f->opset, err) : SM_NOMEM(err);
    if (st == SM_OK) {
        st = encode_nodes(&e, f);
        st = sm_rebuild_end(&e.r, st, out, err);
    }
    for (int i = 0; i < 2 * USES; i++)
        sm_free(e.form[i / USES][i % USES]);
    return st;
}
