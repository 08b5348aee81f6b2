/* SPDX-License-Identifier: MIT
 *
 * ref_rnn.c: rnn, gru, lstm.
 *
 * x [s, b, in]; a state is [b, h]; the rows of the weights [gates * h, in] and [gates * h, h] are the gates in order: gru
 * r, o, z; lstm i, f, o, z.  What coremltools' own tests of Core ML pin down and the ops' descriptions leave open:
 *
 *     scaled_tanh is tanh, hard_sigmoid is min(max(0.2 x + 0.5, 0), 1), linear is x
 *     gru: the reset gate multiplies the state before weight_hh; with reset_after, what weight_hh and bias make of it
 *     lstm: clip bounds the cell state, and the output gate's peephole sees the new one
 *     reverse: the sequence is in order of computation, the last step of x first; in a bidirectional lstm the second half
 *     of each step belongs to that step of x
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ref/ref_int.h"

typedef double (*act_fn)(double x);

static double act_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double act_relu(double x) {
    return x < 0 ? 0 : x;
}
static double act_linear(double x) {
    return x;
}
static double act_hard_sigmoid(double x) {
    return fmin(fmax(0.2 * x + 0.5, 0), 1);
}

static sm_status activation(const ref_call *c, const char *slot, act_fn *out) {
    static const struct {
        const char *name;
        act_fn fn;
    } known[] = {{"tanh", tanh},
                 {"scaled_tanh", tanh},
                 {"sigmoid", act_sigmoid},
                 {"relu", act_relu},
                 {"linear", act_linear},
                 {"hard_sigmoid", act_hard_sigmoid},
                 {"sigmoid_hard", act_hard_sigmoid}};
    *out = tanh;
    if (sm_op_slot(c->node->op, slot) < 0)
        return SM_OK;
    for (size_t i = 0; i < SM_ARRAY_LEN(known); i++) {
        if (ref_str_is(c, slot, known[i].name)) {
            *out = known[i].fn;
            return SM_OK;
        }
    }
    return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown %s", slot);
}

/* One direction. */
typedef struct cell {
    sm_op op;
    int64_t s, b, in, h;
    const float *ih, *hh, *bias, *in_bias, *peep; /* the last three may be NULL */
    act_fn gate, middle, out;
    double clip; /* 0: none */
    bool reset_after;
    double *pre;                  /* [4 h] what the gates see, without biases */
    float *turned;                /* [h] the state times the reset gate */
    float *h_now, *c_now, *h_new; /* [b, h], [b, h], [h] */
} cell;

static double bias_of(const float *b, int64_t i) {
    return b == NULL ? 0 : (double)b[i];
}

/* Row r of both weights against x and state, and its biases. */
static double row(const cell *l, int64_t r, const float *x, const float *state) {
    return (double)ref_dot(l->ih + r * l->in, x, l->in) + (double)ref_dot(l->hh + r * l->h, state, l->h) +
           bias_of(l->bias, r) + bias_of(l->in_bias, r);
}

static void step_gru(cell *l, const float *x, const float *state) {
    int64_t n = l->h;
    for (int64_t k = 0; k < n; k++) {
        double r = l->gate(row(l, k, x, state));
        l->pre[k] = r;
        l->turned[k] = (float)(r * (double)state[k]);
    }
    for (int64_t k = 0; k < n; k++) {
        double z = l->gate(row(l, 2 * n + k, x, state)), o;
        if (l->reset_after)
            o = (double)ref_dot(l->ih + (n + k) * l->in, x, l->in) + bias_of(l->in_bias, n + k) +
                l->pre[k] * ((double)ref_dot(l->hh + (n + k) * n, state, n) + bias_of(l->bias, n + k));
        else
            o = row(l, n + k, x, l->turned);
        l->h_new[k] = (float)((1 - z) * l->out(o) + z * (double)state[k]);
    }
}

