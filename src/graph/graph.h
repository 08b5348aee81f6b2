/* SPDX-License-Identifier: MIT
 *
 * graph.h: the one program representation.
 *
 * A graph holds functions; a function holds a block; a block is a list of nodes in order of execution; a node is one row
 * of ops.def applied to values, and may own blocks (cond, while_loop).  Values are defined once (SSA).  Constants are
 * values without a node: they belong to the graph and may be used by any function; the text form and packages show them
 * as `const` just before their first use.
 *
 * Two kinds of function are told apart by their inputs only:
 *   row form   the model as families build it: axis 0 is t, the new tokens of one step of all sequences, ragged.
 *              Inputs: ids int32 [t], pos int32 [t], out int32 [r] (rows whose logits are wanted), batch (opaque: row ->
 *              sequence, cache pages).  Output: logits [r, vocab].
 *   as written anything else, e.g. a Core ML program: one sequence, dense tensors, states.
 *
 * Extents are sm_dim: a number, or a handle of a linear expression over named symbols (n, kv, kv - n ...), interned, so
 * that equal expressions are equal handles.  Small integer values also carry their elements as sm_dims (value->sym), so
 * that shape arithmetic is evaluated symbolically during inference.
 *
 * Ownership: everything hangs on the graph's arena; constant bytes are either in it or borrowed from a checkpoint or
 * package that must outlive the graph (sm_graph_keep hands such an owner over).  Passes build new functions rather than
 * editing in place.  Threads: one at a time while building; immutable and shareable afterwards.
 */
#ifndef SM_GRAPH_H
#define SM_GRAPH_H

#include "base/err.h"
#include "base/str.h"
#include "tensor/encoding.h"

/* ------------------------------------------------------------------ ops */
typedef enum sm_op {
#define OP(id, name, since, inputs, n_out, infer, cost, lift, doc) SM_OP_##id,
#include "graph/ops.def"
#undef OP
    SM_OP_COUNT_
} sm_op;

typedef enum sm_cost_class {
    SM_COST_NONE,
    SM_COST_MOVE,
    SM_COST_ELEM,
    SM_COST_EXP,
    SM_COST_REDUCE,
    SM_COST_MATMUL,
    SM_COST_ATTN
} sm_cost_class;
typedef enum sm_lift { SM_LIFT_ELEM, SM_LIFT_LAST, SM_LIFT_SHAPE, SM_LIFT_RULE, SM_LIFT_NO } sm_lift;

typedef struct sm_slot {
    char name[32];
    char kind; /* t v i I f b B s d L S K */
    bool optional, list;
    char def[24]; /* text of the default; "" when there is none */
    int since;    /* specification version that introduced it */
} sm_slot;
#define SM_MAX_SLOTS 18
#define SM_FUNCS_MAX 1024 /* of a graph: passes number its values anew for each */
#define SM_MAX_LISTS 4

typedef struct sm_op_row {
    const char *name, *doc;
    int since, n_out;
    sm_cost_class cost;
    sm_lift lift;
    int n_slots; /* slots other than lists */
    sm_slot slot[SM_MAX_SLOTS];
    int n_lists;
    sm_slot list[SM_MAX_LISTS];
} sm_op_row;
const sm_op_row *sm_op_row_of(sm_op op);
bool sm_op_of_name(sm_sv name, sm_op *out);
int sm_op_slot(sm_op op, const char *name); /* slot number; -1 when there is none */
int sm_op_list(sm_op op, const char *name); /* number of a list; -1 when there is none */
static inline bool sm_op_is_composite(sm_op op) {
    return sm_op_row_of(op)->since == 0;
}

/* ------------------------------------------------------------------ extents */
typedef int64_t sm_dim;
#define SM_DIM_UNKNOWN INT64_MIN               /* not even symbolically known */
#define SM_DIM_SYM_LIMIT (-((int64_t)1 << 40)) /* below: symbolic handle; at or above: a number */
static inline bool sm_dim_known(sm_dim d) {
    return d >= SM_DIM_SYM_LIMIT;
}

