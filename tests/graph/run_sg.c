/* SPDX-License-Identifier: MIT
 *
 * run_sg.c: runs graph tests that are text.
 *
 *     // pass: dce            a pass by name; none: only read and print
 *     program(1.3) ...        the input
 *     // expect:
 *     program(1.3) ...        what the pass makes of it
 *
 * Both sides are read, verified and printed without names, so that they may be written briefly; after `infer` the text
 * itself must be equal, for extents that are written down are never believed.  Every printed program must also read back
 * to the same text.  `// error: words` instead of `// expect:` wants a failure whose message has
 * those words.  One file is one test case: TAP on stdout.  `run_sg DIR` runs every .sg file of a folder; `run_sg -p PASS
 * FILE` prints what a pass makes of a program, for writing expectations.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "graph/graph.h"
#include "pass/pass.h"

static sm_status pass_none(sm_func *f, sm_func **out, sm_err *err) {
    (void)err;
    *out = f;
    return SM_OK;
}

static sm_status pass_dce(sm_func *f, sm_func **out, sm_err *err) {
    *out = f;
    return sm_func_remove_dead(f, err);
}

/* Every node built again: what copying and inference make of it. */
static sm_status pass_infer(sm_func *f, sm_func **out, sm_err *err) {
    sm_builder b;
    sm_value **map = sm_value_map_new(f->graph);
    if (map == NULL)
        return SM_NOMEM(err);
    sm_status st = sm_func_new(f->graph, f->name, f->opset, out, err);
    if (st == SM_OK) {
        sm_build_start(&b, *out);
        for (int i = 0; i < f->body->n_in; i++)
            map[f->body->in[i]->id] = sm_build_input(&b, f->body->in[i]->name, f->body->in[i]->type);
        for (const sm_node *n = f->body->first; n != NULL && b.st == SM_OK; n = n->next)
            sm_build_copy(&b, n, map);
        for (int i = 0; i < f->body->n_out && b.st == SM_OK; i++)
            sm_build_output(&b, sm_map_value(map, f->body->out[i]), f->body->out[i]->name);
        st = sm_build_end(&b, err);
    }
    sm_free(map);
    return st;
}

static sm_pass_fn find_pass(const char *name) {
    if (strcmp(name, "none") == 0)
        return pass_none;
    if (strcmp(name, "dce") == 0)
        return pass_dce;
    return strcmp(name, "infer") == 0 ? pass_infer : sm_pass_by_name(name);
}

/* Text of the program in `src` after a pass. */
static sm_status transform(sm_sv src, const char *file, sm_pass_fn pass, bool names, sm_str *out, sm_err *err) {
    sm_print_opts opts = {.anonymous = !names};
    sm_graph *g = NULL, *again = NULL;
    sm_str back = SM_STR_INIT;
    sm_status st = sm_graph_parse(src, file, NULL, NULL, &g, err);
    int n = st == SM_OK ? g->n_funcs : 0;
    for (int i = 0; i < n && st == SM_OK; i++) {
        sm_func *f = g->funcs[0], *to = NULL;
        st = sm_verify_func(f, err);
        if (st == SM_OK)
            st = pass(f, &to, err);
        if (st == SM_OK && to == NULL)
            st = SM_FAIL(err, SM_FAILED, "the pass does not apply");
        if (st == SM_OK)
            sm_graph_drop_func(g, f);
        if (st == SM_OK) { /* the result last, whether it is the old function or is on the list already */
            sm_graph_drop_func(g, to);
            g->funcs[g->n_funcs++] = to;
        }
    }
    if (st == SM_OK)
        st = sm_verify(g, err);
    if (st == SM_OK)
        st = sm_graph_print(g, &opts, out, err);
    if (st == SM_OK)
        st = sm_graph_parse((sm_sv){sm_str_z(out), out->n}, "(printed)", NULL, NULL, &again, err);
    if (st == SM_OK)
        st = sm_graph_print(again, &opts, &back, err);
    if (st == SM_OK && strcmp(sm_str_z(out), sm_str_z(&back)) != 0)
        st = SM_FAIL(err, SM_FAILED, "printed and read back it is another program:\n%s\n%s", sm_str_z(out),
                     sm_str_z(&back));
    sm_graph_free(&g);
    sm_graph_free(&again);
    sm_str_free(&back);
    return st;
}

