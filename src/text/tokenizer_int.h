/* SPDX-License-Identifier: MIT
 *
 * tokenizer_int.h: what the files of the tokenizer share.
 *
 *     tokenizer.c   loading, encode = partition + words + bos/eos, decode
 *     vocab.c       index of spellings and of merges
 *     special.c     which tokens are special, which end generation, cutting text at them
 *     pretok.c      pre-tokenizers: fragments to words
 *     merge.c       words to ids: BPE by merges, BPE by scores
 *     token_trie.c  which tokens begin at a place: for the four below
 *     wordpiece.c   BERT
 *     unigram.c     SentencePiece's Unigram
 *     rwkv.c        RWKV's World
 *     plamo.c       PLaMo 2
 *     dna.c         BPE with stretches of DNA
 *     detok.c       streams; spaces round WordPiece's punctuation
 */
#ifndef SM_TOKENIZER_INT_H
#define SM_TOKENIZER_INT_H

#include "text/tokenizer.h"

/* Bytes to one of many numbers, without copies: slots hold a number and 32 bits of the hash. */
typedef struct vocab_index {
    uint64_t *slots; /* tag << 32 | number + 1; 0: empty */
    size_t mask;
} vocab_index;

/* Attributes of a token: several can hold, as for a normal token that turns out to end a turn. */
enum {
    ATTR_NORMAL = 1,
    ATTR_UNKNOWN = 2,
    ATTR_CONTROL = 4,
    ATTR_USER = 8,
    ATTR_UNUSED = 16,
    ATTR_BYTE = 32,
    ATTR_LSTRIP = 64,  /* found in text, takes the white space before it along */
    ATTR_RSTRIP = 128, /* and after it */
};

/* Traits of a pre-tokenizer (pretokenizers.def). */
enum {
    PRE_WHOLE_WORDS = 1,  /* a word that is a token is that token, whatever the merges say */
    PRE_BOS = 2,          /* adds a beginning-of-text token unless the file says otherwise */
    PRE_ALWAYS_BOS = 4,   /* even if the file says otherwise */
    PRE_NO_BOS = 8,       /* has no beginning-of-text token unless the file names one */
    PRE_RAW = 16,         /* merges run on UTF-8, not on the printable form of bytes */
    PRE_ESCAPE = 32,      /* spaces become U+2581 before anything else */
    PRE_NEWLINE_RUNS = 64 /* a run of newlines that is a token is that token */
};

typedef struct pretok pretok;
/* SM_UNSUPPORTED when the name is unknown. */
sm_status pretok_new(sm_sv name, pretok **out, sm_err *err);
void pretok_free(pretok **p);
unsigned pretok_traits(const pretok *p);
/* Buffers of one encode call: match data of the regular expressions. */
typedef struct pretok_run pretok_run;
pretok_run *pretok_run_new(const pretok *p); /* NULL when out of memory */
void pretok_run_free(pretok_run **r);
/* Calls word(ctx, ..) for each word of a fragment, in order; stops at its first failure. */
sm_status pretok_split(const pretok *p, pretok_run *r, sm_sv fragment, sm_status (*word)(void *ctx, sm_sv word),
                       void *ctx, sm_err *err);

/* A trie of the special tokens: children of a node are a list of siblings. */
typedef struct trie_node {
    uint32_t child, sibling; /* 0: none (the root is nobody's child) */
    int32_t order;           /* of the token that ends here, in order of precedence; -1: none */
    uint8_t byte;
} trie_node;

typedef struct special_set {
    int32_t *ids; /* longest first: the order of precedence */
    size_t n;
    struct {
        trie_node *v;
        size_t n, cap;
    } trie;              /* v[0] is the root */
    uint32_t first[256]; /* the root's children by byte */
} special_set;

/* Which tokens begin at a place of a text.  Node 0 is the root. */
typedef struct token_node {
    uint32_t first; /* child; the others follow */
    int32_t id;     /* of the token that ends here, or SM_NO_TOKEN */
    uint16_t kids;
} token_node;

