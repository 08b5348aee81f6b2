/* SPDX-License-Identifier: MIT
 *
 * test_base_files.c: mappings, small files, outputs that appear whole or not at all, also when the run is killed.
 */
#include "sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/files.h"

static char *scratch;

static int setup(void **state) {
    (void)state;
    scratch = scratch_new();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    scratch_remove(scratch);
    return 0;
}

/* scratch/name; static ring */
static const char *at(const char *name) {
    static char ring[8][600];
    static unsigned turn;
    char *p = ring[turn++ % 8];
    snprintf(p, 600, "%s/%s", scratch, name);
    return p;
}

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_content(const char *path, const char *want) {
    sm_str s = SM_STR_INIT;
    sm_err e = {0};
    if (sm_file_read(path, 1 << 20, &s, &e) != SM_OK)
        fail_msg("%s", e.msg);
    assert_string_equal(sm_str_z(&s), want);
    sm_str_free(&s);
}

/* How many names a folder holds, hidden ones too. */
static int names_in(const char *path) {
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

static void mapping(void **state) {
    (void)state;
    sm_mapfile f;
    sm_err e = {0};
    put(at("m"), "hello");
    assert_int_equal(sm_mapfile_open(at("m"), &f, &e), SM_OK);
    assert_int_equal(f.n, 5);
    assert_memory_equal(f.p, "hello", 5);
    assert_string_equal(f.path, at("m"));
    sm_mapfile_release(f.p, f.n); /* less than a page: nothing */
    sm_mapfile_close(&f);
    sm_mapfile_close(&f);
    put(at("m"), "");
    assert_int_equal(sm_mapfile_open(at("m"), &f, &e), SM_OK);
    assert_int_equal(f.n, 0);
    assert_null(f.p);
    sm_mapfile_close(&f);

    assert_int_equal(sm_mapfile_open(at("nothing"), &f, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "nothing': No such file"));
    assert_int_equal(sm_mapfile_open(scratch, &f, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "is a directory"));
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_int_equal(sm_mapfile_open(at("pipe"), &f, &e), SM_BADINPUT); /* does not wait for a writer */
    assert_non_null(strstr(e.msg, "is a pipe"));
    sm_mapfile_close(&f);
}

static void released_pages_come_back(void **state) {
    (void)state;
    size_t n = 1 << 20;
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i % 23);
    text[n] = '\0';
    put(at("m"), text);
    sm_mapfile f;
    assert_int_equal(sm_mapfile_open(at("m"), &f, NULL), SM_OK);
    assert_memory_equal(f.p, text, n);
    sm_mapfile_release(f.p + 1, n - 2);
    sm_mapfile_release(f.p + 5, 0);
    sm_mapfile_release(NULL, 0);
    uint8_t *heap = sm_alloc_aligned(1 << 16, 4096); /* no mapping of a file: stays as it is */
    memset(heap, 7, 1 << 16);
    sm_mapfile_release(heap, 1 << 16);
    for (size_t i = 0; i < 1 << 16; i++)
        assert_int_equal(heap[i], 7);
    sm_free_aligned(heap);
    assert_memory_equal(f.p, text, n);
    sm_mapfile_close(&f);
    free(text);
}

static void whole_files(void **state) {
    (void)state;
    sm_str s = SM_STR_INIT;
    sm_err e = {0};
    put(at("f"), "12345");
    assert_int_equal(sm_file_read(at("f"), 5, &s, &e), SM_OK);
    assert_string_equal(s.p, "12345");
    assert_int_equal(sm_file_read(at("f"), 4, &s, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "at most 4 bytes"));
    assert_int_equal(sm_file_read(at("none"), 4, &s, &e), SM_BADINPUT);
    assert_int_equal(sm_file_read(scratch, 4, &s, &e), SM_BADINPUT);
    sm_str_free(&s);
    put(at("f"), "");
    assert_int_equal(sm_file_read(at("f"), 0, &s, &e), SM_OK);
    assert_string_equal(s.p, "");
    sm_str_free(&s);

    int keep = dup(STDIN_FILENO), p[2];
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "piped", 5), 5);
    close(p[1]);
    dup2(p[0], STDIN_FILENO);
    assert_int_equal(sm_file_read("-", 100, &s, &e), SM_OK);
    dup2(keep, STDIN_FILENO);
    close(keep);
    close(p[0]);
    assert_string_equal(s.p, "piped");
    sm_str_free(&s);
}

