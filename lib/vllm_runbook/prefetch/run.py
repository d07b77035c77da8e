"""The prefetch from beginning to end."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vllm_runbook.prefetch.digests import matches
from vllm_runbook.prefetch.download import PARTS, Downloader
from vllm_runbook.prefetch.hub_errors import Source
from vllm_runbook.prefetch.listing import INDEX, Listing, RemoteFile, Selection, check_index, fetch_listing
from vllm_runbook.prefetch.lock import exclusive
from vllm_runbook.prefetch.marker import Marker, read_marker, remove_marker, write_marker
from vllm_runbook.prefetch.outcomes import ExitCode, Interrupted, PrefetchError
from vllm_runbook.prefetch.progress import PrefetchOutput, Progress
from vllm_runbook.prefetch.retry import RetryPolicy, with_retries
from vllm_runbook.prefetch.space import check_space, gib, translate_os_error


@dataclass(frozen=True)
class Settings:
    """What to prefetch and how.

    Attributes:
        capacity_bytes: the volume's stated capacity, where the file system doesn't know it (quotas, shares).
        verify: what to check of a target that is marked complete: sizes, or digests too ("full").
        progress_seconds: time between two progress lines.
        lock: hold the target's lock meanwhile.
    """

    source: Source
    target: Path
    selection: Selection = field(default_factory=Selection)
    workers: int = 4
    capacity_bytes: int | None = None
    verify: Literal["size", "full"] = "size"
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    progress_seconds: float = 5.0
    lock: bool = True


class Prefetch:
    """One run. ``stop`` ends it early and cleanly."""

    def __init__(self, settings: Settings, output: PrefetchOutput, stop: threading.Event) -> None:
        self._settings = settings
        self._output = output
        self._stop = stop
        self._progress = Progress(0, 0)
        self._verified: set[RemoteFile] = set()

    def run(self) -> str:
        """Do it; returns a line that says what the target holds now.

        Raises:
            PrefetchError: it failed, with the exit code and a sentence for the reader.
        """
        try:
            return self._run()
        except OSError as error:
            raise translate_os_error(error, self._settings.target, self._progress.missing) from error

    def _run(self) -> str:
        target = self._settings.target
        marker = read_marker(target)
        if marker is not None and marker.repo != self._settings.source.repo:
            raise PrefetchError(
                ExitCode.BAD_ARGUMENTS,
                f"{target} holds {marker.repo}, not {self._settings.source.repo}; give every model a directory of its "
                "own, or remove that one first.",
            )
        listing = self._wanted(marker)
        if self._is_complete(marker, listing):
            self._output.event("complete", commit=listing.commit, bytes=listing.bytes, downloaded=0)
            return f"already complete: {self._what(listing)}"
        target.mkdir(parents=True, exist_ok=True)
        with exclusive(target) if self._settings.lock else nullcontext():
            return self._fill(marker, listing)

    def _what(self, listing: Listing) -> str:
        source, target = self._settings.source, self._settings.target
        return f"{source.repo} commit {listing.commit}, {len(listing.files)} files, {gib(listing.bytes)} in {target}"

    def _wanted(self, marker: Marker | None) -> Listing:
        """The files to have. A target that is complete at a fixed commit needs no hub to say so."""
        source, selection = self._settings.source, self._settings.selection
        marked = marker if marker is not None and marker.selection == selection else None
        if marked is not None and marked.commit == source.revision:
            return marked.listing
        try:
            found = with_retries(
                lambda: fetch_listing(source),
                f"Asking for {source}",
                self._settings.policy,
                self._stop,
                self._output.retry,
            )
        except PrefetchError as error:
            if marked is None or marked.revision != source.revision or error.code is not ExitCode.NETWORK:
                raise
            self._output.event("warning", message=f"{error.message} Using what is there: commit {marked.commit}.")
            return marked.listing
        chosen = Listing(found.commit, tuple(selection.choose(found.files)))
        if not chosen.files:
            raise PrefetchError(
                ExitCode.NOT_FOUND,
                f"None of the {len(found.files)} files of {source} matches --allow and --ignore; check the patterns.",
            )
        return chosen

    def _is_complete(self, marker: Marker | None, listing: Listing) -> bool:
        """Whether the marker is about this listing and the files are still what it says."""
        if marker is None or marker.commit != listing.commit or set(marker.files) != set(listing.files):
            return False
        if not marker.sizes_match(self._settings.target):
            return False
        if self._settings.verify == "size":
            return True
        self._progress = Progress(listing.bytes, len(listing.files))
        missing = self._verify(listing)
        for file in missing:
            self._output.event("mismatch", file=file.path)
        return not missing

    def _fill(self, marker: Marker | None, listing: Listing) -> str:
        settings, target = self._settings, self._settings.target
        began = time.monotonic()
        self._progress = Progress(listing.bytes, len(listing.files))
        downloader = Downloader(
            settings.source, listing.commit, target, settings.policy, self._stop, self._progress, self._output
        )
        self._output.event(
            "start",
            repo=settings.source.repo,
            revision=settings.source.revision,
            commit=listing.commit,
            files=len(listing.files),
            total=listing.bytes,
            target=str(target),
        )
        missing = self._verify(listing)
        self._make_room(marker, listing, missing, downloader)
        # The index first: a shard that can't come is then known before gigabytes were downloaded.
        first = [file for file in missing if file.path == INDEX]
        self._in_parallel(downloader.bring, first)
        if any(file.path == INDEX for file in listing.files):
            check_index(target / INDEX, listing.files)
        self._in_parallel(downloader.bring, [file for file in missing if file not in first])
        shutil.rmtree(target / PARTS)
        write_marker(target, settings.source.repo, settings.source.revision, settings.selection, listing)
        state = self._progress.state()
        self._output.event("progress", **state)
        self._output.event("complete", commit=listing.commit, bytes=listing.bytes, downloaded=state["received"])
        seconds = time.monotonic() - began
        return f"complete: {self._what(listing)}; {gib(state['received'])} downloaded in {seconds:.0f} s, all verified"

    def _make_room(
        self, marker: Marker | None, listing: Listing, missing: Sequence[RemoteFile], downloader: Downloader
    ) -> None:
        """Remove the marker and what this version doesn't have, once nothing speaks against the download.

        A version that was complete stays usable when the new one doesn't fit or is refused.
        """
        target = self._settings.target
        stale = {target / file.path for file in missing}
        if marker is not None:  # a server might load left-over shards of the version before
            stale |= {target / file.path for file in marker.files if file not in listing.files}
        stale -= {target / file.path for file in self._verified}
        stale = {path for path in stale if path.is_file()}
        needed = sum(max(0, file.size - downloader.part_size(file)) for file in missing)
        reclaimed = sum(path.stat().st_size for path in stale)
        check_space(target, listing.bytes, needed - reclaimed, self._settings.capacity_bytes)
        if missing:
            downloader.check_access(missing[0])
        remove_marker(target)
        for path in stale:
            path.unlink()
        (target / PARTS).mkdir(exist_ok=True)

    def _verify(self, listing: Listing) -> list[RemoteFile]:
        """Hash what is in place, once per run; returns the files that aren't there as listed."""

        def check(file: RemoteFile) -> None:
            path = self._settings.target / file.path
            if file in self._verified or matches(path, file, self._stop):
                self._verified.add(file)
                self._progress.present(file.size)
                self._progress.file_done()

        self._in_parallel(check, listing.files)
        return [file for file in listing.files if file not in self._verified]

    def _in_parallel(self, action: Callable[[RemoteFile], None], files: Sequence[RemoteFile]) -> None:
        """Do something with each file in threads; the first failure stops the rest.

        Raises:
            PrefetchError, OSError: the first failure.
        """
        with ThreadPoolExecutor(self._settings.workers, thread_name_prefix="download") as pool:
            futures = {pool.submit(action, file) for file in files}
            try:
                self._watch(futures)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _watch(self, pending: set[Future[None]]) -> None:
        while pending:
            done, pending = wait(pending, timeout=self._settings.progress_seconds, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if self._stop.is_set():
                raise Interrupted
            if pending:
                self._output.event("progress", **self._progress.state())
