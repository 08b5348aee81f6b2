/* SPDX-License-Identifier: MIT
 *
 * smelt.h: the public interface of smelt, and the only one.
 *
 * Two nouns: a model (a checkpoint or package opened, with its tokenizer) and a session (one timeline over it: tokens
 * in, logits and tokens out).  Beside them whole jobs, each one call: convert, inspect, eval, check, predict, bench,
 * doctor.
 *
 *     smelt_model_open(path, NULL, &m, &e);                             // weights are mapped, not read
 *     smelt_chat_prompt(m, messages, n_messages, &text, &n_text, &e);   // or any text of your own
 *     smelt_tokenize(m, text, n_text, SMELT_CHAT, &ids, &n, &e);        // SMELT_BOS | SMELT_SPECIAL for your own
 *     smelt_session_new(m, NULL, &s, &e);
 *     smelt_session_prompt(s, ids, n, &e);
 *     do {
 *         smelt_session_next(s, &t, &e);
 *         fwrite(t.text, 1, t.n_text, stdout);
 *     } while (t.finish == SMELT_GOING);
 *
 * examples/complete.c is that, whole.  Compile with  $(pkg-config --cflags --libs smelt),  as C11 or C++11 and later.
 *
 * Conventions
 *   Errors      every call that can fail returns a smelt_status (0 is success) and fills the smelt_error, which may be
 *               NULL and belongs to the caller.  What is handed out through ** is NULL then.  Nothing prints but the
 *               progress bars that are asked for, and nothing exits.
 *   Options     structs start with their size (sizeof), so that a program built against an older header keeps working:
 *               fields beyond it take their defaults, and so do zeros (smelt_sampling is the exception, and says so).  A
 *               NULL pointer is all defaults.  Options are read during the call; what is kept longer is said.
 *   Reports     structs that are filled (infos, tokens, reports) have no size: they are as the header in use has them.
 *   Ownership   what a call hands out through ** is the caller's: models and sessions by their own free, arrays and
 *               strings by smelt_free.  Strings inside info structs belong to the model, those given to a callback last
 *               until it returns.
 *   Text        UTF-8.  Lengths count bytes; strings without a length end with a zero.
 *   Threads     models may be shared once open, and different sessions, of one model or of several, run in different
 *               threads at the same time and give what they give alone.  One session is used by one thread at a time.
 *               Callbacks come in the thread that made the call.  Free a model after its sessions.
 *   Cancelling  smelt_cancel is one switch for the process: all running calls stop.  To end one reply among several, no
 *               longer ask its session for tokens.
 */
#ifndef SMELT_H
#define SMELT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* all else in the library is hidden */
#endif

typedef enum smelt_status {
    SMELT_OK = 0,
    SMELT_FAILED = -1,      /* a check ran and found a difference */
    SMELT_USAGE = -2,       /* wrong arguments */
    SMELT_BADINPUT = -3,    /* missing or malformed input */
    SMELT_UNSUPPORTED = -4, /* well-formed, but not supported here */
    SMELT_RESOURCE = -5,    /* out of memory, disk or context length */
    SMELT_CANCELLED = -6,   /* smelt_cancel() */
} smelt_status;

typedef struct smelt_error {
    smelt_status code;
    char message[768]; /* one line: file, field, place, what was wanted, what was found */
    char hint[256];    /* what to do next; may be empty */
} smelt_error;

const char *smelt_version(void);     /* "0.1.0"; a constant */
int smelt_exit_code(smelt_status s); /* what the program exits with: 0..5, 130 */
void smelt_free(void *p);            /* arrays and strings that smelt handed out */
/* true asks all running calls to stop: they return SMELT_CANCELLED soon, and so do later ones until it is withdrawn with
 * false.  Safe in signal handlers and from any thread.  A session that was stopped can go on after that; no output file
 * is left half written. */
void smelt_cancel(bool on);

/* ------------------------------------------------------------------ models */
typedef struct smelt_model smelt_model;