typedef struct token_trie {
    token_node *nodes;  /* NULL: no tokens */
    uint8_t *bytes;     /* that lead to each node */
    uint32_t root[256]; /* the root's children by byte; 0: none */
    size_t longest;     /* token, in bytes */
} token_trie;

/* A Unigram vocabulary's replacements of characters (unigram.c has the layout); borrowed from the file. */
typedef struct char_map {
    const char *units, *texts;
    size_t n_units, n_texts;
} char_map;

typedef enum tokenizer_kind { KIND_BPE, KIND_SPM, KIND_WORDPIECE, KIND_UNIGRAM, KIND_RWKV, KIND_PLAMO } tokenizer_kind;

struct sm_tokenizer {
    const sm_checkpoint *c;
    tokenizer_kind kind;
    char kind_text[64];
    unsigned traits; /* PRE_* */
    bool space_prefix, add_bos, add_eos;
    bool lower_case, strip_accents; /* WordPiece; BPE of words between white space: lower_case */
    bool merge_spaces;              /* Unigram: runs of spaces become one, those at the ends go */

    const sm_sv *text; /* borrowed, n of them */
    int32_t n;
    uint8_t *attr;
    const sm_meta *scores; /* NULL: all 0 */
    vocab_index index;

    const sm_sv *merges; /* borrowed; "left right", by rank */
    size_t n_merges;
    vocab_index merge_index;
    pretok *pre;
    bool words_end;         /* some stretches of escaped text never merge with each other: */
    bool before_space[256]; /* these bytes stand before U+2581 inside tokens; after the others it begins one */
    int32_t byte_id[256];   /* spelled <0xHH>, else the byte itself (raw BPE: none), else SM_NO_TOKEN */

    bool by_white; /* BPE: white space separates words and goes */
    bool dna;      /* BPE: dna.c; these three are tokens then */
    int32_t dna_open, dna_close, dna_unknown;

    token_trie trie; /* of the kinds that have no merges */
    token_trie user; /* Unigram: of user-defined tokens */
    char_map map;
    float unknown_score; /* Unigram */

    int32_t bos, eos, eot, eom, unk, pad, sep, cls;
    int32_t last; /* what add_eos adds: sep of WordPiece, else eos */
    int32_t fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep;
    struct {
        int32_t *v;
        size_t n, cap;
    } ends; /* ascending */
    special_set special;
};

/* vocab.c */
sm_status vocab_index_tokens(sm_tokenizer *t, sm_err *err);
sm_status vocab_index_merges(sm_tokenizer *t, sm_err *err);
int32_t vocab_find(const sm_tokenizer *t, const char *p, size_t n);
/* Rank of the merge of p[0..left) and p[left..n), or -1. */
int32_t vocab_merge_rank(const sm_tokenizer *t, const char *p, size_t left, size_t n);
float vocab_score(const sm_tokenizer *t, int32_t id);
/* The printable form of bytes that byte-level BPE merges: each byte is one character, 1 or 2 bytes long. */
void vocab_bytes_encode(const char *p, size_t n, sm_str *out);
/* The byte that one such character stands for, or -1. */
int vocab_bytes_decode(uint32_t cp);

/* special.c */
sm_status special_load(sm_tokenizer *t, sm_err *err);
void special_free(special_set *s);
/* Calls part() for text between special tokens and for the tokens, in order. */
typedef struct special_sink {
    sm_status (*text)(void *ctx, sm_sv fragment);
    sm_status (*token)(void *ctx, int32_t id);
    void *ctx;
} special_sink;
sm_status special_split(const sm_tokenizer *t, sm_sv text, bool control, const special_sink *sink, sm_err *err);