static void step_lstm(cell *l, const float *x, const float *state, float *c) {
    int64_t n = l->h;
    for (int64_t k = 0; k < n; k++) {
        double was = (double)c[k], i = row(l, k, x, state), f = row(l, n + k, x, state),
               o = row(l, 2 * n + k, x, state);
        i = l->gate(i + bias_of(l->peep, k) * was);
        f = l->gate(f + (l->peep == NULL ? 0 : (double)l->peep[n + k] * was));
        double now = f * was + i * l->middle(row(l, 3 * n + k, x, state));
        if (l->clip > 0)
            now = fmin(fmax(now, -l->clip), l->clip);
        o = l->gate(o + (l->peep == NULL ? 0 : (double)l->peep[2 * n + k] * now));
        c[k] = (float)now;
        l->h_new[k] = (float)(o * l->out(now));
    }
}

/* All steps; backwards: from x's last one.  y takes element (row, b, k) at (row * b + ..) * width + k. */
static void run_cell(cell *l, const float *x, bool backwards, bool sequence, bool in_place, float *y, int64_t width) {
    for (int64_t t = 0; t < l->s; t++) {
        int64_t at = backwards ? l->s - 1 - t : t, to = in_place ? at : t;
        for (int64_t b = 0; b < l->b; b++) {
            const float *in = x + (at * l->b + b) * l->in;
            float *state = l->h_now + b * l->h;
            if (l->op == SM_OP_LSTM)
                step_lstm(l, in, state, l->c_now + b * l->h);
            else if (l->op == SM_OP_GRU)
                step_gru(l, in, state);
            else
                for (int64_t k = 0; k < l->h; k++)
                    l->h_new[k] = (float)l->out(row(l, k, in, state));
            memcpy(state, l->h_new, (size_t)l->h * sizeof *state);
            if (sequence)
                memcpy(y + (to * l->b + b) * width, state, (size_t)l->h * sizeof *state);
        }
    }
    for (int64_t b = 0; !sequence && b < l->b; b++)
        memcpy(y + b * width, l->h_now + b * l->h, (size_t)l->h * sizeof *y);
}

/* An operand of n floats, or NULL when it is absent. */
static sm_status floats(const ref_call *c, const char *slot, bool back, int64_t n, const float **out) {
    char name[32];
    snprintf(name, sizeof name, "%s%s", slot, back ? "_back" : "");
    const ref_val *v = sm_op_slot(c->node->op, name) < 0 ? NULL : ref_in(c, name);
    *out = v == NULL ? NULL : v->f;
    if (v != NULL && (!ref_is_float(v) || v->n != n))
        return SM_FAIL(c->err, SM_BADINPUT, "%s has %" PRId64 " elements, wanted %" PRId64, name, v->n, n);
    return SM_OK;
}

static sm_status cell_weights(const ref_call *c, bool back, int64_t gates, cell *l) {
    int64_t rows, ih, hh; /* beside an axis of none the others may be any number */
    if (__builtin_mul_overflow(SM_MAX(gates, 3), l->h, &rows) || __builtin_mul_overflow(gates * l->h, l->in, &ih) ||
        __builtin_mul_overflow(gates * l->h, l->h, &hh))
        return SM_FAIL(c->err, SM_BADINPUT, "weights of %" PRId64 " inputs and %" PRId64 " states are too large", l->in,
                       l->h);
    rows = gates * l->h;
    SM_TRY(floats(c, "weight_ih", back, ih, &l->ih));
    SM_TRY(floats(c, "weight_hh", back, hh, &l->hh));
    SM_TRY(floats(c, "bias", back, rows, &l->bias));
    SM_TRY(floats(c, "input_bias", back, rows, &l->in_bias));
    SM_TRY(floats(c, "peephole", back, 3 * l->h, &l->peep));
    return l->ih == NULL || l->hh == NULL ? SM_FAIL(c->err, SM_BADINPUT, "weights are missing") : SM_OK;
}