typedef struct smelt_model_options {
    size_t size;
    const char *tokenizer; /* file to take vocabulary and template from; NULL: the model's own */
    bool text_only;        /* tokenizer and template only: nothing to compute with */
} smelt_model_options;

typedef struct smelt_model_info {
    const char *format;       /* "gguf v3", "mlpackage" */
    const char *name;         /* "" when the file does not say */
    const char *architecture; /* the file's word; "" for packages that do not say */
    int32_t layers, vocab;
    int32_t trained_context; /* 0: unknown */
    int32_t package_context; /* positions a package's caches hold; 0: not a package */
    uint64_t parameters, file_bytes;
    bool has_tokenizer, has_chat_template, adds_bos;
    double temp, top_p, min_p; /* of its generation config; negative: it does not say */
    int32_t top_k;
} smelt_model_info;

/* path: .gguf, the first part of a split .gguf, or .mlpackage.  The file is checked whole, mapped and borrowed: it must stay
 * as it is until the model is freed. */
smelt_status smelt_model_open(const char *path, const smelt_model_options *o, smelt_model **out, smelt_error *err);
void smelt_model_free(smelt_model **m); /* after its sessions; NULL-safe, nulls */
void smelt_model_get_info(const smelt_model *m, smelt_model_info *out);

/* ------------------------------------------------------------------ text */
enum {
    SMELT_BOS = 1,     /* begin (and end) as the model wants its texts */
    SMELT_SPECIAL = 2, /* special tokens spelled in the text are tokens, not text */
    SMELT_CHAT = 4,    /* text of smelt_chat_prompt: both, but a beginning that is written already is not doubled */
};
/* *ids [*n], by smelt_free.  flags: of the above.  Text that is not UTF-8 is SMELT_BADINPUT naming the offset. */
smelt_status smelt_tokenize(const smelt_model *m, const char *text, size_t n_text, int flags, int32_t **ids, size_t *n,
                            smelt_error *err);
/* The text is terminated; n_text does not count that.  Ids beyond the vocabulary are SMELT_BADINPUT. */
smelt_status smelt_detokenize(const smelt_model *m, const int32_t *ids, size_t n, char **text, size_t *n_text,
                              smelt_error *err);

typedef struct smelt_message {
    const char *role, *content; /* "system", "user", "assistant" */
} smelt_message;
/* The model's chat template applied, opening the assistant's turn.  The text names special tokens, its own beginning
 * included: tokenize it with SMELT_CHAT. */
smelt_status smelt_chat_prompt(const smelt_model *m, const smelt_message *messages, size_t n, char **text,
                               size_t *n_text, smelt_error *err);
/* The same for a whole request, a JSON object as chat servers take it:
 *     messages                role; content (a string, a list of parts, or null); name, tool_calls, tool_call_id, ...
 *     tools, documents        what the model is told about; a template called tool_use is then taken if there is one
 *     add_generation_prompt   open the assistant's turn; default true
 *     enable_thinking, ...    any other variable that the template may want
 *     chat_template_kwargs    an object of more of them, which win
 *     template                name of the template to take, where the model has several
 *     chat_template           text of the template to take instead of the model's */
smelt_status smelt_chat_prompt_json(const smelt_model *m, const char *json, size_t n_json, char **text, size_t *n_text,
                                    smelt_error *err);

/* ------------------------------------------------------------------ sampling */
typedef struct smelt_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY: never that token */
} smelt_logit_bias;

/* How a token is chosen from the logits; docs/sampling.md has the formulae.  Every field means what it says: zeros are
 * values, not defaults.  Begin with smelt_sampling_default and change what you want changed. */
