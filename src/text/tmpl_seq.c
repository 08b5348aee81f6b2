/* SPDX-License-Identifier: MIT
 *
 * tmpl_seq.c: filters of sequences.
 *
 * Those that are generators in Jinja give VAL_GEN: gone through once, true even when empty, without length or items.
 * Here they are filled at once, which a template could only see by an error in items that it never looks at.
 */
#include "text/template_int.h"

#include <string.h>

/* ---- attributes ---------------------------------------------------------------------------------------------- */

/* Of an item: a.b.c, digits being indexes.  other: for what is not there, or NULL. */
static sm_status attribute(run *r, val item, const val *path, const val *other, val *out) {
    *out = item;
    if (path == NULL || path->kind == VAL_NONE)
        return SM_OK;
    sm_sv s = path->kind == VAL_STR ? path->u.s : SM_SV("");
    for (;;) {
        const char *dot = s.n > 0 ? memchr(s.p, '.', s.n) : NULL;
        sm_sv part = {s.p, dot != NULL ? (size_t)(dot - s.p) : s.n};
        val key = path->kind == VAL_STR ? val_view(part) : *path, from = *out;
        bool number = path->kind == VAL_STR && part.n > 0 && part.n < 10;
        int64_t at = 0;
        for (size_t i = 0; i < part.n && number; i++) {
            number = part.p[i] >= '0' && part.p[i] <= '9';
            at = at * 10 + (part.p[i] - '0');
        }
        SM_TRY(tmpl_item(r, from, number ? val_int(at) : key, out));
        if (other != NULL && other->kind != VAL_NONE && out->kind == VAL_UNDEFINED)
            *out = *other;
        if (dot == NULL)
            return SM_OK;
        s = (sm_sv){dot + 1, s.n - part.n - 1};
    }
}

/* Small letters of a string, for comparing without case. */
static sm_status fold(run *r, bool exact, val *v) {
    if (exact || v->kind != VAL_STR)
        return SM_OK;
    return tmpl_call_str(r, *v, SM_SV("lower"), &(call_args){0}, v);
}

/* ---- ends, copies -------------------------------------------------------------------------------------------- */

sm_status seq_first(filter_call *c, val *out) {
    val_list *items;
    *out = val_undefined(c->name);
    if (c->in.kind == VAL_GEN) {
        val_list *l = c->in.u.list;
        if (l->at < l->n)
            *out = l->v[l->at++];
        return SM_OK;
    }
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    if (items->n > 0)
        *out = items->v[0];
    return SM_OK;
}

sm_status seq_last(filter_call *c, val *out) {
    val_list *items;
    *out = val_undefined(c->name);
    if (c->in.kind == VAL_GEN)
        return tmpl_wants(c->r, c->name, "a sequence", c->in);
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    if (items->n > 0)
        *out = items->v[items->n - 1];
    return SM_OK;
}

sm_status seq_list(filter_call *c, val *out) {
    val_list *items;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    SM_TRY(val_list_new(c->r, VAL_LIST, out));
    for (size_t i = 0; i < items->n; i++)
        SM_TRY(val_push(c->r, out->u.list, items->v[i]));
    return SM_OK;
}

/* Of a string, its characters backwards; of a generator, a list. */
sm_status seq_reverse(filter_call *c, val *out) {
    val_list *items;
    bool gen = c->in.kind == VAL_GEN;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    SM_TRY(gen ? val_list_new(c->r, VAL_LIST, out) : val_gen_new(c->r, "list_reverseiterator", out));
    for (size_t i = items->n; i-- > 0;)
        SM_TRY(val_push(c->r, out->u.list, items->v[i]));
    if (c->in.kind == VAL_STR) {
        sm_str s = SM_STR_INIT;
        for (size_t i = 0; i < out->u.list->n; i++)
            val_print(c->r, out->u.list->v[i], &s);
        SM_TRY(val_take_str(c->r, &s, out));
        out->safe = c->in.safe;
    }
    return SM_OK;
}

