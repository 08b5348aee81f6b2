/* SPDX-License-Identifier: MIT
 *
 * tmpl_str.c: methods of strings, as Python has them: one row each in the table at the end.
 *
 * Positions count characters.  Results that are parts of the string are views of it.  What a method makes of a string
 * that is safe is safe too.
 */
#include "text/template_int.h"

#include <string.h>
#include <utf8proc.h>

typedef struct str_call {
    run *r;
    sm_sv s, name;
    const val *slot[TMPL_MAX_PARAMS];
    const call_args *raw;
} str_call;

static sm_status want_str(str_call *c, const val *v, sm_sv *out) {
    *out = SM_SV("");
    if (v->kind != VAL_STR)
        return tmpl_wants(c->r, c->name, "a string", *v);
    *out = v->u.s;
    return SM_OK;
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

/* chars? */
static sm_status str_strip(str_call *c, val *out) {
    sm_sv chars;
    bool given = c->slot[0] != NULL && c->slot[0]->kind != VAL_NONE;
    if (given)
        SM_TRY(want_str(c, c->slot[0], &chars));
    if (given && chars.n > 64) /* each character of the text may be looked for among all of these */
        tmpl_charge(c->r, c->s.n * (chars.n / 64));
    SM_TRY(tmpl_check(c->r));
    *out = val_view(val_strip(c->s, given ? &chars : NULL, c->name.p[0] != 'r', c->name.p[0] != 'l'));
    return SM_OK;
}

/* Charged, for a long text may nearly be found at each of many places. */
static size_t last_of(str_call *c, sm_sv s, sm_sv what) {
    for (size_t i = s.n + 1 - SM_MIN(what.n, s.n); i-- > 0 && !tmpl_spent(c->r);) {
        if (what.n > 0 && (s.n - i < what.n || s.p[i] != what.p[0]))
            continue;
        tmpl_charge(c->r, what.n);
        if (what.n == 0 || memcmp(s.p + i, what.p, what.n) == 0)
            return i;
    }
    return SIZE_MAX;
}

/* Pieces between white space, from the left or from the right. */
static sm_status split_space(str_call *c, int64_t most, bool right, val_list *l) {
    for (sm_sv s = val_strip(c->s, NULL, true, true); s.n > 0; most -= most > 0) {
        size_t from = 0, end = s.n, i = 0;
        if (most != 0 && !right) {
            for (end = 0; i < s.n && !val_is_space(val_char(s, &i));)
                end = i;
        } else if (most != 0) {
            for (size_t next = 0; i < s.n; i = next) {
                if (val_is_space(val_char(s, &next)))
                    from = next;
            }
        }
        SM_TRY(val_push(c->r, l, val_view((sm_sv){s.p + from, end - from})));
        s = right ? val_strip((sm_sv){s.p, from}, NULL, false, true)
                  : val_strip((sm_sv){s.p + end, s.n - end}, NULL, true, false);
        if (right)
            tmpl_charge(c->r, s.n);
        SM_TRY(tmpl_check(c->r));
    }
    return SM_OK;
}

static sm_status split_at(str_call *c, sm_sv by, int64_t most, bool right, val_list *l) {
    sm_sv s = c->s;
    while (most-- != 0) {
        const char *p = right ? NULL : memmem(s.p, s.n, by.p, by.n);
        size_t at = right ? last_of(c, s, by) : p != NULL ? (size_t)(p - s.p) : SIZE_MAX;
        if (at == SIZE_MAX)
            break;
        SM_TRY(val_push(c->r, l, val_view(right ? (sm_sv){s.p + at + by.n, s.n - at - by.n} : (sm_sv){s.p, at})));
        s = right ? (sm_sv){s.p, at} : (sm_sv){s.p + at + by.n, s.n - at - by.n};
    }
    return val_push(c->r, l, val_view(s));
}

static void turn_round(val_list *l) {
    for (size_t i = 0; i < l->n / 2; i++) {
        val v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

/* split, rsplit: sep?, maxsplit? */
static sm_status str_split(str_call *c, val *out) {
    bool right = c->name.p[0] == 'r';
    int64_t most;
    sm_sv by;
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[1], -1, &most));
    SM_TRY(val_list_new(c->r, VAL_LIST, out));
    if (c->slot[0] == NULL || c->slot[0]->kind == VAL_NONE) {
        SM_TRY(split_space(c, SM_MAX(most, -1), right, out->u.list));
    } else {
        SM_TRY(want_str(c, c->slot[0], &by));
        if (by.n == 0)
            return tmpl_fail(c->r, SM_BADINPUT, "%.*s: empty separator", (int)c->name.n, c->name.p);
        SM_TRY(split_at(c, by, SM_MAX(most, -1), right, out->u.list));
    }
    if (right)
        turn_round(out->u.list);
    return SM_OK;
}

static bool ends_line(uint32_t cp) {
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

/* keepends? */
static sm_status str_splitlines(str_call *c, val *out) {
    bool keep = c->slot[0] != NULL && val_true(*c->slot[0]);
    SM_TRY(val_list_new(c->r, VAL_LIST, out));
    for (size_t from = 0, i = 0; from < c->s.n; from = i) {
        size_t end = i;
        bool over = false;
        while (i < c->s.n && !over) {
            end = i;
            uint32_t cp = val_char(c->s, &i);
            over = ends_line(cp);
            if (cp == '\r' && i < c->s.n && c->s.p[i] == '\n')
                i++;
        }
        end = over && !keep ? end : i;
        SM_TRY(val_push(c->r, out->u.list, val_view((sm_sv){c->s.p + from, end - from})));
    }
    return SM_OK;
}

/* partition, rpartition: sep */
static sm_status str_partition(str_call *c, val *out) {
    sm_sv by, s = c->s;
    bool right = c->name.p[0] == 'r';
    SM_TRY(want_str(c, c->slot[0], &by));
    if (by.n == 0)
        return tmpl_fail(c->r, SM_BADINPUT, "%.*s: empty separator", (int)c->name.n, c->name.p);
    const char *p = memmem(s.p, s.n, by.p, by.n);
    size_t at = right ? last_of(c, s, by) : p != NULL ? (size_t)(p - s.p) : SIZE_MAX;
    val whole = val_view(s), empty = val_view(SM_SV(""));
    SM_TRY(val_list_new(c->r, VAL_TUPLE, out));
    bool found = at != SIZE_MAX;
    SM_TRY(val_push(c->r, out->u.list, found ? val_view((sm_sv){s.p, at}) : right ? empty : whole));
    SM_TRY(val_push(c->r, out->u.list, found ? val_view(by) : empty));
    return val_push(c->r, out->u.list,
                    found   ? val_view((sm_sv){s.p + at + by.n, s.n - at - by.n})
                    : right ? whole
                            : empty);
}

static bool has_affix(sm_sv s, sm_sv affix, bool end) {
    return s.n >= affix.n && (affix.n == 0 || memcmp(end ? s.p + s.n - affix.n : s.p, affix.p, affix.n) == 0);
}

/* Characters from..to as Python's slices count them; false when `from` is past the end. */
static sm_status cut(str_call *c, const val *from, const val *to, sm_sv *out, size_t *skipped, bool *past) {
    int64_t i, k, n = (int64_t)val_str_len(c->s);
    *out = c->s;
    *skipped = 0;
    *past = false;
    if (from != NULL && from->kind == VAL_NONE)
        from = NULL;
    if (to != NULL && to->kind == VAL_NONE)
        to = NULL;
    if (from == NULL && to == NULL)
        return SM_OK;
    SM_TRY(tmpl_int_arg(c->r, c->name, from, 0, &i));
    SM_TRY(tmpl_int_arg(c->r, c->name, to, n, &k));
    i = i < 0 ? SM_MAX(i + n, 0) : i;
    k = k < 0 ? SM_MAX(k + n, 0) : SM_MIN(k, n);
    *past = i > k;
    if (*past)
        return SM_OK;
    size_t a = val_str_offset(c->s, (size_t)i), b = val_str_offset(c->s, (size_t)k);
    *out = (sm_sv){c->s.p + a, b - a};
    *skipped = (size_t)i;
    return SM_OK;
}

/* startswith, endswith: affix or tuple of them, start?, end? */
static sm_status str_affix(str_call *c, val *out) {
    bool end = c->name.p[0] == 'e', past, yes = false;
    const val *what = c->slot[0];
    size_t skipped;
    sm_sv s, affix;
    SM_TRY(cut(c, c->slot[1], c->slot[2], &s, &skipped, &past));
    size_t n = what->kind == VAL_TUPLE ? what->u.list->n : 1;
    for (size_t i = 0; i < n && !yes; i++) {
        SM_TRY(want_str(c, what->kind == VAL_TUPLE ? &what->u.list->v[i] : what, &affix));
        tmpl_charge(c->r, SM_MIN(affix.n, s.n));
        yes = !past && has_affix(s, affix, end);
        SM_TRY(tmpl_check(c->r));
    }
    *out = val_bool(yes);
    return SM_OK;
}

static sm_status str_remove_affix(str_call *c, val *out) {
    bool end = sm_sv_is(c->name, "removesuffix");
    sm_sv affix;
    SM_TRY(want_str(c, c->slot[0], &affix));
    size_t n = has_affix(c->s, affix, end) ? affix.n : 0;
    *out = val_view((sm_sv){end ? c->s.p : c->s.p + n, c->s.n - n});
    return SM_OK;
}

/* ---- searching ----------------------------------------------------------------------------------------------- */

/* find, rfind, index, rindex: sub, start?, end? */
static sm_status str_find(str_call *c, val *out) {
    bool right = c->name.p[0] == 'r', past;
    sm_sv s, what;
    size_t skipped, at;
    SM_TRY(want_str(c, c->slot[0], &what));
    SM_TRY(cut(c, c->slot[1], c->slot[2], &s, &skipped, &past));
    const char *p = what.n > 0 && !right ? memmem(s.p, s.n, what.p, what.n) : s.p;
    at = past ? SIZE_MAX : right ? last_of(c, s, what) : what.n == 0 ? 0 : p != NULL ? (size_t)(p - s.p) : SIZE_MAX;
    *out = val_int(at == SIZE_MAX ? -1 : (int64_t)(skipped + val_str_len((sm_sv){s.p, at})));
    if (at == SIZE_MAX && sm_sv_is((sm_sv){c->name.p + right, c->name.n - right}, "index"))
        return tmpl_fail(c->r, SM_BADINPUT, "%.*s: not in the string", (int)c->name.n, c->name.p);
    return SM_OK;
}

/* sub, start?, end? */
static sm_status str_count(str_call *c, val *out) {
    int64_t n = 0;
    bool past;
    sm_sv s, what;
    size_t skipped;
    SM_TRY(want_str(c, c->slot[0], &what));
    SM_TRY(cut(c, c->slot[1], c->slot[2], &s, &skipped, &past));
    if (what.n == 0 && !past)
        n = (int64_t)val_str_len(s) + 1;
    for (const char *p; what.n > 0 && !past && (p = memmem(s.p, s.n, what.p, what.n)) != NULL; n++)
        s = (sm_sv){p + what.n, s.n - (size_t)(p - s.p) - what.n};
    *out = val_int(n);
    return SM_OK;
}

/* ---- making -------------------------------------------------------------------------------------------------- */

/* old, new, count? */
static sm_status str_replace(str_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    sm_sv s = c->s, from, to;
    int64_t left;
    size_t i = 0;
    SM_TRY(want_str(c, c->slot[0], &from));
    SM_TRY(want_str(c, c->slot[1], &to));
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[2], -1, &left));
    while (i <= s.n && left != 0 && tmpl_room(c->r, &text)) {
        const char *p = from.n > 0 ? memmem(s.p + i, s.n - i, from.p, from.n) : s.p + i;
        if (p == NULL)
            break;
        sm_str_add(&text, s.p + i, (size_t)(p - s.p) - i);
        sm_str_add(&text, to.p, to.n);
        i = (size_t)(p - s.p) + from.n;
        left -= left > 0;
        if (from.n == 0 && i < s.n) { /* between all characters, and at both ends */
            size_t at = i;
            val_char(s, &i);
            sm_str_add(&text, s.p + at, i - at);
        } else if (from.n == 0) {
            i = s.n + 1;
        }
    }
    if (i < s.n)
        sm_str_add(&text, s.p + i, s.n - i);
    return val_take_str(c->r, &text, out);
}

