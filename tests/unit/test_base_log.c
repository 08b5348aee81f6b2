/* SPDX-License-Identifier: MIT
 *
 * test_base_log.c: messages, trace, knobs, progress, memory figures, cancel.
 */
#include "sweep.h"

#include <fcntl.h>
#include <poll.h>

#include "base/log.h"

/* Runs f with stderr going to a file; returns what it wrote. */
static const char *stderr_of(void (*f)(void)) {
    static char text[8192];
    FILE *t = tmpfile();
    fflush(stderr);
    int keep = dup(STDERR_FILENO);
    dup2(fileno(t), STDERR_FILENO);
    f();
    dup2(keep, STDERR_FILENO);
    close(keep);
    rewind(t);
    text[fread(text, 1, sizeof text - 1, t)] = '\0';
    fclose(t);
    return text;
}

static void say(void) {
    sm_log(0, "always %d", 1);
    sm_log(1, "normal\n");
    sm_log(2, "verbose");
    sm_log(1, "%0700d", 1);
}

static void levels(void **state) {
    (void)state;
    assert_int_equal(sm_log_level(), 1);
    const char *text = stderr_of(say);
    assert_int_equal(strncmp(text, "always 1\nnormal\n0000", 20), 0);
    assert_int_equal(strlen(text), 9 + 7 + 701);
    sm_log_set_level(0);
    assert_string_equal(stderr_of(say), "always 1\n");
    sm_log_set_level(1);
}

static void trace_some(void) {
    sm_trace(SM_T_PASS, 2, "two");
    sm_trace(SM_T_PASS, 3, "three");
    sm_trace(SM_T_KV, 1, "kv");
    sm_trace(SM_T_FILE, 1, "file");
}

static void trace_topics(void **state) {
    (void)state;
    setenv("SMELT_DEBUG", "pass:2,kv,nothing:9,", 1);
    const char *text = stderr_of(trace_some);
    assert_non_null(strstr(text, "unknown topic \"nothing\""));
    assert_non_null(strstr(text, "[pass] two\n[kv] kv\n"));
    assert_null(strstr(text, "three"));
    assert_null(strstr(text, "[file]"));
    assert_true(sm_trace_on(SM_T_PASS, 1));
    assert_false(sm_trace_on(SM_T_RUN, 1));
}

static void knobs(void **state) {
    (void)state;
    unsetenv("SMELT_KV_PAGE");
    assert_string_equal(sm_knob(SM_KNOB_PAGE), "64");
    assert_int_equal(sm_knob_int(SM_KNOB_PAGE), 64);
    setenv("SMELT_KV_PAGE", "", 1);
    assert_int_equal(sm_knob_int(SM_KNOB_PAGE), 64);
    setenv("SMELT_KV_PAGE", "16x", 1);
    assert_int_equal(sm_knob_int(SM_KNOB_PAGE), 0);
    setenv("SMELT_KV_PAGE", "99999999999999999999", 1);
    assert_int_equal(sm_knob_int(SM_KNOB_PAGE), 0);
    int n;
    const sm_knob_row *rows = sm_knob_rows(&n);
    assert_int_equal(n, SM_KNOB_COUNT_);
    for (int i = 0; i < n; i++) {
        assert_int_equal(strncmp(rows[i].name, "SMELT_", 6), 0);
        assert_true(rows[i].help[0] != '\0');
    }
}

static void progress_once(void) {
    sm_progress p;
    sm_progress_start(&p, "work", "B", 100);
    p.t0_us -= 5000000;
    sm_progress_add(&p, 50);
    sm_progress_end(&p);
}

static void no_progress_off_a_terminal(void **state) {
    (void)state;
    assert_string_equal(stderr_of(progress_once), "");
}

