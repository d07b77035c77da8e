"""The tokenizer of every model here: a byte-level BPE of 2,048 entries that a real server can load.

Its merges (merges.txt) were learned from this project's own documents by tools/vllm/merges.py. For models whose
vocabulary is larger it stands in the place of their own.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

#: Beginning and end of a text, then the roles of a chat; their places are bos_token_id and eos_token_id of the toy.
SPECIAL = ("<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>")
_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}<|assistant|>"


def files(max_positions: int) -> dict[str, dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json of a model with this context length."""
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": number, "content": text, **entry} for number, text in enumerate(SPECIAL)],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": vocabulary(),
                "merges": [list(pair) for pair in _merges()],
            },
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_positions,
            "bos_token": SPECIAL[0],
            "eos_token": SPECIAL[1],
            "clean_up_tokenization_spaces": False,
            "chat_template": _TEMPLATE,
        },
    }


@functools.cache
def vocabulary() -> dict[str, int]:
    """Token to id: the special ones, the 256 bytes, then what each merge makes."""
    tokens = [*SPECIAL, *_bytes(), *(left + right for left, right in _merges())]
    return {token: number for number, token in enumerate(tokens)}


@functools.cache
def _merges() -> tuple[tuple[str, str], ...]:
    lines = resources.files(__package__).joinpath("merges.txt").read_text(encoding="utf-8").splitlines()
    return tuple((left, right) for left, right in map(str.split, lines))


def _bytes() -> list[str]:
    """A printable character for each byte: itself where it has one, else from U+0100 on (as GPT-2's encoder)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + hidden.index(byte)) for byte in range(256)]