/* Rest of the line behind `mark` in text, as a heap string; NULL when the mark is not there. */
static char *after(const char *text, const char *mark) {
    const char *at = strstr(text, mark);
    if (at == NULL)
        return NULL;
    at += strlen(mark);
    at += strspn(at, " ");
    return strndup(at, strcspn(at, "\r\n"));
}

static void show(const char *what, const char *text) {
    printf("# %s:\n", what);
    for (const char *p = text; *p != 0;) {
        int n = (int)strcspn(p, "\n");
        printf("#   %.*s\n", n, p);
        p += n + (p[n] == '\n');
    }
}

static bool run_case(const char *text, const char *path) {
    char *name = after(text, "// pass:"), *words = after(text, "// error:");
    const char *split = strstr(text, words != NULL ? "// error:" : "// expect:");
    sm_pass_fn pass = name != NULL ? find_pass(name) : NULL;
    sm_str have = SM_STR_INIT, want = SM_STR_INIT;
    sm_err err = {0};
    bool ok = false;
    if (pass == NULL || split == NULL) {
        printf("# wanted '// pass: NAME' of a known pass, and '// expect:' or '// error:'\n");
    } else {
        bool literal = pass == pass_infer;
        sm_status st = transform((sm_sv){text, (size_t)(split - text)}, path, pass, literal, &have, &err);
        if (words != NULL) {
            ok = st != SM_OK && strstr(err.msg, words) != NULL;
            if (!ok)
                show("wanted an error, got", st != SM_OK ? err.msg : sm_str_z(&have));
        } else if (st == SM_OK) {
            const char *expect = split + strcspn(split, "\n") + 1;
            if (literal)
                sm_str_adds(&want, expect);
            else
                st = transform(sm_sv_of(expect), "expectation", pass_none, false, &want, &err);
            ok = st == SM_OK && strcmp(sm_str_z(&have), sm_str_z(&want)) == 0;
            if (st == SM_OK && !ok) {
                show("wanted", sm_str_z(&want));
                show("got", sm_str_z(&have));
            }
        }
        if (st != SM_OK && words == NULL)
            show("failed", err.msg);
    }
    free(name);
    free(words);
    sm_str_free(&have);
    sm_str_free(&want);
    return ok;
}

static int print_pass(const char *name, const char *path) {
    sm_str text = SM_STR_INIT, out = SM_STR_INIT;
    sm_err err = {0};
    sm_pass_fn pass = find_pass(name);
    sm_status st =
        pass == NULL ? SM_FAIL(&err, SM_USAGE, "no pass named %s", name) : sm_file_read(path, 1 << 24, &text, &err);
    const char *expect = strstr(sm_str_z(&text), "// expect:");
    if (st == SM_OK)
        st = transform((sm_sv){sm_str_z(&text), expect != NULL ? (size_t)(expect - text.p) : text.n}, path, pass, true,
                       &out, &err);
    if (st == SM_OK)
        fputs(sm_str_z(&out), stdout);
    else
        fprintf(stderr, "%s\n", err.msg);
    sm_str_free(&text);
    sm_str_free(&out);
    return st != SM_OK;
}

static int is_test(const struct dirent *d) {
    return strcmp(sm_path_ext(d->d_name), ".sg") == 0;
}

int main(int argc, char **argv) {
    struct dirent **files;
    int failed = 0;
    if (argc == 4 && strcmp(argv[1], "-p") == 0)
        return print_pass(argv[2], argv[3]);
    int n = argc == 2 ? scandir(argv[1], &files, is_test, alphasort) : -1;
    if (n < 0) {
        fprintf(stderr, "usage: run_sg DIR | run_sg -p PASS FILE\n");
        return 2;
    }
    printf("TAP version 13\n1..%d\n", n);
    for (int i = 0; i < n; i++) {
        sm_str text = SM_STR_INIT;
        sm_err err = {0};
        char *path = sm_path_join(argv[1], files[i]->d_name);
        bool ok = sm_file_read(path, 1 << 24, &text, &err) == SM_OK && run_case(sm_str_z(&text), path);
        if (err.code != SM_OK)
            show("failed", err.msg);
        printf("%s %d - %s\n", ok ? "ok" : "not ok", i + 1, files[i]->d_name);
        failed += !ok;
        sm_str_free(&text);
        sm_free(path);
        free(files[i]);
    }
    free(files);
    return failed != 0;
}
