/* SPDX-License-Identifier: MIT
 *
 * test_base_number.c: numbers under a locale whose decimal sign is a comma.
 *
 * Such a locale is one of the system's, or is made by localedef in a folder of its own; where neither can be had the
 * tests are left out.
 */
#include "sweep.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/machine.h"
#include "base/number.h"
#include "base/str.h"
#include "graph/graph.h"
#include "text/template.h"

static bool has_comma(void) {
    char z[8];
    snprintf(z, sizeof z, "%.1f", 0.5);
    return strcmp(z, "0,5") == 0;
}

/* Sets it for the process, as a program with a window would; false: there is none. */
static bool set_comma(void) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE"};
    static char folder[] = "/tmp/smelt-locale-XXXXXX";
    char command[256];
    for (size_t i = 0; i < SM_ARRAY_LEN(names); i++)
        if (setlocale(LC_ALL, names[i]) && has_comma())
            return true;
    if (!mkdtemp(folder))
        return false;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    bool made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    made = made && setlocale(LC_ALL, "de_DE.UTF-8") && has_comma();
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 && made;
}

static bool comma;

static void needs_comma(void) {
    if (!comma) {
        print_message("no locale with a decimal comma, and localedef makes none\n");
        skip();
    }
}

static void text(void **state) {
    (void)state;
    needs_comma();
    sm_str s = SM_STR_INIT;
    sm_err err = {0};
    char *end;
    sm_str_addf(&s, "%.2f %g", 1.25, 1e-5);
    assert_string_equal(sm_str_z(&s), "1.25 1e-05");
    sm_str_free(&s);
    assert_true(sm_strtod("0.25x", &end) == 0.25);
    assert_string_equal(end, "x");
    assert_true(sm_strtof("2.5", NULL) == 2.5f);
    SM_FAIL(&err, SM_BADINPUT, "wanted %g", 0.5);
    assert_string_equal(err.msg, "wanted 0.5");
    assert_int_equal(sm_machine_size(SM_SV("1.5M")), 3 << 19);
    assert_true(sm_machine_cpu_max(SM_SV("150000.5 100000")) > 1.5);
    assert_true(has_comma()); /* the caller's is as it was */
}

static const char program[] = "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2]> x) {\n"
                              "        tensor<fp32, [2]> a = leaky_relu(x = x, alpha = 0.25);\n"
                              "        tensor<fp32, [2]> y = inverse(x = a);\n    } -> (y);\n}\n";

/* Graphs are read as they are written, and defaults of ops are what the table says. */
static void graphs(void **state) {
    (void)state;
    needs_comma();
    sm_graph *g;
    sm_err err = {0};
    sm_str s = SM_STR_INIT;
    double alpha, epsilon;
    assert_int_equal(sm_graph_parse(sm_sv_of(program), "p", NULL, NULL, &g, &err), SM_OK);
    const sm_node *n = sm_graph_func(g, "main")->body->first;
    assert_true(sm_arg_float(n, "alpha", &alpha) && fabs(alpha - 0.25) < 1e-9);
    assert_true(sm_arg_float(n->next, "epsilon", &epsilon) && fabs(epsilon - 1e-4) < 1e-9);
    assert_int_equal(sm_graph_print(g, NULL, &s, &err), SM_OK);
    assert_non_null(strstr(sm_str_z(&s), "alpha = 0.25)"));
    sm_str_free(&s);
    sm_graph_free(&g);
}

static void templates(void **state) {
    (void)state;
    needs_comma();
    sm_template *t;
    sm_err err = {0};
    sm_str s = SM_STR_INIT;
    json_t *context = json_object();
    sm_sv source =
        SM_SV("{{ 0.1 }} {{ '2.5' | float }} {{ '%.2f' % 1.25 }} {{ '{:.1f}'.format(0.5) }} {{ [1e30] | tojson }} "
              "{{ 2.25 | round(1) }}");
    assert_int_equal(sm_template_parse(source, &t, &err), SM_OK);
    assert_int_equal(sm_template_render(t, context, &s, &err), SM_OK);
    assert_string_equal(sm_str_z(&s), "0.1 2.5 1.25 0.5 [1e+30] 2.2");
    sm_template_free(&t);
    sm_str_free(&s);
    json_decref(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(text), cmocka_unit_test(graphs), cmocka_unit_test(templates)};
    comma = set_comma();
    return cmocka_run_group_tests_name("base_number", tests, NULL, NULL);
}
