# SPDX-License-Identifier: MIT
"""Tokens guessed ahead (--lookup, --draft): the reply is the same, token for token, in fewer steps."""
import json

import pytest
from pkg_tools import make_model, scratch, smelt, source

PROMPT = ("Repeat this list, word by word, three times: apples, oranges, seven green bananas, a basket of figs, one very old "
          "lemon.\n1. apples, oranges, seven green bananas, a basket of figs, one very old lemon.\n2. apples,")


def reply(*args):
    lines = [json.loads(x) for x in smelt("run", source("smollm2"), "--raw", "-p", PROMPT, "-n", 32, "--json", "-q", "-c", 256,
                                          "--logprobs", 0, *args).stdout.splitlines()]
    return [(t["id"], t["text"], t["logprob"]) for t in lines[:-1]], lines[-1]["done"]


@pytest.mark.parametrize("sampling", [["--temp", 0], ["--temp", 0.7, "--seed", 3, "--repeat-penalty", 1.1]], ids=["greedy", "drawn"])
def test_same_reply(sampling):
    plain, done = reply(*sampling)
    assert done["drafted"] == done["accepted"] == 0
    for guess in (["--lookup"], ["--lookup", "--draft-max", 3], ["--draft", source("smollm2"), "--draft-max", 5]):
        got, d = reply(*sampling, *guess)
        print(f"{' '.join(map(str, guess[:1]))}: {d['accepted']} of {d['drafted']} guesses held")
        assert got == plain and 0 < d["accepted"] <= d["drafted"]
        if guess[0] == "--draft":
            assert d["accepted"] > 0.7 * d["drafted"]


def test_chat_goes_on(tmp_path):
    """Turns of a chat, the second one rewinding and going on behind guesses."""
    turns = "Say: one two three one two three one two three.\nAgain.\n/retry\nAnd once more.\n"
    args = ["run", source("smollm2"), "--interactive", "--temp", 0, "-n", 24, "-c", 512]
    want, got = (smelt(*args, *more, input=turns).stdout for more in ([], ["--lookup"]))
    assert got == want and len(want) > 40


def test_refused():
    other = make_model(scratch("draft", "other.gguf"), "--vocab", 512)
    r = smelt("run", source("smollm2"), "-p", "x", "--draft", other, rc=4)
    assert "vocabulary" in r.stderr and "same family" in r.stderr
    assert "wanted one of them" in smelt("run", source("smollm2"), "-p", "x", "--draft", other, "--lookup", rc=2).stderr
    assert "none.gguf" in smelt("run", source("smollm2"), "-p", "x", "--draft", "none.gguf", rc=3).stderr
