/* SPDX-License-Identifier: MIT
 *
 * infer_rnn.c: rnn, gru, lstm.
 *
 * x [s, b, i]; initial states [b, directions * h]; weights [gates * h, i] and [gates * h, h].
 */
#include <string.h>

#include "graph/infer.h"

static sm_status want_word(sm_inf *c, const char *slot, const char *const *words, int n) {
    sm_sv s = {0};
    sm_arg_str(c->n, slot, &s);
    for (int i = 0; i < n; i++)
        if (sm_sv_is(s, words[i]))
            return SM_OK;
    return SM_FAIL(c->err, SM_BADINPUT, "%s: unknown word %s", slot, sm_quote(s.p, s.n));
}

static sm_status want_activation(sm_inf *c, const char *slot) {
    static const char *const words[] = {"tanh",        "sigmoid",      "relu",        "linear",
                                        "scaled_tanh", "hard_sigmoid", "sigmoid_hard"};
    return sm_op_slot(c->n->op, slot) < 0 ? SM_OK : want_word(c, slot, words, (int)SM_ARRAY_LEN(words));
}

/* An operand of floats, of x's type, with these extents. */
static sm_status want_shape(sm_inf *c, const char *slot, int rank, const sm_dim *dims) {
    if (sm_op_slot(c->n->op, slot) < 0 || sm_arg(c->n, slot) == NULL)
        return SM_OK;
    const sm_value *v = sm_arg(c->n, slot);
    if (v->type.rank != rank || !sm_is_float(v->type.dtype))
        return sm_inf_bad(c, slot, v, "wanted floats of %d axes", rank);
    for (int i = 0; i < rank; i++)
        SM_TRY(sm_inf_same_dim(c, slot, v->type.dims[i], dims[i], NULL));
    return SM_OK;
}

/* Weights and biases of one direction. */
static sm_status check_weights(sm_inf *c, bool back, int gates, sm_dim h, sm_dim in) {
    sm_dim rows = sm_dim_mul(c->g, h, gates), peep = sm_dim_mul(c->g, h, 3);
    SM_TRY(want_shape(c, back ? "weight_ih_back" : "weight_ih", 2, (sm_dim[]){rows, in}));
    SM_TRY(want_shape(c, back ? "weight_hh_back" : "weight_hh", 2, (sm_dim[]){rows, h}));
    SM_TRY(want_shape(c, back ? "bias_back" : "bias", 1, &rows));
    SM_TRY(want_shape(c, back ? "peephole_back" : "peephole", 1, &peep));
    return back ? SM_OK : want_shape(c, "input_bias", 1, &rows);
}

sm_status sm_infer_recurrent(sm_inf *c) {
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    const sm_value *x = sm_arg(c->n, "x"), *hh = sm_arg(c->n, "weight_hh");
    bool lstm = c->n->op == SM_OP_LSTM, sequence = false;
    int gates = lstm ? 4 : c->n->op == SM_OP_GRU ? 3 : 1;
    sm_sv direction = {0};
    if (x->type.rank != 3 || !sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats [steps, batch, inputs]");
    if (hh->type.rank != 2)
        return sm_inf_bad(c, "weight_hh", hh, "wanted [%d * hidden, hidden]", gates);
    SM_TRY(want_word(c, "direction", directions, lstm ? 3 : 2));
    SM_TRY(want_activation(c, "recurrent_activation"));
    SM_TRY(want_activation(c, "cell_activation"));
    SM_TRY(want_activation(c, "activation"));
    SM_TRY(sm_inf_bool(c, "output_sequence", &sequence));
    sm_arg_str(c->n, "direction", &direction);
    bool both = sm_sv_is(direction, "bidirectional");
    sm_dim h = hh->type.dims[1], batch = x->type.dims[1], state[2] = {batch, sm_dim_mul(c->g, h, both ? 2 : 1)};
    SM_TRY(check_weights(c, false, gates, h, x->type.dims[2]));
    if (both && (sm_arg(c->n, "weight_ih_back") == NULL || sm_arg(c->n, "weight_hh_back") == NULL))
        return SM_FAIL(c->err, SM_BADINPUT, "bidirectional: weight_ih_back and weight_hh_back are missing");
    if (both)
        SM_TRY(check_weights(c, true, gates, h, x->type.dims[2]));
    SM_TRY(want_shape(c, "initial_h", 2, state));
    SM_TRY(want_shape(c, "initial_c", 2, state));
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, 3, (sm_dim[]){sequence ? x->type.dims[0] : 1, batch, state[1]}));
    SM_TRY(sm_inf_out(c, 1, x->type.dtype, 2, state));
    return lstm ? sm_inf_out(c, 2, x->type.dtype, 2, state) : SM_OK;
}