static sm_status str_join(str_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    val_list *items;
    SM_TRY(tmpl_iterate(c->r, *c->slot[0], &items));
    for (size_t i = 0; i < items->n; i++)
        if (items->v[i].kind != VAL_STR)
            return tmpl_wants(c->r, c->name, "strings", items->v[i]);
    for (size_t i = 0; i < items->n && tmpl_room(c->r, &text); i++) {
        if (i > 0)
            sm_str_add(&text, c->s.p, c->s.n);
        sm_str_add(&text, items->v[i].u.s.p, items->v[i].u.s.n);
    }
    return val_take_str(c->r, &text, out);
}

/* center, ljust, rjust: width, fillchar?; zfill: width */
static sm_status str_pad(str_call *c, val *out) {
    bool zeros = c->name.p[0] == 'z';
    sm_sv fill = zeros ? SM_SV("0") : SM_SV(" ");
    sm_str text = SM_STR_INIT;
    int64_t width, len = (int64_t)val_str_len(c->s);
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 0, &width));
    if (!zeros && c->slot[1] != NULL)
        SM_TRY(want_str(c, c->slot[1], &fill));
    if (val_str_len(fill) != 1)
        return tmpl_fail(c->r, SM_BADINPUT, "%.*s: wanted one character to fill with", (int)c->name.n, c->name.p);
    int64_t pad = SM_MAX(width, len) - len, before = 0;
    if (pad > SM_TEMPLATE_WORK_BYTES / 4)
        return tmpl_fail(c->r, SM_RESOURCE, "%.*s: too wide", (int)c->name.n, c->name.p);
    if (zeros || c->name.p[0] == 'r')
        before = pad;
    else if (c->name.p[0] == 'c') /* an odd one goes where Python puts it */
        before = pad / 2 + (pad & width & 1);
    size_t sign = zeros && c->s.n > 0 && (c->s.p[0] == '-' || c->s.p[0] == '+');
    sm_str_add(&text, c->s.p, sign);
    for (int64_t i = 0; i < before; i++)
        sm_str_add(&text, fill.p, fill.n);
    sm_str_add(&text, c->s.p + sign, c->s.n - sign);
    for (int64_t i = before; i < pad; i++)
        sm_str_add(&text, fill.p, fill.n);
    return val_take_str(c->r, &text, out);
}

