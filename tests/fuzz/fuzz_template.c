/* SPDX-License-Identifier: MIT
 *
 * fuzz_template.c: any bytes as a chat template, rendered over one conversation.
 */
#include <stdlib.h>

#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char context_text[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" s \"}, {\"role\": \"user\", \"content\": "
    "\"a\\n<b>\\u00e9\"},"
    "{\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"t\"}], \"tool_calls\": []}],"
    "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"tools\": null,"
    "\"l\": [3, 1.5, \"x\", null, true], \"d\": {\"k\": {\"n\": 7}}}";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static json_t *context;
    sm_template *t;
    sm_str out = SM_STR_INIT;
    sm_err err = {0};
    if (context == NULL)
        context = json_loads(context_text, 0, NULL);
    sm_status st = sm_template_parse((sm_sv){(const char *)p, n}, &t, &err);
    if ((st == SM_OK) != (t != NULL) || (st != SM_OK && err.msg[0] == '\0'))
        abort();
    if (st == SM_OK && sm_template_render_at(t, context, 0, &out, &err) != SM_OK && err.msg[0] == '\0')
        abort();
    sm_template_free(&t);
    sm_str_free(&out);
    return 0;
}
