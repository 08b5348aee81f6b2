/* SPDX-License-Identifier: MIT
 *
 * test_mlpackage.c: Core ML packages: what a fixture says, a small package there and back, files that lie, refusals.
 *
 * Bad programs are made by changing bytes of a good one: a name for another of equal length, single bits, lengths.
 * Whether other readers accept what we write is tests/e2e/test_packages_format.py.
 */
#include "sweep.h"

#include "format/mlpackage_int.h"
#include "format/pbwire.h"

#define FIXTURE SMELT_GOLDEN "/../fixtures/llama_stateful_ios18/llama_stateful_ios18.mlpackage"

static sm_err err;

static void says(sm_status st, sm_status want, const char *part) {
    if (st != want)
        fail_msg("wanted status %d, found %d: %s", want, st, err.msg);
    if (strstr(err.msg, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void ok(sm_status st) {
    if (st != SM_OK)
        fail_msg("%s", err.msg);
}

static char *text_of(const sm_graph *g) {
    sm_str s = SM_STR_INIT;
    sm_print_opts o = {.no_data = true};
    ok(sm_graph_print(g, &o, &s, &err));
    return s.p;
}

/* ------------------------------------------------------------------ a small package */

static sm_type tensor(sm_dtype t, int rank, int64_t a, int64_t b) {
    return (sm_type){.kind = SM_V_TENSOR, .dtype = t, .rank = rank, .dims = {a, b}};
}

static sm_package *empty(int version) {
    sm_graph *g;
    if (sm_graph_new(&g, &err) != SM_OK)
        return NULL;
    sm_package *p = sm_arena_alloc(g->arena, sizeof *p);
    if (p == NULL) {
        sm_graph_free(&g);
        return NULL;
    }
    p->graph = g;
    p->spec_version = version;
    p->default_function = "main";
    return p;
}

static const int8_t codes[64];
static const uint16_t scales[4] = {0x3c00, 0x3c00, 0x3800, 0x3800};

/* ids [1, n] -> gather of an int8 table -> softmax; a mask input of its own. */
static sm_status fill(sm_package *p) {
    sm_graph *g = p->graph;
    sm_func *f;
    sm_builder b;
    SM_TRY(sm_func_new(g, "main", p->spec_version, &f, &err));
    sm_build_start(&b, f);
    sm_value *ids = sm_build_input(&b, "ids", tensor(SM_INT32, 2, 1, sm_dim_symbol(g, "ids_1", 1, 16)));
    sm_value *mask = sm_build_input(&b, "mask", tensor(SM_FP16, 1, 16, 0));
    sm_tensor t = {
        .dtype = SM_FP16, .rank = 2, .dims = {4, 16}, .enc = sm_enc_affine(SM_INT8, SM_FP16, SM_NONE, 2, 16)};
    t.part[SM_PART_DATA] = (sm_bytes){(const uint8_t *)codes, 64};
    t.part[SM_PART_SCALE] = (sm_bytes){(const uint8_t *)scales, 8};
    sm_value *table = sm_const_tensor(&b, "table", &t);
    sm_value *x = sm_build(&b, SM_OP_GATHER, "x_0", "x", table, "indices", ids, "axis", sm_const_i32(&b, 0), NULL);
    sm_value *y = sm_build(&b, SM_OP_ADD, "y_0", "x", x, "y", mask, NULL);
    sm_value *z = sm_build(&b, SM_OP_SOFTMAX, "z_0", "x", y, "axis", sm_const_i32(&b, -1), NULL);
    sm_build_output(&b, sm_build(&b, SM_OP_CAST, "out_0", "x", z, "dtype", sm_const_str(&b, "fp32"), NULL), NULL);
    return sm_build_end(&b, &err);
}

typedef struct pkg_files {
    sm_str model, weights;
} pkg_files;

static pkg_files load(const char *pkg) {
    pkg_files f = {SM_STR_INIT, SM_STR_INIT};
    char path[700];
    snprintf(path, sizeof path, "%s/Data/" SM_PKG_MODEL, pkg);
    ok(sm_file_read(path, 1 << 24, &f.model, &err));
    snprintf(path, sizeof path, "%s/Data/" SM_PKG_WEIGHTS "/weight.bin", pkg);
    ok(sm_file_read(path, 1 << 24, &f.weights, &err));
    return f;
}

static void unload(pkg_files *f) {
    sm_str_free(&f->model);
    sm_str_free(&f->weights);
}

static pkg_files small(int version) {
    char *dir = scratch_new(), path[600];
    sm_package *p = empty(version);
    snprintf(path, sizeof path, "%s/p.mlpackage", dir);
    ok(fill(p));
    ok(sm_mlpackage_write(p, path, NULL, &err));
    sm_graph_free(&p->graph);
    pkg_files f = load(path);
    scratch_remove(dir);
    return f;
}

static sm_status read_files(const pkg_files *f, sm_package **out) {
    sm_status st = sm_mlpackage_read_mem("m", (sm_bytes){(const uint8_t *)f->model.p, f->model.n},
                                         (sm_bytes){(const uint8_t *)f->weights.p, f->weights.n}, out, &err);
    assert_true((st == SM_OK) == (*out != NULL));
    return st;
}

/* ------------------------------------------------------------------ reading */

static void test_fixture(void **state) {
    sm_package *p;
    (void)state;
    assert_true(sm_mlpackage_sniff(FIXTURE));
    assert_false(sm_mlpackage_sniff(SMELT_GOLDEN));
    ok(sm_mlpackage_read(FIXTURE, &p, &err));
    ok(sm_verify(p->graph, &err));
    assert_int_equal(p->spec_version, 9);
    assert_string_equal(p->default_function, "main");
    assert_string_equal(p->author, "fixture");
    assert_string_equal(sm_package_meta(p, "com.github.apple.coremltools.version"), "9.0");
    assert_null(sm_package_meta(p, "nothing"));
    assert_int_equal(p->n_items, 0);
    assert_true(p->weight_bytes == 84416 && p->model_bytes == 82876);
    const sm_func *f = sm_graph_func(p->graph, "main");
    assert_int_equal(f->opset, 9);
    assert_int_equal(f->body->n_in, 4);
    assert_int_equal(f->body->in[2]->type.kind, SM_V_STATE);
    const sm_value *ids = f->body->in[0], *mask = f->body->in[1];
    int64_t lo, hi;
    assert_string_equal(sm_graph_symbol(p->graph, sm_dim_as_symbol(p->graph, ids->type.dims[1]), &lo, &hi),
                        "inputIds_1");
    assert_true(lo == 1 && hi == 256);
    assert_true(mask->type.dims[2] != mask->type.dims[3] && mask->type.dims[2] != ids->type.dims[1]);
    int affine = 0;
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        assert_false(strncmp(sm_op_row_of(n->op)->name, "constexpr", 9) == 0);
        if (n->op == SM_OP_LINEAR && sm_arg(n, "weight")->cst->want.id == SM_ENC_AFFINE) {
            assert_int_equal(sm_arg(n, "weight")->type.dtype, SM_FP16);
            affine++;
        }
    }
    assert_int_equal(affine, 11);
    sm_graph_free(&p->graph);
}

static void test_there_and_back(void **state) {
    (void)state;
    for (int version = 7; version <= 10; version++) {
        sm_package *p, *q, *made = empty(version);
        pkg_files f = small(version);
        ok(fill(made));
        ok(read_files(&f, &p));
        ok(sm_verify(p->graph, &err));
        assert_int_equal(p->spec_version, version);
        char *dir = scratch_new(), path[600];
        snprintf(path, sizeof path, "%s/q.mlpackage", dir);
        ok(sm_mlpackage_write(p, path, NULL, &err));
        ok(sm_mlpackage_write(p, path, NULL, &err)); /* replaces its own kind */
        ok(sm_mlpackage_read(path, &q, &err));
        char *a = text_of(p->graph), *b = text_of(q->graph), *c = text_of(made->graph);
        assert_string_equal(a, b);
        assert_non_null(strstr(a, "softmax"));
        assert_non_null(strstr(c, "softmax"));
        sm_free(a);
        sm_free(b);
        sm_free(c);
        sm_graph_free(&p->graph);
        sm_graph_free(&q->graph);
        sm_graph_free(&made->graph);
        unload(&f);
        scratch_remove(dir);
    }
}

/* ------------------------------------------------------------------ bad programs */

/* Replaces the first `from` in the model by `to` of equal length. */
static void swap(sm_str *s, const char *from, const char *to) {
    size_t n = strlen(from);
    assert_int_equal(n, strlen(to));
    for (size_t i = 0; i + n <= s->n; i++)
        if (memcmp(s->p + i, from, n) == 0) {
            memcpy(s->p + i, to, n);
            return;
        }
    fail_msg("'%s' is not there", from);
}

static void test_bad_programs(void **state) {
    static const struct {
        const char *from, *to, *part;
        sm_status st;
    } bad[] = {
        {"\x0a\x07softmax", "\x0a\x07softmay", "op \"softmay\" -> \"z_0\"", SM_UNSUPPORTED},
        {"\x0a\x03y_0\x12", "\x0a\x03q_0\x12", "value \"y_0\" is used before it is defined", SM_BADINPUT},
        {"\x0a\x03y_0\x12", "\x0a\x03x_0\x12", "value \"x_0\" is defined twice", SM_BADINPUT},
        {"\x0a\x07indices", "\x0a\x07indicez", "parameter \"indicez\" is not known", SM_UNSUPPORTED},
        {"\x0a\x05scale",
         "\x0a\x05"
         "offs1",
         "parameter \"offs1\" is not known", SM_UNSUPPORTED},
        {"\x0a\x05scale",
         "\x0a\x04"
         "data\x12",
         "malformed", SM_BADINPUT},
        {"\x0a\x04"
         "data",
         "\x0a\x05"
         "scal",
         "malformed", SM_BADINPUT},
        {"CoreML8", "CoreML7", "no block for its opset CoreML7", SM_BADINPUT},
        {"CoreML8", "CoreML2", "opset \"CoreML2\"", SM_UNSUPPORTED},
        {"@model_path/weights", "@model_path/weightz", "", SM_OK}, /* memory has one file for every name */
        {"@model_path/weights", "@model_path/../ghts", "inside the package", SM_BADINPUT},
        {"@model_path/weights", "/model_path/weights", "begins with @model_path/", SM_BADINPUT},
        {"\x0a\x03val", "\x0a\x03vax", "attribute 'val' is missing", SM_BADINPUT},
    };
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        pkg_files f = small(9);
        sm_package *p;
        swap(&f.model, bad[i].from, bad[i].to);
        sm_status st = read_files(&f, &p);
        if (bad[i].st == SM_OK && st == SM_OK)
            sm_graph_free(&p->graph);
        else
            says(st, bad[i].st, bad[i].part);
        unload(&f);
    }
}

/* A model message around `type` (a field of the kind) with `version`. */
static void model_of(sm_str *s, unsigned version, unsigned field, const char *content, size_t n) {
    sm_str_addc(s, 8);
    sm_str_addc(s, (char)version);
    unsigned tag = field << 3 | 2;
    sm_str_addc(s, (char)(tag | 128));
    sm_str_addc(s, (char)(tag >> 7));
    sm_str_addc(s, (char)n);
    sm_str_add(s, content, n);
}

static void test_other_kinds(void **state) {
    static const struct {
        unsigned version, field;
        const char *part;
    } kinds[] = {
        {4, 500, "kind neural network (field 500)"}, {5, 302, "tree ensemble"}, {9, 999, "unknown (field 999)"},
        {0, 502, "specification version"},           {11, 502, "found 11"},
    };
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++) {
        pkg_files f = {SM_STR_INIT, SM_STR_INIT};
        sm_package *p;
        model_of(&f.model, kinds[i].version, kinds[i].field, "", 0);
        says(read_files(&f, &p), SM_UNSUPPORTED, kinds[i].part);
        if (kinds[i].field == 500)
            assert_non_null(strstr(err.hint, "mlprogram"));
        unload(&f);
    }
    pkg_files f = {SM_STR_INIT, SM_STR_INIT};
    sm_package *p;
    model_of(&f.model, 9, 502, "", 0);
    says(read_files(&f, &p), SM_BADINPUT, "no function");
    unload(&f);
    model_of(&f.model, 9, 2, "", 0);
    says(read_files(&f, &p), SM_BADINPUT, "holds no model");
    unload(&f);
    model_of(&f.model, 5, 202, "", 0);
    says(read_files(&f, &p), SM_BADINPUT, "a pipeline without parts");
    unload(&f);
    sm_str part = SM_STR_INIT; /* a neural network inside a pipeline */
    model_of(&part, 4, 500, "", 0);
    sm_str in = SM_STR_INIT;
    sm_str_addc(&in, 0x0a);
    sm_str_addc(&in, (char)part.n);
    sm_str_add(&in, part.p, part.n);
    model_of(&f.model, 5, 202, in.p, in.n);
    says(read_files(&f, &p), SM_UNSUPPORTED, "part 0 of the pipeline");
    assert_non_null(strstr(err.msg, "kind neural network"));
    unload(&f);
    sm_str_free(&part);
    sm_str_free(&in);
    model_of(&part, 9, 200, "", 0); /* the same in the wrapper of classifiers, which is empty */
    model_of(&f.model, 9, 200, "", 0);
    says(read_files(&f, &p), SM_BADINPUT, "a pipeline without content");
    unload(&f);
    sm_str_free(&part);
}

