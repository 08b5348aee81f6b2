# SPDX-License-Identifier: MIT
"""llama.cpp's tokenizer, as built into xllamacpp: the oracle of the tokenizer tests.

xllamacpp's extension module exports llama.cpp's C interface; this opens a file's vocabulary alone (the vocabulary
files have no weights, which the server class cannot load) and asks llama_tokenize.
"""
import ctypes
import os

import xllamacpp

_lib = ctypes.CDLL(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp.abi3.so"))


class _Params(ctypes.Structure):
    """llama_model_params: larger than any version of it; passed in memory, so its tail is never looked at."""

    _fields_ = [("bytes", ctypes.c_uint8 * 512)]


# After devices, tensor_buft_overrides, five int32 (padded), tensor_split, callback, its data and kv_overrides come
# the switches: vocab_only, check_tensors, use_extra_bufts (on by default)...
_VOCAB_ONLY = 72

_lib.llama_model_default_params.restype = _Params
_lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Params]
_lib.llama_model_load_from_file.restype = ctypes.c_void_p
_lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
_lib.llama_model_get_vocab.restype = ctypes.c_void_p
_lib.llama_model_free.argtypes = [ctypes.c_void_p]
_lib.llama_tokenize.argtypes = [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool,
    ctypes.c_bool]
_lib.llama_token_to_piece.argtypes = [
    ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_bool]
_lib.llama_detokenize.argtypes = [
    ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
_lib.llama_vocab_is_eog.argtypes = [ctypes.c_void_p, ctypes.c_int32]
_lib.llama_vocab_is_eog.restype = ctypes.c_bool
_lib.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_quiet = _LOG(lambda level, text, data: None)
_lib.llama_log_set.argtypes = [_LOG, ctypes.c_void_p]
for _f in ("bos", "eos"):
    getattr(_lib, "llama_vocab_" + _f).argtypes = [ctypes.c_void_p]


class Vocab:
    def __init__(self, path):
        _lib.llama_log_set(_quiet, None)
        _lib.llama_backend_init()
        params = _lib.llama_model_default_params()
        switches = list(params.bytes[_VOCAB_ONLY:_VOCAB_ONLY + 3])
        assert switches == [0, 0, 1], "llama_model_params is laid out differently in this xllamacpp"
        params.bytes[_VOCAB_ONLY] = 1
        self.model = _lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not open {path}")
        self.vocab = _lib.llama_model_get_vocab(self.model)

    def close(self):
        _lib.llama_model_free(self.model)

    def encode(self, text, bos=False, special=False):
        data = text.encode() if isinstance(text, str) else text
        room = len(data) + 16
        ids = (ctypes.c_int32 * room)()
        n = _lib.llama_tokenize(self.vocab, data, len(data), ids, room, bos, special)
        if n < 0:
            ids = (ctypes.c_int32 * -n)()
            n = _lib.llama_tokenize(self.vocab, data, len(data), ids, -n, bos, special)
        return ids[:n]

    def piece(self, i, special=True):
        buf = ctypes.create_string_buffer(1024)
        n = _lib.llama_token_to_piece(self.vocab, i, buf, 1024, 0, special)
        assert n >= 0
        return buf.raw[:n]

    def detokenize(self, ids, special=True):
        array, buf = (ctypes.c_int32 * len(ids))(*ids), ctypes.create_string_buffer(64 * len(ids) + 64)
        n = _lib.llama_detokenize(self.vocab, array, len(ids), buf, len(buf), False, special)
        assert n >= 0
        return buf.raw[:n]

    def count(self):
        return _lib.llama_vocab_n_tokens(self.vocab)

    def ends(self):
        return [i for i in range(self.count()) if _lib.llama_vocab_is_eog(self.vocab, i)]

    def bos(self):
        return _lib.llama_vocab_bos(self.vocab)

    def eos(self):
        return _lib.llama_vocab_eos(self.vocab)
