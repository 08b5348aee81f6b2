/* SPDX-License-Identifier: MIT
 *
 * fuzz_folder.c: any tree of files as a model: packages, compiled packages, parts beside each other or listed.
 *
 *     @file Manifest.json          the lines before a file's bytes and before the next file's are no part of it
 *     {"fileFormatVersion": ..
 *     @file Data/com.apple.CoreML/weights/weight.bin
 *     ..bytes
 *     @zeros 4096                  as many zeros here
 *     ..bytes
 *
 * The tree is written into memory (/dev/shm), then described and opened as the program does.  What is described is JSON
 * and can be opened; what is opened is a valid graph; what is refused says why.
 */
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/rows.h"
#include "job/inspect.h"
#include "job/load.h"
#include "words.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t max);

enum { FILES_MOST = 64, PATH_MOST = 200, BYTES_MOST = 1 << 20 };

static void stop(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

/* ------------------------------------------------------------------ input */
/* One line of ours and the bytes behind it. */
typedef struct piece {
    bool zeros;
    const uint8_t *word; /* a path, or a number */
    size_t n_word;
    size_t from, to; /* bytes, offsets in the input */
} piece;

static const char file_mark[] = "@file ", zeros_mark[] = "@zeros ";

static bool starts(const uint8_t *p, size_t n, const char *mark) {
    size_t len = strlen(mark);
    return n >= len && memcmp(p, mark, len) == 0;
}

static bool is_mark(const uint8_t *p, size_t n, size_t at) {
    return (at == 0 || p[at - 1] == '\n') && (starts(p + at, n - at, file_mark) || starts(p + at, n - at, zeros_mark));
}

/* The first line of ours at or behind `at`; n: none. */
static size_t next_mark(const uint8_t *p, size_t n, size_t at) {
    while (at < n) {
        const uint8_t *x = memchr(p + at, '@', n - at);
        at = x == NULL ? n : (size_t)(x - p);
        if (at < n && is_mark(p, n, at))
            return at;
        at += at < n;
    }
    return n;
}

static int read_pieces(const uint8_t *p, size_t n, piece *out, int most) {
    int count = 0;
    for (size_t at = next_mark(p, n, 0); at < n && count < most;) {
        piece x = {.zeros = starts(p + at, n - at, zeros_mark)};
        size_t skip = strlen(x.zeros ? zeros_mark : file_mark);
        const uint8_t *end = memchr(p + at, '\n', n - at);
        x.word = p + at + skip;
        x.n_word = end == NULL ? n - at - skip : (size_t)(end - x.word);
        x.from = end == NULL ? n : (size_t)(end - p) + 1;
        at = next_mark(p, n, x.from);
        x.to = at < n && at > x.from ? at - 1 : at; /* without the end of line before a mark */
        out[count++] = x;
    }
    return count;
}

/* ------------------------------------------------------------------ tree */
static char root[64];

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *f) {
    (void)s, (void)kind;
    return f->level == 0 ? 0 : remove(path);
}