/* A pipeline in a pipeline in a pipeline ... */
static void test_nested_pipelines(void **state) {
    (void)state;
    sm_str m = SM_STR_INIT;
    model_of(&m, 9, 502, "", 0);
    for (int i = 0; i < 12; i++) {
        sm_str in = SM_STR_INIT, next = SM_STR_INIT;
        sm_str_addc(&in, 0x0a);
        sm_str_addc(&in, (char)m.n);
        sm_str_add(&in, m.p, m.n);
        model_of(&next, 9, 202, in.p, in.n);
        sm_str_free(&in);
        sm_str_free(&m);
        m = next;
    }
    pkg_files f = {m, SM_STR_INIT};
    sm_package *p;
    says(read_files(&f, &p), SM_BADINPUT, "nested more than");
    unload(&f);
}

/* ------------------------------------------------------------------ the wire */

/* `depth` messages of length-delimited field `number` inside each other. */
static sm_str nested(int depth, unsigned tag) {
    sm_str s = SM_STR_INIT;
    for (int i = 0; i < depth; i++) { /* from the inside out */
        sm_str t = SM_STR_INIT;
        size_t n = s.n;
        sm_str_addc(&t, (char)tag);
        do {
            sm_str_addc(&t, (char)((n & 127) | (n > 127 ? 128 : 0)));
        } while ((n >>= 7) > 0);
        if (s.n > 0)
            sm_str_add(&t, s.p, s.n);
        sm_str_free(&s);
        s = t;
    }
    return s;
}

