/* SPDX-License-Identifier: MIT
 *
 * opts.c: reads command lines by table and prints the tables.
 *
 * Long options are --name VALUE or --name=VALUE, short ones -x VALUE or -xVALUE; "--" ends options; a single "-" is not
 * an option.  A value may start with a dash (-n -1).
 */
#include "cli/opts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const opt common_opts[] = {
    {"threads", 't', OPT_INT, offsetof(opt_common, threads), "N", "threads; default: one per core", 1, 1024, NULL},
    {"ctx", 'c', OPT_INT, offsetof(opt_common, ctx), "N", "context length in tokens", 1, 1 << 24, NULL},
    {"backend", 0, OPT_STR, offsetof(opt_common, backend), "NAME", "what computes: auto, ref, cpu; default auto", 0, 0,
     NULL, "auto cpu ref null"},
    {"json", 0, OPT_ON, offsetof(opt_common, json), NULL, "machine-readable results on stdout", 0, 0, NULL},
    {"verbose", 'v', OPT_ON, offsetof(opt_common, verbose), NULL, "say more on stderr", 0, 0, NULL},
    {"quiet", 'q', OPT_ON, offsetof(opt_common, quiet), NULL, "say nothing on stderr but errors", 0, 0, NULL},
    {"help", 'h', OPT_ON, offsetof(opt_common, help), NULL, "this text", 0, 0, NULL},
};

static const opt *find_in(const opt *o, size_t n, const char *name, size_t len, char letter) {
    for (size_t i = 0; i < n; i++) {
        if (letter ? o[i].letter == letter : strlen(o[i].name) == len && memcmp(o[i].name, name, len) == 0)
            return &o[i];
    }
    return NULL;
}

static int count_groups(const command *c) {
    int n = 0;
    while (n < (int)SM_ARRAY_LEN(c->groups) && c->groups[n].group)
        n++;
    return n;
}

/* A command's own option hides a shared one of the same name or letter.  *args moves to the struct it is in. */
static const opt *find_opt(const command *c, const char *name, size_t len, char letter, void **args) {
    const opt *o = find_in(c->opts, c->n_opts, name, len, letter);
    for (int i = 0; i < count_groups(c) && !o; i++) {
        o = find_in(c->groups[i].group->opts, c->groups[i].group->n, name, len, letter);
        if (o)
            *args = (char *)*args + c->groups[i].at;
    }
    return o ? o : find_in(common_opts, SM_ARRAY_LEN(common_opts), name, len, letter);
}

static bool takes_value(const opt *o) {
    return o->kind != OPT_ON && o->kind != OPT_OFF;
}

static sm_status set_int(const opt *o, const char *text, int64_t *out, sm_err *err) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < o->lo || v > o->hi)
        return SM_FAIL(err, SM_USAGE, "--%s: wanted a whole number of %" PRId64 "..%" PRId64 ", found %s", o->name,
                       o->lo, o->hi, sm_quote(text, strlen(text)));
    *out = v;
    return SM_OK;
}

static sm_status set_num(const opt *o, const char *text, double *out, sm_err *err) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || v != v)
        return SM_FAIL(err, SM_USAGE, "--%s: wanted a number, found %s", o->name, sm_quote(text, strlen(text)));
    *out = v;
    return SM_OK;
}

static sm_status set(const opt *o, const char *text, int order, void *args, sm_err *err) {
    void *p = (char *)args + o->at;
    if (o->later) {
        SM_FAIL(err, SM_UNSUPPORTED, "--%s is not supported here yet", o->name);
        sm_err_hint(err, "%s", o->later);
        return SM_UNSUPPORTED;
    }
    switch (o->kind) {
    case OPT_ON:
    case OPT_OFF:
        *(bool *)p = o->kind == OPT_ON;
        return SM_OK;
    case OPT_INT:
        return set_int(o, text, p, err);
    case OPT_NUM:
        return set_num(o, text, p, err);
    case OPT_STR:
        *(const char **)p = text;
        return SM_OK;
    case OPT_STRS: {
        opt_list *l = p;
        if (!SM_GROW(l))
            return SM_NOMEM(err);
        l->v[l->n++] = (struct opt_str){text, order};
        return SM_OK;
    }
    }
    return SM_OK;
}

