/* SPDX-License-Identifier: MIT */
#include "small_vocab.h"
#include "sweep.h"
#include "text/tokenizer_int.h"

typedef struct fixture {
    small_vocab v;
    sm_checkpoint *c;
    sm_tokenizer *t;
} fixture;

static void open_with(fixture *f, const char *pre) {
    sm_err err = {0};
    f->c = small_checkpoint(&f->v, pre);
    assert_non_null(f->c);
    assert_int_equal(sm_checkpoint_index(f->c, &err), SM_OK);
    if (sm_tokenizer_new(f->c, &f->t, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void open_kind(fixture *f, const char *model) {
    sm_err err = {0};
    f->c = small_checkpoint_of(&f->v, model);
    assert_non_null(f->c);
    assert_int_equal(sm_checkpoint_index(f->c, &err), SM_OK);
    if (sm_tokenizer_new(f->c, &f->t, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void close_all(fixture *f) {
    sm_tokenizer_free(&f->t);
    sm_checkpoint_free(&f->c);
}

/* want: ids, ended by -1. */
static void check_ids(const fixture *f, const char *text, unsigned flags, const int32_t *want) {
    sm_ids ids = {0};
    sm_err err = {0};
    if (sm_tokenizer_encode(f->t, sm_sv_of(text), flags, &ids, &err) != SM_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.v[i] != want[i])
            fail_msg("'%s': id %zu is %d, wanted %d", text, i, ids.v[i], want[i]);
    assert_int_equal(want[ids.n], -1);
    sm_ids_free(&ids);
}
#define CHECK_IDS(f, text, flags, ...) check_ids(f, text, flags, (const int32_t[]){__VA_ARGS__ __VA_OPT__(, ) - 1})

static void check_text(const fixture *f, const char *want, unsigned flags, const int32_t *ids, size_t n) {
    sm_str s = SM_STR_INIT;
    sm_err err = {0};
    if (sm_tokenizer_decode(f->t, ids, n, flags, &s, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(sm_str_z(&s), want);
    sm_str_free(&s);
}
#define CHECK_TEXT(f, want, flags, ...)                                                                                \
    check_text(f, want, flags, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void scores_decide_the_merges(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, NULL);
    CHECK_IDS(&f, "", 0);
    CHECK_IDS(&f, "", SM_ENC_BOS, 1);
    CHECK_IDS(&f, "ab", SM_ENC_BOS, 1, SMALL_SPACE, SMALL_AB); /* ab scores more than the space's a */
    CHECK_IDS(&f, "abc", 0, SMALL_SPACE, SMALL_ABC);
    CHECK_IDS(&f, "ac b", 0, SMALL_SPACE_A, SMALL_C, SMALL_SPACE, SMALL_B);
    CHECK_IDS(&f, "aab", 0, SMALL_SPACE_A, SMALL_AB);
    close_all(&f);
}

static void bytes_stand_in_for_missing_characters(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, NULL);
    CHECK_IDS(&f, "\xc3\xa9\xc3\xaa", 0, SMALL_SPACE, SMALL_E, SMALL_BYTE(0xc3), SMALL_BYTE(0xaa));
    CHECK_IDS(&f, "x\n", 0, SMALL_SPACE, SMALL_BYTE('x'), SMALL_BYTE('\n'));
    CHECK_TEXT(&f, "\xc3\xa9\xc3\xaa", 0, SMALL_SPACE, SMALL_E, SMALL_BYTE(0xc3), SMALL_BYTE(0xaa));
    close_all(&f);
}

static void special_tokens_cut_the_text(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, NULL);
    CHECK_IDS(&f, "a<end_of_turn>a", SM_ENC_SPECIAL, SMALL_SPACE_A, 3, SMALL_SPACE_A);
    CHECK_IDS(&f, "<s>", SM_ENC_SPECIAL | SM_ENC_BOS, 1, 1);
    CHECK_IDS(&f, "<s>", 0, SMALL_SPACE, SMALL_BYTE('<'), SMALL_BYTE('s'), SMALL_BYTE('>'));
    /* user-defined ones always; the longer first, wherever it stands */
    CHECK_IDS(&f, "[user][user]xc", 0, 4, 5, SMALL_SPACE, SMALL_C);
    CHECK_IDS(&f, "a[user", 0, SMALL_SPACE_A, SMALL_BYTE('['), SMALL_BYTE('u'), SMALL_BYTE('s'), SMALL_BYTE('e'),
              SMALL_BYTE('r'));
    close_all(&f);
}

static void many_special_tokens_in_a_row(void **state) {
    enum { N = 5000 };
    fixture f = {0};
    sm_ids ids = {0};
    sm_str s = SM_STR_INIT;
    (void)state;
    open_with(&f, NULL);
    for (int i = 0; i < N; i++)
        sm_str_adds(&s, i % 2 ? "[user]" : "[user]x");
    assert_int_equal(sm_tokenizer_encode(f.t, (sm_sv){s.p, s.n}, 0, &ids, NULL), SM_OK);
    assert_int_equal(ids.n, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(ids.v[i], i % 2 ? 4 : 5);
    sm_ids_free(&ids);
    sm_str_free(&s);
    close_all(&f);
}

static void merges_decide_in_words(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, "gpt-2");
    CHECK_IDS(&f, "abc a", 0, SMALL_BPE_ABC, SMALL_BPE_SPACE_A);
    CHECK_IDS(&f, "aaab", 0, SMALL_BPE_AA, SMALL_BPE_AB);
    CHECK_IDS(&f, "a  a", 0, SMALL_BYTE('a'), SMALL_BYTE(' '), SMALL_BPE_SPACE_A);
    CHECK_IDS(&f, "\xc3\xa9", 0, SMALL_BYTE(0xc3), SMALL_BYTE(0xa9));
    CHECK_TEXT(&f, "abc a\xc3\xa9", 0, SMALL_BPE_ABC, SMALL_BPE_SPACE_A, SMALL_BYTE(0xc3), SMALL_BYTE(0xa9));
    assert_string_equal(sm_tokenizer_kind(f.t), "bpe (gpt-2)");
    close_all(&f);
}

static void whole_words_come_before_merges(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, "llama-bpe");
    f.v.types[SMALL_BPE_AA] = 1;
    CHECK_IDS(&f, "aa", SM_ENC_BOS, 1, SMALL_BPE_AA);
    CHECK_IDS(&f, "abc", 0, SMALL_BPE_ABC);
    close_all(&f);
}

static void wordpiece_takes_the_longest_tokens(void **state) {
    fixture f = {0};
    (void)state;
    open_kind(&f, "bert");
    assert_string_equal(sm_tokenizer_kind(f.t), "wordpiece");
    CHECK_IDS(&f, "", SM_ENC_BOS, 1, 2);
    CHECK_IDS(&f, "abc", SM_ENC_BOS, 1, SMALL_SPACE_A, SMALL_B, SMALL_C, 2);
    CHECK_IDS(&f, " BAbC\tb ", 0, SMALL_SPACE, SMALL_B, SMALL_ABC, SMALL_SPACE, SMALL_B);
    CHECK_IDS(&f, "a b<s>", SM_ENC_SPECIAL, SMALL_SPACE_A, SMALL_SPACE, SMALL_B, 1);
    /* accents and controls go; a word with something that is no token is unknown as a whole */
    CHECK_IDS(&f, "\xc3\xa1\xcc\x81\x01 c", 0, SMALL_SPACE_A, SMALL_SPACE, SMALL_C);
    CHECK_IDS(&f, "abx a", 0, 0, SMALL_SPACE_A);
    CHECK_IDS(&f,
              "a,\xe4\xb8\x80"
              "b",
              0, SMALL_SPACE_A, 0, 0, SMALL_SPACE, SMALL_B);
    CHECK_TEXT(&f, "a b", 0, 1, SMALL_SPACE_A, SMALL_SPACE, SMALL_B, 2);
    CHECK_TEXT(&f, "<s> a", SM_DEC_SPECIAL, 1, SMALL_SPACE_A);
    close_all(&f);
}

static void wordpiece_puts_punctuation_back(void **state) {
    static const char *const cases[][2] = {
        {" a , b .", "a, b."},
        {" a ' s b", "a's b"},
        {" it ' re b", "it're b"},
        {" it 'll", "it 'll"},
        {" a ' b ' c", "a'b'c"},
        {" ' '  ' a", "'' 'a"},
        {" .", "."},
        {" you 've 'd", "you've 'd"},
        {" a  . ' ! '", "a . '! '"},
        {"", ""},
        {" ", ""},
    };
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++) {
        sm_str s = SM_STR_INIT;
        detok_clean(cases[i][0], strlen(cases[i][0]), &s);
        detok_drop_space(&s, 0);
        assert_string_equal(sm_str_z(&s), cases[i][1]);
        sm_str_free(&s);
    }
}

static void unigram_takes_the_best_sum(void **state) {
    fixture f = {0};
    (void)state;
    open_kind(&f, "t5");
    assert_string_equal(sm_tokenizer_kind(f.t), "unigram");
    CHECK_IDS(&f, "", SM_ENC_BOS, 2);
    CHECK_IDS(&f, "abc", SM_ENC_BOS, SMALL_SPACE, SMALL_ABC, 2);
    CHECK_IDS(&f, "a ab  abc ", 0, SMALL_SPACE_A, SMALL_SPACE, SMALL_AB, SMALL_SPACE, SMALL_ABC);
    /* the map makes a of A; unknown characters in a row are one */
    CHECK_IDS(&f, "Ab", 0, SMALL_SPACE, SMALL_AB);
    CHECK_IDS(&f, "axyzb \xe4\xb8\x80", 0, SMALL_SPACE_A, 0, SMALL_B, SMALL_SPACE, 0);
    CHECK_IDS(&f, "  ", 0);
    CHECK_TEXT(&f, "a ab", 0, SMALL_SPACE_A, SMALL_SPACE, SMALL_AB);
    close_all(&f);
}

static void malformed_maps_are_refused(void **state) {
    fixture f = {0};
    sm_err err = {0};
    sm_ids ids = {0};
    (void)state;
    for (int i = 0; i < 4; i++) {
        f.c = small_checkpoint_of(&f.v, "t5");
        sm_meta *m = &f.c->meta[f.c->n_meta - 1];
        const uint32_t beyond = 1u << 31 | 77, all = SMALL_MAP_BYTES;
        if (i == 0)
            m->u.a.n = 3;
        else if (i == 1)
            memcpy(f.v.map, &all, 4);
        else if (i == 2)
            m->u.a.n--;
        else
            memcpy(f.v.map + 4 + 0x100 * 4, &beyond, 4);
        assert_int_equal(sm_checkpoint_index(f.c, NULL), SM_OK);
        sm_status st = sm_tokenizer_new(f.c, &f.t, &err);
        if (i == 3) {
            assert_int_equal(st, SM_OK);
            st = sm_tokenizer_encode(f.t, SM_SV("A"), 0, &ids, &err);
        }
        assert_int_equal(st, SM_BADINPUT);
        assert_non_null(strstr(err.msg, "precompiled_charsmap"));
        close_all(&f);
    }
    sm_ids_free(&ids);
}

static void rwkv_takes_the_longest_token(void **state) {
    fixture f = {0};
    (void)state;
    open_kind(&f, "rwkv");
    assert_string_equal(sm_tokenizer_kind(f.t), "rwkv");
    CHECK_IDS(&f, "abcab \xc3\xa9\xc3\xaa", SM_ENC_BOS, SMALL_ABC, SMALL_AB, SMALL_BYTE(' '), SMALL_E, SMALL_BYTE(0xc3),
              SMALL_BYTE(0xaa));
    CHECK_TEXT(&f, "abc\n\xc3\xaa", 0, SMALL_ABC, SMALL_BYTE('\n'), SMALL_BYTE(0xc3), SMALL_BYTE(0xaa));
    close_all(&f);
}

static void plamo_takes_the_cheapest_cut(void **state) {
    fixture f = {0};
    sm_err err = {0};
    (void)state;
    open_kind(&f, "plamo2");
    assert_string_equal(sm_tokenizer_kind(f.t), "plamo2");
    CHECK_IDS(&f, "abcb\xc3\xaa", 0, SMALL_ABC, SMALL_B, SMALL_BYTE(0xc3), SMALL_BYTE(0xaa));
    CHECK_IDS(&f,
              "\xef\xbb\xbf"
              "a",
              0, SMALL_A);
    CHECK_TEXT(&f, "abc\xc3\xaa", 0, SMALL_ABC, SMALL_BYTE(0xc3), SMALL_BYTE(0xaa));
    close_all(&f);
    f.c = small_checkpoint_of(&f.v, "plamo2");
    f.v.types[SMALL_BYTE(7)] = 1;
    assert_int_equal(sm_checkpoint_index(f.c, NULL), SM_OK);
    assert_int_equal(sm_tokenizer_new(f.c, &f.t, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "<0x07>"));
    close_all(&f);
}

static void vocabularies_without_tokens_are_absent(void **state) {
    fixture f = {0};
    (void)state;
    f.c = small_checkpoint(&f.v, NULL);
    f.v.meta[0].u.s = SM_SV("none");
    assert_int_equal(sm_checkpoint_index(f.c, NULL), SM_OK);
    assert_false(sm_tokenizer_present(f.c));
    close_all(&f);
}

static void end_tokens_go_by_name_and_id(void **state) {
    fixture f = {0};
    size_t n;
    (void)state;
    open_with(&f, "gpt-2");
    const int32_t *ends = sm_tokenizer_ends(f.t, &n);
    assert_int_equal(n, 3);
    assert_int_equal(ends[0], 0);
    assert_int_equal(ends[1], 2);
    assert_int_equal(ends[2], 3);
    assert_int_equal(sm_tokenizer_eot(f.t), 3);
    assert_false(sm_tokenizer_is_end(f.t, 1));
    assert_true(sm_tokenizer_is_end(f.t, 2));
    assert_int_equal(sm_tokenizer_type(f.t, 2), SM_TOKEN_CONTROL);
    assert_int_equal(sm_tokenizer_type(f.t, 4), SM_TOKEN_USER);
    assert_int_equal(sm_tokenizer_type(f.t, 9999), SM_TOKEN_UNDEFINED);
    assert_int_equal(sm_tokenizer_find(f.t, SM_SV("abc")), SMALL_BPE_ABC);
    assert_int_equal(sm_tokenizer_find(f.t, SM_SV("nothing")), SM_NO_TOKEN);
    close_all(&f);
}

static void control_tokens_print_when_asked(void **state) {
    fixture f = {0};
    (void)state;
    open_with(&f, NULL);
    CHECK_TEXT(&f, "a", 0, 1, SMALL_SPACE_A, 3);
    CHECK_TEXT(&f, "<s> a<end_of_turn>", SM_DEC_SPECIAL, 1, SMALL_SPACE_A, 3);
    CHECK_TEXT(&f, "a b", 0, SMALL_SPACE_A, SMALL_SPACE, SMALL_B);
    CHECK_TEXT(&f, " a", SM_DEC_PIECE, SMALL_SPACE_A);
    CHECK_TEXT(&f, "[user]", 0, 4);
    close_all(&f);
}

static void invalid_text_is_named_by_offset(void **state) {
    static const char *const bad[] = {"ab\x80", "ab\xc3", "ab\xed\xa0\x80", "ab\xf8\x88", "ab\xc0\xaf"};
    fixture f = {0};
    sm_ids ids = {0};
    sm_err err = {0};
    (void)state;
    open_with(&f, NULL);
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        assert_int_equal(sm_tokenizer_encode(f.t, sm_sv_of(bad[i]), 0, &ids, &err), SM_BADINPUT);
        assert_non_null(strstr(err.msg, "offset 2"));
    }
    assert_int_equal(sm_tokenizer_decode(f.t, (int32_t[]){-1}, 1, 0, &(sm_str)SM_STR_INIT, &err), SM_BADINPUT);
    assert_int_equal(sm_tokenizer_decode(f.t, (int32_t[]){99999}, 1, 0, &(sm_str)SM_STR_INIT, &err), SM_BADINPUT);
    sm_ids_free(&ids);
    close_all(&f);
}

static void a_stream_holds_back_cut_characters(void **state) {
    static const int32_t ids[] = {SMALL_SPACE_A,    SMALL_BYTE(0xf0), SMALL_BYTE(0x9f), SMALL_BYTE(0x98),
                                  SMALL_BYTE(0x80), SMALL_BYTE(0x80), SMALL_BYTE(0xc3), SMALL_B,
                                  SMALL_SPACE,      SMALL_BYTE(0xe2)};
    static const char *const want[] = {"a", "a", "a", "a", "a\xf0\x9f\x98\x80", "a\xf0\x9f\x98\x80\xef\xbf\xbd"};
    fixture f = {0};
    sm_detok *d;
    sm_str s = SM_STR_INIT;
    (void)state;
    open_with(&f, NULL);
    assert_int_equal(sm_detok_new(f.t, 0, &d, NULL), SM_OK);
    for (size_t i = 0; i < SM_ARRAY_LEN(ids); i++) {
        assert_int_equal(sm_detok_push(d, ids[i], &s, NULL), SM_OK);
        if (i < SM_ARRAY_LEN(want))
            assert_string_equal(sm_str_z(&s), want[i]);
        assert_int_equal(sm_utf8_valid(s.p, s.n), s.n);
    }
    assert_int_equal(sm_detok_finish(d, &s, NULL), SM_OK);
    assert_string_equal(sm_str_z(&s), "a\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd"
                                      "b \xef\xbf\xbd");
    assert_int_equal(sm_detok_push(d, 99999, &s, NULL), SM_BADINPUT);
    sm_str_clear(&s); /* ready again: the first space goes again */
    assert_int_equal(sm_detok_push(d, SMALL_SPACE_A, &s, NULL), SM_OK);
    assert_string_equal(sm_str_z(&s), "a");
    sm_detok_free(&d);
    sm_str_free(&s);
    close_all(&f);
}

static void refused(small_vocab *v, sm_checkpoint **c, sm_status want, const char *text) {
    sm_err err = {0};
    sm_tokenizer *t;
    (void)v;
    assert_int_equal(sm_checkpoint_index(*c, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(*c, &t, &err), want);
    assert_null(t);
    if (strstr(err.msg, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, text);
    sm_checkpoint_free(c);
}

static void unknown_kinds_are_refused_by_name(void **state) {
    static const char *const kinds[][2] = {{"test", "\"test\""}, {"new", "\"new\""}};
    small_vocab v;
    (void)state;
    sm_checkpoint *c = small_checkpoint(&v, "my-own");
    refused(&v, &c, SM_UNSUPPORTED, "my-own");
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++) {
        c = small_checkpoint(&v, "gpt-2");
        v.meta[0].u.s = sm_sv_of(kinds[i][0]);
        refused(&v, &c, SM_UNSUPPORTED, kinds[i][1]);
    }
}

static void malformed_vocabularies_are_refused(void **state) {
    small_vocab v;
    (void)state;
    sm_checkpoint *c = small_checkpoint(&v, NULL);
    v.meta[2].u.a.n--;
    refused(&v, &c, SM_BADINPUT, "token_type");
    c = small_checkpoint(&v, NULL);
    v.meta[3].elem = SM_META_STR;
    refused(&v, &c, SM_BADINPUT, "array of numbers");
    c = small_checkpoint(&v, NULL);
    v.meta[1].u.a.n = 0;
    refused(&v, &c, SM_BADINPUT, "tokens");
    c = small_checkpoint(&v, NULL);
    c->n_meta = 1;
    refused(&v, &c, SM_BADINPUT, "no 'tokenizer.ggml.tokens'");
    c = small_checkpoint(&v, "gpt-2");
    v.meta[4].key = SM_SV("other");
    refused(&v, &c, SM_BADINPUT, "merges");
    c = small_checkpoint(&v, NULL);
    c->n_meta = 0;
    refused(&v, &c, SM_BADINPUT, "no tokenizer");
}

static void tokens_may_swallow_white_space(void **state) {
    fixture f = {0};
    sm_err err = {0};
    (void)state;
    f.c = small_checkpoint(&f.v, NULL);
    small_meta(f.c, "general.name", small_str("My Phi-3 mini"));
    small_meta(f.c, "tokenizer.ggml.add_space_prefix", small_bool(false));
    assert_int_equal(sm_checkpoint_index(f.c, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(f.c, &f.t, &err), SM_OK);
    CHECK_IDS(&f, "a<end_of_turn> \n a", SM_ENC_SPECIAL, SMALL_A, 3, SMALL_A);
    CHECK_IDS(&f, "<end_of_turn> \n", SM_ENC_SPECIAL, 3);
    CHECK_IDS(&f, "<s> a", SM_ENC_SPECIAL, 1, SMALL_SPACE_A);
    close_all(&f);
}

/* Everything once, with each allocation failing in turn. */
static bool all_of_it(void *ctx) {
    fixture *f = ctx;
    sm_ids ids = {0};
    sm_str s = SM_STR_INIT;
    sm_detok *d = NULL;
    sm_err err = {0};
    sm_sv text = SM_SV("abc aab<|im_end|> [user]\xf0\x9f\x98\x80 1234");
    sm_status st = sm_tokenizer_new(f->c, &f->t, &err);
    if (st == SM_OK)
        st = sm_tokenizer_encode(f->t, text, SM_ENC_BOS | SM_ENC_SPECIAL, &ids, &err);
    if (st == SM_OK)
        st = sm_tokenizer_decode(f->t, ids.v, ids.n, SM_DEC_SPECIAL, &s, &err);
    if (st == SM_OK)
        st = sm_detok_new(f->t, 0, &d, &err);
    for (size_t i = 0; i < ids.n && st == SM_OK; i++)
        st = sm_detok_push(d, ids.v[i], &s, &err);
    if (st == SM_OK)
        st = sm_detok_finish(d, &s, &err);
    sm_detok_free(&d);
    sm_ids_free(&ids);
    sm_str_free(&s);
    sm_tokenizer_free(&f->t);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    return st == SM_OK;
}

/* A vocabulary may have a special token that is half a character: what is left of the other half is cut all the same. */
static void special_tokens_may_cut_characters(void **state) {
    static const char *const models[] = {"gpt2", "whitespace", "hybriddna", "bert", "t5", "rwkv", "plamo2", "llama"};
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(models); i++) {
        small_vocab v;
        sm_tokenizer *t;
        sm_ids ids = {0};
        sm_err err = {0};
        bool bpe = i < 3, other = i >= 3 && i < 7;
        sm_checkpoint *c = other ? small_checkpoint_of(&v, models[i]) : small_checkpoint(&v, bpe ? "smollm" : NULL);
        if (!other)
            v.meta[0].u.s = sm_sv_of(models[i]);
        v.tokens[4] = SM_SV("\xc3");
        assert_int_equal(sm_checkpoint_index(c, NULL), SM_OK);
        assert_int_equal(sm_tokenizer_new(c, &t, &err), SM_OK);
        assert_int_equal(sm_tokenizer_encode(t, SM_SV("a \xc3\xa9 b"), SM_ENC_SPECIAL, &ids, &err), SM_OK);
        bool there = false;
        for (size_t k = 0; k < ids.n; k++)
            there = there || ids.v[k] == 4;
        assert_true(there);
        sm_ids_free(&ids);
        sm_tokenizer_free(&t);
        sm_checkpoint_free(&c);
    }
}

static void out_of_memory_is_an_error(void **state) {
    static const char *const pres[] = {"smollm", "gemma4", NULL, "bert", "t5", "rwkv", "plamo2"};
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(pres); i++) {
        fixture f = {0};
        f.c = i < 3 ? small_checkpoint(&f.v, pres[i]) : small_checkpoint_of(&f.v, pres[i]);
        assert_int_equal(sm_checkpoint_index(f.c, NULL), SM_OK);
        assert_true(sweep(all_of_it, &f) > 10);
        sm_checkpoint_free(&f.c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_decide_the_merges),
        cmocka_unit_test(bytes_stand_in_for_missing_characters),
        cmocka_unit_test(special_tokens_cut_the_text),
        cmocka_unit_test(many_special_tokens_in_a_row),
        cmocka_unit_test(merges_decide_in_words),
        cmocka_unit_test(whole_words_come_before_merges),
        cmocka_unit_test(wordpiece_takes_the_longest_tokens),
        cmocka_unit_test(wordpiece_puts_punctuation_back),
        cmocka_unit_test(unigram_takes_the_best_sum),
        cmocka_unit_test(malformed_maps_are_refused),
        cmocka_unit_test(rwkv_takes_the_longest_token),
        cmocka_unit_test(plamo_takes_the_cheapest_cut),
        cmocka_unit_test(vocabularies_without_tokens_are_absent),
        cmocka_unit_test(end_tokens_go_by_name_and_id),
        cmocka_unit_test(control_tokens_print_when_asked),
        cmocka_unit_test(invalid_text_is_named_by_offset),
        cmocka_unit_test(a_stream_holds_back_cut_characters),
        cmocka_unit_test(unknown_kinds_are_refused_by_name),
        cmocka_unit_test(malformed_vocabularies_are_refused),
        cmocka_unit_test(tokens_may_swallow_white_space),
        cmocka_unit_test(special_tokens_may_cut_characters),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
