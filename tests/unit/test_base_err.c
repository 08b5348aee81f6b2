/* SPDX-License-Identifier: MIT
 *
 * test_base_err.c: messages, hints, prefixes, exit codes.
 */
#include "sweep.h"

#include "base/err.h"

static sm_status fails(sm_err *err) {
    return SM_FAIL(err, SM_BADINPUT, "'%s' at offset %d", "x.gguf", 12);
}

static sm_status hands_on(sm_err *err) {
    SM_TRY(fails(err));
    return SM_OK;
}

static void message_and_place(void **state) {
    (void)state;
    sm_err e = {0};
    assert_int_equal(hands_on(&e), SM_BADINPUT);
    assert_int_equal(e.code, SM_BADINPUT);
    assert_string_equal(e.msg, "'x.gguf' at offset 12");
    assert_non_null(strstr(e.file, "test_base_err.c"));
    assert_true(e.line > 0);
    assert_int_equal(hands_on(NULL), SM_BADINPUT);
}

static void hint_and_prefix(void **state) {
    (void)state;
    sm_err e = {0};
    sm_err_prefix(&e, "nothing");
    assert_string_equal(e.msg, "");
    fails(&e);
    assert_int_equal(sm_err_hint(&e, "try %d", 2), SM_BADINPUT);
    sm_err_prefix(&e, "convert %s", "a");
    assert_string_equal(e.msg, "convert a: 'x.gguf' at offset 12");
    assert_string_equal(e.hint, "try 2");
    SM_FAIL(&e, SM_RESOURCE, "%s again", e.msg); /* an argument may be the old message */
    assert_string_equal(e.msg, "convert a: 'x.gguf' at offset 12 again");
    assert_string_equal(e.hint, "");
    sm_err_clear(&e);
    assert_int_equal(e.code, SM_OK);
    assert_int_equal(sm_err_hint(NULL, "x"), SM_OK);
    sm_err_prefix(NULL, "x");
    sm_err_clear(NULL);
}

static void long_and_broken_text(void **state) {
    (void)state;
    sm_err e = {0};
    char text[2001];
    for (int i = 0; i < 1000; i++)
        memcpy(text + 2 * i, "\xc3\xa9", 2);
    text[2000] = '\0';
    SM_FAIL(&e, SM_FAILED, "a%s", text); /* odd start: the buffer ends inside a character */
    size_t n = strlen(e.msg);
    assert_true(n >= sizeof e.msg - 3 && n < sizeof e.msg);
    assert_int_equal((unsigned char)e.msg[n - 1], 0xa9);
    sm_err_prefix(&e, "%s", text);
    assert_true(strlen(e.msg) < sizeof e.msg);
    SM_FAIL(&e, SM_FAILED, "two\nlines\r");
    assert_string_equal(e.msg, "two lines ");
}

static void exit_codes(void **state) {
    (void)state;
    assert_int_equal(sm_exit_code(SM_OK), 0);
    assert_int_equal(sm_exit_code(SM_FAILED), 1);
    assert_int_equal(sm_exit_code(SM_USAGE), 2);
    assert_int_equal(sm_exit_code(SM_BADINPUT), 3);
    assert_int_equal(sm_exit_code(SM_UNSUPPORTED), 4);
    assert_int_equal(sm_exit_code(SM_RESOURCE), 5);
    assert_int_equal(sm_exit_code(SM_CANCELLED), 130);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_and_place),
        cmocka_unit_test(hint_and_prefix),
        cmocka_unit_test(long_and_broken_text),
        cmocka_unit_test(exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