static sm_status wire(const ProtobufCMessageDescriptor *d, const void *p, size_t n) {
    return sm_pb_check("f", d, p, n, &err);
}

static void test_wire(void **state) {
    (void)state;
    /* StateType.wrapped = ValueType.state = StateType ..: tags 0x0a and 0x2a by turns; Block.operations.blocks. */
    sm_str s = SM_STR_INIT;
    for (int depth = 1; depth < 100000; depth = depth * 3 + 1) {
        sm_str t = SM_STR_INIT;
        s = nested(depth, 0x0a);
        for (size_t i = 0, k = 0; i < s.n && (uint8_t)s.p[i] == 0x0a; k++) {
            s.p[i] = k % 2 ? 0x2a : 0x0a;
            for (i++; (uint8_t)s.p[i] > 127; i++)
                ;
            i++;
        }
        sm_status st = wire(&sm_pb__state_type__descriptor, s.p, s.n);
        if (depth < SM_PB_DEPTH)
            ok(st);
        else
            says(st, SM_BADINPUT, "nested too deep");
        sm_str_free(&s);
        sm_str_free(&t);
    }
    says(wire(&sm_pb__text_entry__descriptor, "\x0a\x02\xff\xfe", 4), SM_BADINPUT,
         "offset 2: TextEntry.key: text is not valid UTF-8");
    says(wire(&sm_pb__text_entry__descriptor,
              "\x0a\x02"
              "a\0",
              4),
         SM_BADINPUT, "zero byte");
    says(wire(&sm_pb__text_entry__descriptor,
              "\x0a\x05"
              "a",
              3),
         SM_BADINPUT, "malformed field");
    says(wire(&sm_pb__text_entry__descriptor, "\x08\x05", 2), SM_BADINPUT, "wrong wire type");
    says(wire(&sm_pb__text_entry__descriptor, "\x0b", 1), SM_BADINPUT, "malformed");     /* a group */
    says(wire(&sm_pb__text_entry__descriptor, "\x00\x00", 2), SM_BADINPUT, "malformed"); /* field 0 */
    says(wire(&sm_pb__ints__descriptor, "\x0a\x02\xff\xff", 4), SM_BADINPUT, "packed");
    says(wire(&sm_pb__floats__descriptor,
              "\x0a\x03"
              "abc",
              5),
         SM_BADINPUT, "cut off");
    says(wire(&sm_pb__value__descriptor, "\x12\x00\x12\x00", 4), SM_BADINPUT, "given twice");
    says(wire(&sm_pb__value__descriptor, "\x1a\x00\x2a\x00", 4), SM_BADINPUT, "given twice"); /* both of a oneof */
    ok(wire(&sm_pb__ints__descriptor, "\x08\x01\x08\x02\x0a\x01\x03", 7));                    /* packed or not */
    ok(wire(&sm_pb__text_entry__descriptor, "\x98\x06\x01", 3));                              /* unknown field */
    /* Two bytes become fifty: a hundred million of them are refused before they are made. */
    size_t n = (size_t)120 << 20;
    uint8_t *many = malloc(n);
    for (size_t i = 0; i < n; i += 2)
        many[i] = 0x1a, many[i + 1] = 0;
    says(wire(&sm_pb__block__descriptor, many, n), SM_BADINPUT, "MiB when unpacked");
    free(many);
}