typedef struct smelt_sampling {
    size_t size;
    double temp;                     /* 0.8; 0: always the most likely token */
    double dynatemp_range;           /* 0: off; else temp +- this, by how sure the model is */
    double dynatemp_exp;             /* 1 */
    int top_k;                       /* 40; the K most likely; 0: all */
    double top_p;                    /* 0.95; the most likely that hold P of the probability; 1: all */
    double min_p;                    /* 0; none below P times the most likely; 0: off */
    double typical_p;                /* 1; the most typical that hold P of the probability; 1: off */
    double top_n_sigma;              /* -1; none further below the best logit than N deviations; 0 or less: off */
    double xtc_probability;          /* 0; how often all but the last of the tokens above the threshold go; 0: off */
    double xtc_threshold;            /* 0.1; above 0.5: off */
    double repeat_penalty;           /* 1; divides logits of tokens that were there already; 1: off */
    double presence_penalty;         /* 0; taken off logits of tokens that were there already */
    double frequency_penalty;        /* 0; the same for each time they were there */
    int repeat_last_n;               /* 64; tokens that the three look back at; 0: none, -1: all */
    double dry_multiplier;           /* 0; penalty on going on with a repetition; 0: off */
    double dry_base;                 /* 1.75; its growth with each repeated token */
    int dry_allowed_length;          /* 2; repetitions up to this length are free */
    int dry_penalty_last_n;          /* 64; tokens that it looks back at; 0: none, -1: all */
    const char *const *dry_breakers; /* "\n", ":", "\"", "*"; texts that repetitions do not reach across */
    size_t n_dry_breakers;
    int mirostat;        /* 0; 1, 2: versions of Mirostat, which then takes the place of all truncation */
    double mirostat_tau; /* 5; surprise aimed at, in bits */
    double mirostat_eta; /* 0.1; learning rate */
    const smelt_logit_bias *logit_bias;
    size_t n_logit_bias;
    const char *samplers; /* what is applied in which order, ";" between:
                           * "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature" */
    uint64_t seed;        /* a random one; the same seed gives the same text */
} smelt_sampling;

/* The defaults above, and over them what the model's generation config says (m may be NULL).  out->size is set by the
 * caller: smelt_sampling p = {sizeof p}; fields beyond it are left alone.  Texts and lists in it are constants. */
void smelt_sampling_default(const smelt_model *m, smelt_sampling *out);

/* ------------------------------------------------------------------ sessions */
typedef struct smelt_session smelt_session;

typedef struct smelt_session_options {
    size_t size;
    const char *backend;            /* NULL: the fastest that can */
    int threads;                    /* 0: one per core */
    int32_t context;                /* positions; 0: what the model was trained for, at most 4096 */
    int32_t max_tokens;             /* tokens to make; 0: until the model stops or the context is full */
    const smelt_sampling *sampling; /* how tokens are chosen; NULL: the model's defaults and a random seed */
    const char *const *
        stop; /* texts that end the reply and are not part of it; none may be empty; borrowed while the session lives */
    size_t n_stop;
    int logprobs;    /* most likely tokens to report with each token; negative: not even the token's own */
    bool ignore_eos; /* tokens that end a reply are never chosen */
    bool progress;   /* a bar on stderr while a long prompt is computed, when it is a terminal */
    /* Tokens that are guessed ahead and computed together; the reply is the same token for token, made in fewer steps
     * where guesses hold.  Guesses come from `draft`, a smaller model of the same vocabulary, or, with NULL, from what
     * followed earlier where the text went the same way. */
    int32_t draft_tokens; /* of one step at most, up to 64; 0: none are guessed */
    smelt_model *draft;   /* borrowed while the session lives; set by smelt_session_new only, as is draft_tokens */
} smelt_session_options;

typedef enum smelt_finish { SMELT_GOING, SMELT_STOP, SMELT_LENGTH } smelt_finish;

typedef struct smelt_logprob {
    int32_t id;
    float logprob; /* natural; of the raw logits, before sampling */
} smelt_logprob;

typedef struct smelt_token {
    int32_t id;
    const char *text; /* text that became certain with it: whole characters, nothing that may begin a stop text */
    size_t n_text;
    float logprob;
    const smelt_logprob *top; /* most likely first */
    int n_top;
    smelt_finish finish; /* SMELT_STOP: the model's end token or a stop text; SMELT_LENGTH: max_tokens or context */
} smelt_token;

