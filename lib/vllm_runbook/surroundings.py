"""What the environment of a process says about the network."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL


def proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for an address (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).

    aiohttp's trust_env would find the same, but ask for it and for ~/.netrc in a thread before each request.
    """
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)