sm_status seq_length(filter_call *c, val *out) {
    const val in = c->in;
    if (in.kind == VAL_STR) {
        tmpl_charge(c->r, in.u.s.n);
        *out = val_int((int64_t)val_str_len(in.u.s));
    } else if (val_is_listed(in) && in.kind != VAL_GEN) {
        *out = val_int((int64_t)in.u.list->n);
    } else if (in.kind == VAL_DICT) {
        *out = val_int((int64_t)in.u.dict->n);
    } else if (in.kind == VAL_LOOP) {
        *out = val_int((int64_t)in.u.loop->items->n);
    } else if (in.kind == VAL_UNDEFINED) {
        *out = val_int(0);
    } else {
        return tmpl_wants(c->r, c->name, "something with a length", in);
    }
    return SM_OK;
}

/* d?, attribute? */
sm_status seq_join(filter_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    val_list *items;
    sm_status st = SM_OK;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    for (size_t i = 0; i < items->n && st == SM_OK; i++) {
        val v;
        st = attribute(c->r, items->v[i], c->slot[1], NULL, &v);
        if (st != SM_OK)
            break;
        if (i > 0 && c->slot[0] != NULL)
            val_print(c->r, *c->slot[0], &text);
        val_print(c->r, v, &text);
        if (!tmpl_room(c->r, &text) || tmpl_spent(c->r))
            st = tmpl_check(c->r);
    }
    if (st == SM_OK)
        st = val_take_str(c->r, &text, out);
    sm_str_free(&text);
    return st;
}