/* tabsize? */
static sm_status str_expandtabs(str_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    int64_t size, column = 0;
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 8, &size));
    if (size > 1000)
        return tmpl_fail(c->r, SM_RESOURCE, "expandtabs: too wide");
    for (size_t i = 0; i < c->s.n && tmpl_room(c->r, &text);) {
        size_t at = i;
        uint32_t cp = val_char(c->s, &i);
        if (cp != '\t') {
            sm_str_add(&text, c->s.p + at, i - at);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
            continue;
        }
        for (int64_t n = size > 0 ? size - column % size : 0; n > 0; n--, column++)
            sm_str_addc(&text, ' ');
    }
    return val_take_str(c->r, &text, out);
}

/* ---- case ---------------------------------------------------------------------------------------------------- */

static void put_cp(uint32_t cp, sm_str *out) {
    char z[4];
    sm_str_add(out, z, (size_t)sm_utf8_encode(cp, z));
}

/* Letters whose capital form is more than one; `title`: of the first letter of a word. */
static const char *long_capital(uint32_t cp, bool title) {
    static const struct {
        uint32_t cp;
        const char *upper, *title;
    } rows[] = {{0xdf, "SS", "Ss"},
                {0x149, "\u02bcN", "\u02bcN"},
                {0x1f0, "J\u030c", "J\u030c"},
                {0x587, "\u0535\u0552", "\u0535\u0582"},
                {0xfb00, "FF", "Ff"},
                {0xfb01, "FI", "Fi"},
                {0xfb02, "FL", "Fl"},
                {0xfb03, "FFI", "Ffi"},
                {0xfb04, "FFL", "Ffl"},
                {0xfb05, "ST", "St"},
                {0xfb06, "ST", "St"}};
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        if (rows[i].cp == cp)
            return title ? rows[i].title : rows[i].upper;
    return NULL;
}