typedef struct sm_graph sm_graph;
/* Named symbol with bounds; the same name gives the same symbol, with the bounds narrowed.  lo >= 0; hi < 0: unbounded.
 * What is not a letter, digit, _ . or @ shows as _, so that extents read back. */
sm_dim sm_dim_symbol(sm_graph *g, const char *name, int64_t lo, int64_t hi);
sm_dim sm_dim_fresh(sm_graph *g); /* a new anonymous symbol: prints as "?" in MIL dialects, "?k" in ours */
sm_dim sm_dim_add(sm_graph *g, sm_dim a, sm_dim b);
sm_dim sm_dim_sub(sm_graph *g, sm_dim a, sm_dim b);
sm_dim sm_dim_mul(sm_graph *g, sm_dim a, sm_dim b); /* symbolic * symbolic is unknown */
sm_dim sm_dim_div(sm_graph *g, sm_dim a, sm_dim b); /* exact division of all terms (or a / a); else unknown */
/* Is a == b for all values of the symbols: 1 yes, 0 never equal (by bounds), -1 depends or unknown. */
int sm_dim_equal(sm_graph *g, sm_dim a, sm_dim b);
bool sm_dim_bounds(sm_graph *g, sm_dim d, int64_t *lo, int64_t *hi); /* false: no bound on one side */
/* Value under an assignment: sym_value[k] for symbol k (order of creation). */
int64_t sm_dim_eval(const sm_graph *g, sm_dim d, const int64_t *sym_value);
int sm_graph_n_symbols(const sm_graph *g);
int sm_graph_find_symbol(const sm_graph *g, const char *name); /* as sm_dim_symbol was asked; -1: none */
const char *sm_graph_symbol(const sm_graph *g, int k, int64_t *lo, int64_t *hi);
/* Symbol number when d is exactly one symbol (coefficient 1, no constant), else -1. */
int sm_dim_as_symbol(const sm_graph *g, sm_dim d);
const char *sm_dim_print(const sm_graph *g, sm_dim d, char *out, size_t cap);

/* ------------------------------------------------------------------ values, nodes, blocks, functions */
typedef enum sm_vkind { SM_V_TENSOR, SM_V_STATE, SM_V_BATCH, SM_V_LIST } sm_vkind;

typedef struct sm_type {
    sm_vkind kind;
    sm_dtype dtype; /* SM_STRING for string parameters */
    int rank;       /* 0..SM_MAX_RANK; of a list: that of its elements, as dtype and dims are */
    sm_dim dims[SM_MAX_RANK];
    sm_dim len; /* of a list: how many elements; SM_DIM_UNKNOWN: it may grow */
} sm_type;
bool sm_type_eq(const sm_type *a, const sm_type *b);

typedef struct sm_node sm_node;
typedef struct sm_block sm_block;
typedef struct sm_func sm_func;

/* A constant.  Numbers: `src` is where the bytes are and what they mean, `want`/`want_dtype` what they shall become
 * (pass `encode`; equal to src's until then); nothing is converted until a writer or backend asks (tensor/transcode.h).
 * Strings: `strs` with n_str entries (1 for a scalar). */
typedef struct sm_const {
    sm_tensor src;
    sm_encoding want;
    sm_dtype want_dtype;
    const sm_sv *strs;
    size_t n_str;
} sm_const;

typedef struct sm_value {
    const char *name; /* unique inside its function; for constants inside the graph */
    sm_type type;
    sm_node *def;  /* NULL for inputs and constants */
    int index;     /* result number of def */
    sm_const *cst; /* not NULL: a constant */
    sm_dim *sym;   /* elements of a small integer or bool value (row-major), when known symbolically; else NULL */
    const sm_block *in_of, *out_of; /* the block that it is an input of, the one that gave it out last; or NULL */
    uint32_t id;                    /* dense number inside the graph, for side tables */
} sm_value;