sm_status seq_items(filter_call *c, val *out) {
    SM_TRY(val_gen_new(c->r, "generator", out));
    if (c->in.kind == VAL_UNDEFINED)
        return SM_OK;
    if (c->in.kind != VAL_DICT)
        return tmpl_wants(c->r, c->name, "a dict", c->in);
    const val_dict *d = c->in.u.dict;
    for (size_t i = 0; i < d->n; i++)
        SM_TRY(val_push_pair(c->r, out->u.list, d->keys[i], d->values[i]));
    return SM_OK;
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

/* What map and select go through: anything false, none too, is empty to them. */
static sm_status iterate_true(run *r, val in, val_list **out) {
    return tmpl_iterate(r, val_true(in) ? in : val_undefined(SM_SV("")), out);
}

/* map(attribute=.., default=..) */
static sm_status map_attribute(filter_call *c, val_list *items, val *out) {
    const val *slot[2];
    SM_TRY(tmpl_bind(c->r, c->name, "* attribute default?", c->raw, slot));
    for (size_t i = 0; i < items->n; i++) {
        val v;
        SM_TRY(attribute(c->r, items->v[i], slot[0], slot[1], &v));
        SM_TRY(val_push(c->r, out->u.list, v));
    }
    return SM_OK;
}

sm_status seq_map(filter_call *c, val *out) {
    const call_args *a = c->raw;
    val_list *items;
    SM_TRY(iterate_true(c->r, c->in, &items));
    SM_TRY(val_gen_new(c->r, "generator", out));
    if (items->n == 0)
        return SM_OK;
    if (tmpl_positional(a) == 0)
        return map_attribute(c, items, out);
    if (a->v[0].kind != VAL_STR || !tmpl_has_filter(a->v[0].u.s))
        return tmpl_fail(c->r, SM_UNSUPPORTED, "map: wanted a filter that is supported");
    call_args rest = {a->v + 1, a->n - 1, a->names, a->n_names};
    for (size_t i = 0; i < items->n; i++) {
        val v;
        SM_TRY(tmpl_filter(c->r, a->v[0].u.s, items->v[i], &rest, &v));
        SM_TRY(val_push(c->r, out->u.list, v));
    }
    return SM_OK;
}

/* select, reject (test..), selectattr, rejectattr (attribute, test..); without a test: truth. */
sm_status seq_select(filter_call *c, val *out) {
    const call_args *a = c->raw;
    bool by_attr = c->name.n > 6, keep = c->name.p[0] == 's';
    size_t used = by_attr, n = tmpl_positional(a);
    val_list *items;
    SM_TRY(iterate_true(c->r, c->in, &items));
    SM_TRY(val_gen_new(c->r, "generator", out));
    if (items->n == 0)
        return SM_OK;
    if (n < used)
        return tmpl_fail(c->r, SM_BADINPUT, "%.*s: wanted an attribute", (int)c->name.n, c->name.p);
    bool tested = n > used;
    if (tested && (a->v[used].kind != VAL_STR || !tmpl_has_test(a->v[used].u.s)))
        return tmpl_fail(c->r, SM_UNSUPPORTED, "%.*s: this test is not supported", (int)c->name.n, c->name.p);
    for (size_t i = 0; i < items->n; i++) {
        val v = items->v[i];
        if (by_attr)
            SM_TRY(attribute(c->r, items->v[i], &a->v[0], NULL, &v));
        bool yes = val_true(v);
        if (tested) {
            call_args rest = {a->v + used + 1, a->n - used - 1, a->names, a->n_names};
            SM_TRY(tmpl_test(c->r, a->v[used].u.s, v, &rest, &yes));
        }
        if (yes == keep)
            SM_TRY(val_push(c->r, out->u.list, items->v[i]));
    }
    return SM_OK;
}

/* case_sensitive?, attribute? */
sm_status seq_unique(filter_call *c, val *out) {
    val seen, key;
    val_list *items;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    SM_TRY(val_gen_new(c->r, "generator", out));
    SM_TRY(val_dict_new(c->r, VAL_DICT, &seen));
    for (size_t i = 0; i < items->n; i++) {
        size_t before = seen.u.dict->n;
        SM_TRY(attribute(c->r, items->v[i], c->slot[1], NULL, &key));
        SM_TRY(fold(c->r, val_given_true(c->slot[0]), &key));
        SM_TRY(val_put(c->r, seen.u.dict, key, key));
        if (seen.u.dict->n > before)
            SM_TRY(val_push(c->r, out->u.list, items->v[i]));
    }
    return SM_OK;
}

/* ---- sorting ------------------------------------------------------------------------------------------------- */

/* Merges runs of length `len` of the order in `from` into `to`; equal ones stay as they were. */
static sm_status merge(run *r, const val *keys, bool reverse, const size_t *from, size_t *to, size_t n, size_t len) {
    for (size_t lo = 0; lo < n; lo += 2 * len) {
        size_t mid = SM_MIN(lo + len, n), hi = SM_MIN(lo + 2 * len, n), a = lo, b = mid;
        for (size_t k = lo; k < hi; k++) {
            int order = a >= mid ? 1 : -1;
            if (a < mid && b < hi) {
                SM_TRY(tmpl_compare(r, keys[from[b]], keys[from[a]], &order));
                order = (reverse ? order > 0 : order < 0) ? 1 : -1;
                tmpl_charge(r, 64);
                SM_TRY(tmpl_check(r));
            }
            to[k] = order > 0 ? from[b++] : from[a++];
        }
    }
    return SM_OK;
}

/* items in the order of their keys, which is written to *out. */
static sm_status sort(run *r, const val *keys, const val_list *items, bool reverse, val *out) {
    size_t n = items->n, *order = tmpl_alloc(r, (n + 1) * sizeof *order),
           *other = tmpl_alloc(r, (n + 1) * sizeof *other);
    if (order == NULL || other == NULL)
        return SM_RESOURCE;
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t len = 1; len < n; len *= 2) {
        SM_TRY(merge(r, keys, reverse, order, other, n, len));
        size_t *swap = order;
        order = other;
        other = swap;
    }
    SM_TRY(val_list_new(r, VAL_LIST, out));
    for (size_t i = 0; i < n; i++)
        SM_TRY(val_push(r, out->u.list, items->v[order[i]]));
    return SM_OK;
}