static void put_upper(uint32_t cp, bool title, sm_str *out) {
    const char *many = long_capital(cp, title);
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    if (many != NULL)
        sm_str_adds(out, many);
    else
        put_cp((uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)), out);
}

static bool is_cased(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LT;
}

/* The small letter of the character before `next`; a sigma that ends a word has a form of its own.  after_cased: the
 * character before it is a letter with case. */
static void put_lower(sm_sv s, bool after_cased, size_t next, uint32_t cp, sm_str *out) {
    if (cp == 0x130) {
        sm_str_adds(out, "i\u0307");
        return;
    }
    if (cp == 0x3a3) {
        bool before_cased = next < s.n && is_cased(val_char(s, &next));
        put_cp(after_cased && !before_cased ? 0x3c2 : 0x3c3, out);
        return;
    }
    put_cp((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), out);
}

/* upper, lower, casefold, swapcase, capitalize, title (after anything that is not a letter). */
static sm_status str_case(str_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    char kind = c->name.p[0] == 'c' && c->name.p[2] == 's' ? 'f' : c->name.p[0];
    bool inside = false, after_cased;
    tmpl_charge(c->r, c->s.n * 4);
    for (size_t i = 0; i < c->s.n;) {
        size_t at = i;
        uint32_t cp = val_char(c->s, &i);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        bool first = kind == 'c' ? at == 0 : kind == 't' && !inside;
        after_cased = inside;
        inside = is_cased(cp);
        if (kind == 'u' || (kind == 's' && k == UTF8PROC_CATEGORY_LL) || first)
            put_upper(cp, first, &text);
        else if (kind == 'f' && cp == 0xdf)
            sm_str_adds(&text, "ss");
        else if (kind != 's' || k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT)
            put_lower(c->s, after_cased, i, cp, &text);
        else
            put_cp(cp, &text);
    }
    return val_take_str(c->r, &text, out);
}

