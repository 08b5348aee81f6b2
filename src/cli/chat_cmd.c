/* SPDX-License-Identifier: MIT
 *
 * chat_cmd.c: what begins with / in a chat: one row of a table each, for /help, completion and the nearest name alike.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/files.h"
#include "base/log.h"
#include "cli/chat_int.h"
#include "cli/cli.h"

typedef struct chat_row {
    const char *name, *arg; /* arg: NULL: it takes none; "FILE": one; "[..]": it may be left out */
    const char *help;
    sm_status (*run)(chat *c, const char *arg, sm_err *err);
} chat_row;

/* ------------------------------------------------------------------ printing */
static sm_status put(sm_str *s, sm_err *err) {
    sm_status st = cli_show(s, err);
    sm_str_free(s);
    return st;
}

static const char *plural(size_t n) {
    return n == 1 ? "" : "s";
}

/* ------------------------------------------------------------------ the conversation */
static sm_status run_system(chat *c, const char *arg, sm_err *err) {
    sm_str out = SM_STR_INIT;
    if (!c->set->request)
        return SM_FAIL(err, SM_USAGE, "/system: without a chat template there is no system message");
    if (*arg) {
        SM_TRY(talk_set_system(&c->t, strcmp(arg, "\"\"") == 0 ? NULL : arg, err));
        chat_note("(it holds from the next turn on; %zu message%s in all)", c->t.n, plural(c->t.n));
        return SM_OK;
    }
    const char *text = talk_system(&c->t);
    if (text)
        sm_str_addf(&out, "%s\n", text);
    else
        chat_note("(there is no system message; /system TEXT sets one, /system \"\" takes it away)");
    return put(&out, err);
}

static sm_status run_clear(chat *c, const char *arg, sm_err *err) {
    (void)arg, (void)err;
    talk_cut(&c->t, talk_system(&c->t) ? 1 : 0);
    chat_note("(cleared%s)", c->t.n ? "; the system message stays" : "");
    return SM_OK;
}

static sm_status run_undo(chat *c, const char *arg, sm_err *err) {
    size_t n = c->t.n;
    (void)arg;
    while (n > 0 && !talk_is(&c->t, n - 1, "user"))
        n--;
    if (n == 0)
        return SM_FAIL(err, SM_USAGE, "/undo: there is no turn to take back");
    talk_cut(&c->t, n - 1);
    chat_note("(taken back; %zu message%s left)", c->t.n, plural(c->t.n));
    return SM_OK;
}

static sm_status new_seed(chat *c, sm_err *err) {
    if (c->set->sampling->seed >= 0)
        c->set->sampling->seed++; /* where none was given a random one is taken */
    return sampling_change(c->set->sampling, c->set->m, c->set->s, NULL, NULL, &c->sampling, err);
}

static sm_status run_retry(chat *c, const char *arg, sm_err *err) {
    sm_str old = SM_STR_INIT;
    bool replied = c->t.n > 0 && talk_is(&c->t, c->t.n - 1, "assistant");
    (void)arg;
    if (c->t.n < 1u + replied || !talk_is(&c->t, c->t.n - 1 - replied, "user"))
        return SM_FAIL(err, SM_USAGE, "/retry: there is no turn to reply to");
    if (!(c->sampling.temp > 0))
        chat_note("(temperature 0 makes the same reply again; /set temp 0.8 does not)");
    SM_TRY(new_seed(c, err));
    if (replied) {
        sm_str_adds(&old, c->t.v[c->t.n - 1].content);
        if (!sm_str_ok(&old))
            return SM_NOMEM(err);
        talk_cut(&c->t, c->t.n - 1);
    }
    size_t before = c->t.n;
    sm_status st = chat_reply(c, err);
    if (replied && c->t.n == before) { /* the reply that was there is better than none */
        sm_status back = talk_add(&c->t, "assistant", sm_str_z(&old), old.n, NULL);
        if (st == SM_CANCELLED && back == SM_OK && c->terminal) {
            chat_note("(stopped before the reply began: the one before stays)");
            st = SM_OK;
        }
    }
    sm_str_free(&old);
    return st;
}

