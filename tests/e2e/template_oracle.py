# SPDX-License-Identifier: MIT
"""Python's jinja2 as transformers sets it up, and smelt's engine, side by side.

smelt's side is the tool tmpl_tool, which is built beside the program ($SMELT, default build/smelt).  Both are given the
same clock.
"""
import datetime
import functools
import json
import os
import subprocess

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "tmpl_tool")
NOW = 1785931445  # 2026-08-05 12:04:05 UTC

RESOURCE, UNSUPPORTED, BAD = -5, -4, -3


class Raised(jinja2.TemplateError):
    """By raise_exception, and so with a message of the template's own."""


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise Raised(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(format)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


ENV = environment()


@functools.lru_cache(maxsize=8)
def compiled(template):
    return ENV.from_string(template)


def python(template, context):
    """{"text": ..}, {"raised": message of raise_exception} or {"error": any other}."""
    try:
        return {"text": compiled(template).render(**context)}
    except Raised as e:
        return {"raised": str(e)}
    except Exception as e:  # whatever Python raises, smelt must fail too
        return {"error": f"{type(e).__name__}: {e}"}


def smelt(jobs):
    data = "".join(json.dumps({"template": t, "context": c, "now": NOW}) + "\n" for t, c in jobs)
    out = subprocess.run([TOOL], input=data.encode(), capture_output=True, check=True,
                         env={**os.environ, "TZ": "UTC"}).stdout.decode()
    return [json.loads(line) for line in out.split("\n")[:-1]]


def compare(got, want):
    """"text", "raised" or "error" when both sides agree, else None."""
    if "text" in want:
        return "text" if got == want else None
    if "code" not in got:
        return None
    if got["code"] == UNSUPPORTED:  # what Jinja has not either
        return "error" if " named " in want.get("error", "") else None
    if "raised" in want:
        message = got["error"].partition(": ")[2]
        return "raised" if got["code"] == BAD and message[:500] == want["raised"][:500] else None
    return "error"


def same(jobs):
    """Renders all with both; returns how many gave a text, were raised by the template, failed otherwise."""
    counts = {"text": 0, "raised": 0, "error": 0}
    for (template, context), got in zip(jobs, smelt(jobs), strict=True):
        want = python(template, context)
        how = compare(got, want)
        assert how, f"{template}\n  over {json.dumps(context)[:400]}\n  smelt  {got}\n  jinja2 {want}"
        counts[how] += 1
    return counts


# ---- chats -----------------------------------------------------------------------------------------------------------

def tool(name, description, properties, required=()):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {
        "type": "object", "properties": properties, "required": list(required)}}}