/* The attributes "a,b" of an item, as a list. */
static sm_status sort_key(run *r, val item, const val *path, bool exact, val *out) {
    SM_TRY(val_list_new(r, VAL_LIST, out));
    sm_sv s = path != NULL && path->kind == VAL_STR ? path->u.s : SM_SV("");
    for (;;) {
        const char *comma = s.n > 0 ? memchr(s.p, ',', s.n) : NULL;
        val one = path != NULL && path->kind == VAL_STR
                      ? val_view((sm_sv){s.p, comma != NULL ? (size_t)(comma - s.p) : s.n})
                      : val_none(),
            v;
        SM_TRY(attribute(r, item, path != NULL && path->kind == VAL_STR ? &one : path, NULL, &v));
        SM_TRY(fold(r, exact, &v));
        SM_TRY(val_push(r, out->u.list, v));
        if (comma == NULL)
            return SM_OK;
        s = (sm_sv){comma + 1, s.n - (size_t)(comma - s.p) - 1};
    }
}

/* reverse?, case_sensitive?, attribute? */
sm_status seq_sort(filter_call *c, val *out) {
    val_list *items;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    val *keys = tmpl_alloc(c->r, (items->n + 1) * sizeof *keys);
    if (keys == NULL)
        return SM_RESOURCE;
    for (size_t i = 0; i < items->n; i++)
        SM_TRY(sort_key(c->r, items->v[i], c->slot[2], val_given_true(c->slot[1]), &keys[i]));
    return sort(c->r, keys, items, val_given_true(c->slot[0]), out);
}

/* case_sensitive?, by?, reverse? */
sm_status seq_dictsort(filter_call *c, val *out) {
    sm_sv by = c->slot[1] != NULL && c->slot[1]->kind == VAL_STR ? c->slot[1]->u.s : SM_SV("key");
    bool values = sm_sv_is(by, "value");
    val pairs;
    if ((c->slot[1] != NULL && c->slot[1]->kind != VAL_STR) || (!values && !sm_sv_is(by, "key")))
        return tmpl_fail(c->r, SM_BADINPUT, "dictsort: wanted by 'key' or 'value'");
    if (c->in.kind != VAL_DICT)
        return tmpl_wants(c->r, c->name, "a dict", c->in);
    const val_dict *d = c->in.u.dict;
    val *keys = tmpl_alloc(c->r, (d->n + 1) * sizeof *keys);
    if (keys == NULL)
        return SM_RESOURCE;
    SM_TRY(val_list_new(c->r, VAL_LIST, &pairs));
    for (size_t i = 0; i < d->n; i++) {
        keys[i] = values ? d->values[i] : d->keys[i];
        SM_TRY(fold(c->r, val_given_true(c->slot[0]), &keys[i]));
        SM_TRY(val_push_pair(c->r, pairs.u.list, d->keys[i], d->values[i]));
    }
    return sort(c->r, keys, pairs.u.list, val_given_true(c->slot[2]), out);
}

/* attribute, default?, case_sensitive? */
sm_status seq_groupby(filter_call *c, val *out) {
    run *r = c->r;
    val_list *items;
    val sorted, key, last, group;
    SM_TRY(tmpl_iterate(r, c->in, &items));
    val *keys = tmpl_alloc(r, (items->n + 1) * sizeof *keys);
    if (keys == NULL)
        return SM_RESOURCE;
    bool exact = val_given_true(c->slot[2]);
    for (size_t i = 0; i < items->n; i++) {
        SM_TRY(attribute(r, items->v[i], c->slot[0], c->slot[1], &keys[i]));
        SM_TRY(fold(r, exact, &keys[i]));
    }
    SM_TRY(sort(r, keys, items, false, &sorted));
    SM_TRY(val_list_new(r, VAL_LIST, out));
    for (size_t i = 0; i < sorted.u.list->n; i++) {
        SM_TRY(attribute(r, sorted.u.list->v[i], c->slot[0], c->slot[1], &key));
        val shown = key;
        SM_TRY(fold(r, exact, &key));
        if (i == 0 || !val_equal(r, key, last)) {
            SM_TRY(val_list_new(r, VAL_LIST, &group));
            SM_TRY(val_push_pair(r, out->u.list, shown, group));
            out->u.list->v[out->u.list->n - 1].u.list->type = "group";
            last = key;
        }
        SM_TRY(val_push(r, group.u.list, sorted.u.list->v[i]));
    }
    return SM_OK;
}

