/* SPDX-License-Identifier: MIT */
#include "sweep.h"
#include "text/template.h"

static sm_status run_template(const char *source, const char *context, sm_str *out, sm_err *err) {
    sm_template *t;
    json_t *c = json_loads(context, 0, NULL);
    assert_non_null(c);
    sm_status st = sm_template_parse(sm_sv_of(source), &t, err);
    if (st == SM_OK)
        st = sm_template_render(t, c, out, err);
    sm_template_free(&t);
    json_decref(c);
    return st;
}

static void check(const char *source, const char *context, const char *want) {
    sm_str s = SM_STR_INIT;
    sm_err err = {0};
    if (run_template(source, context, &s, &err) != SM_OK)
        fail_msg("%s: %s", source, err.msg);
    assert_string_equal(sm_str_z(&s), want);
    sm_str_free(&s);
}

static void check_fails(const char *source, sm_status want, const char *text) {
    sm_str s = SM_STR_INIT;
    sm_err err = {0};
    assert_int_equal(run_template(source, "{\"x\": [1, 2]}", &s, &err), want);
    if (strstr(err.msg, text) == NULL)
        fail_msg("%s: '%s' does not say '%s'", source, err.msg, text);
    sm_str_free(&s);
}

static const char chat[] = "{%- for m in messages %}\n{{ bos_token if loop.first }}<{{ m.role | upper }}>\n"
                           "{%- set text = m['content'] | trim %}\n"
                           "{{ text ~ (',' if not loop.last else '.') }}\n"
                           "{%- endfor %}\n{% if add_generation_prompt %}\n<AI>\n{% endif %}\n";
static const char chat_context[] =
    "{\"bos_token\": \"^\", \"add_generation_prompt\": true, \"messages\": ["
    "{\"role\": \"user\", \"content\": \" hi \"}, {\"role\": \"ai\", \"content\": \"yo\"}]}";

static void a_chat_is_rendered(void **state) {
    (void)state;
    check(chat, chat_context, "^<USER>hi,<AI>yo.<AI>\n");
}

static void white_space_goes_by_the_signs(void **state) {
    (void)state;
    check("a\n  {% if 1 %}\nb\n  {% endif %}\nc\n", "{}", "a\nb\nc");
    check("a \n {%- if 1 -%}\n b {% endif +%}\n\nc", "{}", "ab \n\nc");
    check("  {{ 1 }}\n", "{}", "  1");
    check("a\r\nb{# x #}\r\nc", "{}", "a\nbc");
    check("{% raw %}{{ x }}{% endraw %}", "{}", "{{ x }}");
}

static void loops_do_not_leak(void **state) {
    (void)state;
    check("{% set a = 1 %}{% for i in [1, 2] %}{% set a = a + i %}{{ a }};{% endfor %}{{ a }}", "{}", "2;3;1");
    check("{% set n = namespace(a=0) %}{% for i in [1, 2] %}{% set n.a = n.a + i %}{% endfor %}{{ n.a }}", "{}", "3");
    check("{% for i in [1, 2, 3, 4] if i is even %}{{ i }}{{ loop.last }}{% endfor %}", "{}", "2False4True");
}

static void errors_name_the_line(void **state) {
    (void)state;
    check_fails("a\n\n{{ nope.x }}", SM_BADINPUT, "line 3: \"nope\" is undefined");
    check_fails("a\n{{ 1 +\n}}", SM_BADINPUT, "line 3");
    check_fails("{% if x %}\n\n", SM_BADINPUT, "endif");
    check_fails("\n{{ raise_exception('no such ' ~ 'role') }}", SM_BADINPUT, "line 2: no such role");
    check_fails("\n\n{% include 'f' %}", SM_UNSUPPORTED, "line 3: statement \"include\"");
    check_fails("{{ x | pprint }}", SM_UNSUPPORTED, "line 1: filter \"pprint\"");
    check_fails("{% macro f(a) %}\n{{ a + 1 }}{% endmacro %}{{ f('x') }}", SM_BADINPUT, "line 2: '+'");
}

static void macros_see_what_is_around_them(void **state) {
    (void)state;
    check("{% macro f(a, b=a + 1) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{% set c = 'c' %}{{ f(1) }}{{ f(1, b=5) }}",
          "{}", "12c;15c;");
    check("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{}", "3210");
    check("{% macro f() %}<{{ caller(1) }}>{% endmacro %}{% call(x) f() %}{{ x }}{{ y }}{% endcall %}", "{\"y\": 2}",
          "<12>");
    check("{% for i in t recursive %}{{ i.n }}{{ loop(i.c) if i.c }}{% endfor %}",
          "{\"t\": [{\"n\": 1, \"c\": [{\"n\": 2}]}, {\"n\": 3}]}", "123");
}