/* ------------------------------------------------------------------ files */
/* "~/.." is in the home folder.  sm_free. */
static char *place(const char *name) {
    const char *home = sm_env_home();
    return name[0] == '~' && name[1] == '/' && home ? sm_path_join(home, name + 2) : sm_path_join("", name);
}

static sm_status run_save(chat *c, const char *arg, sm_err *err) {
    char *path = place(arg);
    if (!path)
        return SM_NOMEM(err);
    sm_status st = talk_save(&c->t, path, err);
    if (st == SM_OK)
        chat_note("(%zu message%s in %s)", c->t.n, plural(c->t.n), path);
    sm_free(path);
    return st;
}

static sm_status run_load(chat *c, const char *arg, sm_err *err) {
    talk t = {0};
    char *path = place(arg);
    if (!path)
        return SM_NOMEM(err);
    sm_status st = talk_load(&t, path, err);
    if (st == SM_OK) {
        talk_free(&c->t);
        c->t = t;
        bool open = c->t.n > 0 && talk_is(&c->t, c->t.n - 1, "user");
        chat_note("(%zu message%s from %s%s)", c->t.n, plural(c->t.n), path,
                  open ? "; the last one has no reply: /retry makes one" : "");
    }
    sm_free(path);
    return st;
}

/* ------------------------------------------------------------------ looking */
static double rate(double n, int64_t us) {
    return us > 0 ? n * 1e6 / (double)us : 0.0;
}

static sm_status run_stats(chat *c, const char *arg, sm_err *err) {
    smelt_session_info s;
    sm_str out = SM_STR_INIT;
    const turn *t = &c->last;
    (void)arg;
    smelt_session_get_info(c->set->s, &s);
    sm_str_addf(&out, "messages   %zu, replies made %d\n", c->t.n, c->replies);
    if (c->replies > 0) {
        sm_str_addf(&out,
                    "last turn  prompt %zu tokens: %zu reused, %zu computed, %.1f/s; reply %d tokens, %.1f/s (%s)\n",
                    t->n_prompt, t->reused, t->n_prompt - t->reused, turn_prompt_tps(t), t->made, turn_gen_tps(t),
                    turn_finish(t));
        sm_str_addf(&out,
                    "all turns  prompts %zu tokens: %zu reused, %zu computed, %.1f/s; replies %zu tokens, %.1f/s\n",
                    c->reused + c->computed, c->reused, c->computed, rate((double)c->computed, c->prompt_us), c->made,
                    rate((double)c->made, c->gen_us));
    }
    sm_str_addf(&out, "context    %d of %d positions\n", s.length, s.context);
    sm_str_addf(&out, "memory     peak %.0f MB; packed weights %.0f MB, caches %.0f MB when full\n",
                (double)sm_peak_rss_bytes() / 1e6, (double)s.weight_bytes / 1e6, (double)s.kv_bytes / 1e6);
    sm_str_addf(&out, "backend    %s%s%s, %d thread%s, seed %llu\n", s.backend, s.isa[0] ? " " : "", s.isa, s.threads,
                plural((size_t)s.threads), (unsigned long long)s.seed);
    return put(&out, err);
}

static sm_status run_show(chat *c, const char *arg, sm_err *err) {
    sm_str out = SM_STR_INIT;
    int flags;
    (void)arg;
    sm_status st = turn_text(c->set->m, c->set->request, c->t.v, c->t.n, &out, &flags, err);
    if (st != SM_OK) {
        sm_str_free(&out);
        return st;
    }
    if (out.n > 0 && out.p[out.n - 1] != '\n')
        sm_str_addc(&out, '\n');
    return put(&out, err);
}

/* The session as c->o and c->sampling say; draws begin anew. */
static sm_status configure(chat *c, sm_err *err) {
    smelt_error e;
    c->o.sampling = &c->sampling;
    CLI_TRY(smelt_session_configure(c->set->s, &c->o, &e), &e, err);
    return SM_OK;
}

/* "predict" is not about sampling, but what people look for here. */
static sm_status set_predict(chat *c, const char *value, sm_err *err) {
    char *end;
    long n = strtol(value, &end, 10);
    if (end == value || *end || (n < 1 && n != -1) || n > INT32_MAX)
        return SM_FAIL(err, SM_USAGE, "/set predict: wanted a whole number of 1..%d, or -1, found %s", INT32_MAX,
                       sm_quote(value, strlen(value)));
    c->o.max_tokens = (int32_t)SM_MAX(n, 0);
    return configure(c, err);
}