/* merge.c: symbols of one word (or, with scores, of a fragment), and the queue of what may be merged. */
typedef struct merge_symbol {
    uint32_t start, n; /* n == 0: merged into its left neighbour */
    int32_t prev, next;
} merge_symbol;
typedef struct merge_pair {
    float key;               /* rank, or the negated score: the lowest goes first, then the leftmost */
    uint32_t left, right, n; /* n: bytes of both when it was queued; another length now means it is stale */
} merge_pair;
typedef struct merge_run {
    struct {
        merge_symbol *v;
        size_t n, cap;
    } sym;
    struct {
        merge_pair *v;
        size_t n, cap;
    } heap;
    sm_str buf;              /* escaped or byte-encoded text */
    struct merge_memo *memo; /* words of this call and their ids; NULL: not kept */
    size_t memo_mask;
} merge_run;
void merge_run_free(merge_run *r);
void merge_run_expect(merge_run *r, size_t n_text); /* bytes to come: whether it is worth to remember words */
void merge_load(sm_tokenizer *t);                   /* once the vocabulary is there: where words end */
/* Appends the ids of a text inside which anything may merge; its spaces are escaped where the vocabulary wants that. */
sm_status merge_text(const sm_tokenizer *t, merge_run *r, sm_sv text, sm_ids *out, sm_err *err);
void merge_escape_spaces(sm_sv text, sm_str *out);

/* token_trie.c */
/* Of the tokens `ids` (each below 2^31), spelled text[id], not empty.  *x is zeroed before. */
sm_status token_trie_make(token_trie *x, const sm_sv *text, const int32_t *ids, size_t n, sm_err *err);
void token_trie_free(token_trie *x); /* safe on a zeroed one */
/* The node that byte leads to; 0 for none. */
static inline uint32_t token_trie_step(const token_trie *x, uint32_t node, uint8_t byte) {
    if (node == 0)
        return x->root[byte];
    const token_node *v = &x->nodes[node];
    for (uint32_t k = v->first; k < v->first + v->kids; k++)
        if (x->bytes[k] == byte)
            return k;
    return 0;
}
/* The longest token at the beginning of p[0..n), or SM_NO_TOKEN. */
int32_t token_trie_longest(const token_trie *x, const char *p, size_t n, size_t *len);

/* wordpiece.c; the load functions of these kinds are called once tokens and types are there. */
sm_status wordpiece_encode(const sm_tokenizer *t, merge_run *r, sm_sv text, sm_ids *out, sm_err *err);
bool text_is_white(uint32_t cp);

/* unigram.c */
typedef struct lattice_step {
    double score;  /* of the best way to this place */
    int32_t id;    /* its last token; SM_NO_TOKEN: unknown, and the vocabulary has no token for that */
    uint32_t from; /* where that token begins */
} lattice_step;
typedef struct lattice_run {
    lattice_step *v;
    size_t cap;
    sm_str buf; /* normalised text */
} lattice_run;
sm_status unigram_load(sm_tokenizer *t, sm_err *err);
sm_status unigram_encode(const sm_tokenizer *t, lattice_run *l, sm_sv text, sm_ids *out, sm_err *err);

/* rwkv.c */
sm_status rwkv_load(sm_tokenizer *t, sm_err *err);
sm_status rwkv_encode(const sm_tokenizer *t, sm_sv text, sm_ids *out, sm_err *err);
void rwkv_unescape(sm_sv s, sm_str *out);

/* plamo.c */
sm_status plamo_load(sm_tokenizer *t, sm_err *err);
sm_status plamo_encode(const sm_tokenizer *t, sm_sv text, sm_ids *out, sm_err *err);

/* dna.c */
bool dna_load(sm_tokenizer *t);                    /* false when the vocabulary has no DNA: plain BPE */
sm_sv dna_text(const sm_tokenizer *t, int32_t id); /* a token's spelling as it is printed */
/* Calls words() for what is not DNA. */
sm_status dna_split(const sm_tokenizer *t, sm_sv text, sm_status (*words)(void *ctx, sm_sv text), void *ctx,
                    sm_ids *out, sm_err *err);

/* detok.c: WordPiece's text without the spaces that its tokens put before punctuation and contractions. */
void detok_clean(const char *p, size_t n, sm_str *out);
void detok_drop_space(sm_str *s, size_t from); /* the one at s->p[from], if it is one */
/* tokenizer.c: bytes of one token, as sm_tokenizer_decode gives them in the middle of a text. */
void token_piece(const sm_tokenizer *t, int32_t id, unsigned flags, sm_str *out);
/* Encoding puts a space before the text, which decoding takes away again. */
bool token_puts_space_first(const sm_tokenizer *t);

#endif