/* What an unknown option may have been meant to be. */
static void hint_option(const command *c, const char *given, sm_err *err) {
    const char *names[128], *nearest = NULL;
    char word[64];
    size_t n = 0;
    for (const opt *o; n < SM_ARRAY_LEN(names) && (o = opts_at(c, n)); n++)
        names[n] = o->name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    if (given[1] == '-')
        nearest = sm_nearest(word, names, n);
    if (nearest)
        sm_err_hint(err, "did you mean --%s? smelt help %s lists the options", nearest, c->name);
    else
        sm_err_hint(err, "smelt help %s lists the options", c->name);
}

/* The option that argv[*i] names, its value when it takes one; *i moves over what was read. */
static sm_status read_option(const command *c, int argc, char **argv, int *i, void *args, sm_err *err) {
    const char *a = argv[*i], *value = NULL;
    const opt *o;
    if (a[1] == '-') {
        size_t len = strcspn(a + 2, "=");
        o = find_opt(c, a + 2, len, 0, &args);
        if (a[2 + len] == '=')
            value = a + 2 + len + 1;
    } else {
        o = find_opt(c, NULL, 0, a[1], &args);
        if (o && a[2])
            value = a + 2;
    }
    if (!o) {
        SM_FAIL(err, SM_USAGE, "%s: unknown option %s", c->name, sm_quote(a, strlen(a)));
        hint_option(c, a, err);
        return SM_USAGE;
    }
    if (takes_value(o) && !value) {
        if (*i + 1 >= argc)
            return SM_FAIL(err, SM_USAGE, "--%s: wanted a value (%s), found the end of the line", o->name, o->arg);
        value = argv[++*i];
    } else if (!takes_value(o) && value) {
        return SM_FAIL(err, SM_USAGE, "--%s takes no value, found %s", o->name, sm_quote(value, strlen(value)));
    }
    return set(o, value, *i, args, err);
}

sm_status opts_parse(const command *c, int argc, char **argv, void *args, sm_err *err) {
    opt_common *k = args;
    memset(args, 0, c->size);
    for (int i = 0; i < count_groups(c); i++)
        if (c->groups[i].group->init)
            c->groups[i].group->init((char *)args + c->groups[i].at);
    if (c->init)
        c->init(args);
    k->pos = sm_alloc_n((size_t)argc + 1, sizeof *k->pos);
    if (!k->pos)
        return SM_NOMEM(err);
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            SM_TRY(read_option(c, argc, argv, &i, args, err));
        else
            k->pos[k->n_pos++] = argv[i];
    }
    if (k->help)
        return SM_OK;
    if (k->n_pos < c->min_pos || (c->max_pos >= 0 && k->n_pos > c->max_pos)) {
        if (k->n_pos < c->min_pos)
            SM_FAIL(err, SM_USAGE, "%s: wanted %s", c->name, c->usage);
        else
            SM_FAIL(err, SM_USAGE, "%s: what is %s for? wanted %s", c->name,
                    sm_quote(k->pos[c->max_pos], strlen(k->pos[c->max_pos])), c->usage);
        sm_err_hint(err, "smelt help %s tells more", c->name);
        return SM_USAGE;
    }
    return SM_OK;
}

static void free_lists(const opt *o, size_t n, void *args) {
    for (size_t i = 0; i < n; i++)
        if (o[i].kind == OPT_STRS)
            sm_free(((opt_list *)((char *)args + o[i].at))->v);
}

void opts_group_free(const opt_group *g, void *args) {
    free_lists(g->opts, g->n, args);
    if (g->release)
        g->release(args);
}

void opts_free(const command *c, void *args) {
    opt_common *k = args;
    sm_free(k->pos);
    free_lists(c->opts, c->n_opts, args);
    for (int i = 0; i < count_groups(c); i++)
        opts_group_free(c->groups[i].group, (char *)args + c->groups[i].at);
}

