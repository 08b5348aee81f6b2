/* SPDX-License-Identifier: MIT
 *
 * tmpl_args.c: arguments of filters, tests, functions and methods, matched with a list of parameters as Python does it:
 * too many, unknown, doubled and missing ones are errors.
 */
#include "text/template_int.h"

#include <string.h>

size_t tmpl_positional(const call_args *a) {
    return a->n - a->n_names;
}

sm_status tmpl_wants(run *r, sm_sv who, const char *what, val found) {
    if (found.kind == VAL_UNDEFINED)
        return tmpl_undefined(r, found);
    return tmpl_fail(r, SM_BADINPUT, "%.*s: wanted %s, found %s", (int)SM_MIN(who.n, (size_t)40), who.p, what,
                     val_type(found));
}

sm_status tmpl_int_arg(run *r, sm_sv who, const val *v, int64_t absent, int64_t *out) {
    *out = absent;
    if (v == NULL)
        return SM_OK;
    if (!val_is_int(*v))
        return tmpl_wants(r, who, "an integer", *v);
    *out = val_as_int(*v);
    return SM_OK;
}

typedef struct param {
    sm_sv name;
    bool optional, by_place, by_name;
} param;

static size_t read_params(const char *text, param *p) {
    size_t n = 0;
    bool place = true;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (*text == '/') {
            for (size_t i = 0; i < n; i++)
                p[i].by_name = false;
        } else if (*text == '*') {
            place = false;
        } else {
            bool optional = text[len - 1] == '?';
            p[n++] = (param){{text, len - optional}, optional, place, true};
        }
        text += len;
        text += *text == ' ';
    }
    return n;
}

sm_status tmpl_bind(run *r, sm_sv who, const char *params, const call_args *a, const val **slots) {
    param p[TMPL_MAX_PARAMS];
    size_t n = read_params(params, p), n_plain = tmpl_positional(a);
    int len = (int)SM_MIN(who.n, (size_t)40);
    for (size_t i = 0; i < n; i++)
        slots[i] = NULL;
    for (size_t i = 0; i < n_plain; i++) {
        if (i >= n || !p[i].by_place)
            return tmpl_fail(r, SM_BADINPUT, "%.*s: too many arguments (%zu)", len, who.p, n_plain);
        slots[i] = &a->v[i];
    }
    for (size_t i = 0; i < a->n_names; i++) {
        size_t k = 0;
        while (k < n && !(p[k].by_name && sm_sv_eq(p[k].name, a->names[i])))
            k++;
        if (k == n || slots[k] != NULL)
            return tmpl_fail(r, SM_BADINPUT, "%.*s: argument %s is %s", len, who.p,
                             sm_quote(a->names[i].p, a->names[i].n), k == n ? "not known" : "given twice");
        slots[k] = &a->v[n_plain + i];
    }
    for (size_t i = 0; i < n; i++)
        if (slots[i] == NULL && !p[i].optional)
            return tmpl_fail(r, SM_BADINPUT, "%.*s: wanted the argument %.*s", len, who.p, (int)p[i].name.n,
                             p[i].name.p);
    return SM_OK;
}
