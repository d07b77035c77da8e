"""Answers in the real server's words: field by field as recorded."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from vllm_sandbox.vllm.requests import End, Job

DONE = b"data: [DONE]\n\n"


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Answer:
    """Shapes of one request's answer. ``fingerprint`` names version and configuration."""

    def __init__(self, job: Job, fingerprint: str, request_id: str = "") -> None:
        self._job = job
        self._fingerprint = fingerprint
        self.id = f"{'chatcmpl' if job.chat else 'cmpl'}-{request_id or secrets.token_hex(8)}"
        self._created = int(time.time())
        kind = "chat.completion.chunk" if job.chat else "text_completion"
        self._head = f'{{"id":"{self.id}","object":"{kind}","created":{self._created},"model":{dumps(job.model)}'

    def opening(self, index: int) -> bytes:
        """What a chat stream begins with; nothing for text completions."""
        if not self._job.chat:
            return b""
        delta = '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
        rest = f'{self._usage_so_far(index, 0)},"prompt_token_ids":null,"prompt_text":null'
        return f'data: {self._head},"choices":[{{"index":{index},{delta}}}]{rest}}}\n\n'.encode()

    def chunk(self, index: int, text: str, end: End | None, tokens: int) -> bytes:
        """One piece of a stream, ``tokens`` into its answer; the last one says why."""
        content = json.dumps(text, ensure_ascii=False)
        reason = f'"{end.reason}"' if end else "null"
        stop = f',"stop_reason":{dumps(end.stop if end else None)}' if end or not self._job.chat else ""
        part = f'"delta":{{"content":{content}}}' if self._job.chat else f'"text":{content}'
        ids = "" if self._job.chat else ',"prompt_token_ids":null'
        choice = f'{{"index":{index},{part},"logprobs":null,"finish_reason":{reason}{stop}{ids},"token_ids":null}}'
        rest = self._usage_so_far(index, tokens)
        if end and not self._job.include_usage:
            rest += f',"system_fingerprint":"{self._fingerprint}"'
        return f'data: {self._head},"choices":[{choice}]{rest}}}\n\n'.encode()

    def _usage_so_far(self, index: int, tokens: int) -> str:
        """For clients that want it in every chunk: of that chunk's answer."""
        if not self._job.usage_in_chunks:
            return ""
        usage = _usage(self._job.prompt(index).tokens, tokens)
        return f',"usage":{dumps(usage | {"completion_tokens_details": None})}'

    def usage_chunk(self, completion_tokens: int) -> bytes:
        """The last chunk of a stream whose client asked for usage."""
        usage = dumps(_usage(self._job.prompt_tokens, completion_tokens))
        return (
            f'data: {self._head},"choices":[],"usage":{usage},"system_fingerprint":"{self._fingerprint}"}}\n\n'.encode()
        )

    def whole(self, texts: list[str], ends: list[End], completion_tokens: int) -> dict[str, Any]:
        """An answer that isn't streamed."""
        usage: dict[str, Any] = _usage(self._job.prompt_tokens, completion_tokens)
        usage |= {"prompt_tokens_details": None, "completion_tokens_details": None}
        choices = [self._choice(i, text, end) for i, (text, end) in enumerate(zip(texts, ends, strict=True))]
        kind = "chat.completion" if self._job.chat else "text_completion"
        body = {"id": self.id, "object": kind, "created": self._created, "model": self._job.model, "choices": choices}
        body |= {"service_tier": None, "system_fingerprint": self._fingerprint, "usage": usage}
        if self._job.chat:
            body |= {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        return body | {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}

    def _choice(self, index: int, text: str, end: End) -> dict[str, Any]:
        ending = {"logprobs": None, "finish_reason": end.reason, "stop_reason": end.stop, "token_ids": None}
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
            "reasoning": None,
        }
        return {"index": index, "message": message, **ending, "routed_experts": None}


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