static void limits_hold(void **state) {
    (void)state;
    check_fails("{% set r = range(9000) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}", SM_RESOURCE,
                "steps");
    check_fails("{% set r = range(9000) %}{% for a in r %}{% set b = r[1:] %}{% endfor %}", SM_RESOURCE, "values");
    check_fails("{{ 'a' * 1000000000 }}", SM_RESOURCE, "too long");
    check_fails("{{ 9223372036854775807 + 1 }}", SM_UNSUPPORTED, "64 bits");
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < 3000; i++)
        sm_str_adds(&s, "{{ (");
    check_fails(sm_str_z(&s), SM_BADINPUT, "");
    sm_str_clear(&s);
    sm_str_adds(&s, "{{ ");
    for (int i = 0; i < 3000; i++)
        sm_str_adds(&s, "[");
    for (int i = 0; i < 3000; i++)
        sm_str_adds(&s, "]");
    sm_str_adds(&s, " }}");
    check_fails(sm_str_z(&s), SM_RESOURCE, "deeper");
    sm_str_free(&s);
}

/* What one node makes the engine do counts too: each of these would run for minutes, or fill the memory. */
static void work_inside_a_node_is_limited(void **state) {
    (void)state;
    check_fails("{{ ('\\t' * 8000000).expandtabs(1000) }}", SM_RESOURCE, "values");
    check_fails("{{ ('a' * 8000000).rfind('a' * 4000000 ~ 'b') }}", SM_RESOURCE, "steps");
    check_fails("{{ ('a' * 8000000).strip('b' * 8000000 ~ 'a') }}", SM_RESOURCE, "steps");
    check_fails("{% set x = 'a' * 8000000 %}{{ x.startswith((x ~ 'b', x ~ 'c', x ~ 'd') * 10000) }}", SM_RESOURCE,
                "steps");
    check_fails("{% set x = 'a' * 8000000 %}{% set y = 'a' * 8000000 %}"
                "{% for i in range(100000) %}{% if x != y %}{% endif %}{% endfor %}",
                SM_RESOURCE, "steps");
    check_fails("{% set x = 'a' * 8000000 %}{% set y = 'a' * 8000000 %}"
                "{% for i in range(100000) %}{% if x is sameas y %}{% endif %}{% endfor %}",
                SM_RESOURCE, "steps");
    check_fails("{% set x = {'a' * 8000000: 1} %}{% set y = 'a' * 8000000 %}"
                "{% for i in range(100000) %}{% if x[y] %}{% endif %}{% endfor %}",
                SM_RESOURCE, "steps");
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < 20000; i++)
        sm_str_addf(&s, "{%% set v%d = 0 %%}", i);
    sm_str_adds(&s, "{% for i in range(100000) %}{{ v19999 }}{{ v19999 }}{{ v19999 }}{{ v19999 }}{% endfor %}");
    check_fails(sm_str_z(&s), SM_RESOURCE, "steps");
    sm_str_clear(&s);
    check("{{ ('\u03a3' * 400000) | lower | length }}{{ 'A\u03a3 \u03a3A' | lower }}", "{}", "400000a\u03c2 \u03c3a");
    sm_str_free(&s);
}

static void integers_are_exact_or_refused(void **state) {
    (void)state;
    check("{{ 9007199254740993 | round(-1) }} {{ 25 | round(-1) }} {{ 35 | round(-1) }} {{ -25 | round(-1) }} "
          "{{ 5000000000000000000 | round(-19) }} {{ 7 | round(-400) }} {{ 12 | round(3) }} {{ -1 | round(-18) }}",
          "{}", "9007199254740990 20 40 -20 0 0 12 0");
    check_fails("{{ 9223372036854775807 | round(-1) }}", SM_UNSUPPORTED, "64 bits");
    check_fails("{{ 9223372036854775807 | round(-19) }}", SM_UNSUPPORTED, "64 bits");
    check("{{ range(0, 10, 3)[1:3] }}", "{}", "range(3, 9, 3)");
    check_fails("{{ range(0, 9223372036854775807, 9223372036854775806)[0:2] }}", SM_UNSUPPORTED, "64 bits");
}

static bool render_chat(void *ctx) {
    sm_str s = SM_STR_INIT;
    sm_err err = {0};
    sm_template *t;
    sm_status st = sm_template_parse(
        SM_SV("{% set a %}{{ 'x\\n' }}{% endset %}{{ [a, {'k': 1}] | tojson }}{{ x[0:2] | join(',') }}"
              "{% for k, v in {'a': 'b'}.items() %}{{ k ~ v.split('b') }}{% endfor %}"
              "{% macro m(p, q=[]) %}{{ p }}{{ caller() }}{% endmacro %}{% call m('%s' % 1) %}{{ '{}'.format(2) }}"
              "{% endcall %}{{ x | map('string') | sort(reverse=true) | join }}"),
        &t, &err);
    if (st == SM_OK)
        st = sm_template_render(t, ctx, &s, &err);
    if (st == SM_OK)
        assert_string_equal(sm_str_z(&s), "[\"x\\n\", {\"k\": 1}]1,2a['', '']12321");
    sm_template_free(&t);
    sm_str_free(&s);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    return st == SM_OK;
}

static void out_of_memory_is_an_error(void **state) {
    json_t *context = json_loads("{\"x\": [1, 2, 3]}", 0, NULL);
    (void)state;
    assert_true(sweep(render_chat, context) > 5);
    json_decref(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_is_rendered),
        cmocka_unit_test(white_space_goes_by_the_signs),
        cmocka_unit_test(loops_do_not_leak),
        cmocka_unit_test(macros_see_what_is_around_them),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(work_inside_a_node_is_limited),
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