/* Of one character: isdigit and its like. */
static bool char_is(sm_sv name, uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    bool decimal = c == UTF8PROC_CATEGORY_ND;
    bool superscript = cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 || (cp >= 0x2074 && cp <= 0x2079) ||
                       (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468);
    if (sm_sv_is(name, "isdecimal"))
        return decimal;
    if (sm_sv_is(name, "isdigit"))
        return decimal || superscript;
    if (sm_sv_is(name, "isnumeric"))
        return decimal || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
    if (sm_sv_is(name, "isalpha"))
        return val_is_letter(cp);
    if (sm_sv_is(name, "isalnum"))
        return val_is_letter(cp) || decimal || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
    if (sm_sv_is(name, "isspace"))
        return val_is_space(cp);
    if (sm_sv_is(name, "isascii"))
        return cp < 0x80;
    return val_char_prints(cp); /* isprintable */
}

/* All characters, and at least one but for isascii and isprintable. */
static sm_status str_is(str_call *c, val *out) {
    bool all = c->s.n > 0 || sm_sv_is(c->name, "isascii") || sm_sv_is(c->name, "isprintable");
    for (size_t i = 0; i < c->s.n && all;)
        all = char_is(c->name, val_char(c->s, &i));
    *out = val_bool(all);
    return SM_OK;
}

/* isupper, islower, istitle */
static sm_status str_is_case(str_call *c, val *out) {
    bool all = true, cased = false, inside = false;
    for (size_t i = 0; i < c->s.n && all;) {
        uint32_t cp = val_char(c->s, &i);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        bool upper = k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT, lower = k == UTF8PROC_CATEGORY_LL;
        if (c->name.p[2] == 't')
            all = upper ? !inside : lower ? inside : true;
        else
            all = c->name.p[2] == 'u' ? !lower && k != UTF8PROC_CATEGORY_LT : !upper;
        inside = upper || lower;
        cased = cased || inside;
    }
    *out = val_bool(all && cased);
    return SM_OK;
}

static sm_status str_isidentifier(str_call *c, val *out) {
    bool all = c->s.n > 0;
    for (size_t i = 0; i < c->s.n && all;) {
        bool first = i == 0;
        uint32_t cp = val_char(c->s, &i);
        all = cp == '_' || val_is_letter(cp) || (!first && char_is(SM_SV("isdecimal"), cp));
    }
    *out = val_bool(all);
    return SM_OK;
}

