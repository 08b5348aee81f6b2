/* SPDX-License-Identifier: MIT
 *
 * complete.c: one turn of a chat, printed as it is made.
 *
 *     cc complete.c -o complete $(pkg-config --cflags --libs smelt)
 *     ./complete model.gguf "Name the planets."        also a .mlpackage
 *
 * The same file is C and C++.  Every call that can fail fills one smelt_error; at the first failure everything is freed
 * and its message printed.
 */
#include <stdio.h>

#include <smelt.h>

enum { MOST = 200 }; /* tokens of the reply */

int main(int argc, char **argv) {
    smelt_model *model = NULL;
    smelt_session *session = NULL;
    smelt_session_options options = {};
    smelt_sampling sampling = {};
    smelt_message turn = {};
    smelt_token token = {};
    smelt_error error;
    smelt_status status;
    char *prompt = NULL;
    int32_t *ids = NULL;
    size_t n_prompt, n_ids;

    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
        return 2;
    }

    /* A model is weights and vocabulary; it may serve many sessions. */
    status = smelt_model_open(argv[1], NULL, &model, &error);
    if (status != SMELT_OK)
        goto done;

    /* The text in the form that the model was trained on, then its tokens. */
    turn.role = "user";
    turn.content = argv[2];
    status = smelt_chat_prompt(model, &turn, 1, &prompt, &n_prompt, &error);
    if (status != SMELT_OK)
        goto done;
    status = smelt_tokenize(model, prompt, n_prompt, SMELT_CHAT, &ids, &n_ids, &error);
    if (status != SMELT_OK)
        goto done;

    /* A session is one text over the model.  Structs of options begin with their size; zeros are defaults. */
    sampling.size = sizeof sampling;
    smelt_sampling_default(model, &sampling);
    sampling.temp = 0; /* always the most likely token */
    options.size = sizeof options;
    options.max_tokens = MOST;
    options.sampling = &sampling;
    status = smelt_session_new(model, &options, &session, &error);
    if (status != SMELT_OK)
        goto done;
    status = smelt_session_prompt(session, ids, n_ids, &error);
    if (status != SMELT_OK)
        goto done;

    /* Each token brings the text that became certain with it, perhaps none. */
    do {
        status = smelt_session_next(session, &token, &error);
        if (status != SMELT_OK)
            goto done;
        fwrite(token.text, 1, token.n_text, stdout);
        fflush(stdout);
    } while (token.finish == SMELT_GOING);
    putchar('\n');

done:
    if (status != SMELT_OK)
        fprintf(stderr, "%s\n%s%s", error.message, error.hint, error.hint[0] ? "\n" : "");
    smelt_session_free(&session);
    smelt_model_free(&model);
    smelt_free(ids);
    smelt_free(prompt);
    return smelt_exit_code(status);
}
