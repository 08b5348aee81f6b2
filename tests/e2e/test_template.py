# SPDX-License-Identifier: MIT
"""Chat templates, byte for byte as Python's jinja2 renders them with Hugging Face's settings.

The tool tmpl_tool is built beside the program ($SMELT, default build/smelt).  SmolLM2's own template comes from its
file in $SMELT_MODELS; the templates of llama.cpp's source package, where $SMELT_VOCABS has them, must either render the
same or be refused by naming line and construct.
"""
import glob
import json
import os
import subprocess

import gguf
import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "tmpl_tool")
MODELS = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
VOCABS = os.environ.get("SMELT_VOCABS", os.path.join(ROOT, "build", "vocabs"))

UNSUPPORTED, BAD = -4, -3


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


ENV = environment()


def python(template, context):
    try:
        return {"text": ENV.from_string(template).render(**context)}
    except Exception as e:  # whatever Python raises, smelt must fail too
        return {"error": str(e)}


def smelt(jobs):
    data = "".join(json.dumps({"template": t, "context": c}) + "\n" for t, c in jobs)
    out = subprocess.run([TOOL], input=data.encode(), capture_output=True, check=True).stdout.decode()
    return [json.loads(line) for line in out.splitlines()]


def same(jobs):
    """Renders all with both; returns how many rendered."""
    for (template, context), got in zip(jobs, smelt(jobs), strict=True):
        want = python(template, context)
        if "text" in want:
            assert got == want, template
        else:
            assert "error" in got, (template, want)


USER = {"role": "user", "content": "Hello <b>\"there\"</b>!\n"}
CHATS = [
    [USER],
    [{"role": "system", "content": " You are terse. "}, USER],
    [{"role": "user", "content": "  1+1?"}, {"role": "assistant", "content": "2 \n"}, {"role": "user", "content": "日本 😀 é"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": ""},
     {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "assistant", "content": "first"}],
    [{"role": "tool", "content": "{\"x\": 1}"}],
    [],
]


def contexts():
    for chat in CHATS:
        for generate in (False, True):
            yield {"messages": chat, "add_generation_prompt": generate, "bos_token": "<s>", "eos_token": "</s>"}


# The formats that many models share, each with another part of the language.
FORMATS = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
              "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "instruct": "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
                "{{ raise_exception('roles must take turns') }}{% endif %}{% if m['role'] == 'user' %}"
                "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
                "{{ m['content'] + eos_token }}{% else %}{{ raise_exception('unknown role: ' ~ m.role) }}{% endif %}"
                "{% endfor %}",
    "turns": "{{ bos_token }}\n{%- if messages and messages[0].role == 'system' -%}\n"
             "    {%- set first = messages[0].content | trim + '\\n\\n' -%}\n    {%- set rest = messages[1:] -%}\n"
             "{%- else -%}\n    {%- set first = '' -%}\n    {%- set rest = messages -%}\n{%- endif -%}\n"
             "{%- for m in rest -%}\n    {%- if (m['role'] == 'assistant') -%}\n        {%- set role = 'model' -%}\n"
             "    {%- else -%}\n        {%- set role = m['role'] -%}\n    {%- endif -%}\n"
             "    {{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}\n"
             "    {%- if m.content is string -%}\n        {{ m.content | trim }}\n"
             "    {%- elif m.content is iterable -%}\n        {%- for part in m.content -%}\n"
             "            {{ part.text | trim }}\n        {%- endfor -%}\n    {%- endif -%}\n"
             "    {{ '<end_of_turn>\\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n"
             "    {{ '<start_of_turn>model\\n' }}\n{%- endif -%}\n",
    "headers": "{% set loop_messages = messages %}\n{% for message in loop_messages %}\n"
               "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim"
               " + '<|eot_id|>' %}\n{% if loop.index0 == 0 %}\n{% set content = bos_token + content %}\n{% endif %}\n"
               "{{ content }}\n{% endfor %}\n{% if add_generation_prompt %}\n"
               "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\n{% endif %}\n",
    "pipes": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
             "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
             "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
             "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "namespace": "{%- set ns = namespace(system='', n=0) -%}{%- for m in messages if m.role != 'tool' -%}"
                 "{%- if m.role == 'system' -%}{%- set ns.system = m.content | trim -%}{%- else -%}"
                 "{%- set ns.n = ns.n + 1 -%}{{ ns.n }}/{{ loop.length }}:{{ m.content | tojson }};{%- endif -%}"
                 "{%- else -%}nothing{%- endfor -%}{{ ns.system | default('none', true) }}",
    "roles": "{% set names = {'user': 'Human', 'assistant': 'AI'} %}{% for m in messages %}"
             "{{ names[m.role] if m.role in names else names.get(m.role, m.role | upper) }}: {{ m['content'].strip() }}\n"
             "{% if not loop.last %}---\n{% endif %}{% endfor %}{{ 'AI:' if add_generation_prompt }}",
    "no-generation": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
                     "{{ bos_token ~ messages | length ~ add_generation_prompt }}{% for message in messages -%}\n"
                     "  {{ message.role }}\n  {%- if 'b' in message.content %} has b{% endif %}\n{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"
                  "{% endgeneration %}{% else %}> {{ m.content | replace('\\n', ' ') }}{{ '\\n' }}{% endif %}{% endfor %}",
    "split": "{% for m in messages %}{% set parts = m.content.split('1') %}{{ parts | join('|') }} {{ parts[-1] }} "
             "{{ m.content[:3] }}{{ m.content[-2:] }}{{ m.content[::-1] }}{% endfor %}",
    "last-user": "{% set ns = namespace(at=-1) %}{% for m in messages[::-1] %}{% if m.role == 'user' and ns.at < 0 %}"
                 "{% set ns.at = messages | length - loop.index %}{% break %}{% endif %}{% endfor %}{{ ns.at }}",
}


