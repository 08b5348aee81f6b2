# SPDX-License-Identifier: MIT
"""Chat, as a person has it: at a pseudo-terminal, with keys, and line by line from a pipe."""
import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from pty_session import BACKSPACE, CTRL_C, CTRL_D, ENTER, LEFT, MORE, PASTE, UP, Terminal
from smelt_cli import SMELT, make_model, model, smelt

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>"
PICKY = ("{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages here') }}{% endif %}"
         "{{ m.content }}{% endfor %}")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    d = tmp_path_factory.mktemp("chat")
    return {"chat": make_model(d / "chat.gguf", "--ctx", "20000", "--chat-template", TEMPLATE),
            "plain": make_model(d / "plain.gguf"),
            "picky": make_model(d / "picky.gguf", "--chat-template", PICKY)}


@pytest.fixture()
def home(tmp_path):
    return tmp_path


def chat(path, home, *args, **kw):
    env = {"HOME": str(home), **kw.pop("env", {})}
    return Terminal("run", path, "-n", "8", "-t", "1", "--ignore-eos", *args, env=env, **kw)


def saved(t, home, name="talk.json"):
    """The conversation, through /save."""
    shown = t.line(f"/save {home}/{name}")
    assert "message" in shown, shown
    return [(m["role"], m["content"]) for m in json.loads((home / name).read_text())["messages"]]


def spelled(text):
    """As a terminal is shown it."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f]", lambda m: "^" + chr(ord(m[0]) + 64), text)
    return re.sub(r"[\x80-\x9f]", lambda m: f"<{ord(m[0]):02X}>", text.replace("\x7f", "^?"))


def history(home):
    return (home / ".local/state/smelt/chat_history").read_text()


# ------------------------------------------------------------------ lines
def test_lines_and_letters(models, home):
    """Letters of any width, keys that move and erase, lines that go on, blocks, pasted text."""
    with chat(models["chat"], home) as t:
        assert "context 4096 of 20000" in t.prompt()
        t.line("héllo 日本 😀 ẞ")
        t.type("ab日本" + BACKSPACE + BACKSPACE + "c" + LEFT + LEFT + "é")
        t.line("")
        t.type("one\\" + ENTER)
        t.expect(MORE)
        t.line("two")
        t.type('"""three' + ENTER)
        t.expect(MORE)
        t.type("/not a command" + ENTER)
        t.expect(MORE)
        t.line('four"""')
        t.type(PASTE % "pasted\rlines\r\x1b[31mred\ttab\r")
        t.line(" end")
        t.line(" /spaced")
        t.line("")
        t.line("   ")
        users = [text for role, text in saved(t, home) if role == "user"]
        assert users == ["héllo 日本 😀 ẞ", "aébc", "one\ntwo", "three\n/not a command\nfour",
                         "pasted\nlines\n[31mred\ttab end", " /spaced"]
        t.type(CTRL_D)
        assert t.finish()[0] == 0 and t.restored()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "no_SUCH.locale"])
def test_letters_in_any_locale(models, home, locale):
    with chat(models["chat"], home, env={"LC_ALL": locale}) as t:
        t.prompt()
        t.line("żółw 🐢")
        assert saved(t, home)[0] == ("user", "żółw 🐢")
        t.type("/exit" + ENTER)
        assert t.finish()[0] == 0