/* All settings as lines of name and value, or those of one name. */
static sm_status show_settings(chat *c, const char *name, sm_err *err) {
    sm_str all = SM_STR_INIT, out = SM_STR_INIT;
    size_t n = strlen(name);
    sampling_show(&c->sampling, &all);
    sm_str_addf(&all, "predict %d\n", c->o.max_tokens > 0 ? c->o.max_tokens : -1);
    for (const char *p = sm_str_z(&all), *end; *p; p = end) {
        end = p + strcspn(p, "\n") + 1;
        if (n == 0 || (strncmp(p, name, n) == 0 && p[n] == ' '))
            sm_str_add(&out, p, (size_t)(end - p));
    }
    sm_str_free(&all);
    return put(&out, err); /* a list may be empty: nothing is printed then */
}

static sm_status check_setting(const char *name, sm_err *err) {
    const char *names[64] = {"predict"};
    size_t n = 1;
    for (; n <= sampling_group.n && n < SM_ARRAY_LEN(names); n++)
        names[n] = sampling_group.opts[n - 1].name;
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return SM_OK;
    const char *nearest = sm_nearest(name, names, n);
    SM_FAIL(err, SM_USAGE, "/set: there is no setting %s", sm_quote(name, strlen(name)));
    sm_err_hint(err, nearest ? "did you mean %s?" : "/set lists them", nearest);
    return SM_USAGE;
}

static sm_status run_set(chat *c, const char *arg, sm_err *err) {
    char name[64];
    size_t n = strcspn(arg, " \t=");
    const char *value = arg + n + strspn(arg + n, " \t=");
    snprintf(name, sizeof name, "%.*s", (int)SM_MIN(n, sizeof name - 1), arg);
    if (n > 0)
        SM_TRY(check_setting(name, err));
    if (!*value)
        return show_settings(c, name, err);
    if (strcmp(name, "predict") == 0)
        SM_TRY(set_predict(c, value, err));
    else
        SM_TRY(sampling_change(c->set->sampling, c->set->m, c->set->s, name, value, &c->sampling, err));
    if (strcmp(name, "seed") == 0)
        SM_TRY(configure(c, err)); /* the same one again: other settings let it go on */
    return show_settings(c, name, err);
}

static sm_status run_exit(chat *c, const char *arg, sm_err *err) {
    (void)arg, (void)err;
    c->leave = true;
    return SM_OK;
}

/* ------------------------------------------------------------------ the table */
static sm_status run_help(chat *c, const char *arg, sm_err *err);

static const chat_row rows[] = {
    {"help", NULL, "this text", run_help},
    {"system", "[TEXT]", "show or set the system message; \"\" takes it away", run_system},
    {"clear", NULL, "begin anew; the system message stays", run_clear},
    {"undo", NULL, "take the last turn back", run_undo},
    {"retry", NULL, "another reply to the last turn", run_retry},
    {"save", "FILE", "write the conversation as JSON", run_save},
    {"load", "FILE", "go on with a saved conversation", run_load},
    {"stats", NULL, "tokens, speeds, context, memory", run_stats},
    {"set", "[NAME [VALUE]]", "show or change how tokens are chosen: /set temp 0.5", run_set},
    {"show", NULL, "the conversation as the model sees it", run_show},
    {"prompt", NULL, "the same", run_show},
    {"exit", NULL, "leave, as Ctrl-D does", run_exit},
    {"quit", NULL, "the same", run_exit},
};

static sm_status run_help(chat *c, const char *arg, sm_err *err) {
    sm_str out = SM_STR_INIT;
    (void)c, (void)arg;
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        sm_str_addf(&out, "/%s %-*s%s\n", rows[i].name, 22 - (int)strlen(rows[i].name), rows[i].arg ? rows[i].arg : "",
                    rows[i].help);
    sm_str_adds(
        &out,
        "\nA \\ at the end of a line goes on in the next one; \"\"\" begins a text of several lines and ends it.\n"
        "Ctrl-C stops a reply. A space before a / makes it text.\n");
    return put(&out, err);
}

