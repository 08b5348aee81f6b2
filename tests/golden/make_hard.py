#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/golden/hard.json: texts that tokenizers get wrong, a JSON list of strings.

By hand first, then from a seeded generator that strings the same material together.  The ids are not kept: the test
asks llama.cpp for them.
"""
import json
import os
import random

HAND = [
    "", " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\n \n", " \n ", "\t\n\t", "a\n", "a\n\n b",
    " a", "  a", "   a", "a ", "a  ", "a  b", "a\tb", "a \t b", "a\u00a0b", "a\u3000b", "a\u2003b", "a\u200bb", "a\u2028b", "a\u0085b",
    "\ufeffa", "\x01\x02\x7f", "a\x1cb\x1f", "\u180e", "\u00ad", "\x0b\x0c",
    "Hello, world!", "HELLO World", "I'm you're they'll we'd it's he'S SHE'LL o'clock 'tis 's's", "don’t", "rock 'n' roll",
    "camelCase PascalCase snake_case kebab-case SCREAMING_CASE", "a.b.c", "e.g., i.e.; etc...", "?!?!", "——", "“quoted” ‘too’ «là»",
    "0 1 12 123 1234 12345 123456 1234567", "3.14159", "1,234,567.89", "1e-5", "0xdeadBEEF", "2024-02-29T23:59:59Z", "٠١٢٣٤", "१२३४५",
    "½ ² ³ Ⅳ ① ㉈ 一二三〇", "1st 2nd 3rd", "v1.2.3-rc4", "192.168.0.1", "50% £5 €6 ¥7 ₿", "12345678901234567890" * 5,
    "https://example.org/a/b?c=d&e=%20f#g", "user@example.org", "C:\\Users\\a\\b.txt", "../x/./y", "#include <stdio.h>",
    "int main(void) {\n    printf(\"%d\\n\", 1);\n\treturn 0;\n}\n", "def f(x):\n        return x ** 2  # square\n\n\nclass A:\n\tpass\n",
    "<html><body class=\"x\">&nbsp;</body></html>", "SELECT * FROM t WHERE a='b';", "{\"k\": [1, null, true]}", "a += b << 2 | ~c;", "```py\n```",
    "café cafe\u0301 naïve Ångström Å", "ÀÉÎÕÜ ß ẞ ﬁ ﬀ ſ İı", "e\u0301\u0302\u0323", "\u0301", "a\u0308\u0323b", "Z\u0351\u036b\u0343a\u030al\u0334g\u0321o",
    "Привет, мир! ДА", "Γειά σου Κόσμε", "Հայերեն", "ქართული ენა", "שלום עולם", "مرحبا بالعالم،", "سَلَام", "हिन्दी में", "বাংলা ভাষা", "தமிழ்",
    "ภาษาไทย ไม่มีช่องว่าง", "ພາສາລາວ", "ភាសាខ្មែរ", "မြန်မာ", "Tiếng Việt", "ትግርኛ", "ᏣᎳᎩ", "你好，世界！", "我喜欢 Python 和 C++", "日本語のテキスト。カタカナ ｶﾀｶﾅ",
    "한국어 텍스트", "ㄱㄴㄷ", "漢字かな交じり文123abc", "𠀀𪜀", "𝒜𝓑 𝔸 ①", "😀", "😀😀😀", "👨‍👩‍👧‍👦", "🇫🇷🇩🇪", "👍🏽", "❤️‍🔥", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "☃︎",
    "\ue000\uf8ff", "\U0010fffd", "\ufffd\ufffe", "\u0378\u0530",
    "<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "a<|endoftext|>b", " <|im_end|> ",
    "<start_of_turn>user\nhi<end_of_turn>\n", "<end_of_turn><end_of_turn>", "<|im_start|", "<<|im_end|>>", "<|im_end|><|im_end", "<unused0><unused1>",
    "<h1>x</h1><table><tr>", "<0x0A>", "<0xZZ>", "▁", "▁▁a", "Ġa", "[multimodal]", "<file_sep><repo_name>x<filename>", "<mask> <mask>", "<start_of_image>",
    "a" * 1000, "ab" * 500, " " * 1000, " " * 33 + "x", "\n" * 100, "\n" * 31 + "\n", "\t" * 70, "!" * 300, "=" * 80, "-" * 77, "é" * 300, "的" * 300, "😀" * 100, "0" * 500, "aA" * 200,
    "\n\t" * 40, " \n" * 50, "a " * 200, "'" * 50, "\u0301" * 50, "▁" * 40, "<" * 100, "The quick brown fox jumps over the lazy dog. " * 20,
]


def main():
    r = random.Random(20240229)
    pieces = [t for t in HAND if 0 < len(t) < 30]
    texts = list(HAND)
    for _ in range(600):
        parts = [r.choice(pieces) for _ in range(r.choice([2, 3, 5, 9, 20]))]
        texts.append(r.choice(["", "", " ", "\n"]).join(parts))
    for _ in range(200):  # any character at all, in a setting where its kind matters
        c = chr(r.choice([r.randrange(1, 0x800), r.randrange(0x800, 0xd800), r.randrange(0xe000, 0x10000), r.randrange(0x10000, 0x1f000)]))
        texts.append(f"a{c}b {c} 1{c}2{c}{c}")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hard.json")
    with open(path, "w", encoding="ascii") as f:
        f.write("[\n" + ",\n".join(json.dumps(t) for t in texts) + "\n]\n")


main()