typedef struct smelt_session_info {
    const char *backend;
    char isa[32];
    int threads;
    int32_t context, length; /* positions: all, used */
    uint64_t seed;           /* the one used */
    uint64_t weight_bytes, kv_bytes;
    uint64_t drafted, accepted; /* tokens guessed ahead so far, and those of them that held */
} smelt_session_info;

smelt_status smelt_session_new(smelt_model *m, const smelt_session_options *o, smelt_session **out, smelt_error *err);
void smelt_session_free(smelt_session **s);
void smelt_session_get_info(const smelt_session *s, smelt_session_info *out);
/* Appends tokens and computes them.  More than the context holds is SMELT_RESOURCE: nothing is ever cut. */
smelt_status smelt_session_prompt(smelt_session *s, const int32_t *ids, size_t n, smelt_error *err);
/* Forgets all tokens but the first n.  What follows then is what would have followed in a new session. */
smelt_status smelt_session_rewind(smelt_session *s, size_t n, smelt_error *err);
/* Makes the session hold exactly these tokens, computed: the common beginning is kept, what differs is forgotten, the
 * rest appended.  A new reply begins (max_tokens and stop texts count from here).  *reused (may be NULL): tokens that
 * were not computed again.  A chat renders the whole conversation each turn and calls this, so that it is right with
 * every template and costs little more than what is new.  On failure the session holds what was computed so far. */
smelt_status smelt_session_sync(smelt_session *s, const int32_t *ids, size_t n, size_t *reused, smelt_error *err);
/* Other sampling, seed, limits, stop texts and logprobs for the replies that follow; the stop texts are borrowed again.
 * Backend, threads and context stay what they are.  Between replies only.  On failure nothing changes. */
smelt_status smelt_session_configure(smelt_session *s, const smelt_session_options *o, smelt_error *err);
/* Other sampling from the next token on; NULL: the model's defaults.  What p points to is copied.  Draws go on where
 * they are, or begin anew when the seed is another.  SMELT_USAGE, and nothing changes, when a value is out of its range. */
smelt_status smelt_session_set_sampling(smelt_session *s, const smelt_sampling *p, smelt_error *err);
/* Chooses the next token.  Texts and lists live until the next call. */
smelt_status smelt_session_next(smelt_session *s, smelt_token *out, smelt_error *err);
/* Logits [vocab] after the last token; computes them when needed. */
smelt_status smelt_session_logits(smelt_session *s, const float **logits, int32_t *vocab, smelt_error *err);

/* ------------------------------------------------------------------ convert */
/* One tensor as it was carried over.  Strings last until the callback returns. */
typedef struct smelt_tensor_report {
    const char *name;             /* in the source */
    const char *constant;         /* in the package */
    int64_t first_row, n_rows;    /* of a piece of the tensor; n_rows 0: all of it */
    const char *from, *to;        /* encodings */
    const char *how;              /* "same", "transcoded", "kept", "re-quantized", "widened" */
    uint64_t from_bytes, to_bytes;
    double nmse, max_error;     /* of the decoded values */
    double nmse16, max_error16; /* with the rounding to the package's fp16 */
} smelt_tensor_report;

/* Where a package leaves the compute units that it was asked for, by published rules (none was tried on a chip by us). */
typedef struct smelt_convert_note {
    const char *package; /* of several; NULL: the only one */
    const char *function;
    const char *rule, *where; /* its name; op and value it first holds of */
    const char *what, *hint;  /* what that means, what to do */
    const char *source;       /* "documented" by Apple, or "reported" */
    int count;                /* of values it holds of */
} smelt_convert_note;