static sm_status unknown(const char *name, sm_err *err) {
    char whole[80];
    snprintf(whole, sizeof whole, "/%s", name);
    const char *names[SM_ARRAY_LEN(rows)];
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        names[i] = rows[i].name;
    const char *nearest = sm_nearest(name, names, SM_ARRAY_LEN(rows));
    SM_FAIL(err, SM_USAGE, "there is no command %s", sm_quote(whole, strlen(whole)));
    if (nearest)
        sm_err_hint(err, "did you mean /%s? A space before the / makes it text", nearest);
    else
        sm_err_hint(err, "/help lists the commands; a space before the / makes it text");
    return SM_USAGE;
}

sm_status chat_command(chat *c, const char *line, sm_err *err) {
    char name[64];
    size_t n = strcspn(line + 1, " \t");
    const char *arg = line + 1 + n + strspn(line + 1 + n, " \t");
    sm_str rest = SM_STR_INIT;
    snprintf(name, sizeof name, "%.*s", (int)SM_MIN(n, sizeof name - 1), line + 1);
    const chat_row *r = NULL;
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            r = &rows[i];
    if (!r)
        return unknown(name, err);
    sm_str_adds(&rest, arg);
    while (rest.n > 0 && strchr(" \t", rest.p[rest.n - 1]))
        rest.p[--rest.n] = '\0';
    sm_status st = SM_OK;
    if (!sm_str_ok(&rest))
        st = SM_NOMEM(err);
    else if (!r->arg && rest.n > 0)
        st = SM_FAIL(err, SM_USAGE, "/%s takes nothing, found %s", name, sm_quote(rest.p, rest.n));
    else if (r->arg && r->arg[0] != '[' && rest.n == 0)
        st = SM_FAIL(err, SM_USAGE, "/%s: wanted %s, found the end of the line", name, r->arg);
    else
        st = r->run(c, sm_str_z(&rest), err);
    sm_str_free(&rest);
    return st;
}

/* ------------------------------------------------------------------ completion */
/* Names in the folder of what was typed. */
static void complete_file(const char *typed, sm_str *words) {
    const char *base = sm_path_base(typed);
    sm_str folder = SM_STR_INIT;
    sm_str_add(&folder, typed, (size_t)(base - typed));
    char *dir = place(folder.n ? sm_str_z(&folder) : "./");
    DIR *d = dir ? opendir(dir) : NULL;
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, base, strlen(base)) != 0 || (e->d_name[0] == '.' && base[0] != '.'))
            continue;
        char *path = sm_path_join(dir, e->d_name);
        sm_str_addf(words, "%s%s%s", sm_str_z(&folder), e->d_name, path && sm_path_is_dir(path) ? "/" : "");
        sm_str_addc(words, '\0');
        sm_free(path);
    }
    if (d)
        closedir(d);
    sm_free(dir);
    sm_str_free(&folder);
}

static void complete_setting(const char *typed, sm_str *words) {
    for (size_t i = 0; i < sampling_group.n; i++)
        if (strncmp(sampling_group.opts[i].name, typed, strlen(typed)) == 0) {
            sm_str_adds(words, sampling_group.opts[i].name);
            sm_str_addc(words, '\0');
        }
}

void chat_complete(void *ctx, const char *line, sm_str *words, size_t *start) {
    size_t n = strcspn(line, " ");
    (void)ctx;
    *start = 0;
    if (line[0] != '/')
        return;
    if (!line[n]) {
        for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
            if (strncmp(rows[i].name, line + 1, n - 1) == 0) {
                sm_str_addf(words, "/%s", rows[i].name);
                sm_str_addc(words, '\0');
            }
        return;
    }
    if (n == 4 && strncmp(line, "/set", 4) == 0)
        complete_setting(line + (*start = n + strspn(line + n, " ")), words);
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        if (rows[i].arg && strcmp(rows[i].arg, "FILE") == 0 && strlen(rows[i].name) == n - 1 &&
            memcmp(rows[i].name, line + 1, n - 1) == 0) {
            *start = n + strspn(line + n, " ");
            complete_file(line + *start, words);
        }
}