static void clear(void) {
    if (nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
        stop("clear", root);
}

static void leave(void) {
    clear();
    rmdir(root);
}

static void make_root(void) {
    snprintf(root, sizeof root, "%s/smelt-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(root) == NULL)
        abort();
    atexit(leave);
}

/* root/<path>, its folders made; -1 when it is no path inside the tree, or the place is taken. */
static int open_file(const piece *x) {
    char path[sizeof root + PATH_MOST + 2];
    if (x->n_word == 0 || x->n_word > PATH_MOST || memchr(x->word, 0, x->n_word) != NULL)
        return -1;
    int at = snprintf(path, sizeof path, "%s/", root);
    const uint8_t *end = x->word + x->n_word;
    for (const uint8_t *p = x->word; p < end;) {
        const uint8_t *slash = memchr(p, '/', (size_t)(end - p));
        size_t len = (size_t)((slash != NULL ? slash : end) - p);
        if (len == 0 || (p[0] == '.' && len <= 2))
            return -1;
        memcpy(path + at, p, len);
        at += (int)len;
        path[at] = 0;
        if (slash != NULL) {
            (void)mkdir(path, 0700);
            path[at++] = '/';
        }
        p += len + (slash != NULL);
    }
    return path[at - 1] == '/' ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
}

static void make_tree(const uint8_t *p, size_t n) {
    piece x[2 * FILES_MOST];
    int count = read_pieces(p, n, x, 2 * FILES_MOST), fd = -1;
    off_t size = 0;
    for (int i = 0; i < count; i++) {
        if (!x[i].zeros) {
            if (fd >= 0)
                close(fd);
            fd = open_file(&x[i]);
            size = 0;
        } else if (x[i].n_word < 8) {
            char number[8] = {0};
            memcpy(number, x[i].word, x[i].n_word);
            size = SM_MIN(size + SM_MAX(atoi(number), 0), BYTES_MOST);
        }
        size_t len = x[i].to - x[i].from;
        if (fd >= 0 && len > 0 && pwrite(fd, p + x[i].from, len, size) != (ssize_t)len)
            stop("write", "short");
        size += (off_t)len;
        if (fd >= 0 && x[i].zeros && ftruncate(fd, size) != 0)
            stop("write", "zeros");
    }
    if (fd >= 0)
        close(fd);
}

/* ------------------------------------------------------------------ opening */
static void check(const char *what, sm_status st, const sm_err *err) {
    if (st != SM_OK && (err->msg[0] == 0 || err->code != st))
        stop(what, "refused, and no word why");
    if (st != SM_OK && st != SM_BADINPUT && st != SM_UNSUPPORTED && st != SM_RESOURCE)
        stop(what, err->msg);
}

static void inspect(bool json) {
    sm_inspect_opts o = {.json = json, .graph = json, .weights = true, .ops = true, .n_threads = 1};
    sm_err err = {0};
    sm_str s = SM_STR_INIT;
    sm_status st = sm_inspect(root, &o, &s, &err);
    check("inspect", st, &err);
    if (st == SM_OK && json) {
        json_error_t where;
        json_t *j = json_loadb(sm_str_z(&s), s.n, JSON_REJECT_DUPLICATES, &where);
        if (j == NULL)
            stop("inspect: no JSON", where.text);
        json_decref(j);
    }
    sm_str_free(&s);
}

static void load(void) {
    sm_load_opts o = {.graph_optional = true};
    sm_loaded *l;
    sm_err err = {0};
    sm_status st = sm_load(root, &o, &l, &err);
    check("load", st, &err);
    if ((l != NULL) != (st == SM_OK))
        stop("load", "status and result differ");
    if (l == NULL)
        return;
    if (l->graph != NULL && sm_verify(l->graph, &err) != SM_OK)
        stop("verify", err.msg);
    if (l->func == NULL ? l->why[0] == 0 : !sm_func_is_rows(l->func))
        stop("load", "neither a model nor a reason");
    sm_loaded_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (root[0] == 0)
        make_root();
    make_tree(p, n);
    inspect(n % 2 == 0);
    load();
    clear();
    return 0;
}

/* ------------------------------------------------------------------ changes */
/* Of one file's bytes, so that the others stay what they are: a byte in a program, a word in a text. */
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed) {
    piece x[2 * FILES_MOST];
    int count = read_pieces(p, n, x, 2 * FILES_MOST);
    if (count == 0 || seed % 16 == 0)
        return LLVMFuzzerMutate(p, n, max);
    srand(seed);
    if (seed % 16 == 1) /* paths, too */
        return change_words(p, n, 0, n, max);
    const piece *one = &x[rand() % count];
    size_t len = one->to - one->from, most = len + (max - n), behind = n - one->to;
    bool text = memchr(p + one->from, 0, len) == NULL;
    if (len == 0 || (text && seed % 4 != 0))
        return change_words(p, n, one->from, one->to, max);
    uint8_t *tail = malloc(behind + 1);
    if (tail == NULL)
        abort();
    memcpy(tail, p + one->to, behind);
    len = LLVMFuzzerMutate(p + one->from, len, most);
    memcpy(p + one->from + len, tail, behind);
    free(tail);
    return one->from + len + behind;
}
