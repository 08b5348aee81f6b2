/* SPDX-License-Identifier: MIT
 *
 * tmpl_format.c: numbers as text, and Python's two ways of putting values into a text: 'x %s' % y and 'x {}'.format(y).
 *
 * Both read a specification into a `spec` and share what formats numbers and pads.
 */
#include "text/template_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

enum { MAX_PRECISION = 5000 };

/* The shortest digits that read back as f, in Python's form. */
void tmpl_put_float(double f, sm_str *out) {
    char z[40], mantissa[40];
    if (isnan(f) || isinf(f)) {
        sm_str_adds(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        sm_snprintf(z, sizeof z, "%.*e", digits - 1, f);
        if (sm_strtod(z, NULL) == f)
            break;
    }
    sm_snprintf(z, sizeof z, "%.*e", digits - 1, f);
    int exponent = atoi(strchr(z, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(mantissa, sizeof mantissa, "%.*s", (int)(strchr(z, 'e') - z), z);
        sm_str_addf(out, "%se%c%02d", mantissa, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    sm_str_addf(out, "%.*f", SM_MAX(digits - 1 - exponent, 1), f);
}

/* ---- one value ----------------------------------------------------------------------------------------------- */

typedef struct spec {
    sm_sv fill; /* one character */
    char align; /* < > ^ =, or 0 */
    char sign;  /* + - space, or 0 */
    bool alt, zero;
    char group;               /* , _ or 0 */
    char type;                /* 0: none */
    int64_t width, precision; /* negative: none */
} spec;

/* body (with its sign and prefix of `head` bytes) padded to the width. */
static sm_status put_padded(run *r, const spec *s, sm_sv body, size_t head, char align, sm_str *out) {
    int64_t len = (int64_t)val_str_len(body), pad = s->width > len ? s->width - len : 0;
    sm_sv fill = s->fill.n > 0 ? s->fill : SM_SV(" ");
    align = s->align ? s->align : align;
    if (pad > SM_TEMPLATE_WORK_BYTES / 4)
        return tmpl_fail(r, SM_RESOURCE, "width of %lld", (long long)s->width);
    tmpl_charge(r, (size_t)pad * 4);
    int64_t before = align == '>' || align == '=' ? pad : align == '^' ? pad / 2 : 0;
    if (align == '=')
        sm_str_add(out, body.p, head);
    for (int64_t i = 0; i < pad; i++) {
        if (i == before)
            sm_str_add(out, body.p, body.n);
        sm_str_add(out, fill.p, fill.n);
    }
    if (align == '=')
        sm_str_add(out, body.p + head, body.n - head);
    else if (before == pad)
        sm_str_add(out, body.p, body.n);
    return tmpl_room(r, out) ? SM_OK : tmpl_check(r);
}

/* Digits (up to a dot or exponent) with a sign between groups, and zeros before them up to `width`. */
static void put_grouped(sm_sv digits, char group, size_t by, size_t width, sm_str *out) {
    size_t n = 0;
    while (n < digits.n && digits.p[n] != '.' && digits.p[n] != 'e' && digits.p[n] != '%')
        n++;
    size_t zeros = 0, rest = digits.n - n;
    while (n + zeros + (n + zeros - 1) / by + rest < width)
        zeros++;
    for (size_t i = 0; i < n + zeros; i++) {
        if (i > 0 && (n + zeros - i) % by == 0)
            sm_str_addc(out, group);
        sm_str_addc(out, i < zeros ? '0' : digits.p[i - zeros]);
    }
    sm_str_add(out, digits.p + n, rest);
}

/* digits: without sign. */
static sm_status put_number(run *r, const spec *s, bool negative, const char *prefix, sm_sv digits, sm_str *out) {
    sm_str body = SM_STR_INIT;
    spec pad = *s;
    if (negative || s->sign == '+' || s->sign == ' ')
        sm_str_addc(&body, negative ? '-' : s->sign);
    sm_str_adds(&body, prefix);
    size_t head = body.n;
    bool zeros = s->zero && (s->align == 0 || s->align == '=');
    if (zeros && pad.fill.n == 0) {
        pad.fill = SM_SV("0");
        pad.align = '=';
    }
    if (s->group) {
        size_t width = zeros && s->width > (int64_t)head && s->width < 100000 ? (size_t)s->width - head : 0;
        put_grouped(digits, s->group, s->type && strchr("boxX", s->type) ? 4 : 3, width, &body);
    } else {
        sm_str_add(&body, digits.p, digits.n);
    }
    sm_status st = put_padded(r, &pad, (sm_sv){sm_str_z(&body), body.n}, head, '>', out);
    if (!sm_str_ok(&body))
        out->failed = true;
    sm_str_free(&body);
    return st;
}

static sm_status put_int(run *r, const spec *s, int64_t v, sm_str *out) {
    char z[72];
    const char *prefix = "";
    size_t n = sizeof z;
    unsigned base = s->type == 'b' ? 2 : s->type == 'o' ? 8 : s->type == 'x' || s->type == 'X' ? 16 : 10;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (s->alt)
        prefix = base == 2 ? "0b" : base == 8 ? "0o" : s->type == 'x' ? "0x" : s->type == 'X' ? "0X" : "";
    do {
        z[--n] = (s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u > 0);
    return put_number(r, s, v < 0, prefix, (sm_sv){z + n, sizeof z - n}, out);
}

static sm_status put_double(run *r, const spec *s, double f, sm_str *out) {
    sm_str z = SM_STR_INIT;
    char type = s->type ? s->type : s->precision >= 0 ? 'G' : 'r', fmt[8];
    int precision = s->precision >= 0 ? (int)SM_MIN(s->precision, MAX_PRECISION + 1) : 6;
    bool negative = signbit(f) && !isnan(f);
    if (precision > MAX_PRECISION)
        return tmpl_fail(r, SM_UNSUPPORTED, "precision of more than %d", MAX_PRECISION);
    f = fabs(f);
    if (isnan(f) || isinf(f)) {
        sm_str_adds(&z, isnan(f) ? "nan" : "inf");
    } else if (type == 'r') {
        tmpl_put_float(f, &z);
    } else if (type == '%') {
        sm_str_addf(&z, "%.*f", precision, f * 100);
    } else { /* a precision without type: as g, but never without a digit after the dot, and exponents earlier */
        char c = type == 'n' ? 'g' : type == 'G' && !s->type ? 'g' : type;
        snprintf(fmt, sizeof fmt, s->alt ? "%%#.*%c" : "%%.*%c", c);
        if (!s->type) {
            char digits[64];
            precision = SM_MAX(precision, 1);
            sm_snprintf(digits, sizeof digits, "%.*e", SM_MIN(precision, 40) - 1, f);
            int exponent = atoi(strchr(digits, 'e') + 1);
            if (exponent == precision - 1 && exponent >= 0 && f != 0) {
                sm_str_addf(&z, "%.*e", precision - 1, f);
                char *e = strchr(z.p, 'e'), *end = e;
                while (strchr(z.p, '.') != NULL && (end[-1] == '0' || end[-1] == '.') && end[-1] != '\0') {
                    bool dot = end[-1] == '.';
                    end--;
                    if (dot)
                        break;
                }
                memmove(end, e, strlen(e) + 1);
                z.n = strlen(z.p);
                c = 0;
            }
        }
        if (c) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            sm_str_addf(&z, fmt, precision, f);
#pragma GCC diagnostic pop
            if (!s->type && strpbrk(sm_str_z(&z), ".e") == NULL)
                sm_str_adds(&z, ".0");
        }
    }
    if (type == '%' && !isnan(f))
        sm_str_addc(&z, '%');
    sm_status st = put_number(r, s, negative, "", (sm_sv){sm_str_z(&z), z.n}, out);
    if (!sm_str_ok(&z))
        out->failed = true;
    sm_str_free(&z);
    return st;
}

static sm_status put_text(run *r, const spec *s, sm_sv text, sm_str *out) {
    if (s->precision >= 0)
        text.n = val_str_offset(text, (size_t)s->precision);
    return put_padded(r, s, text, 0, '<', out);
}

/* ---- % ------------------------------------------------------------------------------------------------------- */

typedef struct percent {
    run *r;
    sm_sv s;
    size_t at;
    val args;
    size_t used;
    bool mapped; /* %(name)s was seen */
} percent;

static sm_status next_arg(percent *p, val *out) {
    size_t n = p->args.kind == VAL_TUPLE ? p->args.u.list->n : 1;
    if (p->mapped || p->used >= n)
        return tmpl_fail(p->r, SM_BADINPUT, "not enough arguments for the format");
    *out = p->args.kind == VAL_TUPLE ? p->args.u.list->v[p->used] : p->args;
    p->used++;
    return SM_OK;
}

static sm_status read_count(percent *p, int64_t *out) {
    if (p->at < p->s.n && p->s.p[p->at] == '*') {
        val v;
        p->at++;
        SM_TRY(next_arg(p, &v));
        if (!val_is_int(v) || val_as_int(v) < -1000000 || val_as_int(v) > 1000000)
            return tmpl_wants(p->r, SM_SV("%"), "a width", v);
        *out = val_as_int(v);
        return SM_OK;
    }
    while (p->at < p->s.n && p->s.p[p->at] >= '0' && p->s.p[p->at] <= '9') {
        *out = SM_MAX(*out, 0) * 10 + (p->s.p[p->at++] - '0');
        if (*out > SM_TEMPLATE_WORK_BYTES)
            return tmpl_fail(p->r, SM_RESOURCE, "width of more than %d", SM_TEMPLATE_WORK_BYTES);
    }
    return SM_OK;
}

/* After '%': flags, width, precision, the letter. */
static sm_status read_spec(percent *p, spec *s) {
    *s = (spec){.width = -1, .precision = -1};
    for (; p->at < p->s.n && p->s.p[p->at] != '\0' && strchr("-+ #0", p->s.p[p->at]) != NULL; p->at++) {
        char c = p->s.p[p->at];
        if (c == '-')
            s->align = '<';
        else if (c == '+' || (c == ' ' && s->sign != '+'))
            s->sign = c;
        s->alt = s->alt || c == '#';
        s->zero = s->zero || c == '0';
    }
    SM_TRY(read_count(p, &s->width));
    if (s->width < -1) {
        s->align = '<';
        s->width = -s->width;
    }
    if (p->at < p->s.n && p->s.p[p->at] == '.') {
        p->at++;
        s->precision = 0;
        SM_TRY(read_count(p, &s->precision));
        s->precision = SM_MAX(s->precision, 0);
    }
    while (p->at < p->s.n && strchr("hlL", p->s.p[p->at]) != NULL && p->s.p[p->at] != '\0')
        p->at++;
    if (p->at >= p->s.n)
        return tmpl_fail(p->r, SM_BADINPUT, "incomplete format");
    s->type = p->s.p[p->at++];
    return SM_OK;
}

static sm_status percent_int(run *r, spec *s, val v, sm_str *out) {
    char type = s->type == 'i' || s->type == 'u' ? 'd' : s->type;
    if (type == 'd' && v.kind == VAL_FLOAT && fabs(v.u.f) < 9e18)
        v = val_int((int64_t)v.u.f);
    if (!val_is_int(v))
        return tmpl_wants(r, SM_SV("%"), "a number", v);
    s->type = type;
    if (s->precision >= 0) { /* digits at least */
        char z[24];
        int64_t i = val_as_int(v);
        int n = snprintf(z, sizeof z, "%llu", (unsigned long long)(i < 0 ? 0 - (uint64_t)i : (uint64_t)i));
        if (type != 'd' || s->precision > 1000)
            return tmpl_fail(r, SM_UNSUPPORTED, "'%%%c' with this precision is not supported", type);
        sm_str digits = SM_STR_INIT;
        for (int64_t k = n; k < s->precision; k++)
            sm_str_addc(&digits, '0');
        sm_str_add(&digits, z, (size_t)n);
        sm_status st = put_number(r, s, i < 0, "", (sm_sv){sm_str_z(&digits), digits.n}, out);
        sm_str_free(&digits);
        return st;
    }
    return put_int(r, s, val_as_int(v), out);
}

static sm_status percent_value(run *r, spec *s, val v, bool safe, sm_str *out) {
    char c = s->type;
    sm_str text = SM_STR_INIT;
    s->zero = s->zero && s->align != '<';
    if (strchr("diuxXo", c) != NULL)
        return percent_int(r, s, v, out);
    if (strchr("eEfFgG", c) != NULL) {
        if (!val_is_number(v))
            return tmpl_wants(r, SM_SV("%"), "a number", v);
        s->precision = s->precision < 0 ? 6 : s->precision;
        return put_double(r, s, val_number(v), out);
    }
    s->align = s->align ? s->align : '>';
    if (c == 's' || c == 'r' || (c == 'c' && v.kind == VAL_STR && val_str_len(v.u.s) == 1)) {
        if (c == 'r')
            val_repr(r, v, &text);
        else
            val_print(r, v, &text);
    } else if (c == 'c' && val_is_int(v) && val_as_int(v) >= 0 && val_as_int(v) < 0x110000 &&
               (val_as_int(v) < 0xd800 || val_as_int(v) > 0xdfff)) {
        char z[4];
        sm_str_add(&text, z, (size_t)sm_utf8_encode((uint32_t)val_as_int(v), z));
        s->precision = -1;
    } else {
        return c == 'c' ? tmpl_wants(r, SM_SV("%c"), "a character", v)
                        : tmpl_fail(r, SM_BADINPUT, "unsupported format character %s", sm_quote(&c, 1));
    }
    val made;
    SM_TRY(val_take_str(r, &text, &made));
    if (safe && !(v.kind == VAL_STR && v.safe)) {
        val_escape(made.u.s, &text);
        SM_TRY(val_take_str(r, &text, &made));
    }
    return put_text(r, s, made.u.s, out);
}

static sm_status percent_one(percent *p, bool safe, sm_str *out) {
    spec s;
    val v;
    bool named = p->at < p->s.n && p->s.p[p->at] == '(';
    if (named) {
        size_t from = ++p->at, depth = 1;
        while (p->at < p->s.n && depth > 0) {
            depth += p->s.p[p->at] == '(';
            depth -= p->s.p[p->at] == ')';
            p->at++;
        }
        if (depth > 0 || p->args.kind != VAL_DICT)
            return tmpl_fail(p->r, SM_BADINPUT, "format requires a mapping");
        val key = val_view((sm_sv){p->s.p + from, p->at - 1 - from});
        const val *found = val_get(p->r, p->args.u.dict, key);
        if (found == NULL)
            return tmpl_fail(p->r, SM_BADINPUT, "format: no entry %s", sm_quote(key.u.s.p, key.u.s.n));
        v = *found;
        p->mapped = true;
    }
    SM_TRY(read_spec(p, &s));
    if (s.type == '%') {
        sm_str_addc(out, '%');
        return SM_OK;
    }
    if (!named)
        SM_TRY(next_arg(p, &v));
    return percent_value(p->r, &s, v, safe, out);
}

sm_status tmpl_percent(run *r, val format, val args, val *out) {
    percent p = {.r = r, .s = format.u.s, .args = args};
    sm_str text = SM_STR_INIT;
    sm_status st = SM_OK;
    tmpl_charge(r, p.s.n);
    while (p.at < p.s.n && st == SM_OK) {
        const char *sign = memchr(p.s.p + p.at, '%', p.s.n - p.at);
        size_t end = sign != NULL ? (size_t)(sign - p.s.p) : p.s.n;
        sm_str_add(&text, p.s.p + p.at, end - p.at);
        p.at = end + (sign != NULL);
        if (sign != NULL)
            st = percent_one(&p, format.safe, &text);
    }
    bool loose = val_is_listed(args) || args.kind == VAL_DICT || args.kind == VAL_UNDEFINED;
    bool left = args.kind == VAL_TUPLE ? p.used < args.u.list->n : !loose && p.used == 0;
    if (st == SM_OK && left && !p.mapped)
        st = tmpl_fail(r, SM_BADINPUT, "not all arguments of the format were used");
    if (st == SM_OK)
        st = val_take_str(r, &text, out);
    sm_str_free(&text);
    out->safe = st == SM_OK && format.safe;
    return st;
}

/* ---- str.format ---------------------------------------------------------------------------------------------- */

typedef struct formatter {
    run *r;
    const call_args *a;
    int64_t next; /* for {}; negative once {0} was seen */
    bool numbered;
    bool safe;
} formatter;

static sm_status format_text(formatter *f, sm_sv s, int depth, sm_str *out);

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static sm_status read_new_spec(run *r, sm_sv t, spec *s) {
    size_t i = 0, first = 0;
    *s = (spec){.width = -1, .precision = -1};
    if (t.n > 0)
        val_char(t, &first);
    if (first < t.n && strchr("<>^=", t.p[first]) != NULL && t.p[first] != '\0') {
        s->fill = (sm_sv){t.p, first};
        s->align = t.p[first];
        i = first + 1;
    } else if (t.n > 0 && strchr("<>^=", t.p[0]) != NULL && t.p[0] != '\0') {
        s->align = t.p[i++];
    }
    if (i < t.n && (t.p[i] == '+' || t.p[i] == '-' || t.p[i] == ' '))
        s->sign = t.p[i++];
    if (i < t.n && t.p[i] == '#') {
        s->alt = true;
        i++;
    }
    if (i < t.n && t.p[i] == '0') {
        s->zero = true;
        i++;
    }
    for (; i < t.n && t.p[i] >= '0' && t.p[i] <= '9'; i++) {
        s->width = SM_MAX(s->width, 0) * 10 + (t.p[i] - '0');
        if (s->width > SM_TEMPLATE_WORK_BYTES)
            return tmpl_fail(r, SM_RESOURCE, "width of more than %d", SM_TEMPLATE_WORK_BYTES);
    }
    if (i < t.n && (t.p[i] == ',' || t.p[i] == '_'))
        s->group = t.p[i++];
    if (i < t.n && t.p[i] == '.') {
        size_t from = ++i;
        for (s->precision = 0; i < t.n && t.p[i] >= '0' && t.p[i] <= '9' && s->precision < 1 << 24; i++)
            s->precision = s->precision * 10 + (t.p[i] - '0');
        if (i == from)
            return tmpl_fail(r, SM_BADINPUT, "format: precision missing");
    }
    if (i < t.n)
        s->type = t.p[i++];
    if (i < t.n)
        return tmpl_fail(r, SM_BADINPUT, "format: malformed specification %s", sm_quote(t.p, t.n));
    return SM_OK;
}

static sm_status format_value(run *r, val v, sm_sv text, sm_str *out) {
    spec s;
    SM_TRY(read_new_spec(r, text, &s));
    if (v.kind == VAL_STR) {
        if ((s.type && s.type != 's') || s.sign || s.group || s.alt || s.align == '=')
            return tmpl_fail(r, SM_BADINPUT, "format: %s does not go with a string", sm_quote(text.p, text.n));
        if (s.zero && s.fill.n == 0)
            s.fill = SM_SV("0");
        return put_text(r, &s, v.u.s, out);
    }
    if (text.n == 0) {
        val_print(r, v, out);
        return SM_OK;
    }
    if (s.type && strchr("bcdoxXneEfFgG%", s.type) == NULL)
        return tmpl_fail(r, SM_BADINPUT, "format: unknown type %s", sm_quote(&s.type, 1));
    if (val_is_int(v) && (!s.type || strchr("bdoxXn", s.type) != NULL)) {
        if (s.precision >= 0 || (s.group == ',' && s.type && strchr("boxX", s.type) != NULL))
            return tmpl_fail(r, SM_BADINPUT, "format: %s does not go with an integer", sm_quote(text.p, text.n));
        return put_int(r, &s, val_as_int(v), out);
    }
    if (val_is_int(v) && s.type == 'c')
        return tmpl_fail(r, SM_UNSUPPORTED, "format: type 'c' is not supported");
    if (val_is_number(v) && (!s.type || strchr("eEfFgGn%", s.type) != NULL))
        return put_double(r, &s, val_number(v), out);
    return tmpl_fail(r, SM_BADINPUT, "format: %s does not go with %s", sm_quote(text.p, text.n), val_type(v));
}

static bool all_digits(sm_sv s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0 && s.n < 10;
}

static int64_t to_number(sm_sv s) {
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n = n * 10 + (s.p[i] - '0');
    return n;
}

static sm_status first_value(formatter *f, sm_sv name, val *out) {
    size_t n_plain = tmpl_positional(f->a);
    if (name.n == 0 || all_digits(name)) {
        bool automatic = name.n == 0;
        if ((automatic && f->numbered) || (!automatic && f->next > 0))
            return tmpl_fail(f->r, SM_BADINPUT, "format: {} and {0} mixed");
        int64_t at = automatic ? f->next++ : to_number(name);
        f->numbered = f->numbered || !automatic;
        if (at >= (int64_t)n_plain)
            return tmpl_fail(f->r, SM_BADINPUT, "format: no argument %lld", (long long)at);
        *out = f->a->v[at];
        return SM_OK;
    }
    for (size_t i = 0; i < f->a->n_names; i++)
        if (sm_sv_eq(f->a->names[i], name)) {
            *out = f->a->v[n_plain + i];
            return SM_OK;
        }
    return tmpl_fail(f->r, SM_BADINPUT, "format: no argument %s", sm_quote(name.p, name.n));
}

/* name, then .attribute and [item] */
static sm_status field_value(formatter *f, sm_sv s, val *out) {
    size_t i = 0;
    while (i < s.n && s.p[i] != '.' && s.p[i] != '[')
        i++;
    SM_TRY(first_value(f, (sm_sv){s.p, i}, out));
    while (i < s.n) {
        bool item = s.p[i++] == '[';
        size_t from = i;
        while (i < s.n && (item ? s.p[i] != ']' : s.p[i] != '.' && s.p[i] != '['))
            i++;
        sm_sv part = {s.p + from, i - from};
        if (part.n == 0 || (item && i >= s.n))
            return tmpl_fail(f->r, SM_BADINPUT, "format: malformed field");
        val from_val = *out;
        if (item)
            SM_TRY(tmpl_item(f->r, from_val, all_digits(part) ? val_int(to_number(part)) : val_view(part), out));
        else
            SM_TRY(tmpl_attr(f->r, from_val, part, out));
        i += item;
        if (item && i < s.n && s.p[i] != '.' && s.p[i] != '[')
            return tmpl_fail(f->r, SM_BADINPUT, "format: malformed field");
    }
    return SM_OK;
}

static sm_status put_field(formatter *f, val v, char conversion, sm_sv how, sm_str *out) {
    sm_str text = SM_STR_INIT, one = SM_STR_INIT;
    if (conversion) {
        if (conversion != 'r' && conversion != 's')
            return tmpl_fail(f->r, conversion == 'a' ? SM_UNSUPPORTED : SM_BADINPUT, "format: conversion !%c is not %s",
                             conversion, conversion == 'a' ? "supported" : "known");
        if (conversion == 'r')
            val_repr(f->r, v, &text);
        else
            val_print(f->r, v, &text);
        SM_TRY(val_take_str(f->r, &text, &v));
    }
    if (!f->safe || (v.kind == VAL_STR && v.safe))
        return format_value(f->r, v, how, out);
    sm_status st = format_value(f->r, v, how, &one);
    if (st == SM_OK)
        val_escape((sm_sv){sm_str_z(&one), one.n}, out);
    sm_str_free(&one);
    return st;
}

/* A field, from after its '{'; *at is left after its '}'. */
static sm_status format_field(formatter *f, sm_sv s, size_t *at, int depth, sm_str *out) {
    size_t i = *at, from = i, level = 1;
    char conversion = 0;
    val v;
    while (i < s.n && s.p[i] != '}' && s.p[i] != ':' && s.p[i] != '!' && s.p[i] != '{') {
        if (s.p[i] == '[')
            while (i < s.n && s.p[i] != ']')
                i++;
        i += i < s.n;
    }
    sm_sv name = {s.p + from, SM_MIN(i, s.n) - from};
    if (i + 1 < s.n && s.p[i] == '!') {
        conversion = s.p[i + 1];
        i += 2;
        if (i < s.n && s.p[i] != ':' && s.p[i] != '}')
            i = s.n;
    }
    sm_sv how = {s.p, 0};
    if (i < s.n && s.p[i] == ':') {
        from = ++i;
        for (; i < s.n; i++) {
            level += s.p[i] == '{';
            level -= s.p[i] == '}';
            if (level == 0)
                break;
        }
        how = (sm_sv){s.p + from, i - from};
    }
    if (i >= s.n || s.p[i] != '}')
        return tmpl_fail(f->r, SM_BADINPUT, "format: '{' without '}'");
    *at = i + 1;
    SM_TRY(field_value(f, name, &v));
    if (memchr(how.p, '{', how.n) == NULL)
        return put_field(f, v, conversion, how, out);
    sm_str inner = SM_STR_INIT;
    sm_status st = format_text(f, how, depth + 1, &inner);
    if (st == SM_OK && !sm_str_ok(&inner))
        st = tmpl_nomem(f->r);
    if (st == SM_OK)
        st = put_field(f, v, conversion, (sm_sv){sm_str_z(&inner), inner.n}, out);
    sm_str_free(&inner);
    return st;
}

static sm_status format_text(formatter *f, sm_sv s, int depth, sm_str *out) {
    if (depth > 1)
        return tmpl_fail(f->r, SM_BADINPUT, "format: fields nested too deep");
    tmpl_charge(f->r, s.n);
    for (size_t i = 0; i < s.n;) {
        char c = s.p[i++];
        if (c != '{' && c != '}') {
            sm_str_addc(out, c);
        } else if (i < s.n && s.p[i] == c) {
            sm_str_addc(out, c);
            i++;
        } else if (c == '}') {
            return tmpl_fail(f->r, SM_BADINPUT, "format: '}' without '{'");
        } else {
            SM_TRY(format_field(f, s, &i, depth, out));
            if (!tmpl_room(f->r, out) || tmpl_spent(f->r))
                return tmpl_check(f->r);
        }
    }
    return SM_OK;
}

sm_status tmpl_str_format(run *r, val format, const call_args *a, val *out) {
    formatter f = {.r = r, .a = a, .safe = format.safe};
    sm_str text = SM_STR_INIT;
    sm_status st = format_text(&f, format.u.s, 0, &text);
    if (st == SM_OK)
        st = val_take_str(r, &text, out);
    sm_str_free(&text);
    out->safe = st == SM_OK && format.safe;
    return st;
}
