"""What only the simulated server says."""

from __future__ import annotations

from typing import Any

import openai

from simulated_vllm import Start


def test_answers_say_that_they_are_simulated_and_end_at_a_sentence(start: Start) -> None:
    server = start("--max-model-len", "1024")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    ask: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    natural = client.chat.completions.create(**ask).choices[0]
    assert "simulated" in (natural.message.content or "")
    assert natural.finish_reason == "stop"
    assert (natural.message.content or "").endswith(".")
