/* SPDX-License-Identifier: MIT
 *
 * tmpl_value.c: values of a rendering, with Python's ideas of truth, equality and hashing.
 *
 * Values are small and copied; what they point to (strings, lists, dicts) lives in the rendering's arena or, strings of
 * the context, in its JSON.  Only lists and dicts still being built change, generators as they are used up, and
 * namespaces; a loop or a filter always makes new ones.  Integers are 64 bits wide; arithmetic that would need more is
 * an error, not a wrong number.
 *
 * Lists may hold one list twice, so that walking one can take exponentially long: whoever walks charges for each item.
 *
 * Threads: none of it is shared.
 */
#include "text/template_int.h"

#include <string.h>
#include <utf8proc.h>

val val_bool(bool b) {
    return (val){.kind = VAL_BOOL, .u.b = b};
}

val val_int(int64_t i) {
    return (val){.kind = VAL_INT, .u.i = i};
}

val val_float(double f) {
    return (val){.kind = VAL_FLOAT, .u.f = f};
}

val val_none(void) {
    return (val){.kind = VAL_NONE};
}

val val_undefined(sm_sv name) {
    return (val){.kind = VAL_UNDEFINED, .u.s = name};
}

val val_view(sm_sv s) {
    return (val){.kind = VAL_STR, .u.s = s};
}

sm_status val_str(run *r, const char *p, size_t n, val *out) {
    char *copy = tmpl_alloc(r, n + 1);
    if (copy == NULL)
        return SM_RESOURCE;
    if (n > 0)
        memcpy(copy, p, n);
    tmpl_charge(r, n);
    *out = val_view((sm_sv){copy, n});
    return SM_OK;
}

sm_status val_take_str(run *r, sm_str *s, val *out) {
    sm_status st = tmpl_room(r, s) ? SM_OK : tmpl_check(r);
    if (st == SM_OK)
        st = sm_str_ok(s) ? val_str(r, sm_str_z(s), s->n, out) : tmpl_nomem(r);
    sm_str_free(s);
    return st;
}

/* Texts are mostly built by adding to one that was built before: room is left behind it, and when nothing has been added
 * to it since, the addition goes there. */
sm_status val_join(run *r, sm_sv a, sm_sv b, val *out) {
    size_t n = a.n + b.n, room = n > 64 ? n : 0;
    char *p = (char *)a.p;
    tmpl_charge(r, b.n);
    if (b.n == 0 || a.n == 0) {
        *out = val_view(b.n == 0 ? a : b);
        return SM_OK;
    }
    if (r->tail == NULL || a.p + a.n != r->tail || b.n > r->tail_room) {
        p = tmpl_alloc(r, n + room + 1);
        if (p == NULL)
            return SM_RESOURCE;
        memcpy(p, a.p, a.n);
        tmpl_charge(r, a.n);
        r->tail_room = b.n + room;
    }
    memcpy(p + a.n, b.p, b.n);
    r->tail = p + n;
    r->tail_room -= b.n;
    *out = val_view((sm_sv){p, n});
    return SM_OK;
}

sm_status val_list_new(run *r, val_kind kind, val *out) {
    *out = (val){.kind = kind, .u.list = tmpl_alloc(r, sizeof(val_list))};
    return out->u.list != NULL ? SM_OK : SM_RESOURCE;
}

sm_status val_gen_new(run *r, const char *type, val *out) {
    SM_TRY(val_list_new(r, VAL_GEN, out));
    out->u.list->type = type;
    return SM_OK;
}

sm_status val_dict_new(run *r, val_kind kind, val *out) {
    *out = (val){.kind = kind, .u.dict = tmpl_alloc(r, sizeof(val_dict))};
    return out->u.dict != NULL ? SM_OK : SM_RESOURCE;
}

static val *grown(run *r, const val *v, size_t n, size_t cap) {
    val *more = tmpl_alloc(r, cap * sizeof *more);
    if (more != NULL && n > 0)
        memcpy(more, v, n * sizeof *v);
    return more;
}