typedef struct smelt_convert_options {
    size_t size;
    const char *kv;    /* "state", "io", "none"; NULL: state, and io before iOS18 and for the Neural Engine */
    const char *quant; /* "auto", "keep", "none", "int4", "int8", "uint4", "uint8", "lut1", 2, 3, 4, 6, 8; NULL: auto */
    int quant_block;   /* weights of a row that share a scale, anew; 0: 32; negative: the whole row */
    int32_t context;   /* positions; 0: trained, at most 2048 */
    const char *seq;   /* tokens per call: "N", "A..B", "N,M,.."; NULL: 1..context */
    const char *functions; /* "prefill:64,decode:1", "NAME:N@CONTEXT": several functions of fixed shapes; NULL: one */
    const char *units;     /* "all", "cpuAndGPU", "cpuOnly", "cpuAndNeuralEngine"; NULL: all */
    const char *target;    /* "iOS15".."iOS18", "iOS26", "macOS12".."macOS15", "macOS26"; NULL: iOS18 */
    const char *precision; /* "fp16", "fp32"; NULL: fp16 */
    const char
        *fp32; /* names (patterns with *, between commas) of what is computed in fp32 beside fp16; NULL: nothing */
    const char *mask;      /* "given", "made"; NULL: the design's */
    const char *attention; /* "fused", "decomposed"; NULL: the design's */
    const char *logits;    /* "all", "last", "argmax", "topk:K"; NULL: all */
    const char *tokenizer; /* as in smelt_model_options */
    bool dry_run;          /* report only, write nothing */
    bool progress;         /* a bar on stderr when it is a terminal */
    void (*on_tensor)(void *ctx, const smelt_tensor_report *t);
    void *ctx;
    int threads;         /* 0: one per core; the bytes written are the same for any number */
    const char *split;   /* several packages in a directory: "N", "layers:A-B,..", "units", "size:BYTES"; NULL: one */
    int32_t quant_group; /* output channels that share a palette (lut); 0: 16, or near; negative: all */
    void (*on_note)(void *ctx, const smelt_convert_note *n);
} smelt_convert_options;

typedef struct smelt_convert_report {
    int tensors, same, transcoded, kept, requantized, widened;
    uint64_t from_bytes, to_bytes, kv_bytes;
    int32_t context;
    int spec_version;
    double nmse; /* over all weights */
    int packages;
    double stream_scale; /* what the residual stream was multiplied with so that fp16 holds it; 1: nothing */
    double stream_most;  /* the most it can be by the weights, before; infinite where they do not bound it */
    int scaled, in_blocks; /* tensors of codes with scales; those of them in blocks of quant_block */
} smelt_convert_report;

/* in: a checkpoint; out: the package to write, whole or not at all (an old one is replaced).  Memory stays at a few slabs
 * of rows whatever the model's size.  report may not be NULL. */
smelt_status smelt_convert(const char *in, const char *out, const smelt_convert_options *o,
                           smelt_convert_report *report, smelt_error *err);

/* ------------------------------------------------------------------ other jobs */
typedef struct smelt_inspect_options {
    size_t size;
    bool graph, weights, json;
    bool ops;           /* how often each op stands in a checkpoint's program */
    bool metadata;      /* long values whole */
    bool chat_template; /* whole; as text: nothing else */
    bool hash;          /* the content hash, also of more than 1 GiB of weights */
    bool sha256;        /* of every file */
    bool progress;      /* a bar on stderr when it is a terminal */
    int32_t context;    /* positions for the memory estimate; 0: as a session would */
    int threads;
} smelt_inspect_options;
/* What a file holds, as text or JSON (docs/inspect.md). */
smelt_status smelt_inspect(const char *path, const smelt_inspect_options *o, char **text, size_t *n, smelt_error *err);

typedef struct smelt_doctor_options {
    size_t size;
    const char *model; /* NULL: none */
    int32_t context;   /* with a model; 0: as a session would */
    int threads;
    bool quick; /* measure nothing */
    bool json;
    const char *line_editor; /* version of the library that edits the program's lines; NULL: none */
} smelt_doctor_options;
/* What this machine is and can do, and what stands in the way, as text or JSON.  Measures for about two seconds. */
smelt_status smelt_doctor(const smelt_doctor_options *o, char **text, size_t *n, smelt_error *err);