static sm_status str_format_map(str_call *c, val *out) {
    const val *d = c->slot[0];
    if (d->kind != VAL_DICT)
        return tmpl_wants(c->r, c->name, "a dict", *d);
    sm_sv *names = tmpl_alloc(c->r, (d->u.dict->n + 1) * sizeof *names);
    if (names == NULL)
        return SM_RESOURCE;
    for (size_t i = 0; i < d->u.dict->n; i++)
        names[i] = d->u.dict->keys[i].kind == VAL_STR ? d->u.dict->keys[i].u.s : SM_SV("");
    call_args a = {d->u.dict->values, d->u.dict->n, names, d->u.dict->n};
    return tmpl_str_format(c->r, val_view(c->s), &a, out);
}

/* ---- table --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *params;
    sm_status (*call)(str_call *c, val *out);
} methods[] = {
    {"capitalize", "", str_case},
    {"casefold", "", str_case},
    {"center", "width fillchar? /", str_pad},
    {"count", "sub start? end? /", str_count},
    {"endswith", "suffix start? end? /", str_affix},
    {"expandtabs", "tabsize?", str_expandtabs},
    {"find", "sub start? end? /", str_find},
    {"format_map", "mapping /", str_format_map},
    {"index", "sub start? end? /", str_find},
    {"isalnum", "", str_is},
    {"isalpha", "", str_is},
    {"isascii", "", str_is},
    {"isdecimal", "", str_is},
    {"isdigit", "", str_is},
    {"isidentifier", "", str_isidentifier},
    {"islower", "", str_is_case},
    {"isnumeric", "", str_is},
    {"isprintable", "", str_is},
    {"isspace", "", str_is},
    {"istitle", "", str_is_case},
    {"isupper", "", str_is_case},
    {"join", "iterable /", str_join},
    {"ljust", "width fillchar? /", str_pad},
    {"lower", "", str_case},
    {"lstrip", "chars? /", str_strip},
    {"partition", "sep /", str_partition},
    {"removeprefix", "prefix /", str_remove_affix},
    {"removesuffix", "suffix /", str_remove_affix},
    {"replace", "old new count? /", str_replace},
    {"rfind", "sub start? end? /", str_find},
    {"rindex", "sub start? end? /", str_find},
    {"rjust", "width fillchar? /", str_pad},
    {"rpartition", "sep /", str_partition},
    {"rsplit", "sep? maxsplit?", str_split},
    {"rstrip", "chars? /", str_strip},
    {"split", "sep? maxsplit?", str_split},
    {"splitlines", "keepends?", str_splitlines},
    {"startswith", "prefix start? end? /", str_affix},
    {"strip", "chars? /", str_strip},
    {"swapcase", "", str_case},
    {"title", "", str_case},
    {"upper", "", str_case},
    {"zfill", "width /", str_pad},
};

bool tmpl_has_str_method(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(methods); i++)
        if (sm_sv_is(name, methods[i].name))
            return true;
    return sm_sv_is(name, "format"); /* takes any arguments: has no row */
}

static void mark_safe(val *v) {
    if (v->kind == VAL_STR)
        v->safe = true;
    for (size_t i = 0; val_is_seq(*v) && i < v->u.list->n; i++)
        v->u.list->v[i].safe = true;
}

sm_status tmpl_call_str(run *r, val self, sm_sv name, const call_args *a, val *out) {
    str_call c = {.r = r, .s = self.u.s, .name = name, .raw = a};
    tmpl_charge(r, self.u.s.n);
    if (sm_sv_is(name, "format"))
        return tmpl_str_format(r, self, a, out);
    for (size_t i = 0; i < SM_ARRAY_LEN(methods); i++)
        if (sm_sv_is(name, methods[i].name)) {
            SM_TRY(tmpl_bind(r, name, methods[i].params, a, c.slot));
            SM_TRY(methods[i].call(&c, out));
            if (self.safe)
                mark_safe(out);
            return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
        }
    return tmpl_fail(r, SM_UNSUPPORTED, "string method '%.*s' is not supported", (int)SM_MIN(name.n, (size_t)40),
                     name.p);
}