/* Every prefix, every single bit: a package or an error with a message, never a crash (sanitizers watch). */
static void test_damage(void **state) {
    pkg_files f = small(9);
    sm_package *p;
    (void)state;
    for (size_t n = 0; n < f.model.n; n++) {
        pkg_files cut = {{malloc(n + 1), n, n, false}, f.weights};
        memcpy(cut.model.p, f.model.p, n);
        err.msg[0] = 0;
        assert_int_not_equal(read_files(&cut, &p), SM_OK);
        assert_true(err.msg[0] != 0);
        free(cut.model.p);
    }
    for (size_t i = 0; i < f.model.n * 8; i++) {
        f.model.p[i / 8] ^= (char)(1 << i % 8);
        if (read_files(&f, &p) == SM_OK)
            sm_graph_free(&p->graph);
        f.model.p[i / 8] ^= (char)(1 << i % 8);
    }
    size_t whole = f.weights.n;
    for (f.weights.n = 0; f.weights.n < whole; f.weights.n += 8)
        says(read_files(&f, &p), SM_BADINPUT, "weight.bin");
    unload(&f);
}

/* ------------------------------------------------------------------ manifests */

static void put_file(const char *dir, const char *name, const char *text, size_t n) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(text, 1, n, f);
    fclose(f);
}