sm_status val_push(run *r, val_list *l, val v) {
    tmpl_charge(r, 16);
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        val *more = grown(r, l->v, l->n, cap);
        if (more == NULL)
            return SM_RESOURCE;
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
}

sm_status val_push_pair(run *r, val_list *l, val a, val b) {
    val pair;
    SM_TRY(val_list_new(r, VAL_TUPLE, &pair));
    SM_TRY(val_push(r, pair.u.list, a));
    SM_TRY(val_push(r, pair.u.list, b));
    return val_push(r, l, pair);
}

static sm_status append_entry(run *r, val_dict *d, val key, val v) {
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        val *keys = grown(r, d->keys, d->n, cap), *values = keys != NULL ? grown(r, d->values, d->n, cap) : NULL;
        if (values == NULL)
            return SM_RESOURCE;
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = v;
    return SM_OK;
}

/* Of the same length: memcmp may go through all of it. */
static bool same_text(run *r, sm_sv a, sm_sv b) {
    if (a.n != b.n)
        return false;
    tmpl_charge(r, a.n);
    return sm_sv_eq(a, b);
}

static size_t find(run *r, const val_dict *d, val key) {
    size_t i = 0;
    if (key.kind == VAL_STR) { /* nearly always */
        tmpl_charge(r, d->n * 4);
        for (; i < d->n; i++)
            if (d->keys[i].kind == VAL_STR && same_text(r, d->keys[i].u.s, key.u.s))
                break;
        return i;
    }
    while (i < d->n && !val_equal(r, d->keys[i], key))
        i++;
    return i;
}

sm_status val_put(run *r, val_dict *d, val key, val v) {
    SM_TRY(val_hashable(r, key));
    size_t i = find(r, d, key);
    SM_TRY(tmpl_check(r));
    if (i == d->n)
        return append_entry(r, d, key, v);
    d->values[i] = v;
    return SM_OK;
}

const val *val_get(run *r, const val_dict *d, val key) {
    size_t i = find(r, d, key);
    return i < d->n ? &d->values[i] : NULL;
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

sm_status val_hashable(run *r, val v) {
    if (v.kind == VAL_LIST || v.kind == VAL_DICT || (v.kind == VAL_VIEW && v.u.list->type[5] != 'v'))
        return tmpl_fail(r, SM_BADINPUT, "unhashable type: '%s'", val_type(v));
    for (size_t i = 0; v.kind == VAL_TUPLE && i < v.u.list->n; i++) {
        tmpl_charge(r, 64);
        SM_TRY(tmpl_check(r));
        SM_TRY(tmpl_enter(r));
        SM_TRY(val_hashable(r, v.u.list->v[i]));
        r->depth--;
    }
    return SM_OK;
}

bool val_is_number(val v) {
    return v.kind == VAL_BOOL || v.kind == VAL_INT || v.kind == VAL_FLOAT;
}

bool val_is_int(val v) {
    return v.kind == VAL_BOOL || v.kind == VAL_INT;
}

int64_t val_as_int(val v) {
    return v.kind == VAL_INT ? v.u.i : v.u.b;
}

double val_number(val v) {
    return v.kind == VAL_FLOAT ? v.u.f : v.kind == VAL_INT ? (double)v.u.i : (double)v.u.b;
}

bool val_is_seq(val v) {
    return v.kind == VAL_LIST || v.kind == VAL_TUPLE;
}

bool val_is_listed(val v) {
    return v.kind >= VAL_LIST && v.kind <= VAL_GEN;
}

bool val_true(val v) {
    switch (v.kind) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return false;
    case VAL_BOOL:
        return v.u.b;
    case VAL_INT:
        return v.u.i != 0;
    case VAL_FLOAT:
        return v.u.f != 0;
    case VAL_STR:
        return v.u.s.n > 0;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_RANGE:
    case VAL_VIEW:
        return v.u.list->n > 0;
    case VAL_DICT:
        return v.u.dict->n > 0;
    default:
        return true;
    }
}

