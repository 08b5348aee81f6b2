/* SPDX-License-Identifier: MIT
 *
 * tok_tool.c: tokenizers of GGUF files from the command line, for comparison with other programs.
 *
 *     tok_tool MODEL encode [bos] [special]    texts on stdin, each "LENGTH\n" and its bytes; ids on stdout, a line a text
 *     tok_tool MODEL decode [special]          ids on stdin, a line a text; texts on stdout, "LENGTH\n" and bytes
 *     tok_tool MODEL pieces [special]          the same, as pieces from the middle of a text
 *     tok_tool MODEL stream [special]          the same through the streaming detokenizer
 *     tok_tool MODEL reply                     the same through a reply's text
 *     tok_tool MODEL info                      kind, counts, roles, end tokens, one a line
 *     tok_tool MODEL time FILE                 load and encode times, allocations
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "engine/reply.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

static unsigned has_word(int argc, char **argv, const char *word, unsigned flag) {
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], word) == 0)
            return flag;
    return 0;
}

static sm_status encode(const sm_tokenizer *t, unsigned flags, sm_err *err) {
    size_t n;
    while (scanf("%zu", &n) == 1 && getchar() == '\n') {
        sm_ids ids = {0};
        char *text = sm_alloc(n + 1);
        if (text == NULL || fread(text, 1, n, stdin) != n)
            return SM_FAIL(err, SM_BADINPUT, "stdin ends inside a text");
        sm_status st = sm_tokenizer_encode(t, (sm_sv){text, n}, flags, &ids, err);
        if (st != SM_OK)
            printf("error: %s", err->msg);
        for (size_t i = 0; i < ids.n && st == SM_OK; i++)
            printf("%s%" PRId32, i ? " " : "", ids.v[i]);
        printf("\n");
        sm_free(text);
        sm_ids_free(&ids);
    }
    return SM_OK;
}

static sm_status reply(const sm_tokenizer *t, const sm_ids *ids, sm_str *s, sm_err *err) {
    sm_reply *r;
    bool stopped;
    SM_TRY(sm_reply_new(t, NULL, 0, &r, err));
    sm_status st = SM_OK;
    for (size_t i = 0; i < ids->n && st == SM_OK; i++)
        st = sm_reply_push(r, ids->v[i], s, &stopped, err);
    if (st == SM_OK)
        st = sm_reply_finish(r, s, err);
    sm_reply_free(&r);
    return st;
}

static sm_status decode_line(const sm_tokenizer *t, const sm_ids *ids, char how, unsigned flags, sm_err *err) {
    sm_str s = SM_STR_INIT;
    sm_status st = SM_OK;
    if (how == 'r') {
        st = reply(t, ids, &s, err);
    } else if (how == 's') {
        sm_detok *d;
        SM_TRY(sm_detok_new(t, flags, &d, err));
        for (size_t i = 0; i < ids->n && st == SM_OK; i++)
            st = sm_detok_push(d, ids->v[i], &s, err);
        if (st == SM_OK)
            st = sm_detok_finish(d, &s, err);
        sm_detok_free(&d);
    } else {
        st = sm_tokenizer_decode(t, ids->v, ids->n, flags, &s, err);
    }
    if (st == SM_OK) {
        printf("%zu\n", s.n);
        fwrite(sm_str_z(&s), 1, s.n, stdout);
    }
    sm_str_free(&s);
    return st;
}

static sm_status decode(const sm_tokenizer *t, char how, unsigned flags, sm_err *err) {
    char *line = NULL;
    size_t cap = 0;
    sm_status st = SM_OK;
    while (st == SM_OK && getline(&line, &cap, stdin) >= 0) {
        sm_ids ids = {0};
        char *at = line, *end;
        for (long v; v = strtol(at, &end, 10), end != at; at = end) {
            if (!SM_GROW(&ids))
                return SM_NOMEM(err);
            ids.v[ids.n++] = (int32_t)v;
        }
        st = decode_line(t, &ids, how, flags, err);
        sm_ids_free(&ids);
    }
    free(line);
    return st;
}

static void info(const sm_tokenizer *t) {
    size_t n;
    const int32_t *ends = sm_tokenizer_ends(t, &n);
    printf("kind %s\ntokens %d\nbos %d\neos %d\neot %d\nunk %d\npad %d\nadds_bos %d\nadds_eos %d\nends",
           sm_tokenizer_kind(t), sm_tokenizer_count(t), sm_tokenizer_bos(t), sm_tokenizer_eos(t), sm_tokenizer_eot(t),
           sm_tokenizer_unk(t), sm_tokenizer_pad(t), sm_tokenizer_adds_bos(t), sm_tokenizer_adds_eos(t));
    for (size_t i = 0; i < n; i++)
        printf(" %d", ends[i]);
    printf("\n");
}

static sm_status time_file(const sm_tokenizer *t, const char *path, sm_err *err) {
    sm_str s = SM_STR_INIT;
    sm_ids ids = {0};
    SM_TRY(sm_file_read(path, SIZE_MAX / 2, &s, err));
    int64_t t0 = sm_now_us();
    SM_TRY(sm_tokenizer_encode(t, (sm_sv){s.p, s.n}, SM_ENC_BOS | SM_ENC_SPECIAL, &ids, err));
    printf("encode %zu bytes to %zu ids: %.1f ms\n", s.n, ids.n, (double)(sm_now_us() - t0) / 1000);
    sm_ids_free(&ids);
    sm_str_free(&s);
    return SM_OK;
}

static sm_status work(int argc, char **argv, sm_err *err) {
    sm_checkpoint *c;
    sm_tokenizer *t = NULL;
    SM_TRY(sm_gguf_open(argv[1], &c, err));
    unsigned special = has_word(argc, argv, "special", 1);
    unsigned enc = has_word(argc, argv, "bos", SM_ENC_BOS) | (special ? SM_ENC_SPECIAL : 0);
    uint64_t anon = sm_anon_rss_bytes();
    int64_t t0 = sm_now_us();
    sm_status st = sm_tokenizer_new(c, &t, err);
    int64_t us = sm_now_us() - t0;
    if (st == SM_OK && strcmp(argv[2], "encode") == 0)
        st = encode(t, enc, err);
    else if (st == SM_OK && strcmp(argv[2], "pieces") == 0)
        st = decode(t, 'p', SM_DEC_PIECE | (special ? SM_DEC_SPECIAL : 0), err);
    else if (st == SM_OK && (strcmp(argv[2], "decode") == 0 || argv[2][0] == 's' || argv[2][0] == 'r'))
        st = decode(t, argv[2][0], special ? SM_DEC_SPECIAL : 0, err);
    else if (st == SM_OK && strcmp(argv[2], "info") == 0)
        info(t);
    else if (st == SM_OK && strcmp(argv[2], "time") == 0 && argc > 3) {
        printf("load: %.1f ms, %.1f MB\n", (double)us / 1000, (double)(sm_anon_rss_bytes() - anon) / 1e6);
        st = time_file(t, argv[3], err);
    }
    sm_tokenizer_free(&t);
    sm_checkpoint_free(&c);
    return st;
}

int main(int argc, char **argv) {
    sm_err err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: tok_tool MODEL encode|decode|pieces|stream|reply|info|time ..\n");
        return 2;
    }
    sm_status st = work(argc, argv, &err);
    if (st != SM_OK)
        fprintf(stderr, "tok_tool: %s\n", err.msg);
    return sm_exit_code(st);
}