static void test_manifests(void **state) {
#define ITEM(path) "{\"author\": \"a\", \"description\": \"d\", \"name\": \"n\", \"path\": \"" path "\"}"
#define MANIFEST(version, root, items)                                                                                 \
    "{\"fileFormatVersion\": \"" version "\", \"rootModelIdentifier\": \"" root "\", \"itemInfoEntries\": {" items "}" \
    "}"
    static const struct {
        const char *text, *part;
        sm_status st;
    } bad[] = {
        {"{", "line 1", SM_BADINPUT},
        {"[]", "fileFormatVersion", SM_UNSUPPORTED},
        {MANIFEST("2.0.0", "A", "\"A\": " ITEM("m.mlmodel")), "found \"2.0.0\"", SM_UNSUPPORTED},
        {MANIFEST("1.0.0", "B", "\"A\": " ITEM("m.mlmodel")), "rootModelIdentifier", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("../m.mlmodel")), "inside the package", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("/etc/passwd")), "inside the package", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("a//b")), "inside the package", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("")), "inside the package", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": {}"), "(none)", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": 7"), "(none)", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("gone.mlmodel")), "gone.mlmodel", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("m.mlmodel") ", \"B\": " ITEM("gone.txt")), "gone.txt", SM_BADINPUT},
        {MANIFEST("1.0.0", "A", "\"A\": " ITEM("m.mlmodel") ", \"A\": " ITEM("m.mlmodel")), "duplicate", SM_BADINPUT},
    };
    char *dir = scratch_new(), path[600];
    pkg_files f = small(9);
    sm_package *p;
    (void)state;
    says(sm_mlpackage_read(dir, &p, &err), SM_BADINPUT, "Manifest.json");
    says(sm_mlpackage_read("/nowhere", &p, &err), SM_BADINPUT, "not a folder");
    snprintf(path, sizeof path, "%s/Data", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/Data/weights", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    put_file(dir, "Data/m.mlmodel", f.model.p, f.model.n);
    put_file(dir, "Data/note.txt", "note", 4);
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        put_file(dir, "Manifest.json", bad[i].text, strlen(bad[i].text));
        says(sm_mlpackage_read(dir, &p, &err), bad[i].st, bad[i].part);
        assert_null(p);
    }
    static const char good[] =
        MANIFEST("1.0.0", "A", "\"A\": " ITEM("m.mlmodel") ", \"W\": " ITEM("weights") ", \"N\": " ITEM("note.txt"));
    put_file(dir, "Manifest.json", good, sizeof good - 1);
    says(sm_mlpackage_read(dir, &p, &err), SM_BADINPUT, "weight.bin");
    put_file(dir, "Data/weights/weight.bin", f.weights.p, f.weights.n);
    ok(sm_mlpackage_read(dir, &p, &err));
    assert_int_equal(p->n_items, 1);
    assert_memory_equal(p->items[0].bytes.p, "note", 4);
    char *item, *none;
    ok(sm_package_item_path(p, "note.txt", &item, &err));
    assert_true(item != NULL && strstr(item, "/Data/note.txt") != NULL);
    ok(sm_package_item_path(p, "weights", &none, &err));
    assert_null(none);
    sm_free(item);
    sm_graph_free(&p->graph);
    /* A folder as an item goes along. */
    static const char more[] = MANIFEST("1.0.0", "A", "\"A\": " ITEM("m.mlmodel") ", \"D\": " ITEM("extra"));
    put_file(dir, "Manifest.json", more, sizeof more - 1);
    snprintf(path, sizeof path, "%s/Data/extra", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/Data/extra/deep", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    put_file(dir, "Data/extra/deep/file", "text", 4);
    ok(sm_mlpackage_read(dir, &p, &err));
    snprintf(path, sizeof path, "%s/copy.mlpackage", dir);
    ok(sm_mlpackage_write(p, path, NULL, &err));
    snprintf(path, sizeof path, "%s/copy.mlpackage/Data/extra/deep/file", dir);
    assert_true(sm_path_exists(path));
    sm_graph_free(&p->graph);
    unload(&f);
    scratch_remove(dir);
}