/* State number `part` of a direction: columns of [b, width] to or from [b, h]. */
static void move_state(const cell *l, float *own, float *whole, int64_t width, bool out) {
    for (int64_t b = 0; b < l->b; b++)
        memcpy(out ? whole + b * width : own + b * l->h, out ? own + b * l->h : whole + b * width,
               (size_t)l->h * sizeof *own);
}

/* Direction d of the op into its results. */
static sm_status run_direction(ref_call *c, cell *l, int d, int64_t gates, bool backwards, bool both, int64_t width) {
    const ref_val *h0 = ref_in(c, "initial_h"), *c0 = l->op == SM_OP_LSTM ? ref_in(c, "initial_c") : NULL;
    size_t state = (size_t)l->b * (size_t)l->h, off = (size_t)(d * l->h);
    SM_TRY(cell_weights(c, d == 1, gates, l));
    float *mem = sm_alloc_n(2 * state + 2 * (size_t)l->h + 1, sizeof *mem);
    l->pre = sm_alloc_n((size_t)l->h + 1, sizeof *l->pre);
    sm_status st = mem == NULL || l->pre == NULL ? SM_NOMEM(c->err) : SM_OK;
    if (st == SM_OK) {
        l->h_now = mem;
        l->c_now = mem + state;
        l->h_new = l->c_now + state;
        l->turned = l->h_new + l->h;
        move_state(l, l->h_now, h0->f + off, width, false);
        if (c0 != NULL)
            move_state(l, l->c_now, c0->f + off, width, false);
        run_cell(l, ref_in(c, "x")->f, backwards, ref_bool(c, "output_sequence"), both, ref_out(c, 0)->f + off, width);
        move_state(l, l->h_now, ref_out(c, 1)->f + off, width, true);
        if (c0 != NULL)
            move_state(l, l->c_now, ref_out(c, 2)->f + off, width, true);
    }
    sm_free(mem);
    sm_free(l->pre);
    return st;
}

static bool is_state(const ref_val *v, const cell *l, int64_t width) {
    return v->rank == 2 && ref_is_float(v) && v->dims[0] == l->b && v->dims[1] == width;
}

sm_status ref_recurrent(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *hh = ref_in(c, "weight_hh");
    sm_op op = c->node->op;
    bool lstm = op == SM_OP_LSTM, both = ref_str_is(c, "direction", "bidirectional");
    cell l = {
        .op = op, .reset_after = op == SM_OP_GRU && ref_bool(c, "reset_after"), .clip = lstm ? ref_num(c, "clip") : 0};
    if (x->rank != 3 || !ref_is_float(x) || hh->rank != 2)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted floats [steps, batch, inputs] and weights of 2 axes");
    l.s = x->dims[0], l.b = x->dims[1], l.in = x->dims[2], l.h = hh->dims[1];
    int64_t width;
    if (__builtin_mul_overflow(l.h, both ? 2 : 1, &width) || !is_state(ref_in(c, "initial_h"), &l, width) ||
        (lstm && !is_state(ref_in(c, "initial_c"), &l, width)))
        return SM_FAIL(c->err, SM_BADINPUT, "the initial state is not [batch, hidden]");
    SM_TRY(activation(c, "recurrent_activation", &l.gate));
    SM_TRY(activation(c, "cell_activation", &l.middle));
    SM_TRY(activation(c, "activation", &l.out));
    int64_t state[2] = {l.b, width};
    SM_TRY(ref_result(c, 0, x->dtype, 3, (int64_t[]){ref_bool(c, "output_sequence") ? l.s : 1, l.b, width}));
    SM_TRY(ref_result(c, 1, x->dtype, 2, state));
    if (lstm)
        SM_TRY(ref_result(c, 2, x->dtype, 2, state));
    int gates = lstm ? 4 : op == SM_OP_GRU ? 3 : 1;
    SM_TRY(run_direction(c, &l, 0, gates, ref_str_is(c, "direction", "reverse"), both, width));
    return both ? run_direction(c, &l, 1, gates, true, true, width) : SM_OK;
}