@pytest.mark.parametrize("name", FORMATS)
def test_format(name):
    same([(FORMATS[name], c) for c in contexts()])


def test_smollm2():
    field = gguf.GGUFReader(os.path.join(MODELS, "smollm2.gguf")).fields["tokenizer.chat_template"]
    jobs = [(field.contents(), c) for c in contexts()]
    assert sum("text" in r for r in smelt(jobs)) >= 14
    same(jobs)


VALUES = {"s": " Some text ", "l": [3, "b", None, 1.5], "d": {"k": "v", "n": [1, {"z": True}], "items2": 0},
          "m": [{"a": 1, "b": {"c": "x"}}, {"a": 0, "b": {"c": "y"}}, {"b": {}}]}


def test_expressions():
    """One expression a line, over VALUES."""
    with open(os.path.join(ROOT, "tests", "golden", "template_expressions.txt"), encoding="utf-8") as f:
        lines = f.read().splitlines()
    assert len(lines) > 200
    same([("{{ " + e + " }}", VALUES) for e in lines])


STATEMENTS = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \nb\n  {% endif %}\nc", "a {%- if true -%} b {%- endif -%} c",
    "a\n  {%+ if true %}\nb{% endif +%}\nc", "{% if true +%}\n\nx{% endif %}", "a\n\n{{- 'x' -}}\n\nb", "  {{ 'x' }}  \n", "\n\n{{ 1 }}\n\n",
    "a{# comment #}b", "a\n  {# comment #}\nb", "a\n{#- c -#}\n b", "a {# {{ x }} {% if %} #} b", "a\r\nb\r{{ 1 }}\r\n", "x\n\n", "",
    "{% raw %}{{ not }} {% this %}{% endraw %}!", "a\n  {%- raw -%}\n {{x}} \n{%- endraw -%}\n b", "{% raw %}\nx\n{% endraw %}\ny", "{{ '}}' }}{{ '%}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}{{ loop.depth }}{% for j in l %}{{ loop.depth0 }}{% endfor %}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in 'aé日' %}{{ c }}.{% endfor %}",
    "{% for i in x %}{{ i }}{% else %}none{% endfor %}", "{% for i in l if i %}{{ loop.index }}{{ i }}{% endfor %}", "{% for i in range(9) if i is odd %}{{ i }}{{ loop.last }}{% else %}e{% endfor %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }}{% endfor %}", "{% for (a, b) in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% set a = 1 %}{% for i in range(2) %}{% set a = a + 1 %}{{ a }}{% endfor %}{{ a }}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}", "{% set a = 1, 2 %}{{ a }}", "{% if true %}{% set a = 1 %}{% endif %}{{ a }}",
    "{% set a %}x {{ 1 }} y{% endset %}[{{ a }}]", "{% set a | trim | upper %}  x {{ 1 }} y {% endset %}[{{ a }}]", "{% set ns = namespace(a=1) %}{% for i in l %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}",
    "{% set d.x = 1 %}", "{% set nope.x = 1 %}", "{% if x %}1{% elif s %}2{% elif l %}3{% else %}4{% endif %}", "{% if x is defined and x.y == 1 %}1{% endif %}2", "{% if x %}{% else %}e{% endif %}",
    "{{ 1, 2 }}", "{{ [1,2] | map('string') | join('') }}", "{% for i in [1,2,3] %}{% if not loop.first %}, {% endif %}{{ i }}{% endfor %}", "{% for i in l %}{% set loop_i = loop %}{{ loop_i.index }}{% endfor %}",
    "{% if 1 %}", "{% endif %}", "{% for %}{% endfor %}", "{% for i in l %}", "{{ 1", "{% if 1 }}", "{{ }}", "{# x", "{{ 'a }}", "{% nope %}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{% set 1 = 2 %}", "{% break %}",
    "{% else %}", "{{ 1 | }}", "{{ 1 is }}", "{{ f(a=1, 2) }}", "{% if 1 %}{% endfor %}", "{{ $ }}", "{% raw %}x", "{% set a = %}", "{{ '\\x' }}", "{% elif 1 %}",
]


