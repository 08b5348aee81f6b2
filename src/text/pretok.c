/* SPDX-License-Identifier: MIT
 *
 * pretok.c: cutting a fragment of text into words, by the rows of pretokenizers.def.
 *
 * Steps nest: each piece of one step goes through the next at once, so nothing but the piece is held, however long the
 * text.  Expressions run on the piece as if it were all there is (look-ahead ends where it ends), compiled by PCRE2's
 * JIT where it has one for the machine; a text that needs more stack than the JIT was given is matched again without
 * it.  The text was checked to be UTF-8 before, so PCRE2 does not check each piece anew.
 *
 * Owns: the compiled expressions, shared by threads.  A pretok_run is one call's.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer_int.h"

#include <assert.h>
#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_STEPS = 8, JIT_STACK = 32 << 10, JIT_STACK_MAX = 4 << 20, HEAP_KIB = 512 << 10 };

typedef struct pre_row {
    const char *names;
    unsigned traits;
    const char *steps[MAX_STEPS];
} pre_row;

static const pre_row rows[] = {
#define PRE(names, traits, ...) {names, traits, {__VA_ARGS__}},
#include "text/pretokenizers.def"
#undef PRE
};

struct pretok {
    const pre_row *row;
    int n_steps;
    bool starved;                /* compiling ran out of memory, where PCRE2 does not say so */
    bool jit;                    /* at least one expression is machine code */
    pcre2_general_context *mem;  /* of matching */
    pcre2_code *code[MAX_STEPS]; /* NULL: a function */
};