TOOLS = [
    tool("get_weather", "Weather of a place, \"now\" & later", {
        "location": {"type": "string", "description": "City, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}}, ["location"]),
    tool("search", "", {
        "query": {"type": "object", "description": "what", "properties": {
            "terms": {"type": "array", "items": {"type": "string"}}, "limit": {"type": ["integer", "null"]},
            "exact": {"type": "boolean", "default": False}}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
        "mode": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
    {"type": "function", "function": {"name": "nothing", "description": "Takes nothing.", "parameters": {
        "type": "object", "properties": {}}}},
]

SYSTEM = {"role": "system", "content": " You are terse. "}
USER = {"role": "user", "content": "Hello <b>\"there\"</b>!\n"}
ARGUMENTS = {"query": {"terms": ["日本", "a\"b"], "limit": None, "exact": True}, "n": 3, "f": 1.5, "s": "x\ny", "e": []}


def call(name, arguments, id):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(as_string, content="Let me see.", **more):
    form = json.dumps if as_string else lambda x: x
    return [
        {"role": "user", "content": "Weather in Zürich, and what is 日本?"},
        {"role": "assistant", "content": content, **more, "tool_calls": [
            call("get_weather", form({"location": "Zürich"}), "call00001"),
            call("search", form(ARGUMENTS), "call00002")]},
        {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"t\": 21.5}"},
        {"role": "tool", "tool_call_id": "call00002", "name": "search", "content": "Land der aufgehenden Sonne"},
    ]


DONE = [{"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "Thanks"}]
TALK = [{"role": "user", "content": "  1+1?"}, {"role": "assistant", "content": "2 \n"},
        {"role": "user", "content": "日本 😀 é"}]
THOUGHT = [{"role": "user", "content": "Think."},
           {"role": "assistant", "content": "Done.", "reasoning_content": "I think\n so.", "thinking": "I think\n so."},
           {"role": "user", "content": "Again."}]
INLINE = [{"role": "user", "content": "Think."}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nDone."},
          {"role": "user", "content": "Again."}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "text", "text": "here"}]}]
PICTURE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]


def context(messages, **more):
    return {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>",
            "eos_token": "</s>", **more}


CASES = {
    "plain": context([USER]),
    "plain, no generation prompt": context([USER], add_generation_prompt=False),
    "system": context([SYSTEM, USER]),
    "several turns": context(TALK),
    "several turns, system": context([SYSTEM, *TALK], add_generation_prompt=False),
    "unicode": context([{"role": "user", "content": "ß ﬁ \u200b\u00a0 \U0001f468\u200d\U0001f469 \u0301 '\"\\ \t\x7f"}]),
    "empty content": context([{"role": "system", "content": ""}, {"role": "user", "content": ""},
                              {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}]),
    "content parts": context([SYSTEM, *PARTS]),
    "picture": context(PICTURE),
    "thinking on": context(TALK, enable_thinking=True, thinking=True),
    "thinking off": context(TALK, enable_thinking=False, thinking=False),
    "reasoning": context(THOUGHT),
    "reasoning, thinking off": context(THOUGHT, enable_thinking=False, thinking=False),
    "reasoning inside the content": context(INLINE),
    "tools": context([USER], tools=TOOLS),
    "tools, system": context([SYSTEM, USER], tools=TOOLS, enable_thinking=True),
    "tools, no generation prompt": context([SYSTEM, *TALK], tools=TOOLS[:1], add_generation_prompt=False),
    "calls as objects": context(calling(False), tools=TOOLS),
    "calls as strings": context(calling(True), tools=TOOLS),
    "calls without tools": context([SYSTEM, *calling(False)]),
    "one call": context([*calling(False)[:1], {**calling(False)[1], "tool_calls": calling(False)[1]["tool_calls"][:1]},
                         calling(False)[2]], tools=TOOLS),
    "calls, no content": context(calling(False, None), tools=TOOLS),
    "calls, empty content": context(calling(False, ""), tools=TOOLS),
    "calls, reasoning": context([*calling(False, "", reasoning_content="Two calls.", thinking="Two calls."), *DONE],
                                tools=TOOLS, enable_thinking=True),
    "calls, answered": context([SYSTEM, *calling(True), *DONE], tools=TOOLS, add_generation_prompt=False),
    "result as parts": context([*calling(False)[:3], {"role": "tool", "tool_call_id": "call00002", "name": "search",
                                                      "content": [{"type": "text", "text": "none"}]}], tools=TOOLS),
    "tools in Cohere's form": context([SYSTEM, USER], tools=[
        {"name": "search", "description": "Searches.", "parameter_definitions": {
            "query": {"description": "What for", "type": "str", "required": True},
            "n": {"description": "How many", "type": "int", "required": False}}}]),
    "documents": context([USER], documents=[{"title": "T", "text": "Text."}, {"title": "U", "text": "Té."}]),
    "assistant last": context([USER, {"role": "assistant", "content": "I"}], add_generation_prompt=False),
    "two users": context([USER, USER]),
    "assistant first": context([{"role": "assistant", "content": "first"}]),
    "developer": context([{"role": "developer", "content": "Be brief."}, USER]),
    "unknown role": context([{"role": "nobody", "content": "x"}]),
    "no messages": context([]),
    "nothing but messages": {"messages": [SYSTEM, *TALK]},
    "arguments of the template": context([SYSTEM, USER], reasoning_effort="high", model_identity="I am me.",
                                         date_string="1 May 2026", builtin_tools=["python", "browser"],
                                         custom_tools=TOOLS, functions="[]", datetime="2026-05-01", keep_past_thinking=True, preserve_thinking=True),
}
