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
 * A constant used twice (a tied head) is re-encoded once and stays one constant.
 */
#include "pass/pass_int.h"

#include <inttypes.h>
#include <math.h>
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

/* Encodes by block along the last axis; the block must divide it.  Unsigned codes have a zero point of their type. */
static sm_status want_affine(const sm_const *c, const sm_profile *p, sm_dtype code, sm_encoding *out, sm_err *err) {
    int64_t cols = sm_tensor_cols(&c->src);
    int64_t block = p->quant_block > 0 ? p->quant_block : p->quant_block < 0 ? cols : 32;
    if (cols % block != 0) {
        int64_t fits = block;
        while (cols % fits != 0)
            fits--;
        SM_FAIL(err, SM_UNSUPPORTED, "tensor '%.*s': rows of %" PRId64 " weights do not divide into blocks of %" PRId64,
                (int)c->src.name.n, c->src.name.p, cols, block);
        return sm_err_hint(err, "blocks of %" PRId64 " fit this tensor", fits);
    }
    *out = sm_enc_affine(code, SM_FP16, sm_dtype_kind(code) == 'u' ? code : SM_NONE, c->src.rank, block);
    return SM_OK;
}

/* The divisor of rows from 8 to 32 that is nearest to 16 (of two the smaller); all rows when there is none. */
static int64_t usual_group(int64_t rows) {
    for (int64_t off = 0; off <= 16; off++) {
        if (16 - off >= 8 && rows % (16 - off) == 0)
            return 16 - off;
        if (rows % (16 + off) == 0)
            return 16 + off;
    }
    return rows;
}

/* A palette for the whole tensor, or one per group of output channels: axis 0, of which the group must be a divisor. */
static sm_status want_palette(const sm_const *c, const sm_profile *p, sm_dtype code, sm_encoding *out, sm_err *err) {
    int64_t rows = c->src.dims[0], group = p->quant_group > 0 ? p->quant_group : rows;
    bool grouped = p->opset >= 9;
    if (p->quant_group == SM_GROUP_USUAL && grouped)
        group = usual_group(rows);
    if (!grouped && (p->quant_group > 0 || code == SM_UINT3)) {
        SM_FAIL(err, SM_UNSUPPORTED, "tensor '%.*s': %s came with iOS 18 and macOS 15", (int)c->src.name.n,
                c->src.name.p, code == SM_UINT3 ? "palettes of 3 bits" : "palettes of groups of channels");
        return sm_err_hint(err, code == SM_UINT3 ? "use --quant lut4 or lut2" : "use --group 0: one palette a tensor");
    }
    if (rows % group != 0) {
        int64_t fits = group;
        while (rows % fits != 0)
            fits--;
        SM_FAIL(err, SM_UNSUPPORTED, "tensor '%.*s': %" PRId64 " output channels do not divide into groups of %" PRId64,
                (int)c->src.name.n, c->src.name.p, rows, group);
        return sm_err_hint(err, "groups of %" PRId64 " fit this tensor, and --group 0 fits all", fits);
    }
    *out = (sm_encoding){.id = SM_ENC_LUT, .code = code, .aux = p->act, .vec = 1};
    for (int a = 0; a < c->src.rank; a++)
        out->block[a] = a == 0 ? group : c->src.dims[a];
    return SM_OK;
}

/* Block-affine codes as constexpr_blockwise_shift_scale has them; its result has the dtype of the scale. */
static bool is_package_affine(const sm_encoding *e, const sm_profile *p) {
    bool codes = e->code == SM_INT4 || e->code == SM_UINT4 || e->code == SM_INT8 || e->code == SM_UINT8;
    bool offset = e->off == SM_NONE || e->off == e->code || (p->float_offset && e->off == SM_FP16);
    return e->id == SM_ENC_AFFINE && codes && offset && e->aux == p->act;
}

/* The encoding for a matrix under `auto` and `keep`. */
static sm_status keep_codes(const sm_const *c, const sm_profile *p, sm_encoding *out, sm_err *err) {
    sm_encoding e;
    int sub;
    sm_dtype code;
    bool has_min;
    *out = sm_enc_dense(p->act);
    if (!sm_is_coded(&c->src, &sub, &code, &has_min)) {
        if (c->src.enc.id == SM_ENC_LUT && p->block_quant)
            *out = c->src.enc;
        return SM_OK;
    }
    if (!p->block_quant)
        return SM_OK;
    if (is_package_affine(&c->src.enc, p)) {
        *out = c->src.enc;
        return SM_OK;
    }
    if (!sm_affine_for(&c->src, &e))
        return SM_OK;
    if (has_min && !p->float_offset)
        return want_affine(c, p, code == SM_UINT4 ? SM_INT4 : SM_INT8, out, err);
    *out = e;
    return SM_OK;
}

static sm_status want_for_matrix(const sm_const *c, const sm_profile *p, sm_encoding *out, sm_err *err) {
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
    case SM_QUANT_LUT8: {
        static const sm_dtype codes[] = {SM_UINT1, SM_UINT2, SM_UINT3, SM_UINT4, SM_UINT6, SM_UINT8};
        return want_palette(c, p, codes[p->quant - SM_QUANT_LUT1], out, err);
    }
    case SM_QUANT_AUTO:
        return keep_codes(c, p, out, err);
    case SM_QUANT_KEEP: {
        sm_carry how;
        SM_TRY(keep_codes(c, p, out, err));
        SM_TRY(sm_transcode_how(&c->src, out, &how, err));
        if (how == SM_CARRY_REQUANTIZED || (how == SM_CARRY_WIDENED && c->src.enc.id != SM_ENC_DENSE)) {
            char from[64];
            SM_FAIL(err, SM_UNSUPPORTED, "tensor '%.*s': the codes of %s cannot be kept in the '%s' design",
                    (int)c->src.name.n, c->src.name.p, sm_enc_print(&c->src.enc, c->src.rank, from, sizeof from),
                    p->name);
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

static sm_status encode_const(sm_builder *b, const sm_node *n, int slot, const sm_profile *p, sm_value **map,
                              sm_err *err) {
    sm_value *v = n->in[slot];
    const_role role = role_of(n, slot);
    if (map[v->id] != NULL || role == ROLE_PARAM || role == ROLE_ANGLES)
        return SM_OK;
    sm_encoding want = sm_enc_dense(p->act);
    if (role == ROLE_MATRIX)
        SM_TRY(want_for_matrix(v->cst, p, &want, err));
    else
        SM_TRY(check_range(v->cst, p, err));
    sm_dtype decoded = p->act;
    if (p->act == SM_FP32) { /* the plain profile keeps everything as it is */
        want = v->cst->src.enc;
        decoded = v->cst->src.dtype;
        if (want.id == SM_ENC_DENSE)
            decoded = SM_FP32, want = sm_enc_dense(SM_FP32);
    }
    map[v->id] = sm_const_as(b, v, &want, decoded);
    return SM_OK;
}

sm_status sm_pass_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err) {
    sm_rebuild r;
    SM_TRY(sm_rebuild_start(&r, f, f->opset, err));
    sm_status st = SM_OK;
    for (const sm_node *n = f->body->first; n != NULL && st == SM_OK; n = n->next) {
        int n_slots = sm_op_row_of(n->op)->n_slots;
        for (int i = 0; i < n_slots && st == SM_OK; i++)
            if (n->in[i] != NULL && n->in[i]->cst != NULL)
                st = encode_const(&r.b, n, i, p, r.map, err);
        if (st == SM_OK)
            sm_build_copy(&r.b, n, r.map);
    }
    return sm_rebuild_end(&r, st, out, err);
}