struct pretok_run {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static void *pcre_alloc(size_t n, void *unused) {
    (void)unused;
    return sm_alloc(n);
}

static void *pcre_alloc_noting(size_t n, void *starved) {
    void *p = sm_alloc(n);
    *(bool *)starved = *(bool *)starved || p == NULL;
    return p;
}

static void pcre_free(void *p, void *unused) {
    (void)unused;
    sm_free(p);
}

static bool has_name(const char *names, sm_sv name) {
    while (*names) {
        size_t n = strcspn(names, " ");
        if (n == name.n && memcmp(names, name.p, n) == 0)
            return true;
        names += n;
        names += *names == ' ';
    }
    return false;
}

static sm_status compile(pretok *p, int k, pcre2_compile_context *cc, sm_err *err) {
    const char *z = p->row->steps[k];
    int code;
    PCRE2_SIZE at;
    if (z[0] == '!')
        return SM_OK;
    p->code[k] = pcre2_compile((PCRE2_SPTR)z, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY,
                               &code, &at, cc);
    if (p->code[k] == NULL)
        return code == PCRE2_ERROR_HEAP_FAILED
                   ? SM_NOMEM(err)
                   : SM_FAIL(err, SM_RESOURCE, "pre-tokenizer '%.20s', step %d: PCRE2 error %d at %zu", p->row->names,
                             k + 1, code, at);
    bool jit = pcre2_jit_compile(p->code[k], PCRE2_JIT_COMPLETE) == 0; /* slower without it, not different */
    p->jit = p->jit || jit;
    return p->starved ? SM_NOMEM(err) : SM_OK;
}

static sm_status compile_all(pretok *p, sm_err *err) {
    sm_status st = SM_OK;
    pcre2_general_context *mem = pcre2_general_context_create(pcre_alloc_noting, pcre_free, &p->starved);
    pcre2_compile_context *cc = mem != NULL ? pcre2_compile_context_create(mem) : NULL;
    if (cc == NULL)
        st = SM_NOMEM(err);
    for (; st == SM_OK && p->n_steps < MAX_STEPS && p->row->steps[p->n_steps] != NULL; p->n_steps++)
        st = compile(p, p->n_steps, cc, err);
    pcre2_compile_context_free(cc);
    pcre2_general_context_free(mem);
    return st;
}

sm_status pretok_new(sm_sv name, pretok **out, sm_err *err) {
    const pre_row *row = NULL;
    sm_status st = SM_OK;
    *out = NULL;
    for (size_t i = 0; i < SM_ARRAY_LEN(rows) && row == NULL && name.n > 0; i++)
        if (has_name(rows[i].names, name))
            row = &rows[i];
    if (row == NULL) {
        SM_FAIL(err, SM_UNSUPPORTED, "pre-tokenizer %s is not supported", sm_quote(name.p, name.n));
        sm_err_hint(err, "ids would be wrong without it; a row of src/text/pretokenizers.def adds it");
        return SM_UNSUPPORTED;
    }
    pretok *p = sm_alloc(sizeof *p);
    if (p == NULL)
        return SM_NOMEM(err);
    p->row = row;
    p->mem = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (p->mem == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(compile_all(p, err));
    *out = p;
    p = NULL;
done:
    pretok_free(&p);
    return st;
}

void pretok_free(pretok **p) {
    if (*p == NULL)
        return;
    for (int i = 0; i < MAX_STEPS; i++)
        pcre2_code_free((*p)->code[i]);
    pcre2_general_context_free((*p)->mem);
    sm_free(*p);
    *p = NULL;
}

unsigned pretok_traits(const pretok *p) {
    return p->row->traits;
}

pretok_run *pretok_run_new(const pretok *p) {
    pretok_run *r = sm_alloc(sizeof *r);
    if (r == NULL)
        return NULL;
    r->match = pcre2_match_data_create(1, p->mem);
    r->context = pcre2_match_context_create(p->mem);
    r->stack = p->jit ? pcre2_jit_stack_create(JIT_STACK, JIT_STACK_MAX, p->mem) : NULL;
    if (r->match == NULL || r->context == NULL || (p->jit && r->stack == NULL)) {
        pretok_run_free(&r);
        return NULL;
    }
    if (r->stack != NULL)
        pcre2_jit_stack_assign(r->context, NULL, r->stack);
    pcre2_set_match_limit(r->context, UINT32_MAX);
    pcre2_set_depth_limit(r->context, UINT32_MAX);
    pcre2_set_heap_limit(r->context, HEAP_KIB);
    return r;
}

void pretok_run_free(pretok_run **r) {
    if (*r == NULL)
        return;
    pcre2_match_data_free((*r)->match);
    pcre2_match_context_free((*r)->context);
    pcre2_jit_stack_free((*r)->stack);
    sm_free(*r);
    *r = NULL;
}

/* ---- cutting ------------------------------------------------------------------------------------------------- */

typedef struct splitting {
    const pretok *p;
    pretok_run *r;
    sm_status (*word)(void *ctx, sm_sv word);
    void *ctx;
    sm_err *err;
} splitting;

static sm_status split_step(const splitting *s, int step, sm_sv piece);

static sm_status split_rest(const splitting *s, int step, sm_sv piece, size_t from, size_t to) {
    return from < to ? split_step(s, step + 1, (sm_sv){piece.p + from, to - from}) : SM_OK;
}

static sm_status split_regex(const splitting *s, int step, sm_sv piece) {
    size_t from = 0;
    while (from < piece.n) {
        uint32_t options = PCRE2_NO_UTF_CHECK;
        int rc = pcre2_match(s->p->code[step], (PCRE2_SPTR)piece.p, piece.n, from, options, s->r->match, s->r->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(s->p->code[step], (PCRE2_SPTR)piece.p, piece.n, from, options | PCRE2_NO_JIT, s->r->match,
                             s->r->context);
        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0)
            return SM_FAIL(s->err, SM_RESOURCE, "pre-tokenizing: PCRE2 error %d (text of %zu bytes, step %d)", rc,
                           piece.n, step + 1);
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->r->match);
        size_t start = at[0], end = at[1];
        SM_TRY(split_rest(s, step, piece, from, start));
        SM_TRY(split_rest(s, step, piece, start, end));
        assert(end > start); /* no row matches the empty string */
        from = end;
    }
    return split_rest(s, step, piece, from, piece.n);
}

/* Length of the number character (\p{N}) at `at`, or 0. */
static size_t number_at(sm_sv piece, size_t at) {
    uint32_t cp;
    if ((uint8_t)piece.p[at] < 0x80)
        return piece.p[at] >= '0' && piece.p[at] <= '9';
    int n = sm_utf8_decode(piece.p + at, piece.n - at, &cp);
    utf8proc_category_t category = n > 0 ? utf8proc_category((utf8proc_int32_t)cp) : UTF8PROC_CATEGORY_CN;
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO ? (size_t)n : 0;
}

/* Numbers in groups of three counted from their end.  What stands before a number stays with its first group. */
static sm_status split_digit_groups(const splitting *s, int step, sm_sv piece) {
    size_t from = 0, at = 0;
    while (at < piece.n) {
        size_t digits = 0, end = at, n;
        while (end < piece.n && (n = number_at(piece, end)) > 0) {
            digits++;
            end += n;
        }
        if (digits == 0) {
            at++;
            while (at < piece.n && ((uint8_t)piece.p[at] & 0xc0) == 0x80)
                at++;
            continue;
        }
        for (size_t left = digits; left > 0;) {
            size_t group = left % 3 ? left % 3 : 3;
            for (size_t k = 0; k < group; k++)
                at += number_at(piece, at);
            SM_TRY(split_rest(s, step, piece, from, at));
            from = at;
            left -= group;
        }
    }
    return split_rest(s, step, piece, from, piece.n);
}

/* ASCII digits in groups of three counted from their end. */
static sm_status split_thousands(const splitting *s, int step, sm_sv piece) {
    size_t from = 0;
    for (size_t at = 0; at < piece.n;) {
        size_t end = at;
        while (end < piece.n && piece.p[end] >= '0' && piece.p[end] <= '9')
            end++;
        if (end == at) {
            at++;
            continue;
        }
        for (; at < end; at++)
            if ((end - at) % 3 == 0) {
                SM_TRY(split_rest(s, step, piece, from, at));
                from = at;
            }
    }
    return split_rest(s, step, piece, from, piece.n);
}

static sm_status split_step(const splitting *s, int step, sm_sv piece) {
    if (step == s->p->n_steps)
        return s->word(s->ctx, piece);
    if (s->p->code[step] != NULL)
        return split_regex(s, step, piece);
    return strcmp(s->p->row->steps[step], "!thousands") == 0 ? split_thousands(s, step, piece)
                                                             : split_digit_groups(s, step, piece);
}

sm_status pretok_split(const pretok *p, pretok_run *r, sm_sv fragment, sm_status (*word)(void *ctx, sm_sv word),
                       void *ctx, sm_err *err) {
    splitting s = {p, r, word, ctx, err};
    return split_step(&s, 0, fragment);
}
