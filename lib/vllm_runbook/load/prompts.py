"""Prompts of about a given length that differ, so that no cache of prefixes answers them."""

from __future__ import annotations

import random

#: Common words that tokenizers keep whole: each is about one token.
_TEXT = (
    "the and for that with this have from they will one all would there their what out about who get which when make "
    "can like time just him know take people into year your good some could them see other than then now look only "
    "come its over think also back after use two how our work first well way even new want any these give day most us"
)
_WORDS = _TEXT.split()


def prompt(number: int, tokens: int, seed: int = 0) -> str:
    """The text of request ``number``: that many words. The server's chat template adds a few tokens."""
    return " ".join(random.Random(f"{seed}/{number}").choices(_WORDS, k=tokens))