bool val_given_true(const val *v) {
    return v != NULL && val_true(*v);
}

static bool dict_equal(run *r, const val_dict *a, const val_dict *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const val *other = val_get(r, b, a->keys[i]);
        if (other == NULL || !val_equal(r, a->values[i], *other))
            return false;
    }
    return true;
}

static bool lists_equal(run *r, const val_list *a, const val_list *b) {
    if (a == b)
        return true;
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!val_equal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

/* Views of keys and entries are sets. */
static bool views_equal(run *r, const val_list *a, const val_list *b) {
    if (a == b)
        return true;
    if (a->n != b->n || a->type[5] == 'v' || b->type[5] == 'v')
        return false;
    for (size_t i = 0; i < a->n; i++) {
        bool found = false;
        for (size_t k = 0; k < b->n && !found; k++)
            found = val_equal(r, a->v[i], b->v[k]);
        if (!found)
            return false;
    }
    return true;
}

static bool same_kind_equal(run *r, val a, val b) {
    switch (a.kind) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return true;
    case VAL_STR:
    case VAL_FUNCTION:
        return same_text(r, a.u.s, b.u.s);
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_RANGE:
        return lists_equal(r, a.u.list, b.u.list);
    case VAL_VIEW:
        return views_equal(r, a.u.list, b.u.list);
    case VAL_DICT:
        return dict_equal(r, a.u.dict, b.u.dict);
    default:
        return val_same(r, a, b);
    }
}

bool val_equal(run *r, val a, val b) {
    tmpl_charge(r, 32);
    if (tmpl_spent(r))
        return false;
    if (val_is_number(a) && val_is_number(b)) {
        if (val_is_int(a) && val_is_int(b))
            return val_as_int(a) == val_as_int(b);
        return val_number(a) == val_number(b);
    }
    if (a.kind != b.kind)
        return false;
    if (r->depth >= SM_TEMPLATE_EVAL_DEPTH) {
        r->flooded = true;
        return false;
    }
    r->depth++;
    bool yes = same_kind_equal(r, a, b);
    r->depth--;
    return yes;
}

bool val_same(run *r, val a, val b) {
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case VAL_NONE:
        return true;
    case VAL_BOOL:
        return a.u.b == b.u.b;
    case VAL_INT:
        return a.u.i == b.u.i;
    case VAL_FLOAT:
        return a.u.f == b.u.f;
    case VAL_STR:
    case VAL_FUNCTION:
        return same_text(r, a.u.s, b.u.s);
    case VAL_UNDEFINED:
        return false;
    case VAL_DICT:
    case VAL_NAMESPACE:
        return a.u.dict == b.u.dict;
    case VAL_LOOP:
        return a.u.loop == b.u.loop;
    case VAL_METHOD:
        return a.u.method == b.u.method;
    case VAL_MACRO:
        return a.u.macro == b.u.macro;
    default:
        return a.u.list == b.u.list;
    }
}

const char *val_type(val v) {
    static const char *const names[] = {
        [VAL_UNDEFINED] = "undefined", [VAL_NONE] = "None",     [VAL_BOOL] = "bool",         [VAL_INT] = "int",
        [VAL_FLOAT] = "float",         [VAL_STR] = "str",       [VAL_LIST] = "list",         [VAL_TUPLE] = "tuple",
        [VAL_RANGE] = "range",         [VAL_VIEW] = "view",     [VAL_GEN] = "gen",           [VAL_DICT] = "dict",
        [VAL_NAMESPACE] = "namespace", [VAL_LOOP] = "loop",     [VAL_FUNCTION] = "function", [VAL_METHOD] = "method",
        [VAL_MACRO] = "macro",         [VAL_CYCLER] = "cycler", [VAL_JOINER] = "joiner",
    };
    return v.kind == VAL_VIEW || v.kind == VAL_GEN ? v.u.list->type : names[v.kind];
}

