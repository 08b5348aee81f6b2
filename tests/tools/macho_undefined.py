# SPDX-License-Identifier: MIT
"""Undefined symbols of an arm64 Mach-O program or library, one a line, without the leading underscore.

    macho_undefined.py FILE
"""
import struct
import sys

MAGIC_64, ARM64, EXECUTE, DYLIB = 0xFEEDFACF, 0x0100000C, 2, 6
LC_SYMTAB = 0x2
N_STAB, N_TYPE, N_UNDF, N_EXT = 0xE0, 0x0E, 0x00, 0x01


def undefined(path):
    raw = open(path, "rb").read()
    magic, cpu, _, kind, n_commands = struct.unpack_from("<5I", raw)
    assert magic == MAGIC_64 and cpu == ARM64 and kind in (EXECUTE, DYLIB), f"{path}: wanted an arm64 program or library"
    symtab, at = None, 32
    for _ in range(n_commands):
        command, size = struct.unpack_from("<II", raw, at)
        if command == LC_SYMTAB:
            symtab = struct.unpack_from("<4I", raw, at + 8)
        at += size
    symbols, n, strings, _ = symtab
    found = set()
    for i in range(n):
        name_at, kind, _, _, _ = struct.unpack_from("<IBBHQ", raw, symbols + 16 * i)
        if kind & N_STAB or kind & N_TYPE != N_UNDF or not kind & N_EXT:
            continue
        start = strings + name_at
        found.add(raw[start:raw.index(b"\0", start)].decode().removeprefix("_"))
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(undefined(sys.argv[1])))