sm_status opts_set(const opt_group *g, const char *name, const char *value, void *args, sm_err *err) {
    const opt *o = find_in(g->opts, g->n, name, strlen(name), 0);
    if (!o)
        return SM_FAIL(err, SM_USAGE, "there is no setting %s", sm_quote(name, strlen(name)));
    return set(o, value, 0, args, err);
}

/* ------------------------------------------------------------------ what tables say */
/* *title: of the part of the help that it stands in. */
static const opt *option_at(const command *c, size_t i, const char **title) {
    *title = "options";
    if (i < c->n_opts)
        return &c->opts[i];
    i -= c->n_opts;
    for (int g = 0; g < count_groups(c); g++) {
        *title = c->groups[g].group->title;
        if (i < c->groups[g].group->n)
            return &c->groups[g].group->opts[i];
        i -= c->groups[g].group->n;
    }
    *title = count_groups(c) > 0 ? "of every command" : "options";
    for (size_t k = 0; k < SM_ARRAY_LEN(common_opts); k++) {
        const opt *o = &common_opts[k];
        if (!find_in(c->opts, c->n_opts, o->name, strlen(o->name), 0) && i-- == 0)
            return o;
    }
    return NULL;
}

const opt *opts_at(const command *c, size_t i) {
    const char *title;
    return option_at(c, i, &title);
}

/* "state|io" lists words; "N|1..N" and "FILE[:SCALE]" are forms. */
static bool lists_words(const char *arg) {
    return strchr(arg, '|') && strspn(arg, "abcdefghijklmnopqrstuvwxyz0123456789_-|") == strlen(arg);
}

opt_value opts_value(const opt *o, char *words, size_t cap) {
    *words = '\0';
    if (!takes_value(o))
        return VALUE_NONE;
    if (o->choices || lists_words(o->arg)) {
        snprintf(words, cap, "%s", o->choices ? o->choices : o->arg);
        for (char *p = words; *p; p++)
            *p = *p == '|' ? ' ' : *p;
        return VALUE_WORDS;
    }
    if (strcmp(o->arg, "DIR") == 0)
        return VALUE_DIR;
    if (strncmp(o->arg, "FILE.", 5) == 0)
        snprintf(words, cap, "%s", o->arg + 4);
    bool file = strncmp(o->arg, "FILE", 4) == 0 || strcmp(o->arg, "TEXTFILE") == 0 || strcmp(o->arg, "PATH") == 0;
    return file ? VALUE_FILE : VALUE_TEXT;
}

/* ------------------------------------------------------------------ help */
static void print_opt(const opt *o, bool markdown, sm_str *out) {
    char left[80];
    size_t n = 0;
    if (o->letter)
        n += (size_t)snprintf(left + n, sizeof left - n, "-%c, ", o->letter);
    n += (size_t)snprintf(left + n, sizeof left - n, "--%s", o->name);
    if (o->arg)
        snprintf(left + n, sizeof left - n, " %s", o->arg);
    if (markdown)
        sm_str_addf(out, "| `%s` | %s%s |\n", left, o->help, o->later ? " *(not supported here yet)*" : "");
    else
        sm_str_addf(out, "  %-28s %s%s\n", left, o->help, o->later ? " (not supported here yet)" : "");
}

static void print_head(const char *title, bool markdown, sm_str *out) {
    if (markdown)
        sm_str_addf(out, "\n| %s | |\n|---|---|\n", title);
    else
        sm_str_addf(out, "\n%c%s:\n", title[0] - 'a' + 'A', title + 1);
}

void opts_help(const command *c, bool markdown, sm_str *out) {
    if (markdown)
        sm_str_addf(out, "## smelt %s\n\n    smelt %s %s\n\n%s\n", c->name, c->name, c->usage, c->summary);
    else
        sm_str_addf(out, "smelt %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->notes)
        sm_str_addf(out, "\n%s\n", c->notes);
    const char *title = NULL, *now;
    const opt *o;
    for (size_t i = 0; (o = option_at(c, i, &now)); i++) {
        if (now != title)
            print_head(title = now, markdown, out);
        print_opt(o, markdown, out);
    }
    if (markdown)
        sm_str_adds(out, "\n");
}
