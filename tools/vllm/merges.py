"""Learns the merges of the hub's tokenizer from our own documents. PYTHON is the real vLLM's (docs/real-vllm.md):

PYTHON tools/vllm/merges.py README.md docs/*.md > lib/vllm_sandbox/hub/merges.txt
"""

from __future__ import annotations

import json
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

#: 2,048 tokens (the toy's vocab_size), less five special ones: hub/tokenizer.py.
ENTRIES = 2048 - 5


def main(files: list[str]) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=ENTRIES, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train(files, trainer)
    for pair in json.loads(tokenizer.to_str())["model"]["merges"]:
        print(*pair)


if __name__ == "__main__":
    main(sys.argv[1:])
