"""One file: downloaded with resume, verified, put in place."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from vllm_runbook.prefetch.digests import matches
from vllm_runbook.prefetch.hub_errors import Source, translate
from vllm_runbook.prefetch.listing import RemoteFile
from vllm_runbook.prefetch.marker import sync_directory
from vllm_runbook.prefetch.outcomes import ExitCode, Interrupted, PrefetchError, Transient
from vllm_runbook.prefetch.progress import PrefetchOutput, Progress
from vllm_runbook.prefetch.retry import RetryPolicy, with_retries

PARTS = ".runbook-prefetch"
"""Directory in the target for files that aren't complete yet."""


@dataclass(frozen=True)
class Downloader:
    """Brings files of one commit into the target. Its methods may run in several threads, one per file.

    The client's own download to a directory starts a file again after the process ended; this one keeps the part
    under the name of its digest, so that another pod goes on where this one stopped, even after days, and never
    appends to another version's part.

    Attributes:
        checksum_retries: how often to download a file again whose digest is wrong.
    """

    source: Source
    commit: str
    target: Path
    policy: RetryPolicy
    stop: threading.Event
    progress: Progress
    output: PrefetchOutput
    checksum_retries: int = 2

    def part(self, file: RemoteFile) -> Path:
        """Named after content and path: two files may have the same content."""
        path = hashlib.sha256(file.path.encode()).hexdigest()[:12]
        return self.target / PARTS / f"{file.digest}-{path}.part"

    def part_size(self, file: RemoteFile) -> int:
        """Bytes of the file that an earlier run left."""
        part = self.part(file)
        return part.stat().st_size if part.is_file() else 0

    def check_access(self, file: RemoteFile) -> None:
        """Ask for the file's metadata only, so that a refusal comes before anything was changed.

        Raises:
            PrefetchError: the hub refuses the file, or can't be reached.
        """

        def ask() -> None:
            try:
                get_hf_file_metadata(self._url(file), token=self.source.token or False, endpoint=self.source.endpoint)
            except Exception as error:
                if meaning := translate(error, self.source):
                    raise meaning from error
                raise

        with_retries(ask, f"Asking for {file.path} of {self.source}", self.policy, self.stop, self.output.retry)

    def _url(self, file: RemoteFile) -> str:
        return hf_hub_url(self.source.repo, file.path, revision=self.commit, endpoint=self.source.endpoint)

    def bring(self, file: RemoteFile) -> None:
        """Download what is missing of the file, verify all of it and put it in place.

        Raises:
            PrefetchError: network, refusal, wrong digest, or told to stop.
            OSError: it can't be written.
        """
        for again in range(self.checksum_retries + 1):
            self._complete(file)
            if matches(self.part(file), file, self.stop):
                self._put_in_place(file)
                self.progress.file_done()
                return
            self.progress.present(-self.part_size(file))
            self.part(file).unlink()
            self.output.event("mismatch", file=file.path, attempt=again + 1)
        raise PrefetchError(
            ExitCode.CHECKSUM,
            f"{file.path} of {self.source} was downloaded {self.checksum_retries + 1} times and never had the digest "
            "that the hub lists; a proxy, a mirror or the volume damages it: use another HF_ENDPOINT or volume.",
        )

    def _put_in_place(self, file: RemoteFile) -> None:
        final = self.target / file.path
        final.parent.mkdir(parents=True, exist_ok=True)
        self.part(file).replace(final)
        sync_directory(final.parent)

    def _complete(self, file: RemoteFile) -> None:
        with self.part(file).open("ab") as stream:
            self.progress.present(stream.tell())
            with_retries(
                lambda: self._receive(file, stream),
                f"Downloading {file.path} of {self.source}",
                self.policy,
                self.stop,
                self.output.retry,
            )
            stream.flush()
            os.fsync(stream.fileno())

    def _receive(self, file: RemoteFile, stream: BinaryIO) -> None:
        """Append what is missing. A part of the wrong size is left to the digest check, which starts it again."""
        if stream.tell() >= file.size:
            return
        before = stream.tell()
        try:
            self._request(file, stream)
        except Interrupted:
            raise
        except Exception as error:
            meaning = translate(error, self.source)
            if meaning is None:
                raise
            if isinstance(meaning, Transient):
                meaning.progressed = stream.tell() > before
            raise meaning from error
        if stream.tell() < file.size:
            raise Transient("the connection ended early", progressed=stream.tell() > before)

    def _request(self, file: RemoteFile, stream: BinaryIO) -> None:
        headers = build_hf_headers(token=self.source.token or False)
        headers["Accept-Encoding"] = "identity"  # ranges count the file's own bytes
        if position := stream.tell():
            headers["Range"] = f"bytes={position}-"
        timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        with get_session().stream("GET", self._url(file), headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            if position and response.status_code != 206:  # somebody on the way ignores ranges: it's the whole file
                stream.truncate(0)
                self.progress.present(-position)
            for chunk in response.iter_bytes():
                if self.stop.is_set():
                    raise Interrupted
                stream.write(chunk)
                self.progress.received(len(chunk))