struct sm_node {
    sm_op op;
    sm_value **in;   /* one per slot of the row; NULL when absent */
    sm_value **list; /* the list slots' values: all of the first, all of the second ... */
    int n_list;      /* of all lists together; those of one op are equally long */
    sm_value **out;
    int n_out;
    sm_block **blocks;
    int n_blocks;
    sm_node *prev, *next;
    sm_block *block;
};

struct sm_block {
    sm_func *func;
    sm_node *owner;       /* NULL for a function's body */
    sm_value **in, **out; /* a function's inputs and outputs; a loop's variables and results */
    int n_in, n_out;
    sm_node *first, *last;
};

/* Values that some symbols take together, nothing else being allowed (Core ML's enumerated shapes).  The sets of a
 * function are independent of each other; the first row is the default. */
typedef struct sm_shape_set {
    int n_sym, n_rows;
    int *sym;       /* numbers of the graph's symbols */
    int64_t *value; /* [n_rows][n_sym] */
} sm_shape_set;

struct sm_func {
    sm_graph *graph;
    const char *name;
    int opset; /* Core ML specification version; 0 for a row-form function */
    sm_block *body;
    sm_shape_set *shapes;
    int n_shapes;
};

struct sm_graph {
    sm_arena *arena;
    sm_func **funcs;
    int n_funcs;
    uint32_t n_values; /* value ids are below this */
    struct sm_graph_priv *priv;
};

sm_status sm_graph_new(sm_graph **out, sm_err *err);
void sm_graph_free(sm_graph **g);
/* Runs free_fn(owner) when the graph is freed: for the checkpoint or package whose bytes constants borrow. */
sm_status sm_graph_keep(sm_graph *g, void *owner, void (*free_fn)(void *), sm_err *err);
sm_func *sm_graph_func(const sm_graph *g, const char *name); /* NULL when absent; name NULL: the first */
void sm_graph_drop_func(sm_graph *g, sm_func *f);            /* takes it off the list */
sm_status sm_graph_list(sm_graph *g, sm_func *const *f, int n,
                        sm_err *err);  /* the list is exactly these, of this graph */
int sm_func_n_nodes(const sm_func *f); /* nested blocks included */
/* Adds an empty set of n_rows rows over n_sym symbols, to be filled through *out. */
sm_status sm_func_add_shapes(sm_func *f, int n_sym, int n_rows, sm_shape_set **out, sm_err *err);
/* Gives f a set, or all sets, of another function of the graph whose inputs have the same symbols. */
sm_status sm_func_take_set(sm_func *f, const sm_shape_set *s, sm_err *err);
sm_status sm_func_take_shapes(sm_func *f, const sm_func *from, sm_err *err);

/* A slot's value by name; NULL when absent.  The op must have the slot. */
sm_value *sm_arg(const sm_node *n, const char *slot);
/* A list's values by name, *len of them.  The op must have the list. */
sm_value *const *sm_arg_list(const sm_node *n, const char *list, int *len);
/* Constant parameters: the slot's constant, else the row's default.  False when absent without default, or computed
 * at run time. */
bool sm_arg_int(const sm_node *n, const char *slot, int64_t *out);
bool sm_arg_float(const sm_node *n, const char *slot, double *out);
bool sm_arg_bool(const sm_node *n, const char *slot, bool *out);
bool sm_arg_str(const sm_node *n, const char *slot, sm_sv *out);
/* Number of a string parameter among words[], which ends with NULL, whatever its case; -1: none of them, or unknown. */
int sm_arg_word(const sm_node *n, const char *slot, const char *const *words);
/* Vector parameter into out[cap]; *n_out elements.  Uses constants and symbolic values that are numbers.  Negative
 * numbers pass unchanged. */
bool sm_arg_ints(const sm_node *n, const char *slot, int64_t *out, int cap, int *n_out);
bool sm_arg_dims(const sm_node *n, const char *slot, sm_dim *out, int cap, int *n_out); /* symbolic elements allowed */
/* Scalar or all-equal float constant (any float dtype, decoded). */
bool sm_value_float(const sm_value *v, double *out);
bool sm_value_int(const sm_value *v, int64_t *out);

