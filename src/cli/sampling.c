/* SPDX-License-Identifier: MIT
 *
 * sampling.c: from options to a smelt_sampling.
 */
#include "cli/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define AT(field) offsetof(sampling_args, field)
static const opt sampling_opts[] = {
#define REAL(field, name, arg, help) {name, 0, OPT_NUM, AT(field), arg, help, 0, 0, NULL},
#define WHOLE(field, name, arg, low, high, help) {name, 0, OPT_INT, AT(field), arg, help, low, high, NULL},
#include "cli/sampling.def"
#undef REAL
#undef WHOLE
    {"dry-sequence-breaker", 0, OPT_STRS, AT(breakers), "STR",
     "DRY: text that repetitions do not reach across, with \\n \\t \\r \\\\; may be given again; none: no such texts; "
     "default \\n : \" *",
     0, 0, NULL},
    {"logit-bias", 'l', OPT_STRS, AT(biases), "ID(+|-)BIAS",
     "added to the logit of a token: 15043+1, 15043-0.5, 15043-inf (never); may be given again", 0, 0, NULL},
    {"samplers", 0, OPT_STR, AT(samplers), "A;B;..",
     "what is applied, in this order; default penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", 0, 0,
     NULL},
    {"seed", 's', OPT_INT, AT(seed), "S", "the same seed gives the same text; default -1: a random one", -1, INT64_MAX,
     NULL},
};
#undef AT

static void init(void *args) {
    sampling_args *a = args;
    memset(a, 0, sizeof *a);
#define REAL(field, name, arg, help) a->field = NAN;
#define WHOLE(field, name, arg, low, high, help) a->field = INT64_MIN;
#include "cli/sampling.def"
#undef REAL
#undef WHOLE
    a->seed = INT64_MIN;
}

static void release(void *args) {
    sampling_args *a = args;
    for (size_t i = 0; i < a->texts.n; i++)
        sm_free(a->texts.v[i]);
    sm_free(a->texts.v);
    sm_free(a->breaker_texts);
    sm_free(a->bias_list);
}

const opt_group sampling_group = {"sampling", sampling_opts, SM_ARRAY_LEN(sampling_opts), init, release};

/* A copy that lives as long as the settings do; NULL when out of memory. */
static char *keep_text(sampling_args *a, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = SM_GROW(&a->texts) ? sm_alloc(n) : NULL;
    if (copy)
        a->texts.v[a->texts.n++] = memcpy(copy, text, n);
    return copy;
}

sm_status sampling_set(sampling_args *a, const char *name, const char *value, sm_err *err) {
    const char *copy = keep_text(a, value);
    return copy ? opts_set(&sampling_group, name, copy, a, err) : SM_NOMEM(err);
}

/* "ID+BIAS", "ID-BIAS". */
static sm_status read_bias(const char *text, smelt_logit_bias *out, sm_err *err) {
    char *end, *last;
    long id = strtol(text, &end, 10);
    double v = strtod(end, &last);
    if (end == text || id < 0 || id > INT32_MAX || (*end != '+' && *end != '-') || last == end || *last || isnan(v))
        return SM_FAIL(err, SM_USAGE, "--logit-bias: wanted a token id, + or -, and a number, found %s",
                       sm_quote(text, strlen(text)));
    *out = (smelt_logit_bias){(int32_t)id, (float)v};
    return SM_OK;
}

/* \n, \t, \r and \\ are what they are in C; any other backslash is itself. */
static void unescape(char *s) {
    char *to = s;
    for (; *s; s++) {
        static const char letters[] = "ntr\\", meant[] = "\n\t\r\\";
        const char *e = *s == '\\' && s[1] ? strchr(letters, s[1]) : NULL;
        if (e)
            s++;
        *to++ = e ? meant[e - letters] : *s;
    }
    *to = '\0';
}