static void paths(void **state) {
    (void)state;
    char *p = sm_path_join("a", "b");
    assert_string_equal(p, "a/b");
    sm_free(p);
    p = sm_path_join("a/", "b");
    assert_string_equal(p, "a/b");
    sm_free(p);
    p = sm_path_join("", "b");
    assert_string_equal(p, "b");
    sm_free(p);
    assert_string_equal(sm_path_base("a/b.c"), "b.c");
    assert_string_equal(sm_path_base("b"), "b");
    assert_string_equal(sm_path_ext("a.b/c.d.gguf"), ".gguf");
    assert_string_equal(sm_path_ext("a.b/c"), "");
    assert_string_equal(sm_path_ext("a/.hidden"), "");
    assert_true(sm_path_is_dir(scratch));
    assert_false(sm_path_is_dir(at("x")));
    assert_false(sm_path_exists(at("x")));
}

/* ---- output files ---------------------------------------------------------------------------------------------- */

static void file_appears_on_commit(void **state) {
    (void)state;
    sm_outfile *f;
    sm_err e = {0};
    put(at("out"), "old");
    assert_int_equal(chmod(at("out"), 0640), 0);
    assert_int_equal(sm_outfile_new(at("out"), &f, &e), SM_OK);
    assert_int_equal(sm_outfile_append(f, "abc", 3, &e), SM_OK);
    assert_int_equal(sm_outfile_write(f, 6, "ghi", 3, &e), SM_OK);
    assert_int_equal(sm_outfile_write(f, 3, "def", 3, &e), SM_OK);
    assert_int_equal(sm_outfile_append(f, "j", 1, &e), SM_OK);
    assert_int_equal(sm_outfile_size(f), 10);
    assert_content(at("out"), "old");
    assert_int_equal(names_in(scratch), 2);
    assert_int_equal(sm_outfile_commit(&f, &e), SM_OK);
    assert_null(f);
    assert_content(at("out"), "abcdefghij");
    struct stat s;
    assert_int_equal(stat(at("out"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0640);
    assert_int_equal(names_in(scratch), 1);
}

static void file_abandoned(void **state) {
    (void)state;
    sm_outfile *f;
    put(at("out"), "old");
    assert_int_equal(sm_outfile_new(at("out"), &f, NULL), SM_OK);
    assert_int_equal(sm_outfile_append(f, "new", 3, NULL), SM_OK);
    sm_outfile_abandon(&f);
    assert_null(f);
    sm_outfile_abandon(&f);
    sm_outfile_abandon(NULL);
    assert_content(at("out"), "old");
    assert_int_equal(names_in(scratch), 1);
}

static void file_refusals(void **state) {
    (void)state;
    sm_outfile *f, *g;
    sm_err e = {0};
    assert_int_equal(sm_outfile_new(scratch, &f, &e), SM_BADINPUT);
    assert_null(f);
    assert_int_equal(sm_outfile_new(at("no/where"), &f, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "No such file"));
    assert_int_equal(sm_outfile_new(at("out"), &f, &e), SM_OK);
    assert_int_equal(sm_outfile_new(at("out"), &g, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "already being written"));
    assert_int_equal(sm_outfile_commit(&f, &e), SM_OK);
    char name[300];
    memset(name, 'n', 250);
    name[250] = '\0';
    assert_int_equal(sm_outfile_new(at(name), &f, &e), SM_OK); /* the temporary's name is cut to fit */
    assert_int_equal(sm_outfile_commit(&f, &e), SM_OK);
    assert_true(sm_path_exists(at(name)));
}

static void file_through_a_link(void **state) {
    (void)state;
    sm_outfile *f;
    put(at("real"), "old");
    assert_int_equal(symlink("real", at("link")), 0);
    assert_int_equal(sm_outfile_new(at("link"), &f, NULL), SM_OK);
    assert_int_equal(sm_outfile_append(f, "new", 3, NULL), SM_OK);
    assert_int_equal(sm_outfile_commit(&f, NULL), SM_OK);
    assert_content(at("real"), "new");
    struct stat s;
    assert_int_equal(lstat(at("link"), &s), 0);
    assert_true(S_ISLNK(s.st_mode));
}

static void device_is_written_straight(void **state) {
    (void)state;
    sm_outfile *f;
    sm_err e = {0};
    struct stat s;
    assert_int_equal(sm_outfile_new("/dev/null", &f, &e), SM_OK);
    assert_int_equal(sm_outfile_append(f, "abc", 3, &e), SM_OK);
    assert_int_equal(sm_outfile_write(f, 0, "x", 1, &e), SM_BADINPUT);
    assert_int_equal(sm_outfile_commit(&f, &e), SM_OK);
    assert_int_equal(sm_outfile_new("/dev/null", &f, &e), SM_OK);
    sm_outfile_abandon(&f);
    assert_int_equal(stat("/dev/null", &s), 0);
    assert_true(S_ISCHR(s.st_mode));
}

/* Runs f in a child that is killed while it writes. */
static void killed(void (*f)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        f();
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void half_a_file(void) {
    sm_outfile *f;
    if (sm_outfile_new(at("out"), &f, NULL) == SM_OK)
        sm_outfile_append(f, "half", 4, NULL);
}

static void killed_file_is_swept(void **state) {
    (void)state;
    sm_outfile *f;
    put(at("out"), "old");
    killed(half_a_file);
    assert_content(at("out"), "old");
    assert_int_equal(names_in(scratch), 2); /* what the killed run left */
    put(at(".other.smelt-tmp-999999999"), "another output's");
    put(at(".out.smelt-tmp-1"), "a living process's");
    put(at(".out.smelt-tmp-x"), "not ours");
    char own[64];
    snprintf(own, sizeof own, ".out.smelt-tmp-%ld", (long)getpid());
    put(at(own), "from an earlier process of this number");
    assert_int_equal(sm_outfile_new(at("out"), &f, NULL), SM_OK);
    assert_int_equal(names_in(scratch), 5); /* out, three that stay, the new temporary */
    assert_int_equal(sm_outfile_append(f, "new", 3, NULL), SM_OK);
    assert_int_equal(sm_outfile_commit(&f, NULL), SM_OK);
    assert_content(at("out"), "new");
    assert_int_equal(names_in(scratch), 4);
}

/* ---- output directories ---------------------------------------------------------------------------------------- */

static sm_status write_dir(const char *path, const char *text, sm_outdir **d, sm_err *err) {
    sm_outfile *f = NULL;
    SM_TRY(sm_outdir_new(path, "Manifest.json", d, err));
    SM_TRY(sm_outdir_mkdir(*d, "empty/deep", err));
    SM_TRY(sm_outdir_file(*d, "Manifest.json", &f, err));
    sm_status st = sm_outfile_append(f, text, strlen(text), err);
    if (st == SM_OK)
        st = sm_outfile_commit(&f, err);
    sm_outfile_abandon(&f);
    SM_TRY(st);
    SM_TRY(sm_outdir_file(*d, "Data/weights/w.bin", &f, err));
    return sm_outfile_commit(&f, err);
}

static void dir_appears_on_commit(void **state) {
    (void)state;
    sm_outdir *d;
    sm_err e = {0};
    assert_int_equal(write_dir(at("p.mlpackage/"), "one", &d, &e), SM_OK);
    assert_false(sm_path_exists(at("p.mlpackage")));
    assert_true(sm_path_is_dir(sm_outdir_path(d)));
    assert_int_equal(sm_outdir_commit(&d, &e), SM_OK);
    assert_null(d);
    assert_content(at("p.mlpackage/Manifest.json"), "one");
    assert_true(sm_path_is_dir(at("p.mlpackage/empty/deep")));
    assert_true(sm_path_exists(at("p.mlpackage/Data/weights/w.bin")));
    put(at("p.mlpackage/extra"), "x");

    assert_int_equal(write_dir(at("p.mlpackage"), "two", &d, &e), SM_OK);
    assert_content(at("p.mlpackage/Manifest.json"), "one");
    assert_int_equal(sm_outdir_commit(&d, &e), SM_OK);
    assert_content(at("p.mlpackage/Manifest.json"), "two");
    assert_false(sm_path_exists(at("p.mlpackage/extra")));
    assert_int_equal(names_in(scratch), 1);

    assert_int_equal(write_dir(at("p.mlpackage"), "three", &d, &e), SM_OK);
    sm_outdir_abandon(&d);
    sm_outdir_abandon(&d);
    sm_outdir_abandon(NULL);
    assert_content(at("p.mlpackage/Manifest.json"), "two");
    assert_int_equal(names_in(scratch), 1);
}

static void dir_refusals(void **state) {
    (void)state;
    sm_outdir *d;
    sm_outfile *f;
    sm_err e = {0};
    assert_int_equal(mkdir(at("home"), 0700), 0);
    assert_int_equal(sm_outdir_new(at("home"), "Manifest.json", &d, &e), SM_OK); /* empty: nothing is lost */
    put(at("home/thesis.txt"), "years");
    assert_int_equal(sm_outdir_commit(&d, &e), SM_BADINPUT); /* filled since */
    assert_null(d);
    assert_content(at("home/thesis.txt"), "years");
    assert_int_equal(sm_outdir_new(at("home"), "Manifest.json", &d, &e), SM_BADINPUT);
    assert_non_null(strstr(e.msg, "holds no Manifest.json"));
    assert_true(e.hint[0] != '\0');
    assert_int_equal(sm_outdir_new(at("home"), "Manifest.json", &d, NULL), SM_BADINPUT);
    assert_int_equal(sm_outdir_new(at("home"), NULL, &d, &e), SM_BADINPUT);
    assert_int_equal(sm_outdir_new(at("home/thesis.txt"), NULL, &d, &e), SM_BADINPUT);
    assert_int_equal(sm_outdir_new(".", NULL, &d, &e), SM_BADINPUT);
    assert_int_equal(sm_outdir_new("/", NULL, &d, &e), SM_BADINPUT);
    assert_int_equal(sm_outdir_new(at("no/where"), NULL, &d, &e), SM_BADINPUT);
    assert_int_equal(names_in(scratch), 1);

    assert_int_equal(sm_outdir_new(at("d"), NULL, &d, &e), SM_OK);
    static const char *const outside[] = {"", "/etc/x", "..", "../x", "a/../../x", "a/.."};
    for (size_t i = 0; i < SM_ARRAY_LEN(outside); i++) {
        assert_int_equal(sm_outdir_file(d, outside[i], &f, &e), SM_BADINPUT);
        assert_int_equal(sm_outdir_mkdir(d, outside[i], &e), SM_BADINPUT);
    }
    assert_int_equal(sm_outdir_file(d, "a..b/..c", &f, &e), SM_OK);
    sm_outfile_abandon(&f);
    sm_outdir_abandon(&d);
}

static void half_a_dir(void) {
    sm_outdir *d;
    (void)!write_dir(at("p"), "half", &d, NULL);
}

static void killed_dir_is_swept(void **state) {
    (void)state;
    sm_outdir *d;
    killed(half_a_dir);
    assert_false(sm_path_exists(at("p")));
    assert_int_equal(names_in(scratch), 1);
    assert_int_equal(write_dir(at("p"), "one", &d, NULL), SM_OK);
    assert_int_equal(sm_outdir_commit(&d, NULL), SM_OK);
    assert_int_equal(names_in(scratch), 1);
    /* Killed between moving the old one aside and the new one in, on a system without a swap. */
    assert_int_equal(rename(at("p"), at(".p.smelt-old")), 0);
    assert_int_equal(sm_outdir_new(at("p"), "Manifest.json", &d, NULL), SM_OK);
    assert_content(at("p/Manifest.json"), "one");
    sm_outdir_abandon(&d);
    assert_int_equal(names_in(scratch), 1);
}

static void a_tree_is_removed_without_following_links(void **state) {
    (void)state;
    sm_outdir *d;
    assert_int_equal(mkdir(at("keep"), 0700), 0);
    put(at("keep/file"), "x");
    assert_int_equal(sm_outdir_new(at("p"), NULL, &d, NULL), SM_OK);
    char link[700];
    snprintf(link, sizeof link, "%s/link", sm_outdir_path(d));
    assert_int_equal(symlink(at("keep"), link), 0);
    sm_outdir_abandon(&d);
    assert_content(at("keep/file"), "x");
    assert_int_equal(names_in(scratch), 1);
}

static bool write_outputs(void *ctx) {
    (void)ctx;
    sm_outfile *f = NULL;
    sm_outdir *d = NULL;
    sm_err e = {0};
    sm_status st = sm_outfile_new(at("out"), &f, &e);
    if (st == SM_OK)
        st = sm_outfile_commit(&f, &e);
    sm_outfile_abandon(&f);
    if (st == SM_OK)
        st = write_dir(at("p"), "x", &d, &e);
    sm_outdir_abandon(&d);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    return st == SM_OK;
}

static void outputs_survive_failures(void **state) {
    (void)state;
    /* Sweeping and syncing are best effort: they go on without memory, so not every failure is reported. */
    for (long n = 0, before = 0; sm_alloc_count() - before > n || n == 0; n++) {
        before = sm_alloc_count();
        sm_alloc_fail_after(n);
        write_outputs(NULL);
        sm_alloc_fail_after(-1);
        assert_int_equal(names_in(scratch), sm_path_exists(at("out")) ? 1 : 0);
    }
    assert_true(write_outputs(NULL));
}

static bool read_inputs(void *ctx) {
    (void)ctx;
    sm_mapfile f;
    sm_str s = SM_STR_INIT;
    bool ok = sm_mapfile_open(at("in"), &f, NULL) == SM_OK && sm_file_read(at("in"), 100, &s, NULL) == SM_OK;
    sm_mapfile_close(&f);
    sm_str_free(&s);
    return ok;
}

static void inputs_survive_failures(void **state) {
    (void)state;
    put(at("in"), "text");
    sweep(read_inputs, NULL);
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(mapping),
        FILE_TEST(released_pages_come_back),
        FILE_TEST(whole_files),
        FILE_TEST(paths),
        FILE_TEST(file_appears_on_commit),
        FILE_TEST(file_abandoned),
        FILE_TEST(file_refusals),
        FILE_TEST(file_through_a_link),
        FILE_TEST(device_is_written_straight),
        FILE_TEST(killed_file_is_swept),
        FILE_TEST(dir_appears_on_commit),
        FILE_TEST(dir_refusals),
        FILE_TEST(killed_dir_is_swept),
        FILE_TEST(a_tree_is_removed_without_following_links),
        FILE_TEST(outputs_survive_failures),
        FILE_TEST(inputs_survive_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