/* ------------------------------------------------------------------ building */
/* A builder appends to one block and keeps the first error: calls after it return NULL and do nothing, so that code
 * that builds reads like a program; sm_build_end reports.  Every node's types are inferred as it is added. */
typedef struct sm_builder {
    sm_graph *g;
    sm_func *f;
    sm_block *b;
    sm_status st;
    sm_err err;
} sm_builder;
sm_status sm_func_new(sm_graph *g, const char *name, int opset, sm_func **out, sm_err *err);
void sm_build_start(sm_builder *b, sm_func *f); /* at the end of f's body */
sm_status sm_build_end(sm_builder *b, sm_err *err);
sm_value *sm_build_input(sm_builder *b, const char *name, sm_type type);
void sm_build_output(sm_builder *b, sm_value *v, const char *name); /* name: renames v when not NULL */
/* Gives a result exactly this name (file readers); another value that has it gets a suffix, an input's name is refused. */
void sm_build_rename(sm_builder *b, sm_value *v, const char *name);

/* sm_build(b, SM_OP_ADD, "name or NULL", "x", x, "y", y, NULL): slot name, value pairs; NULL values are absent slots.
 * Returns the first result (NULL after an error); further ones are at result->def->out[i]. */
sm_value *sm_build(sm_builder *b, sm_op op, const char *name, ...);
/* The same with the list slot's n values first. */
sm_value *sm_build_list(sm_builder *b, sm_op op, const char *name, sm_value *const *list, int n, ...);
/* The same from arrays: in[] has one entry per slot (NULL: absent). */
sm_node *sm_build_node(sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value *const *list,
                       int n_list);
/* Blocks for cond and while_loop: made first, filled through a builder of their own, then given to the node. */
sm_block *sm_build_block(sm_builder *b);
sm_node *sm_build_node_blocks(sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value *const *list,
                              int n_list, sm_block *const *blocks, int n_blocks);

/* Constants of the graph.  Small ones are interned by content. */
sm_value *sm_const_i32(sm_builder *b, int32_t v);
sm_value *sm_const_i32s(sm_builder *b, const int32_t *v, int n); /* [n] */
sm_value *sm_const_bool(sm_builder *b, bool v);
sm_value *sm_const_bools(sm_builder *b, const bool *v, int n);
sm_value *sm_const_str(sm_builder *b, const char *v);
sm_value *sm_const_f(sm_builder *b, sm_dtype t, double v); /* scalar of fp16 or fp32 */
/* Text, or a list of texts; they are borrowed. */
sm_value *sm_const_strs(sm_builder *b, const char *name, const sm_sv *strs, size_t n, bool scalar);
/* A tensor constant over borrowed or arena bytes; name is a hint made unique.  want = src's encoding and dtype. */
sm_value *sm_const_tensor(sm_builder *b, const char *name, const sm_tensor *src);
/* The same, copying dense data into the arena. */
sm_value *sm_const_data(sm_builder *b, const char *name, sm_dtype t, int rank, const int64_t *dims, const void *data);
/* An independent constant over the same source with another wanted encoding. */
sm_value *sm_const_as(sm_builder *b, const sm_value *v, const sm_encoding *want, sm_dtype want_dtype);

/* The same with `ones` axes of extent 1 behind its last: a matrix as the weight of a 1x1 convolution.  Fails
 * (SM_UNSUPPORTED) when v is no constant of numbers. */
sm_value *sm_const_behind(sm_builder *b, const sm_value *v, int ones);
/* Rows [row, row + n) of a matrix, or elements of a vector.  Fails (SM_UNSUPPORTED) where parts of its encoding do not divide there. */
sm_value *sm_const_rows(sm_builder *b, const sm_value *v, int64_t row, int64_t n);

/* ------------------------------------------------------------------ whole functions */
/* Copies node n into the builder with inputs mapped by sm_map_value; records its results in map.  For passes that
 * rebuild: everything they do not rewrite goes through here.  Nested blocks are copied. */