static void strangers(void **state) {
    (void)state;
    char name[64];
    const char *nearest;
    unsetenv("SMELT_ZZZ");
    int n = 0;
    while (sm_knob_stranger(n, name, sizeof name, &nearest))
        n++;
    setenv("SMELT_KVPAGE", "8", 1);
    setenv("SMELT_MODELS", "read by scripts", 1);
    setenv("SMELT_TEST_X", "read by tests", 1);
    setenv("SMELTER", "another's", 1);
    assert_true(sm_knob_stranger(n, name, sizeof name, &nearest));
    assert_string_equal(name, "SMELT_KVPAGE");
    assert_string_equal(nearest, "SMELT_KV_PAGE");
    assert_false(sm_knob_stranger(n + 1, name, sizeof name, &nearest));
    assert_false(sm_knob_stranger(n, name, 5, &nearest));
    unsetenv("SMELT_KVPAGE");
    setenv("SMELT_ZZZ", "", 1);
    assert_true(sm_knob_stranger(n, name, sizeof name, &nearest));
    assert_null(nearest);
    unsetenv("SMELT_ZZZ");
}

static char screen[16384];

/* Draws on a pseudo-terminal; `screen` receives what it saw. */
static bool on_terminal(uint64_t total) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        return false;
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    int keep = dup(STDERR_FILENO);
    dup2(slave, STDERR_FILENO);
    sm_progress p;
    sm_progress_start(&p, "convert", "B", total);
    sm_progress_add(&p, 1000); /* too early */
    bool early = p.shown;
    p.t0_us -= 10000000;
    p.last_us -= 10000000;
    sm_progress_add(&p, 1234000000);
    bool shown = p.shown;
    sm_log(1, "a line");
    sm_progress_end(&p);
    dup2(keep, STDERR_FILENO);
    close(keep);
    /* The terminal hands over in pieces, some time later: read until the line end of the message and the quiet after. */
    size_t n = 0;
    struct pollfd ready = {.fd = master, .events = POLLIN};
    while (n < sizeof screen - 1 && poll(&ready, 1, memchr(screen, '\n', n) ? 50 : 5000) > 0) {
        ssize_t k = read(master, screen + n, sizeof screen - 1 - n);
        if (k <= 0)
            break;
        n += (size_t)k;
    }
    screen[n] = '\0';
    close(slave);
    close(master);
    assert_false(early);
    assert_true(shown);
    return true;
}

static void progress_on_a_terminal(void **state) {
    (void)state;
    if (!on_terminal(3000000000u))
        skip();
    assert_non_null(strstr(screen, "\r\033[Kconvert  [####"));
    assert_non_null(strstr(screen, " 41%  1.2/3.0 GB  123.4 MB/s  0:14 left"));
    assert_non_null(strstr(screen, "\r\033[Ka line"));
    assert_true(on_terminal(0));
    assert_non_null(strstr(screen, "convert  1.2 GB  123.4 MB/s"));
}

static void memory_figures(void **state) {
    (void)state;
    sm_mem_sample();
    uint64_t before = sm_peak_anon_bytes();
    size_t n = 32 << 20;
    volatile char *p = malloc(n);
    for (size_t i = 0; i < n; i += 512)
        p[i] = 1;
    sm_mem_sample();
    free((void *)(uintptr_t)p);
    if (sm_anon_rss_bytes() == 0)
        skip();
    assert_true(sm_peak_anon_bytes() >= before + n / 2);
    assert_true(sm_peak_rss_bytes() >= n);
    int64_t t = sm_now_us();
    usleep(2000);
    assert_true(sm_now_us() - t >= 2000);
}

static void cancel(void **state) {
    (void)state;
    assert_false(sm_cancelled());
    sm_cancel_set(true);
    assert_true(sm_cancelled());
    sm_cancel_set(false);
    assert_false(sm_cancelled());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_topics), /* first: the setting is read once */
        cmocka_unit_test(levels),
        cmocka_unit_test(knobs),
        cmocka_unit_test(strangers),
        cmocka_unit_test(no_progress_off_a_terminal),
        cmocka_unit_test(progress_on_a_terminal),
        cmocka_unit_test(memory_figures),
        cmocka_unit_test(cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