/* ------------------------------------------------------------------ what the writer refuses */

typedef struct refusal {
    int version, opset;
    sm_status st;
    const char *part;
    void (*build)(sm_builder *b, sm_value *x);
} refusal;

static void composite(sm_builder *b, sm_value *x) {
    sm_build_output(b, sm_build(b, SM_OP_RMS_NORM, NULL, "x", x, "eps", sm_const_f(b, SM_FP32, 1e-5), NULL), NULL);
}
static void too_new(sm_builder *b, sm_value *x) {
    x = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", sm_const_i32s(b, (int32_t[]){0}, 1), NULL);
    sm_build_output(b, sm_build(b, SM_OP_SDPA, NULL, "query", x, "key", x, "value", x, NULL), NULL);
}
static void bool_out(sm_builder *b, sm_value *x) {
    sm_build_output(b, sm_build(b, SM_OP_EQUAL, "same", "x", x, "y", x, NULL), NULL);
}
static void state_in(sm_builder *b, sm_value *x) {
    sm_type t = tensor(SM_FP16, 2, 2, 32);
    t.kind = SM_V_STATE;
    sm_build_input(b, "memory", t);
    sm_build_output(b, sm_build(b, SM_OP_RELU, NULL, "x", x, NULL), NULL);
}
static void weight_of(sm_builder *b, sm_value *x, sm_encoding e, int64_t rows, int64_t cols) {
    sm_tensor t = {.dtype = SM_FP16, .rank = 2, .dims = {rows, cols}, .enc = e};
    size_t n[SM_PART_COUNT] = {0};
    sm_enc_sizes(&e, 2, t.dims, n, &err);
    for (int k = 0; k < SM_PART_COUNT; k++)
        t.part[k] = (sm_bytes){n[k] == 0 ? NULL : sm_arena_alloc(b->g->arena, n[k]), n[k]};
    sm_build_output(b, sm_build(b, SM_OP_LINEAR, "y", "x", x, "weight", sm_const_tensor(b, "w", &t), NULL), NULL);
}
static void gguf_block(sm_builder *b, sm_value *x) {
    weight_of(b, x, sm_enc_block(SM_ENC_Q4_0), 8, 32);
}
static void int4_block(sm_builder *b, sm_value *x) {
    weight_of(b, x, sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 16), 8, 32);
}
static void palette(sm_builder *b, sm_value *x) {
    weight_of(b, x, (sm_encoding){.id = SM_ENC_LUT, .code = SM_UINT4, .aux = SM_FP16, .vec = 1, .block = {4, 32}}, 8,
              32);
}
static void other_scale(sm_builder *b, sm_value *x) {
    weight_of(b, x, sm_enc_affine(SM_INT8, SM_FP32, SM_NONE, 2, 32), 8, 32);
}
static void int8_block(sm_builder *b, sm_value *x) {
    weight_of(b, x, sm_enc_affine(SM_INT8, SM_FP16, SM_NONE, 2, 16), 8, 32);
}
static void float_offset(sm_builder *b, sm_value *x) {
    weight_of(b, x, sm_enc_affine(SM_UINT8, SM_FP16, SM_FP16, 2, 32), 8, 32);
}
static void newer_slot(sm_builder *b, sm_value *x) {
    sm_build_output(b,
                    sm_build(b, SM_OP_GATHER, "y", "x", x, "indices", sm_const_i32s(b, (int32_t[]){0, 0}, 2), "axis",
                             sm_const_i32(b, 1), "validate_indices", sm_const_bool(b, true), NULL),
                    NULL);
}