static sm_status fill_breakers(sampling_args *a, smelt_sampling *out, sm_err *err) {
    sm_free(a->breaker_texts);
    a->breaker_texts = sm_alloc_n(a->breakers.n, sizeof *a->breaker_texts);
    if (!a->breaker_texts)
        return SM_NOMEM(err);
    out->dry_breakers = a->breaker_texts;
    out->n_dry_breakers = 0;
    for (size_t i = 0; i < a->breakers.n; i++) {
        if (strcmp(a->breakers.v[i].s, "none") == 0) {
            out->n_dry_breakers = 0;
            continue;
        }
        char *copy = keep_text(a, a->breakers.v[i].s);
        if (!copy)
            return SM_NOMEM(err);
        unescape(copy);
        a->breaker_texts[out->n_dry_breakers++] = copy;
    }
    return SM_OK;
}

sm_status sampling_fill(sampling_args *a, const smelt_model *m, smelt_sampling *out, sm_err *err) {
    *out = (smelt_sampling){.size = sizeof *out};
    smelt_sampling_default(m, out);
#define REAL(field, name, arg, help)                                                                                   \
    if (!isnan(a->field))                                                                                              \
        out->field = a->field;
#define WHOLE(field, name, arg, low, high, help)                                                                       \
    if (a->field != INT64_MIN)                                                                                         \
        out->field = (int)a->field;
#include "cli/sampling.def"
#undef REAL
#undef WHOLE
    if (a->seed >= 0)
        out->seed = (uint64_t)a->seed;
    if (a->samplers)
        out->samplers = a->samplers;
    if (a->breakers.n > 0)
        SM_TRY(fill_breakers(a, out, err));
    sm_free(a->bias_list);
    a->bias_list = sm_alloc_n(a->biases.n, sizeof *a->bias_list);
    if (!a->bias_list)
        return SM_NOMEM(err);
    for (size_t i = 0; i < a->biases.n; i++)
        SM_TRY(read_bias(a->biases.v[i].s, &a->bias_list[i], err));
    out->logit_bias = a->bias_list;
    out->n_logit_bias = a->biases.n;
    return SM_OK;
}

static sm_status change(sampling_args *a, const smelt_model *m, smelt_session *s, const char *name, const char *value,
                        smelt_sampling *now, sm_err *err) {
    smelt_error e;
    smelt_sampling p;
    if (name)
        SM_TRY(sampling_set(a, name, value, err));
    SM_TRY(sampling_fill(a, m, &p, err));
    CLI_TRY(smelt_session_set_sampling(s, &p, &e), &e, err);
    *now = p;
    return SM_OK;
}

sm_status sampling_change(sampling_args *a, const smelt_model *m, smelt_session *s, const char *name, const char *value,
                          smelt_sampling *now, sm_err *err) {
    sampling_args old = *a;
    sm_status st = change(a, m, s, name, value, now, err);
    if (st == SM_OK)
        return st;
    sampling_args kept = *a; /* what owns memory stays as it is now, and is only shorter */
    *a = old;
    a->texts = kept.texts;
    a->breaker_texts = kept.breaker_texts;
    a->bias_list = kept.bias_list;
    kept.breakers.n = old.breakers.n;
    kept.biases.n = old.biases.n;
    a->breakers = kept.breakers;
    a->biases = kept.biases;
    sampling_fill(a, m, now, NULL); /* the lists in it have moved */
    return st;
}

void sampling_show(const smelt_sampling *p, sm_str *out) {
#define REAL(field, name, arg, help) sm_str_addf(out, "%s %g\n", name, p->field);
#define WHOLE(field, name, arg, low, high, help) sm_str_addf(out, "%s %d\n", name, p->field);
#include "cli/sampling.def"
#undef REAL
#undef WHOLE
    for (size_t i = 0; i < p->n_dry_breakers; i++)
        sm_str_addf(out, "dry-sequence-breaker %s\n", sm_quote(p->dry_breakers[i], strlen(p->dry_breakers[i])));
    for (size_t i = 0; i < p->n_logit_bias; i++)
        sm_str_addf(out, "logit-bias %d%+g\n", p->logit_bias[i].id, (double)p->logit_bias[i].bias);
    sm_str_addf(out, "samplers %s\nseed %llu\n", p->samplers, (unsigned long long)p->seed);
}
