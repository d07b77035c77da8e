"""Versions that are wrong on purpose: each in one way, and found under its own image only."""

from __future__ import annotations

import pytest

from vllm_sandbox.images.catalogue import OWN, register_all
from vllm_sandbox.images.registry import Context, UnknownImage, command_line, find
from vllm_sandbox.vllm import tokenizer
from vllm_sandbox.vllm.faults import FAULTS, Fault, taken_off


@pytest.mark.parametrize("name", FAULTS)
def test_each_image_starts_the_simulated_server_with_its_fault(name: str) -> None:
    register_all()
    image = find(f"{OWN}/vllm-openai-{name}:v1")
    assert image.simulated
    context = Context("127.0.0.1", "node", {}, lambda tool: pytest.fail(tool))
    argv = command_line(image, [], ["/models/x", "--port=8000"], context)
    fault, rest = taken_off(argv[argv.index("vllm_sandbox.vllm") + 1 :])
    assert fault == Fault(name) and rest == ["serve", "/models/x", "--port=8000"]


def test_the_plain_image_has_none() -> None:
    register_all()
    assert taken_off(["serve", "/models/x"]) == (Fault(), ["serve", "/models/x"])
    with pytest.raises(UnknownImage):
        find("vllm/vllm-openai-slow:v1")
    none = Fault()
    assert not none.garbles and not none.delay_s and not none.fails(10_000)


def test_each_is_wrong_in_one_way() -> None:
    slow, errors, hang, wrong = (Fault(name) for name in FAULTS)
    assert slow.delay_s > 1 and not slow.garbles and not slow.fails(1000) and not slow.hangs(1000)
    assert errors.fails(64) and not errors.fails(16) and not errors.delay_s and not errors.hangs(1000)
    assert hang.hangs(64) and not hang.hangs(16) and not hang.delay_s and not hang.garbles and not hang.fails(1000)
    assert wrong.garbles and not wrong.delay_s and not wrong.fails(1000) and not wrong.hangs(1000)


def test_wrong_answers_are_as_long_and_say_nothing() -> None:
    right = "".join(tokenizer.answer_piece(position) for position in range(40))
    garbled = "".join(tokenizer.wrong_piece(position) for position in range(40))
    assert "simulated answer" in right and "simulated answer" not in garbled