def test_bytes_that_are_no_letters(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type(b"a\xff\xc3(b")
        t.line("")
        assert saved(t, home)[0] == ("user", "a\ufffd\ufffdb")  # the cut-off letter takes what follows it along


def test_window_size_changes(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type("a long line " * 4)
        t.expect("line")
        t.resize(20, 30)
        time.sleep(0.2)
        t.type("and more")
        t.line("")
        t.resize(30, 100)
        t.line("again")
        users = [text for role, text in saved(t, home) if role == "user"]
        assert users == ["a long line " * 4 + "and more", "again"]


def test_history_in_the_next_chat(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.line("first said")
        t.type(PASTE % "second\rof two lines \\ and é")
        t.line("")
        t.type(CTRL_D)
        assert t.finish()[0] == 0
    assert history(home) == "first said\nsecond\\nof two lines \\\\ and é\n"
    file = home / ".local/state/smelt/chat_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type(UP)
        t.line("!")
        t.type(UP + UP + UP)
        t.line("?")
        users = [text for role, text in saved(t, home) if role == "user"]
        assert users == ["second\nof two lines \\ and é!", "first said?"]
    state = home / "state"
    with chat(models["chat"], home, env={"XDG_STATE_HOME": str(state)}) as t:
        t.prompt()
        t.line("elsewhere")
    assert (state / "smelt/chat_history").read_text() == "elsewhere\n"


def test_long_history_is_cut(models, home):
    file = home / ".local/state/smelt/chat_history"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"line {i}\n" for i in range(2500)))
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type(UP)
        t.expect("line 2499")
        t.line("")
    lines = history(home).splitlines()
    assert lines[0] == "line 1500" and lines[-1] == "line 2499" and len(lines) == 1000


def test_history_that_cannot_be_written(models, home):
    (home / ".local").write_text("a file where a folder should be")
    with chat(models["chat"], home) as t:
        t.prompt()
        assert "smelt:" not in t.line("said")
        assert saved(t, home)[0] == ("user", "said")


def test_completion(models, home):
    (home / "talk-1.json").write_text("[]")
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type("/sy\t")
        t.line("Be brief.")
        assert t.line("/system") == "Be brief.\n"
        t.type("/s\t\t")
        assert {"/system", "/save", "/stats", "/show"} <= set(t.expect("/show")[0].split()) | {"/show"}
        t.type("t\t")
        assert "context" in t.line("")
        t.type(f"/load {home}/ta\t")
        assert "0 messages" in t.line("")
        t.type("a\tb")
        t.line("")
        assert ("user", "a\tb") in saved(t, home)


# ------------------------------------------------------------------ commands
def test_commands(models, home):
    with chat(models["chat"], home, "--temp", "0", "--system", "Be kind.") as t:
        t.prompt()
        text = t.line("/help")
        for name in ("help", "system", "save", "load", "clear", "undo", "retry", "stats", "set", "show", "prompt", "exit", "quit"):
            assert f"\n/{name}" in "\n" + text
        assert t.line("/system") == "Be kind.\n"
        reply = t.line("hello")
        first = saved(t, home)
        assert first[:2] == [("system", "Be kind."), ("user", "hello")] and first[2][0] == "assistant" and len(first) == 3
        assert reply.startswith(spelled(first[2][1]))
        shown = t.line("/show")
        assert shown == f"<system>Be kind.</system><user>hello</user><assistant>{spelled(first[2][1])}</assistant><assistant>\n"
        assert t.line("/prompt") == shown
        t.line("and then")
        assert len(saved(t, home)) == 5
        assert "3 messages" in t.line("/undo")
        assert saved(t, home) == first
        assert "temperature 0" in t.line("/retry")
        assert saved(t, home) == first  # greedy: the same reply
        assert t.line("/system Be terse. ") .startswith("(")
        assert saved(t, home)[0] == ("system", "Be terse.")
        assert "system message stays" in t.line("/clear")
        assert saved(t, home) == [("system", "Be terse.")]
        t.line('/system ""')
        assert saved(t, home) == []
        for bad, words in [("/hlep", ["/hlep", "did you mean /help?"]), ("/zzzzzzzz", ["/zzzzzzzz", "/help"]),
                           ("/undo", ["no turn"]), ("/retry", ["no turn"]), ("/save", ["FILE"]), ("/clear now", ["now"]),
                           ("/load /no/such.json", ["/no/such.json", "No such file"])]:
            shown = t.line(bad)
            assert shown.startswith("smelt: ") and all(w in shown for w in words), shown
        t.type("/quit" + ENTER)
        assert t.finish()[0] == 0


def test_retry_draws_anew(models, home):
    with chat(models["chat"], home, "--temp", "2", "--top-k", "0", "--seed", "3") as t:
        t.prompt()
        t.line("hello")
        replies = [saved(t, home)[1][1]]
        for _ in range(3):
            t.line("/retry")
            got = saved(t, home)
            assert len(got) == 2
            replies.append(got[1][1])
        assert len(set(replies)) == 4


def test_settings(models, home):
    with chat(models["chat"], home, "--seed", "7") as t:
        t.prompt()
        names = dict(line.split(" ", 1) for line in t.line("/set").splitlines())
        assert names["temp"] == "0.8" and names["seed"] == "7" and names["predict"] == "8" and "top-k" in names
        assert t.line("/set temp") == "temp 0.8\n"
        assert t.line("/set temp 0") == "temp 0\n" and t.line("/set top-k=3") == "top-k 3\n"
        t.line("hello")
        greedy = saved(t, home)
        t.line("/retry")
        assert saved(t, home) == greedy
        t.line("/undo")
        assert t.line("/set temp 3") == "temp 3\n" and t.line("/set top-k 0") == "top-k 0\n"
        assert t.line("/set seed 11") == "seed 11\n"
        t.line("hello")
        drawn = saved(t, home)
        assert drawn != greedy
        t.line("/undo")
        t.line("/set seed 11")  # draws begin anew
        t.line("hello")
        assert saved(t, home) == drawn
        for bad, words in [("/set temp hot", ["temp", "hot"]), ("/set temp -1", ["temp", "-1"]), ("/set top-k 1.5", ["top-k", "1.5"]),
                           ("/set tmep 1", ["tmep", "did you mean temp?"]), ("/set qqqqqqq", ["qqqqqqq", "/set lists"]),
                           ("/set predict 0", ["predict", "0"]), ("/set logit-bias x", ["logit-bias", "x"])]:
            shown = t.line(bad)
            assert shown.startswith("smelt: ") and all(w in shown for w in words), shown
        after = dict(line.split(" ", 1) for line in t.line("/set").splitlines())
        assert {**names, "temp": "3", "top-k": "0", "seed": "11"} == after
        t.line("/set logit-bias 300+100")
        t.line("/set predict 3")
        assert "has the 3 tokens" in t.line("x")
        assert len(set(saved(t, home)[-1][1].split())) == 1  # only that token
        t.type("/set min\t")
        assert t.line("0.5") == "min-p 0.5\n"


def test_save_and_load(models, home):
    with chat(models["chat"], home, "--temp", "0", env={"LC_ALL": "C.UTF-8"}) as t:
        t.prompt()
        t.line('quotes " and \\ and 日本')
        t.line("second")
        before = saved(t, home, "a.json")
        next_reply = t.line("third")
        whole = saved(t, home, "b.json")
        t.line("/clear")
        assert "4 messages" in t.line("/load ~/a.json")
        assert saved(t, home, "c.json") == before
        assert t.line("third") == next_reply
        assert saved(t, home, "c.json") == whole
        # only the next reply is missing: /retry makes it
        (home / "open.json").write_text(json.dumps([{"role": r, "content": c} for r, c in whole[:-1]]))
        assert "/retry" in t.line("/load ~/open.json")
        t.line("/retry")
        assert saved(t, home, "c.json") == whole
        # parts, as the OpenAI interface has them
        (home / "parts.json").write_text(json.dumps({"model": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}))
        t.line("/load ~/parts.json")
        assert saved(t, home, "c.json") == [("user", "ab")]


@pytest.mark.parametrize("content, words", [
    ("{", ["line 1", "JSON"]),
    ('[{"role": "user", "content": "a"},\n {"role": "user"', ["line 2", "JSON"]),
    ('{"messages": 3}', ["messages: wanted an array", "an integer"]),
    ('{"turns": []}', ["messages: wanted an array", "nothing"]),
    ('"text"', ["JSON"]),
    ('[3]', ["messages[0]: wanted an object", "an integer"]),
    ('[{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}]', ["messages[1].role", '"robot"']),
    ('[{"content": "b"}]', ["messages[0].role", "nothing"]),
    ('[{"role": "user", "content": null}]', ["messages[0].content: wanted a text", "null"]),
    ('[{"role": "user", "content": [{"type": "image_url"}]}]', ["messages[0].content[0].type", '"image_url"']),
    ('[{"role": "user", "content": [{"type": "text"}]}]', ["messages[0].content[0].text", "nothing"]),
    ('[{"role": "user", "content": "\xff"}]', ["JSON"]),
])
def test_files_that_are_no_conversation(models, home, content, words):
    (home / "bad.json").write_bytes(content.encode("latin-1"))
    p = subprocess.run([SMELT, "run", models["chat"], "-i", "-n", "2", "-q"], input=f"/load {home}/bad.json\n".encode(),
                       capture_output=True)
    err = p.stderr.decode()
    assert p.returncode in (3, 4) and f"{home}/bad.json: " in err, err
    for w in words:
        assert w in err


def test_save_replaces_conversations_only(models, home):
    (home / "diary.txt").write_text("keep me")
    with chat(models["chat"], home) as t:
        t.prompt()
        t.line("a")
        assert "no saved conversation" in t.line("/save ~/diary.txt")
        assert (home / "diary.txt").read_text() == "keep me"
        assert "smelt: " in t.line(f"/save {home}/no/such/folder.json")
        assert saved(t, home, "x.json") == saved(t, home, "x.json")


# ------------------------------------------------------------------ stopping
def test_ctrl_c_stops_the_reply(models, home):
    with chat(models["chat"], home, "-n", "-1", "-c", "20000", "--temp", "1.5") as t:
        t.prompt()
        t.type("go on" + ENTER)
        t.expect(rb"\n.{40}")
        t.type(CTRL_C)
        assert "(stopped" in t.prompt()
        talk = saved(t, home)
        assert [r for r, _ in talk] == ["user", "assistant"] and len(talk[1][1]) > 20
        assert spelled(talk[1][1]) in t.line("/show")
        t.type("and on" + ENTER)
        t.expect(rb"\n.{40}")
        t.type(CTRL_C)
        t.prompt()
        again = saved(t, home)
        assert again[:2] == talk and len(again) == 4
        m = re.search(r"last turn  prompt (\d+) tokens: (\d+) reused, (\d+) computed", t.line("/stats"))
        total, reused, computed = map(int, m.groups())
        assert total == reused + computed and reused >= 15  # all of the first prompt; random replies may split into other tokens
        t.type(CTRL_D)
        assert t.finish()[0] == 0 and t.restored()


def test_ctrl_c_stops_a_long_prompt(models, home):
    """Nothing was said yet: the turn is taken back, and comes again with the arrow key."""
    with chat(models["chat"], home, "-c", "20000", "--backend", "ref") as t:
        t.prompt()
        t.type(PASTE % ("word " * 2500) + ENTER)
        time.sleep(1.5)
        t.type(CTRL_C)
        assert "taken back" in t.prompt()
        assert saved(t, home) == []
        t.line("short")
        assert len(saved(t, home)) == 2


def test_ctrl_c_at_the_prompt(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type("half a li")
        t.expect("half a li")
        t.type(CTRL_C)
        assert "leaves" not in t.prompt()
        t.type(CTRL_C)
        assert "Ctrl-C once more leaves" in t.prompt()
        t.line("still here")  # another input: the next one is a first one again
        t.type(CTRL_C)
        assert "Ctrl-C once more leaves" in t.prompt()
        t.type(CTRL_C)
        assert t.finish()[0] == 130 and t.restored()


def test_ctrl_c_in_a_block(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type('"""a' + ENTER)
        t.expect(MORE)
        t.type("b")
        t.expect("b")
        t.type(CTRL_C)
        t.prompt()
        t.line("c")
        assert saved(t, home)[0] == ("user", "c")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_ended_from_outside(models, home, sig):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type("half")
        t.expect("half")
        assert not t.restored()  # editing
        t.signal(sig)
        assert t.finish()[0] == -sig and t.restored()


def test_suspended(models, home):
    with chat(models["chat"], home) as t:
        t.prompt()
        t.type("half")
        t.expect("half")
        t.signal(signal.SIGTSTP)
        deadline = time.monotonic() + 20
        # a signal to go on that comes before the stop is lost
        def stopped():
            return os.waitid(os.P_PID, t.p.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        while not (t.restored() and stopped()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert t.restored() and stopped()
        t.signal(signal.SIGCONT)
        t.expect("> half")
        t.line(" line")
        assert saved(t, home)[0] == ("user", "half line")


# ------------------------------------------------------------------ what is computed
def test_prefix_is_reused():
    """Later turns compute what is new; replies are those that a fresh session makes of the same conversation."""
    turns = ["What is 2+2?", "And 3+3?", "Which of them is larger?"]
    path = model("smollm2")
    script = "".join(f"{x}\n/stats\n" for x in turns) + "/show\n"
    out, _ = smelt("run", path, "-i", "--temp", "0", "-n", "16", "-q", stdin=script.encode())
    text = out.decode()
    rows = [tuple(map(int, r)) for r in re.findall(r"last turn  prompt (\d+) tokens: (\d+) reused, (\d+) computed", text)]
    assert len(rows) == 3 and rows[0][1] == 0
    for before, (total, reused, computed) in zip(rows, rows[1:]):
        assert total == reused + computed and reused >= before[0] and computed < 40
    shown = text[text.rindex("thread"):].split("\n", 1)[1]
    assert all(x in shown for x in turns)
    # the last reply again, from nothing: the text before it as one raw prompt
    last = shown[:shown.rindex("<|im_start|>assistant")].rstrip("\n")
    begin, reply = last.rsplit("<|im_start|>assistant\n", 1)
    reply = reply.replace("<|im_end|>", "").strip("\n")
    fresh, _ = smelt("run", path, "--raw", "-p", begin + "<|im_start|>assistant\n", "--temp", "0", "-n", "16", "-q")
    assert fresh.decode().strip("\n") == reply
    print(f"\nprompt tokens computed per turn: {[r[2] for r in rows]} of {[r[0] for r in rows]}")


def test_context_is_never_cut(models, home):
    with chat(models["chat"], home, "-c", "128", "-n", "8") as t:
        t.prompt()
        t.line("hello")
        talk = saved(t, home)
        shown = t.line("word " * 60)
        m = re.search(r"its (\d+) tokens .* context of 128", shown.replace("\n", " "))
        assert m and int(m[1]) > 128 and "/undo" in shown and "/clear" in shown and "-c 20000" in shown, shown
        assert saved(t, home) == talk
        t.line("short")
        assert len(saved(t, home)) == 4
    with chat(models["chat"], home, "-c", "96", "-n", "-1") as t:
        t.prompt()
        shown = t.line("hello")
        assert "the context of 96 is full" in shown
        assert [r for r, _ in saved(t, home)] == ["user", "assistant"]


def test_template_that_refuses(models, home):
    with chat(models["picky"], home, "--system", "s") as t:
        t.prompt()
        assert "no system messages here" in t.line("hello")
        assert saved(t, home) == [("system", "s")]
        t.line('/system ""')
        t.line("hello")
        assert len(saved(t, home)) == 2


def test_model_without_template(models, home):
    with chat(models["plain"], home, "--system", "s") as t:
        assert "no chat template" in t.prompt()
        t.line("once upon")
        t.line("a time")
        (_, a), (_, b), (_, c), (_, d) = saved(t, home)
        assert t.line("/show") == spelled(f"{a}{b}\n{c}{d}\n")
        assert "no system message" in t.line("/system x")


# ------------------------------------------------------------------ what is shown
EVIL = "a\x1b[31mred\x1b]0;title\x07 \x9b1m \u009b2m \r\x08\x7f end\tz"


def test_no_escape_reaches_the_terminal(models, home):
    (home / "evil.json").write_text(json.dumps([{"role": "user", "content": EVIL}]))
    with chat(models["chat"], home) as t:
        t.prompt()
        t.line("/load ~/evil.json")
        start = len(t.all)
        t.type("/show" + ENTER)
        shown, _ = t.expect("</user>")
        raw = t.all[start:t.all.index(b"</user>", start)].split(b"<user>", 1)[1]
        assert b"\x1b" not in raw and b"\xc2\x9b" not in raw and b"\x07" not in raw and b"\x08" not in raw
        assert "a^[[31mred^[]0;title^G <9B>1m <9B>2m ^M^H^? end" in shown


def test_replies_on_a_terminal_are_filtered(models, home):
    """A model that draws from all bytes: on a pipe they are as made, on a terminal none of them is a control."""
    args = ["run", models["plain"], "-p", "a", "--temp", "9", "--top-k", "0", "--top-p", "1", "--seed", "5", "-n", "1200",
            "--ignore-eos", "-q", "-t", "1"]
    piped, _ = smelt(*args)
    assert b"\x1b" in piped and b"\x07" in piped
    with Terminal(*args, env={"HOME": str(home)}) as t:
        assert t.finish()[0] == 0
        assert re.fullmatch(rb"[\n\r\t\x20-\x7e\x80-\xff]*", t.all)
        assert not re.search(rb"\xc2[\x80-\x9f]", t.all) and b"^[" in t.all and b"^G" in t.all
        assert not re.search(rb"\r[^\n]", t.all)
        t.all.decode()


def test_first_turn_from_the_command_line(models, home):
    with chat(models["chat"], home, "-i", "-p", "/begin with") as t:
        assert "> /begin with\n" in t.prompt()
        t.line("more")
        talk = saved(t, home)
        assert [r for r, _ in talk] == ["user", "assistant"] * 2 and talk[0][1] == "/begin with"
    with chat(models["chat"], home, "-i", "-c", "64", "-p", "word " * 30) as t:
        assert "too long" in t.prompt()  # told, and the chat begins without it
        assert saved(t, home) == []


def test_colours(models, home):
    with chat(models["chat"], home, env={"NO_COLOR": ""}) as t:
        t.expect(rb"\x1b\[2m.*?\x1b\[0m")
        t.expect(rb"\x1b\[1;32m>\x1b\[0m ")
    with chat(models["chat"], home) as t:
        t.prompt()
        t.line("hello")
        assert not re.search(rb"\x1b\[[0-9;]*m", t.all)
    with chat(models["chat"], home, env={"TERM": "dumb", "NO_COLOR": ""}) as t:
        t.expect("> ")
        t.type("hello" + ENTER)
        t.expect("(the reply ends")
        t.expect("> ")
        assert b"\x1b" not in t.all


def test_quiet(models, home):
    with chat(models["chat"], home, "-q") as t:
        assert t.prompt() == ""
        t.type(CTRL_D)
        assert t.finish()[0] == 0 and "context" not in t.all.decode()


def test_without_editor(models, home):
    """The program as it is where libedit is absent: the terminal's own lines."""
    program = os.path.join(os.path.dirname(os.path.abspath(SMELT)), "tests", "tools", "smelt_no_editor")
    with chat(models["chat"], home, program=program) as t:
        t.expect("leaves.\r\n> ")
        t.type("héllo\\\n")
        t.expect("... ")
        t.type("日本\n")
        t.expect("-n allows)\r\n> ")
        t.type(f"/save {home}/talk.json\n")
        t.expect("talk.json)\r\n> ")
        assert json.loads((home / "talk.json").read_text())["messages"][0]["content"] == "héllo\n日本"
        t.type(CTRL_C)
        t.expect("Ctrl-C once more leaves, and so does Ctrl-D)\r\n> ")
        t.type(CTRL_D)
        assert t.finish()[0] == 0 and t.restored() and b"\x1b" not in t.all
    assert not (home / ".local/state/smelt/chat_history").exists()


# ------------------------------------------------------------------ pipes
def test_piped_turns(models):
    out, err = smelt("run", models["chat"], "-i", "-p", "zero", "-n", "4", "-q", "--ignore-eos",
                     stdin=b'one\n"""two\nlines"""\n/show\nlast without end')
    shown = out.decode()
    assert err == "" and b"\x1b[" not in out and "\n> " not in shown and not shown.startswith("> ")
    for part in ("<user>zero</user>", "<user>one</user>", "<user>two\nlines</user>"):
        assert part in shown


@pytest.mark.parametrize("script, rc, words", [
    (b"/frob\nhello\n", 2, ["/frob", "/help"]),
    (b'"""no end\nof it', 3, ['"""', "end"]),
    (b"a \xff b\n", 3, ["offset 2", "0xFF"]),
    (b"word " * 3000 + b"\n", 5, ["128", "/clear"]),
])
def test_piped_turns_end_at_the_first_error(models, script, rc, words):
    out, err = smelt("run", models["chat"], "-i", "-c", "128", stdin=script, rc=rc)
    assert out == b"" and all(w in err for w in words), err


@pytest.mark.parametrize("args, rc, words", [
    (["-i", "--json"], 2, ["--json", "--interactive", "-p TEXT"]),
    (["-i", "-f", "-"], 2, ["-f -", "--interactive"]),
    (["-i", "-n", "0"], 2, ["-n 0"]),
    ([], 3, ["standard input", "0 bytes", "-p TEXT"]),
    (["-f", "-"], 3, ["standard input", "0 bytes"]),
])
def test_refused(models, args, rc, words):
    out, err = smelt("run", models["chat"], *args, rc=rc)
    assert out == b"" and all(w in err for w in words), err


def test_nothing_to_chat_with(models):
    assert smelt("run", models["chat"], "-i")[0] == b""


def test_chat_needs_a_terminal(models, home):
    with Terminal("-c", f'"{SMELT}" run "{models["chat"]}" >{home}/out; echo "rc $?"; "{SMELT}" run "{models["chat"]}" --json; echo "rc $?"',
                  program="/bin/sh", env={"HOME": str(home)}) as t:
        rc, shown = t.finish()
        assert "standard output is none" in shown and shown.count("rc 2") == 2 and "--json is for one reply" in shown
    assert (home / "out").read_text() == ""


def test_reader_that_goes_away(models):
    """A closed pipe ends the run at once, with an error and no more."""
    start = time.monotonic()
    for args in (["-p", "a"], ["-i", "-p", "a"]):
        p = subprocess.Popen([SMELT, "run", models["chat"], *args, "-n", "-1", "-c", "20000", "--ignore-eos"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.read(1)
        p.stdout.close()
        err = p.stderr.read()
        assert p.wait(timeout=60) == 5 and b"standard output" in err and err.count(b"\n") == 2
    assert time.monotonic() - start < 60
