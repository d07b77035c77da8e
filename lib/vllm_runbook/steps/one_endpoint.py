"""The one endpoint in front of a registry's models: what it lists, and what it answers."""

from __future__ import annotations

from ..cluster import ApiError, Object, PodTunnel
from ..notebook import Notebook
from ..tables import Table
from . import deploy, protection, router, served_models
from .served_models import Server

_QUESTION = "Say in one sentence why a queue needs a bound."


def endpoint(book: Notebook, timeout: float = 300) -> PodTunnel:
    """A router by port-forward, with the API key. Clients in the cluster ask the Service ``models``."""
    there = served_models.room(book)
    pod = deploy.ready_pod(there, router.SERVICE)
    return PodTunnel(book.cluster, there.namespace, pod, router.PORT, protection.api_key(there), timeout)


def listing(book: Notebook) -> Table:
    """What the endpoint lists; notes that it is what the registry has."""
    data = endpoint(book).json("v1/models")["data"]
    expected = [card.id for card in router.routes(book.params).models]
    book.check("one endpoint lists every model and adapter", [each["id"] for each in data] == expected)
    rows = [(each["id"], each["parent"], each["root"], each["max_model_len"]) for each in data]
    return Table(("model", "parent", "root", "max_model_len"), rows)


def ask_all(book: Notebook, found: list[Server]) -> Table:
    """One question to every model that always runs and to each of its adapters; notes the checks."""
    asked, rows, right = endpoint(book), [], True
    for server in (each for each in found if not each.cold):
        adapters = [adapter.name for adapter in server.served.entry.adapters]
        expected = dict.fromkeys(server.served.names, server.served.names[0]) | {name: name for name in adapters}
        for name, by in expected.items():
            answer = asked.json("v1/chat/completions", question(name))
            choice = answer["choices"][0]
            rows.append((name, server.name, answer["model"], choice["finish_reason"], choice["message"]["content"]))
            right &= answer["model"] == by
            if name in adapters:
                book.check(f"adapter {name} answers by its own name", answer["model"] == name)
    book.check("every model answers at one endpoint, whichever of its names is asked for", right)
    return Table(("asked for", "server", "answered by", "ended", "answer"), rows)


def question(model: str) -> Object:
    """A small chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": _QUESTION}], "max_tokens": 24}


def ask_unknown(book: Notebook, name: str = "no-such-model") -> str:
    """What the endpoint says to a model that nobody serves; notes the check."""
    try:
        endpoint(book).json("v1/chat/completions", question(name))
    except ApiError as error:
        known = [card.id for card in router.routes(book.params).models]
        told = error.code == 404 and all(each in error.message for each in known)
        book.check("an unknown model gets 404, and is told what there is", told, error.message)
        return f"{error.code}: {error.message}"
    book.check("an unknown model gets 404, and is told what there is", False, "it was answered")
    return ""