def test_statements():
    same([(t, VALUES) for t in STATEMENTS])


@pytest.mark.parametrize("template, line, construct", [
    ("{% macro f(x) %}{% endmacro %}", 1, "macro"), ("a\nb{% include 'x' %}", 2, "include"), ("\n\n{{ x | sort }}", 3, "sort"),
    ("{{ x is escaped }}", 1, "escaped"), ("{% for i in x recursive %}{% endfor %}", 1, "recursive"), ("\n{{ strftime_now('%Y') }}", 2, "strftime_now"),
    ("{{ f(*x) }}", 1, "*"), ("{{ 'a'.zfill(3) }}", 1, "zfill"), ("{{ '%s' % 1 }}", 1, "%"),
])
def test_unsupported(template, line, construct):
    got = smelt([(template, {"x": [1]})])[0]
    assert got["code"] == UNSUPPORTED and f"line {line}:" in got["error"] and construct in got["error"]


def test_limits():
    deep = "(" * 5000 + "1" + ")" * 5000
    jobs = [("{{ " + deep + " }}", {}), ("{{ 1" + " + 1" * 5000 + " }}", {}), ("{% if 1 %}" * 1000 + "{% endif %}" * 1000, {}),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}", {}),
            ("{{ 'a' * 99999 * 99999 }}", {}), ("{{ range(10 ** 9) }}", {}), ("{{ " + "-" * 5000 + "1 }}", {}),
            ("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", {})]
    for got in smelt(jobs):
        assert got["code"] == -5, got
    assert smelt([("{{ raise_exception('Only user and assistant') }}", {})])[0] == {
        "error": "chat template, line 1: Only user and assistant", "code": BAD}


def test_published_templates():
    paths = sorted(glob.glob(os.path.join(VOCABS, "**", "*.jinja"), recursive=True))
    if not paths:
        pytest.skip("no *.jinja under " + VOCABS)
    rendered = 0
    for path in paths:
        with open(path, encoding="utf-8", newline="") as f:
            jobs = [(f.read(), c) for c in contexts()]
        for (template, context), got in zip(jobs, smelt(jobs), strict=True):
            if got.get("code") == UNSUPPORTED:
                assert "line " in got["error"]
                continue
            want = python(template, context)
            assert ("text" in got) == ("text" in want), (path, got, want)
            if "text" in want:
                assert got == want, path
                rendered += 1
    assert rendered > 100