/* ---- strings ------------------------------------------------------------------------------------------------- */

uint32_t val_char(sm_sv s, size_t *at) {
    uint32_t cp;
    int n = sm_utf8_decode(s.p + *at, s.n - *at, &cp);
    if (n == 0) { /* source and context may hold anything */
        cp = 0xfffd;
        n = 1;
    }
    *at += (size_t)n;
    return cp;
}

bool val_is_space(uint32_t cp) {
    return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

bool val_is_letter(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool val_char_prints(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return cp == ' ' || !(c == UTF8PROC_CATEGORY_CN || c >= UTF8PROC_CATEGORY_ZS);
}

static bool strips(uint32_t cp, const sm_sv *chars) {
    if (chars == NULL)
        return val_is_space(cp);
    for (size_t i = 0; i < chars->n;)
        if (val_char(*chars, &i) == cp)
            return true;
    return false;
}

sm_sv val_strip(sm_sv s, const sm_sv *chars, bool left, bool right) {
    size_t from = 0;
    while (left && from < s.n) {
        size_t next = from;
        if (!strips(val_char(s, &next), chars))
            break;
        from = next;
    }
    s = (sm_sv){s.p + from, s.n - from};
    while (right && s.n > 0) {
        size_t at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80)
            at--;
        size_t next = at;
        uint32_t cp = val_char(s, &next);
        if (next != s.n) { /* not a character: its last byte alone */
            at = s.n - 1;
            cp = 0xfffd;
        }
        if (!strips(cp, chars))
            break;
        s.n = at;
    }
    return s;
}

size_t val_str_len(sm_sv s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++)
        val_char(s, &i);
    return n;
}

size_t val_str_offset(sm_sv s, size_t i) {
    size_t at = 0;
    for (; i > 0 && at < s.n; i--)
        val_char(s, &at);
    return at;
}

/* The order of bytes in UTF-8 is that of characters. */
int val_str_compare(sm_sv a, sm_sv b) {
    size_t n = SM_MIN(a.n, b.n);
    int k = n > 0 ? memcmp(a.p, b.p, n) : 0;
    return k != 0 ? k : (a.n > b.n) - (a.n < b.n);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

sm_status val_from_json(run *r, const json_t *j, int depth, val *out) {
    if (depth > SM_TEMPLATE_DEPTH)
        return tmpl_fail(r, SM_RESOURCE, "value nested deeper than %d", (int)SM_TEMPLATE_DEPTH);
    switch (json_typeof(j)) {
    case JSON_STRING:
        *out = val_view((sm_sv){json_string_value(j), json_string_length(j)});
        return SM_OK;
    case JSON_INTEGER:
        *out = val_int(json_integer_value(j));
        return SM_OK;
    case JSON_REAL:
        *out = val_float(json_real_value(j));
        return SM_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = val_bool(json_is_true(j));
        return SM_OK;
    case JSON_NULL:
        *out = val_none();
        return SM_OK;
    case JSON_ARRAY:
        SM_TRY(val_list_new(r, VAL_LIST, out));
        for (size_t i = 0; i < json_array_size(j); i++) {
            val v;
            SM_TRY(val_from_json(r, json_array_get(j, i), depth + 1, &v));
            SM_TRY(val_push(r, out->u.list, v));
        }
        return SM_OK;
    case JSON_OBJECT:
        break;
    }
    SM_TRY(val_dict_new(r, VAL_DICT, out));
    for (void *it = json_object_iter((json_t *)j); it != NULL; it = json_object_iter_next((json_t *)j, it)) {
        val v;
        SM_TRY(val_from_json(r, json_object_iter_value(it), depth + 1, &v));
        SM_TRY(append_entry(r, out->u.dict, val_view(sm_sv_of(json_object_iter_key(it))), v)); /* keys differ */
    }
    return SM_OK;
}