typedef struct smelt_bench_options {
    size_t size;
    const char *prompts;     /* tokens of prompts, "128,512"; NULL: 512; "0": none */
    const char *generations; /* tokens to generate; NULL: 128; "0": none */
    const char *depths;      /* cached tokens before them; NULL: 0 */
    const char *sequences;   /* at once; NULL: 1 */
    int repetitions;         /* 0: 5 */
    const char *backend;
    int threads;
    int32_t context; /* 0: as many positions as the tests need */
    bool json, progress;
    const char *csv, *svg, *trace; /* files to write: a table, a chart, trace events by op; or NULL */
    const char *db;                /* SQLite file that keeps results; NULL: bench.db in the user's state folder */
    bool no_save;
    /* Results could not be kept.  They are handed out all the same. */
    void (*on_unsaved)(void *ctx, const smelt_error *why);
    void *ctx;
} smelt_bench_options;
/* How fast a model runs, and which part of the machine's limits, measured in the same run, that is: a table in Markdown, or
 * JSON (docs/performance.md). */
smelt_status smelt_bench(const char *path, const smelt_bench_options *o, char **text, size_t *n, smelt_error *err);
/* Past runs as a table or JSON.  db as above; model: name or file to pick by; NULL: all. */
smelt_status smelt_bench_history(const char *db, const char *model, bool json, char **text, size_t *n,
                                 smelt_error *err);

typedef struct smelt_eval_options {
    size_t size;
    const char *backend;
    int threads;
    int32_t context;        /* tokens of a window; 0: 512, or the package's */
    int top;                /* most likely tokens for on_token */
    const char *logits_npz; /* ids only: file for all logits, f32 [tokens, vocab] under the name "logits" */
    /* Each scored token in order: id and log-probability, and the most likely ones of its place.  With ids, one last
     * call has id -1: what would follow. */
    void (*on_token)(void *ctx, int32_t id, double logprob, const smelt_logprob *top, int n_top);
    void *ctx;
    bool progress;
} smelt_eval_options;

typedef struct smelt_eval_report {
    double ppl, ppl_error, nll; /* perplexity, its standard error, mean negative log-likelihood */
    uint64_t scored, tokens;
    int windows;
} smelt_eval_report;

/* ids: one window, as given.  text: windows of `context` tokens, of each the second half is scored. */
smelt_status smelt_eval_ids(smelt_model *m, const int32_t *ids, size_t n, const smelt_eval_options *o,
                            smelt_eval_report *out, smelt_error *err);
smelt_status smelt_eval_text(smelt_model *m, const char *text, size_t n, const smelt_eval_options *o,
                             smelt_eval_report *out, smelt_error *err);

/* Multiple choice: of each task's choices the one that the model finds most likely.  file: HellaSwag as JSON lines or as
 * llama.cpp's six lines a task, MMLU's CSV, or JSON lines with a question, choices and an answer; told apart by content.
 * "-" is standard input.  docs/evaluation.md has formats and scores. */
typedef struct smelt_choice_score {
    double logprob;             /* of the choice's tokens together */
    double per_byte, per_token; /* over its bytes; over its tokens from the first that differs between choices */
    int32_t tokens, bytes;
} smelt_choice_score;

typedef struct smelt_choice_task {
    uint64_t index;
    int line;                         /* in the file */
    int n, gold;                      /* choices; number of the right one */
    int pick, pick_norm, pick_token;  /* the most likely by logprob, per_byte, per_token */
    const smelt_choice_score *scores; /* [n] */
} smelt_choice_task;

typedef struct smelt_choices_options {
    size_t size;
    const char *backend;
    int threads;
    int32_t context;        /* positions of one choice; 0: as many as the longest needs */
    const char *style;      /* "text": choices continue the context; "letters": they are listed, letters scored; NULL or
                               "auto": letters for MMLU's CSV, else text */
    const char *shots_file; /* solved examples put before each task */
    int shots;              /* how many; 0: five */
    uint64_t tasks;         /* the first of the file only; 0: all */
    void (*on_task)(void *ctx, const smelt_choice_task *t); /* in the file's order */
    void *ctx;
    bool progress;
} smelt_choices_options;

