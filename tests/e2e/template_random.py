# SPDX-License-Identifier: MIT
"""Random templates for comparison with jinja2: expressions that mostly have a value, and statements around them.

Values are chosen by type, so that most operations fit; now and then one does not, and both sides must fail.
"""
import random

STR = ["s", "t", "'a,b;c'", "'  x y  '", "''", "'Hello World'", "'aXbXc'", "u", "'12'", "'-3.5'", "d.k", "l[1]", "'a\\nb\\n\\nc'",
       "'it\\'s'", "'<b>&'", "'é日本ß'", "('<i>' | safe)", "m[0].b.c"]
INT = ["0", "1", "2", "-3", "7", "n", "100", "l[0]", "d.n[0]", "true", "12345"]
FLOAT = ["1.5", "-0.25", "f", "2.0", "1e3", "0.1", "3.14159", "1e20", "-7.5"]
LIST = ["l", "words", "nums", "[3, 1, 2]", "['b', 'A', 'c']", "[]", "m", "(1, 2)", "range(4)", "d.keys()", "d.items()", "words[:2]",
        "[[1, 2], [0]]", "s.split()", "(nums | map('string'))", "d.n"]
DICT = ["d", "m[0]", "{}", "{'b': 1, 'a': 'x', 'C': none}", "{'x': [1, {'y': 2.5}], 'z': 'é\"'}", "dict(a=1, b='q')", "m[1].b"]
ODD = ["none", "x", "false", "d.nope", "x.y", "namespace(a=1)", "range", "undefined"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *options):
        o = self.r.choice(options)
        return o() if callable(o) else o

    def leaf(self, names):
        return self.r.choice(ODD) if self.r.random() < 0.04 else self.r.choice(names)

    def small(self):
        return str(self.r.choice([0, 1, 2, 3, -1, -2, 5]))

    def string(self, d):
        if d <= 0 or self.r.random() < 0.15:
            return self.leaf(STR)
        s = lambda: self.string(d - 1)  # noqa: E731
        p = lambda: f"({s()})"  # noqa: E731
        one = self.r.choice(["'a'", "','", "' '", "'X'", "'l'", "'é'", "''", "'\\n'", "'ab'", "t"])
        two = self.r.choice(["'-'", "'zz'", "''", "s"])
        k = self.small()
        return self.pick(
            lambda: f"{s()} ~ {self.any(d - 1)}", lambda: f"{p()} + {p()}", lambda: f"{p()} * {k}", lambda: f"{p()}[{k}]",
            lambda: f"{p()}[{k}:{self.small()}]", lambda: f"{p()}[::{k}]", lambda: f"{p()}[:{k}]",
            lambda: f"{p()} | {self.pick('upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'escape', 'safe', 'reverse', 'e', 'forceescape', 'urlencode')}",
            lambda: f"{p()}.{self.pick('upper', 'lower', 'title', 'capitalize', 'strip', 'lstrip', 'rstrip', 'swapcase', 'casefold', 'expandtabs')}()",
            lambda: f"{p()}.{self.pick('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({one})",
            lambda: f"{p()}.replace({one}, {two})", lambda: f"{p()}.replace({one}, {two}, {k})", lambda: f"{p()} | replace({one}, {two})",
            lambda: f"{p()} | replace({one}, {two}, {k})", lambda: f"{p()} | trim({one})", lambda: f"{p()} | default({two}, true)",
            lambda: f"{p()}.{self.pick('center', 'ljust', 'rjust', 'zfill')}({self.r.randrange(12)})", lambda: f"{p()}.center({self.r.randrange(12)}, '*')",
            lambda: f"{self.list(d - 1)} | join({one})", lambda: f"{one}.join({self.list(d - 1)})", lambda: f"{self.list(d - 1)} | join",
            lambda: f"{p()} | indent({self.r.randrange(4)}{self.pick('', ', true', ', first=true', ', blank=true')})",
            lambda: f"{p()} | truncate({self.r.randrange(3, 9)}{self.pick('', ', true', ', end=one', ', leeway=0', ', false, two, 1')})".replace("one", "'.'").replace("two", "'~'"),
            lambda: f"{self.any(d - 1)} | string", lambda: f"{self.any(d - 1)} | tojson", lambda: f"{self.any(d - 1)} | tojson(indent={self.r.randrange(4)})",
            lambda: f"{self.any(d - 1)} | tojson(ensure_ascii=true, sort_keys=true)", lambda: f"{self.any(d - 1)} | tojson(separators=(',', ':'))",
            lambda: f"'{self.r.choice(['%s', '%5s|', '%-5s|', '%r', '%.2s', '%s%%'])}' % ({self.any(d - 1)},)",
            lambda: f"'{self.r.choice(['%d', '%5d', '%05d', '%+d', '%x', '%-6d|', '% d', '%o', '%X', '%#x', '%.3d'])}' % {self.int(d - 1, True)}",
            lambda: f"'{self.r.choice(['%f', '%.2f', '%8.3f', '%e', '%g', '%+.1f', '%08.2f', '%.0f', '%G'])}' % {self.number(d - 1)}",
            lambda: f"'%(k)s and %(n)s' % d", lambda: f"'%s-%s' | format({self.any(d - 1)}, {self.any(d - 1)})",
            lambda: f"'{self.r.choice(['{}', '{0}{0}', '{:>8}', '{:*^9}', '{!r}', '{:<4}|', '{0!s:5}'])}'.format({p()})",
            lambda: f"'{self.r.choice(['{:d}', '{:5}', '{:05d}', '{:+}', '{:,}', '{:x}', '{:#b}', '{:_}', '{:<6}|', '{:^7}', '{:e}', '{:.2f}', '{:08,}', '{:%}'])}'.format({self.int(d - 1, True)})",
            lambda: f"'{self.r.choice(['{}', '{:.2f}', '{:8.3f}', '{:e}', '{:g}', '{:+.1f}', '{:08.2f}', '{:.3}', '{:%}', '{:,.2f}', '{:.1}', '{:10}', '{:G}'])}'.format({self.number(d - 1)})",
            lambda: f"'{{a}} {{b[k]}} {{c.k}} {{0[1]}}'.format(l, a={self.any(d - 1)}, b=d, c=d)",
            lambda: f"{p()} if {self.bool(d - 1)} else {p()}", lambda: f"{self.int(d - 1, True)} | filesizeformat",
        )

    def int(self, d, paren=False):
        if d <= 0 or self.r.random() < 0.2:
            return self.leaf(INT)
        i = lambda: self.int(d - 1, True)  # noqa: E731
        text = self.pick(
            lambda: f"{i()} {self.pick('+', '-', '*', '//', '%')} {i()}", lambda: f"{i()} ** {self.r.randrange(5)}", lambda: f"-{i()}",
            lambda: f"{self.list(d - 1)} | length", lambda: f"({self.string(d - 1)}) | length", lambda: f"{self.any(d - 1)} | int",
            lambda: f"({self.string(d - 1)}) | int({self.small()})", lambda: f"({self.string(d - 1)}).{self.pick('find', 'rfind', 'count', 'index')}({self.pick(chr(39) + 'a' + chr(39), 't')})",
            lambda: f"{i()} | abs", lambda: f"{self.list(d - 1)} | sum", lambda: f"{i()} | round({self.small()})", lambda: f"nums | {self.pick('min', 'max', 'first', 'last')}",
            lambda: f"({self.string(d - 1)}) | wordcount", lambda: f"{self.list(d - 1)}.{self.pick('index', 'count')}({self.any(d - 1)})", lambda: f"{i()} and {i()}", lambda: f"{i()} or {i()}")
        return f"({text})" if paren else text

    def number(self, d):
        n = lambda: self.number(d - 1)  # noqa: E731
        if d <= 0 or self.r.random() < 0.3:
            return self.leaf(FLOAT + INT)
        return "(" + self.pick(lambda: f"{n()} {self.pick('+', '-', '*', '/', '//', '%')} {n()}", lambda: f"{n()} | round({self.r.randrange(4)})",
                               lambda: f"{n()} | round({self.small()}, '{self.pick('floor', 'ceil', 'common')}')", lambda: f"{self.any(d - 1)} | float", lambda: self.int(d - 1), lambda: f"{n()} ** 2") + ")"

    def bool(self, d):
        if d <= 0:
            return self.leaf(["true", "false", "x", "s", "l", "n"])
        a, b = lambda: f"({self.any(d - 1)})", lambda: f"({self.bool(d - 1)})"  # noqa: E731
        return self.pick(
            lambda: f"{a()} {self.pick('==', '!=')} {a()}", lambda: f"{self.number(d - 1)} {self.pick('<', '<=', '>', '>=')} {self.number(d - 1)}", lambda: f"not {b()}",
            lambda: f"{b()} and {b()}", lambda: f"{b()} or {b()}", lambda: f"{a()} {self.pick('in', 'not in')} {self.list(d - 1)}", lambda: f"({self.string(d - 1)}) in ({self.string(d - 1)})",
            lambda: f"{a()} is {self.pick('', 'not ')}{self.pick('defined', 'none', 'string', 'number', 'mapping', 'sequence', 'iterable', 'boolean', 'integer', 'float', 'true', 'false', 'callable', 'undefined', 'lower', 'upper', 'escaped')}",
            lambda: f"{self.int(d - 1, True)} is {self.pick('odd', 'even', 'divisibleby 3', 'divisibleby(2)', 'eq 1', 'gt 2', 'le(3)', 'in nums', 'sameas 1')}",
            lambda: f"({self.string(d - 1)}).{self.pick('isdigit', 'isalpha', 'isspace', 'isupper', 'islower', 'isalnum', 'istitle', 'isnumeric', 'isascii', 'isidentifier', 'isprintable', 'isdecimal')}()",
            lambda: f"({self.string(d - 1)}).{self.pick('startswith', 'endswith')}({self.string(0)})", lambda: f"{self.number(0)} < {self.number(0)} < {self.number(0)}",
            lambda: f"({self.string(d - 1)}) < ({self.string(d - 1)})")

    def list(self, d):
        if d <= 0 or self.r.random() < 0.2:
            return self.leaf(LIST)
        i = lambda: self.list(d - 1)  # noqa: E731
        text = self.pick(
            lambda: f"{i()} | list", lambda: f"{i()} | sort{self.pick('', '(reverse=true)', '(case_sensitive=true)')}", lambda: f"{i()} | unique | list", lambda: f"{i()} | reverse | list",
            lambda: f"{i()} | map('{self.pick('string', 'upper', 'length', 'tojson', 'first', 'trim')}') | list", lambda: f"{i()} | map(attribute='{self.pick('a', 'b', 'b.c', '0')}'{self.pick('', ', default=9')}) | list",
            lambda: f"{i()} | {self.pick('select', 'reject')}{self.pick('', '(|string|)', '(|odd|)', '(|gt|, 1)', '(|defined|)')} | list".replace("|s", "'s").replace("|o", "'o").replace("|g", "'g").replace("|d", "'d").replace("|)", "')").replace("|,", "',"),
            lambda: f"m | {self.pick('selectattr', 'rejectattr')}('a'{self.pick('', ', |defined|', ', |equalto|, 1', ', |none|')}) | list".replace("|d", "'d").replace("|e", "'e").replace("|n", "'n").replace("d|", "d'").replace("o|", "o'").replace("e|", "e'"),
            lambda: f"{i()} | batch({self.r.randrange(1, 4)}{self.pick('', ', 0')}) | list", lambda: f"{i()} | slice({self.r.randrange(1, 4)}{self.pick('', ', 0')}) | list", lambda: f"{self.dict(d - 1)} | dictsort{self.pick('', '(true)', '(reverse=true)', '(by=|value|)')}".replace("|v", "'v").replace("e|)", "e')"),
            lambda: f"{self.dict(d - 1)}.{self.pick('items', 'keys', 'values')}() | list", lambda: f"{self.dict(d - 1)} | items | list", lambda: f"({i()})[{self.small()}:]", lambda: f"({i()})[::{self.small()}]", lambda: f"[{self.any(d - 1)}, {self.any(d - 1)}]", lambda: f"({i()} | list) + ({i()} | list)",
            lambda: f"({self.string(d - 1)}).{self.pick('split', 'rsplit')}({self.pick('', '|,|', '|a|, 1', 'none, 1', '| |')})".replace("|", "'"), lambda: f"({self.string(d - 1)}).{self.pick('splitlines()', 'partition(|a|)', 'rpartition(|a|)', 'splitlines(true)')}".replace("|", "'"), lambda: f"({self.string(d - 1)}) | list",
            lambda: f"m | groupby('{self.pick('a', 'b.c')}'{self.pick('', ', default=0')})", lambda: f"{i()} | {self.pick('list', 'sort')} | first | default([])", lambda: f"range({self.small()}, {self.r.randrange(9)}{self.pick('', ', 2', ', -1')})")
        return f"({text})"

    def dict(self, d):
        return f"({self.pick(lambda: self.leaf(DICT), lambda: '{|p|: %s, %s: 1}'.replace('|', chr(39)) % (self.any(d - 1), self.int(0)), lambda: 'dict(d, q=%s)' % self.any(d - 1))})" if d > 0 else self.leaf(DICT)

    def any(self, d):
        return self.pick(lambda: self.string(d), lambda: self.int(d, True), lambda: self.number(d), lambda: f"({self.bool(d)})",
                         lambda: self.list(d), lambda: self.dict(d), lambda: f"({self.string(d)})",
                         lambda: f"{self.dict(d)}.get('{self.pick('k', 'a', 'zz')}'{self.pick('', ', 5')})", lambda: f"{self.dict(d)}['{self.pick('k', 'a', 'zz')}']")

    def expression(self):
        return "{{ " + self.any(self.r.randrange(1, 4)) + " }}"

    # ---- statements

    def space(self):
        return self.r.choice(["", "", "", " ", "\n", "\n  ", "  \n", "a", " b\n"])

    def tag(self, text):
        return "{%" + self.r.choice(["", "", "-", "+"]) + f" {text} " + self.r.choice(["", "", "-", "+"]) + "%}"

    def out(self, names):
        e = self.r.choice(names) if names and self.r.random() < 0.6 else self.any(1)
        return "{{" + self.r.choice(["", "-"]) + f" {e} " + self.r.choice(["", "-"]) + "}}"

    def body(self, d, names, loop):
        return "".join(self.space() + self.statement(d, names, loop) + self.space() for _ in range(self.r.randrange(1, 4)))

    def statement(self, d, names, loop):
        v = self.r.choice(["a", "b", "c"])
        if d <= 0:
            return self.out(names)
        t, in_names = self.tag, [*names, v]
        body = lambda n=names, inside=loop: self.body(d - 1, n, inside)  # noqa: E731
        loop_names = [*in_names, "loop.index", "loop.last", "loop.length", "loop.previtem", "loop.nextitem", "loop.cycle(1, 2)", "loop.changed(n)", "loop.revindex0", "loop.depth"]
        call = f"f({self.pick('', '1', 'a=2', 's, b=3', '*[1, 2]', '**{|b|: 1}', '1, 2, 3', 'c=1')})".replace("|", "'")
        options = [
            lambda: self.out(names), lambda: t(f"set {v} = {self.any(2)}"), lambda: t(f"set {v}{self.pick('', ' | upper', ' | trim')}") + body() + t("endset"),
            lambda: t(f"if {self.bool(2)}") + body() + self.pick("", lambda: t(f"elif {self.bool(1)}") + body()) + self.pick("", lambda: t("else") + body()) + t("endif"),
            lambda: t(f"for {v} in {self.list(1)}{self.pick('', ' if ' + v)}") + body(loop_names, True) + self.pick("", lambda: t("else") + body()) + t("endfor"),
            lambda: t("for k, v in d.items()") + body([*names, "k", "v", "loop.first"], True) + t("endfor"),
            lambda: t(f"macro f({self.pick('', 'a', 'a, b=2', 'a=n, b=a')})") + body([*names, "a", "b", self.r.choice(["varargs", "kwargs", "a"])], False) + t("endmacro") + "{{ " + call + " }}",
            lambda: t("macro g(a)") + body([*names, "caller(a)", "caller()"], False) + t("endmacro") + t(f"call{self.pick('', '(c)')} g({self.any(1)})") + body([*names, "c"], False) + t("endcall"),
            lambda: t(f"filter {self.pick('upper', 'trim', 'indent(2)', 'replace(|a|, |b|)', 'length')}".replace("|", "'")) + body() + t("endfilter"), lambda: t(f"with {v} = {self.any(1)}") + body(in_names) + t("endwith"),
            lambda: t("set ns = namespace(v=1)") + t("for i in nums") + t("set ns.v = ns.v + i") + body([*names, "ns.v"], True) + t("endfor") + "{{ ns.v }}", lambda: t(f"set a, b = {self.any(1)}, {self.any(1)}") + "{{ a }}{{ b }}",
            lambda: "{#" + self.r.choice(["", "-"]) + " c " + self.r.choice(["", "-"]) + "#}", lambda: t("raw") + " {{ x }} " + t("endraw"), lambda: t("generation") + body() + t("endgeneration"),
            lambda: t("for i in m recursive") + "{{ loop.depth }}{{ i.a }}" + t("if loop.depth < 3 and i.b") + "{{ loop([i.b]) }}" + t("endif") + t("endfor")]
        if loop:
            options += [lambda: t(f"if {self.bool(1)}") + t(self.pick("break", "continue")) + t("endif")]
        return self.pick(*options)

    def template(self):
        return self.body(3, ["s", "n", "a", "b"], False)


VALUES = {"s": " Some text ", "t": "ab", "u": "Ünïcode ß 日本 😀", "n": 5, "f": 2.675, "l": [3, "b", None, 1.5], "words": ["the", "Quick", "brown", "fox"],
          "nums": [4, 1, 3], "d": {"k": "v", "n": [1, {"z": True}], "items2": 0},
          "m": [{"a": 1, "b": {"c": "x"}}, {"a": 0, "b": {"c": "Y"}}, {"b": {}}, {"a": 1, "b": {"c": "a"}}]}
