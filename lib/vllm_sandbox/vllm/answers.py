"""Answers in the real server's words: field by field as recorded."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from vllm_sandbox.vllm.requests import Job

DONE = b"data: [DONE]\n\n"


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Answer:
    """Shapes of one request's answer. ``fingerprint`` names version and configuration."""

    def __init__(self, job: Job, fingerprint: str) -> None:
        self._job = job
        self._fingerprint = fingerprint
        self.id = f"{'chatcmpl' if job.chat else 'cmpl'}-{secrets.token_hex(8)}"
        self._created = int(time.time())
        kind = "chat.completion.chunk" if job.chat else "text_completion"
        self._head = f'{{"id":"{self.id}","object":"{kind}","created":{self._created},"model":{dumps(job.model)}'

    def opening(self, index: int) -> bytes:
        """What a chat stream begins with; nothing for text completions."""
        if not self._job.chat:
            return b""
        delta = '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
        choice = f'{{"index":{index},{delta}}}'
        return f'data: {self._head},"choices":[{choice}],"prompt_token_ids":null,"prompt_text":null}}\n\n'.encode()

    def chunk(self, index: int, text: str, finish_reason: str | None) -> bytes:
        """One piece of a stream; the last one says why."""
        content = json.dumps(text, ensure_ascii=False)
        reason = f'"{finish_reason}"' if finish_reason else "null"
        stop = ',"stop_reason":null' if finish_reason or not self._job.chat else ""
        part = f'"delta":{{"content":{content}}}' if self._job.chat else f'"text":{content}'
        ids = "" if self._job.chat else ',"prompt_token_ids":null'
        choice = f'{{"index":{index},{part},"logprobs":null,"finish_reason":{reason}{stop}{ids},"token_ids":null}}'
        return f'data: {self._head},"choices":[{choice}]}}\n\n'.encode()

    def usage_chunk(self, completion_tokens: int) -> bytes:
        """The last chunk of a stream whose client asked for usage."""
        usage = dumps(self._usage(completion_tokens))
        return (
            f'data: {self._head},"choices":[],"usage":{usage},"system_fingerprint":"{self._fingerprint}"}}\n\n'.encode()
        )

    def whole(self, texts: list[str], reasons: list[str], completion_tokens: int) -> dict[str, Any]:
        """An answer that isn't streamed."""
        usage = self._usage(completion_tokens)
        usage |= {"prompt_tokens_details": None, "completion_tokens_details": None}
        choices = [self._choice(i, text, reason) for i, (text, reason) in enumerate(zip(texts, reasons, strict=True))]
        kind = "chat.completion" if self._job.chat else "text_completion"
        body = {"id": self.id, "object": kind, "created": self._created, "model": self._job.model, "choices": choices}
        body |= {"service_tier": None, "system_fingerprint": self._fingerprint, "usage": usage}
        if self._job.chat:
            body |= {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        return body | {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}

    def _choice(self, index: int, text: str, reason: str) -> dict[str, Any]:
        ending = {"logprobs": None, "finish_reason": reason, "stop_reason": None, "token_ids": None}
        if not self._job.chat:
            return {
                "index": index,
                "text": text,
                **ending,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "routed_experts": None,
            }
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [],
            "reasoning": None,
        }
        return {"index": index, "message": message, **ending, "routed_experts": None}

    def _usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt = self._job.prompt_tokens
        total = prompt + completion_tokens
        return {"prompt_tokens": prompt, "total_tokens": total, "completion_tokens": completion_tokens}
