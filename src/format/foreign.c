/* SPDX-License-Identifier: MIT
 *
 * foreign.c: kinds of model that are not read here (foreign.h).
 *
 * Told by the file's ending or its first bytes; pickles are never opened, since reading one runs what is in it.  No heap:
 * a file must not look like something else when memory is short.
 */
#include "format/foreign.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "base/files.h"
#include "base/mem.h"

static const char *const from_torch = "convert it with coremltools (ct.convert, convert_to=\"mlprogram\") or with "
                                      "llama.cpp's convert_hf_to_gguf.py, and give the .mlpackage or .gguf",
                         *const from_source = "convert the model that it was made from with coremltools (ct.convert, "
                                              "convert_to=\"mlprogram\"), and give the .mlpackage";

static const struct kind {
    const char *ending; /* of the path; NULL: any */
    const char *head;   /* bytes at `at`; NULL: any */
    int at;
    bool folder; /* the path is a folder that holds this file */
    const char *what;
    const char *const *hint;
} kinds[] = {
    {".onnx", NULL, 0, false, "an ONNX model", &from_source},
    {"saved_model.pb", NULL, 0, true, "a TensorFlow model", &from_source},
    {".pb", NULL, 0, false, "a TensorFlow graph", &from_source},
    {NULL, "TFL3", 4, false, "a TensorFlow Lite model", &from_source},
    {NULL, "\x89HDF\r\n", 0, false, "a Keras model in HDF5", &from_source},
    {".keras", "PK", 0, false, "a Keras model", &from_source},
    {"pytorch_model.bin", NULL, 0, true, "a folder of PyTorch pickles", &from_torch},
    {"data.pkl", NULL, 0, true, "a PyTorch pickle", &from_torch},
    {".pt", NULL, 0, false, "a PyTorch pickle", &from_torch},
    {".pth", NULL, 0, false, "a PyTorch pickle", &from_torch},
    {".ckpt", NULL, 0, false, "a PyTorch pickle", &from_torch},
    {".pt2", NULL, 0, false, "a PyTorch program", &from_torch},
    {".pte", NULL, 0, false, "an ExecuTorch program", &from_torch},
    {".bin", "PK\x03\x04", 0, false, "a PyTorch pickle", &from_torch},
    {".bin", "\x80\x02", 0, false, "a PyTorch pickle", &from_torch},
};

static bool ends_in(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    while (n > 0 && path[n - 1] == '/')
        n--;
    return n > k && strncmp(path + n - k, ending, k) == 0;
}

static bool holds(const char *folder, const char *file) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    return n < PATH_MAX && sm_path_exists(path);
}

static bool is_kind(const struct kind *k, const char *path, bool folder, const char *head, size_t n_head) {
    if (k->folder || folder)
        return k->folder && folder && holds(path, k->ending);
    if (k->ending != NULL && !ends_in(path, k->ending))
        return false;
    size_t n = k->head == NULL ? 0 : strlen(k->head);
    return n == 0 || ((size_t)k->at + n <= n_head && memcmp(head + k->at, k->head, n) == 0);
}

sm_status sm_foreign_refuse(const char *path, sm_err *err) {
    char head[16] = {0};
    bool folder = sm_path_is_dir(path);
    FILE *f = folder ? NULL : fopen(path, "rb");
    size_t n = f == NULL ? 0 : fread(head, 1, sizeof head, f);
    if (f != NULL)
        fclose(f);
    if (!folder && f == NULL)
        return SM_OK;
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++) {
        if (!is_kind(&kinds[i], path, folder, head, n))
            continue;
        SM_FAIL(err, SM_UNSUPPORTED, "%s: %s, which is not read here", path, kinds[i].what);
        if (err != NULL)
            sm_err_hint(err, "%s", *kinds[i].hint);
        return SM_UNSUPPORTED;
    }
    return SM_OK;
}