static void test_refusals(void **state) {
    static const refusal cases[] = {
        {9, 9, SM_UNSUPPORTED, "op smelt.rms_norm", composite},
        {8, 8, SM_UNSUPPORTED, "came with specification version 9", too_new},
        {9, 9, SM_UNSUPPORTED, "output 'same' is bool", bool_out},
        {8, 8, SM_UNSUPPORTED, ": states came with iOS18 (macOS15), the target is iOS17", state_in},
        {9, 9, SM_UNSUPPORTED, "constant 'w': q4_0", gguf_block},
        {8, 8, SM_UNSUPPORTED, "[1, 16]): 4-bit integer weights came with iOS18 (macOS15), the target is iOS17",
         int4_block},
        {8, 8, SM_UNSUPPORTED, ": palettes per group of channels, and of 8 entries came with iOS18", palette},
        {8, 8, SM_UNSUPPORTED, ": weights in blocks of a row came with iOS18", int8_block},
        {7, 7, SM_UNSUPPORTED, ": offsets that are no codes came with iOS18", float_offset},
        {6, 6, SM_UNSUPPORTED, "input 'x': inputs and outputs of fp16 came with iOS16 (macOS13), the target is iOS15",
         too_new},
        {9, 9, SM_UNSUPPORTED, "type of its scale", other_scale},
        {7, 7, SM_UNSUPPORTED, "'validate_indices' came with", newer_slot},
        {8, 9, SM_UNSUPPORTED, "opset version 9", int4_block},
        {11, 9, SM_UNSUPPORTED, "found 11", int4_block},
    };
    char *dir = scratch_new(), path[600];
    (void)state;
    snprintf(path, sizeof path, "%s/p.mlpackage", dir);
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++) {
        sm_package *p = empty(cases[i].version);
        sm_func *f;
        sm_builder b;
        ok(sm_func_new(p->graph, "main", cases[i].opset, &f, &err));
        sm_build_start(&b, f);
        cases[i].build(&b, sm_build_input(&b, "x", tensor(SM_FP16, 2, 2, 32)));
        ok(sm_build_end(&b, &err));
        says(sm_mlpackage_write(p, path, NULL, &err), cases[i].st, cases[i].part);
        assert_false(sm_path_exists(path));
        sm_graph_free(&p->graph);
    }
    scratch_remove(dir);
}

