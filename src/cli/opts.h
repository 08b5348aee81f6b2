/* SPDX-License-Identifier: MIT
 *
 * opts.h: command lines from tables.
 *
 * A command is one table: its options with kind, place in the command's struct and help line.  Parsing, --help,
 * docs/cli.md (`smelt help --markdown`), man pages and shell completions all read that table, so that they cannot
 * disagree.  A command's struct starts with an opt_common, which every command has.  Options that some commands share are
 * a group: a table over a struct of its own, which stands somewhere in the command's.
 *
 * Values stay in argv: nothing is owned, except the lists (opts_free).
 */
#ifndef SM_OPTS_H
#define SM_OPTS_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

typedef enum opt_kind {
    OPT_ON,   /* bool: true when given */
    OPT_OFF,  /* bool: false when given */
    OPT_INT,  /* int64_t in lo..hi */
    OPT_NUM,  /* double */
    OPT_STR,  /* const char * */
    OPT_STRS, /* opt_list: may be given again */
} opt_kind;

typedef struct opt_list {
    struct opt_str {
        const char *s;
        int order; /* place on the command line, to relate options to each other */
    } * v;
    size_t n, cap;
} opt_list;

typedef struct opt {
    const char *name; /* "temp" for --temp */
    char letter;      /* 'p' for -p; 0: none */
    opt_kind kind;
    size_t at;       /* offset in the command's struct */
    const char *arg; /* what the help calls the value; NULL for switches */
    const char *help;
    int64_t lo, hi;    /* of OPT_INT */
    const char *later; /* not NULL: known, but not supported here yet; what to do instead */
    /* Words that the value may be, with spaces between, where `arg` does not list them already ("state|io").  They are
     * offered by completion; the command judges what it gets. */
    const char *choices;
} opt;

typedef struct opt_common {
    bool json, verbose, quiet, help;
    int64_t threads, ctx; /* 0: not given */
    const char *backend;
    const char **pos; /* what is not an option */
    int n_pos;
} opt_common;

typedef struct opt_group {
    const char *title; /* over its part of the help; small letters */
    const opt *opts;   /* offsets are within the group's struct */
    size_t n;
    void (*init)(void *args);    /* may be NULL */
    void (*release)(void *args); /* may be NULL; frees what is not a list */
} opt_group;

typedef struct command {
    const char *name, *usage, *summary;
    const char *notes; /* further paragraphs of the help; may be NULL */
    const opt *opts;
    size_t n_opts, size; /* size: of the struct */
    struct {
        const opt_group *group;
        size_t at;        /* offset of the group's struct in the command's */
    } groups[2];          /* up to the first without a group */
    int min_pos, max_pos; /* max_pos < 0: any number */
    const char
        *pos; /* what those may be, for completion: words, or endings of files (".gguf .mlpackage"); NULL: none */
    void (*init)(void *args);
    sm_status (*run)(void *args, sm_err *err);
} command;

/* args is zeroed, init'ed and filled from argv[0..argc), which starts after the command's name. */
sm_status opts_parse(const command *c, int argc, char **argv, void *args, sm_err *err);
void opts_free(const command *c, void *args);
/* Sets one option of a group by its name, as the command line would; value is kept as it is, not copied. */
sm_status opts_set(const opt_group *g, const char *name, const char *value, void *args, sm_err *err);
void opts_group_free(const opt_group *g, void *args);
void opts_help(const command *c, bool markdown, sm_str *out);

/* The i-th option that a command takes, its groups' after its own, then the common ones; NULL past the last. */
const opt *opts_at(const command *c, size_t i);

/* What a value is, as far as the table says: for completion. */
typedef enum opt_value { VALUE_NONE, VALUE_TEXT, VALUE_WORDS, VALUE_FILE, VALUE_DIR } opt_value;
/* words (at least 512 bytes) receives the words, or the endings that files have (".npz"; "": any), with spaces between. */
opt_value opts_value(const opt *o, char *words, size_t cap);

#endif