sm_node *sm_build_copy(sm_builder *b, const sm_node *n, sm_value **map);
/* map[v->id] when set (also for constants: a pass may replace them); else a constant itself; else NULL. */
sm_value *sm_map_value(sm_value **map, sm_value *v);
sm_value **
sm_value_map_new(const sm_graph *g); /* zeroed side table by value id; values added later do not fit; sm_free */

/* Removes nodes whose results nobody uses and that write no state. */
sm_status sm_func_remove_dead(sm_func *f, sm_err *err);
/* Number of uses per value id (outputs count); heap array of g->n_values, sm_free. */
int *sm_func_uses(const sm_func *f);

/* Infers types and symbolic values of n's results from its inputs; called by the builder.  (graph/infer.h) */
sm_status sm_infer_node(sm_graph *g, sm_node *n, sm_err *err);
/* Structure, definitions before uses, slots, types as inference gives them, names unique. */
sm_status sm_verify(const sm_graph *g, sm_err *err);
sm_status sm_verify_func(const sm_func *f, sm_err *err);

/* ------------------------------------------------------------------ text form */
/* MIL text; composites as "smelt.name"; encoded constants carry enc = string("q4_1") and symbolic extents their names,
 * which MIL's own dialect writes as "?".  docs/text-form is the grammar. */
typedef struct sm_print_opts {
    bool mil;       /* strict MIL text: "?" for symbols, no smelt extensions (fails on composites) */
    bool anonymous; /* values renamed v0, v1 ... in order of definition: equal up to names becomes equal text */
    bool no_data;   /* constants over 16 elements print as their type, source name and a hash of nothing */
} sm_print_opts;
sm_status sm_graph_print(const sm_graph *g, const sm_print_opts *o, sm_str *out, sm_err *err);
sm_status sm_func_print(const sm_func *f, const sm_print_opts *o, sm_str *out, sm_err *err);
/* Parses text; blob(path, offset, type) resolves BLOBFILE references (NULL: refused). Errors name line and column. */
typedef sm_status (*sm_blob_resolver)(void *ctx, sm_sv path, uint64_t offset, sm_dtype t, int rank, const int64_t *dims,
                                      sm_tensor *out, sm_err *err);
sm_status sm_graph_parse(sm_sv text, const char *file, sm_blob_resolver blob, void *ctx, sm_graph **out, sm_err *err);

/* The same for a file that is more than its text. */
typedef struct sm_parse_opts {
    sm_graph *into;     /* functions are added here, also those before a failure; NULL: to a new graph */
    const char *prefix; /* before the functions' names; NULL: none */
    bool foreign;       /* not of our printing: declared ranks may be wrong, as in packages */
    sm_blob_resolver blob;
    /* A constexpr op over these operands (one per slot) as one constant; *out stays NULL when it shall be a node. */
    sm_status (*fold)(void *ctx, sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value **out,
                      sm_err *err);
    void *ctx;
    /* The labels of a classifier, in the order of its probabilities, whole numbers as text; NULL: nobody asks. */
    sm_status (*labels)(void *ctx, const sm_sv *label, size_t n, sm_err *err);
    const struct sm_flex_input *flex; /* of inputs whose text does not say it (graph/flex.h) */
    int n_flex;
} sm_parse_opts;
sm_status sm_graph_parse_with(sm_sv text, const char *file, const sm_parse_opts *o, sm_graph **out, sm_err *err);

/* ------------------------------------------------------------------ cost */
typedef struct sm_cost {
    double flops;
    double weight_bytes; /* constants read (each once) */
    double act_bytes;    /* activations read and written */
    double kv_bytes;     /* cache read and written */
} sm_cost;
/* With symbols set to sym_value[] and, for attention, kv_len cached positions. */
void sm_node_cost(const sm_graph *g, const sm_node *n, const int64_t *sym_value, int64_t kv_len, sm_cost *out);
void sm_func_cost(const sm_func *f, const int64_t *sym_value, int64_t kv_len, sm_cost *out);

#endif