static void test_items_and_functions_refused(void **state) {
    static const char *const bad[] = {"../x", "/x", "", "a//b", SM_PKG_MODEL, SM_PKG_WEIGHTS "/more"};
    char *dir = scratch_new(), path[600];
    (void)state;
    snprintf(path, sizeof path, "%s/p.mlpackage", dir);
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        sm_package *p = empty(9);
        sm_pkg_item items[2] = {{.path = bad[i]}};
        ok(fill(p));
        p->items = items;
        p->n_items = 1;
        says(sm_mlpackage_write(p, path, NULL, &err), SM_BADINPUT, "path of its own");
        items[0].path = items[1].path = "a/b";
        p->n_items = 2;
        says(sm_mlpackage_write(p, path, NULL, &err), SM_BADINPUT, "given twice");
        sm_graph_free(&p->graph);
    }
    sm_package *p = empty(8);
    sm_func *f;
    says(sm_mlpackage_write(p, path, NULL, &err), SM_BADINPUT, "no function");
    ok(fill(p));
    ok(sm_func_new(p->graph, "other", 8, &f, &err));
    says(sm_mlpackage_write(p, path, NULL, &err), SM_UNSUPPORTED, "several functions");
    p->spec_version = 9;
    p->default_function = "third";
    says(sm_mlpackage_write(p, path, NULL, &err), SM_BADINPUT, "'third' does not exist");
    assert_int_equal(mkdir(path, 0777), 0); /* somebody's folder is not replaced */
    put_file(path, "mine", "x", 1);
    p->default_function = "main";
    says(sm_mlpackage_write(p, path, NULL, &err), SM_BADINPUT, "is not replaced");
    sm_graph_free(&p->graph);
    scratch_remove(dir);
}

/* ------------------------------------------------------------------ out of memory */

static bool read_again(void *ctx) {
    sm_package *p;
    if (read_files(ctx, &p) != SM_OK)
        return false;
    sm_graph_free(&p->graph);
    return true;
}

static char sweep_path[600];

static bool write_again(void *ctx) {
    sm_status st = sm_mlpackage_write(ctx, sweep_path, NULL, &err);
    if (st != SM_OK)
        assert_int_equal(st, SM_RESOURCE);
    return st == SM_OK;
}

static bool open_again(void *ctx) {
    sm_package *p;
    (void)ctx;
    if (sm_mlpackage_read(sweep_path, &p, &err) != SM_OK)
        return false;
    sm_graph_free(&p->graph);
    return true;
}

/* As sweep, where clean-up that gives up silently (old temporaries) may swallow a failure: then the result must be whole. */
static void sweep_writes(bool (*work)(void *ctx), bool (*whole)(void *ctx), void *ctx) {
    for (long n = 0;; n++) {
        long before = sm_alloc_count();
        sm_alloc_fail_after(n);
        bool done = work(ctx);
        sm_alloc_fail_after(-1);
        if (sm_alloc_count() - before <= n) {
            assert_true(done);
            return;
        }
        if (done)
            assert_true(whole(ctx));
    }
}

static void test_out_of_memory(void **state) {
    char *dir = scratch_new();
    pkg_files f = small(9);
    sm_package *p = empty(9);
    sm_pkg_item item = {.path = "a/b.txt", .bytes = {(const uint8_t *)"x", 1}};
    (void)state;
    snprintf(sweep_path, sizeof sweep_path, "%s/p.mlpackage", dir);
    assert_true(sweep(read_again, &f) > 20);
    ok(fill(p));
    p->items = &item;
    p->n_items = 1;
    sweep_writes(write_again, open_again, p);
    sweep(open_again, NULL);
    sm_graph_free(&p->graph);
    unload(&f);
    scratch_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixture),          cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bad_programs),     cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_nested_pipelines), cmocka_unit_test(test_wire),
        cmocka_unit_test(test_damage),           cmocka_unit_test(test_manifests),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_items_and_functions_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