/* min, max: case_sensitive?, attribute? */
sm_status seq_extreme(filter_call *c, val *out) {
    val_list *items;
    val best, key;
    int order;
    bool most = c->name.p[1] == 'a';
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    *out = val_undefined(c->name);
    for (size_t i = 0; i < items->n; i++) {
        SM_TRY(attribute(c->r, items->v[i], c->slot[1], NULL, &key));
        SM_TRY(fold(c->r, val_given_true(c->slot[0]), &key));
        if (i > 0) {
            SM_TRY(tmpl_compare(c->r, key, best, &order));
            if (most ? order <= 0 : order >= 0)
                continue;
        }
        *out = items->v[i];
        best = key;
    }
    return SM_OK;
}

/* attribute?, start? */
sm_status seq_sum(filter_call *c, val *out) {
    val_list *items;
    val v;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    *out = c->slot[1] != NULL ? *c->slot[1] : val_int(0);
    if (out->kind == VAL_STR)
        return tmpl_wants(c->r, c->name, "anything but strings", *out);
    for (size_t i = 0; i < items->n; i++) {
        val so_far = *out;
        SM_TRY(attribute(c->r, items->v[i], c->slot[0], NULL, &v));
        SM_TRY(tmpl_binary(c->r, SM_SV("+"), so_far, v, out));
    }
    return SM_OK;
}

/* ---- dividing ------------------------------------------------------------------------------------------------ */

/* linecount, fill_with? */
sm_status seq_batch(filter_call *c, val *out) {
    val_list *items;
    val row;
    int64_t n;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    SM_TRY(val_gen_new(c->r, "generator", out));
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 0, &n));
    SM_TRY(val_list_new(c->r, VAL_LIST, &row));
    for (size_t i = 0; i < items->n; i++) {
        if ((int64_t)row.u.list->n == n) {
            SM_TRY(val_push(c->r, out->u.list, row));
            SM_TRY(val_list_new(c->r, VAL_LIST, &row));
        }
        SM_TRY(val_push(c->r, row.u.list, items->v[i]));
    }
    if (row.u.list->n == 0)
        return SM_OK;
    if (c->slot[1] != NULL && c->slot[1]->kind != VAL_NONE)
        while ((int64_t)row.u.list->n < n)
            SM_TRY(val_push(c->r, row.u.list, *c->slot[1]));
    return val_push(c->r, out->u.list, row);
}

/* slices, fill_with? */
sm_status seq_slice(filter_call *c, val *out) {
    val_list *items;
    int64_t n, offset = 0;
    SM_TRY(tmpl_iterate(c->r, c->in, &items));
    SM_TRY(val_gen_new(c->r, "generator", out));
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 0, &n));
    if (n == 0)
        return tmpl_fail(c->r, SM_BADINPUT, "slice: division by zero");
    if (n < 0)
        return SM_OK;
    int64_t each = (int64_t)items->n / n, extra = (int64_t)items->n % n;
    for (int64_t i = 0; i < n; i++) {
        val part;
        int64_t from = offset + i * each;
        offset += i < extra;
        SM_TRY(val_list_new(c->r, VAL_LIST, &part));
        for (int64_t k = from; k < offset + (i + 1) * each; k++)
            SM_TRY(val_push(c->r, part.u.list, items->v[k]));
        if (c->slot[1] != NULL && c->slot[1]->kind != VAL_NONE && i >= extra)
            SM_TRY(val_push(c->r, part.u.list, *c->slot[1]));
        SM_TRY(val_push(c->r, out->u.list, part));
    }
    return SM_OK;
}
