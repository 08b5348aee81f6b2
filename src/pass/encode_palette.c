/* SPDX-License-Identifier: MIT
 *
 * encode_palette.c: the palettes that constants get: those asked for by name, and under `auto` the smallest that holds
 * what is left of a tensor's error under a bound.
 *
 * `auto` looks at the tensor, never at a model: a palette's error is what fitting it leaves (tensor/palette.h), on the
 * whole tensor for one table, on a few groups evenly apart for tables of groups.  Finer forms leave less: so the finest
 * one below 8 bits comes first, and where that is beyond the bound, nothing below 8 bits is tried; and forms of 8 bits are
 * tried from the finest, whose groups are small, to the first that is too coarse.
 */
#include "pass/encode_int.h"

#include <inttypes.h>

#include "tensor/palette.h"

enum {
    GROUP = 16,   /* output channels that share a palette, about: Apple's recipes have 8 to 32 */
    MEASURED = 5, /* groups of a tensor that are measured */
    ROUGHLY = 2,  /* and of a form that will most likely not do */
};

/* Forms by size; of groups about so many channels, 0: the tensor. */
typedef struct form {
    sm_dtype code;
    int64_t group;
} form;
static const form forms[] = {{SM_UINT1, 0},         {SM_UINT1, GROUP}, {SM_UINT2, 0}, {SM_UINT2, GROUP},
                             {SM_UINT3, 0},         {SM_UINT3, GROUP}, {SM_UINT4, 0}, {SM_UINT4, GROUP},
                             {SM_UINT6, 0},         {SM_UINT6, GROUP}, {SM_UINT8, 0}, {SM_UINT8, 4 * GROUP},
                             {SM_UINT8, 2 * GROUP}, {SM_UINT8, GROUP}};

/* The divisor of rows from half of `about` to twice as much that is nearest to it (of two the smaller); all rows when
 * there is none. */
static int64_t near_group(int64_t rows, int64_t about) {
    for (int64_t off = 0; off <= about; off++) {
        if (2 * off <= about && rows % (about - off) == 0)
            return about - off;
        if (rows % (about + off) == 0)
            return about + off;
    }
    return rows;
}

static sm_encoding palette_of(const sm_const *c, const sm_profile *p, sm_dtype code, int64_t group) {
    sm_encoding e = {.id = SM_ENC_LUT, .code = code, .aux = p->act, .vec = 1};
    for (int a = 0; a < c->src.rank; a++)
        e.block[a] = a == 0 ? group : c->src.dims[a];
    return e;
}

sm_status sm_want_palette(const sm_const *c, const sm_profile *p, sm_dtype code, int64_t wanted, sm_encoding *out,
                          sm_err *err) {
    int64_t rows = c->src.dims[0], group = wanted > 0 ? wanted : rows;
    if (wanted == SM_GROUP_USUAL && sm_target_has(p->opset, SM_FEATURE_GROUP_PALETTES))
        group = near_group(rows, GROUP);
    char name[SM_SAID];
    SM_TRY(sm_target_want(p->opset, SM_FEATURE_PALETTES, sm_const_said(c, name), err));
    if (group != rows || code == SM_UINT3)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_GROUP_PALETTES, sm_const_said(c, name), err));
    if (rows % group != 0) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: %" PRId64 " output channels do not divide into groups of %" PRId64,
                sm_const_said(c, name), rows, group);
        return sm_err_hint(err, "groups of %" PRId64 " fit this tensor, and --group 0 fits all",
                           sm_divisor_of(rows, group));
    }
    *out = palette_of(c, p, code, group);
    return SM_OK;
}

/* The form as an encoding; false where the target or the tensor has none. */
static bool form_for(const sm_const *c, const sm_profile *p, const form *f, sm_encoding *out) {
    int64_t rows = c->src.dims[0], group = f->group == 0 ? rows : near_group(rows, f->group);
    bool groups = sm_target_has(p->opset, SM_FEATURE_GROUP_PALETTES);
    if ((f->group != 0 && group == rows) || (!groups && (f->group != 0 || f->code == SM_UINT3)))
        return false;
    *out = palette_of(c, p, f->code, group);
    return true;
}

static sm_status is_near(const sm_const *c, const sm_profile *p, const sm_encoding *e, int64_t groups, bool *near,
                         sm_err *err) {
    double nmse;
    SM_TRY(sm_palette_error(&c->src, e, groups, p->pool, &nmse, err));
    *near = nmse <= SM_AUTO_NMSE;
    return SM_OK;
}

sm_status sm_want_near_palette(const sm_const *c, const sm_profile *p, sm_encoding *out, sm_err *err) {
    const form *end = forms + SM_ARRAY_LEN(forms), *eight = forms;
    bool near = false, any = false, weights = c->src.part[SM_PART_DATA].p != NULL;
    sm_encoding e;
    while (eight->code != SM_UINT8)
        eight++;
    for (const form *f = eight - 1; weights && f >= forms && !any; f--)
        if ((any = form_for(c, p, f, &e)))
            SM_TRY(is_near(c, p, &e, ROUGHLY, &near, err));
    for (const form *f = forms; near && f < eight; f++) { /* the smallest below 8 bits */
        bool found = false;
        if (form_for(c, p, f, out))
            SM_TRY(is_near(c, p, out, MEASURED, &found, err));
        if (found)
            return SM_OK;
    }
    any = false;
    for (const form *f = end - 1; f >= eight; f--) { /* the coarsest of 8 bits; the finest where none is near */
        if (!form_for(c, p, f, &e))
            continue;
        if (weights)
            SM_TRY(is_near(c, p, &e, MEASURED, &near, err));
        if (!any || near)
            *out = e;
        any = true;
        if (!near || !weights)
            break;
    }
    return SM_OK;
}