/* A share with the standard error of a binomial and Wilson's 95 % interval. */
typedef struct smelt_rate {
    uint64_t count;
    double rate, error, low, high;
} smelt_rate;

typedef struct smelt_choices_report {
    const char *format; /* "hellaswag", "hellaswag-text", "mmlu", "json" */
    uint64_t tasks, tokens_computed;
    smelt_rate acc, acc_norm, acc_token; /* by pick, pick_norm, pick_token */
} smelt_choices_report;

smelt_status smelt_eval_choices(smelt_model *m, const char *file, const smelt_choices_options *o,
                                smelt_choices_report *out, smelt_error *err);

/* How far model b is from model a on one text: logits of the same tokens, row by row over the whole vocabulary. */
typedef struct smelt_check_op { /* locate: the results of one op in both */
    const char *op, *name_a, *name_b;
    int layer;                      /* -1: before the first layer; the number of layers: after the last */
    bool residual;                  /* the sum that the layers add to */
    double nmse, cosine, max_error; /* sum of squared errors over that of a's squares */
    double given, constants;        /* largest NMSE among what it was given, and among its constants */
    bool named;                     /* the first op where error jumps */
} smelt_check_op;

typedef struct smelt_check_const { /* a constant of the op that is named */
    const char *slot, *name_a, *name_b, *encoding_a, *encoding_b;
    double nmse, max_error; /* of the decoded values; NAN: other shapes */
} smelt_check_const;

typedef struct smelt_check_options {
    size_t size;
    const char *backend, *backend_b; /* backend_b NULL: as backend */
    int threads;
    int32_t context;         /* tokens of a window; 0: 512, or what both models hold */
    int64_t tokens;          /* first tokens of the text; 0: all */
    double min_top1, max_kl; /* 0: 0.97 and 0.02; negative: no threshold */
    bool locate;
    void (*on_op)(void *ctx, const smelt_check_op *op);
    void (*on_const)(void *ctx, const smelt_check_const *c);
    void *ctx;
    bool progress;
} smelt_check_options;

typedef struct smelt_check_report {
    bool pass;
    uint64_t rows, scored; /* rows of logits compared, tokens in the perplexities */
    int windows;
    int32_t vocab;
    double max_error, mean_error, rmse, psnr, snr, cosine, min_cosine; /* of logits; dB for the ratios */
    double kl, kl_error, kl_max, kl_p50, kl_p90, kl_p99;               /* mean, its standard error, ... in nats */
    double top1, ppl_a, ppl_b;
    int ops_a, ops_b, matched, layers; /* locate */
    double usual;                      /* median NMSE of the two models' matrices */
    bool found;                        /* an op was named */
} smelt_check_report;

/* text NULL: a short text of our own.  A threshold that is not met is SMELT_FAILED; the report is filled then too. */
smelt_status smelt_check(smelt_model *a, smelt_model *b, const char *text, size_t n, const smelt_check_options *o,
                         smelt_check_report *out, smelt_error *err);

/* One call of a program run as written: function (NULL: the default one) and the file of its inputs. */
typedef struct smelt_predict_call {
    const char *function, *npz;
} smelt_predict_call;
/* Runs the calls in order over shared states and writes DIR/0.npz, DIR/1.npz, ... */
smelt_status smelt_predict(const char *package, const smelt_predict_call *calls, size_t n, const char *out_dir,
                           const char *backend, int threads, smelt_error *err);

typedef struct smelt_knob {
    const char *name, *value, *def, *help;
} smelt_knob;
/* Environment variables that change how smelt works: an array by smelt_free, its strings constants. */
smelt_status smelt_knobs(smelt_knob **knobs, int *n, smelt_error *err);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
