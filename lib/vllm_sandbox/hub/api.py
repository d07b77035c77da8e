"""What the hub's JSON endpoints answer, in the form that huggingface_hub parses."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from yarl import URL

from vllm_sandbox.hub.access import Account
from vllm_sandbox.hub.models import ModelSpec
from vllm_sandbox.hub.repository import DATE, HubFile, Snapshot, commit_of

_EXPANDED_PAGE = 50


def origin(request: web.Request) -> str:
    """Scheme and host under which the client reached this server."""
    return f"{request.scheme}://{request.host}"


def whoami(account: Account) -> dict[str, Any]:
    token = {"displayName": "sandbox", "role": "read", "createdAt": DATE}
    return {
        "type": "user",
        "id": account.name,
        "name": account.name,
        "fullname": account.name,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": token},
    }


def model_info(snapshot: Snapshot, *, blobs: bool) -> dict[str, Any]:
    """``blobs`` adds every file's size and digests, as ``files_metadata=True`` asks for."""
    spec = snapshot.spec
    return {
        "_id": snapshot.commit[:24],
        "id": spec.repo_id,
        "modelId": spec.repo_id,
        "author": spec.repo_id.split("/")[0],
        "sha": snapshot.commit,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": False,
        "disabled": False,
        "gated": "manual" if spec.gated else False,
        "downloads": 0,
        "likes": 0,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["transformers", "safetensors", spec.architecture.family, "text-generation", "simulated"],
        "siblings": [_sibling(file, blobs=blobs) for file in snapshot.files.values()],
    }


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        entry |= {"size": file.content.size, "blobId": file.blob_id}
        if file.sha256 is not None:
            entry["lfs"] = {"sha256": file.sha256, "size": file.content.size, "pointerSize": file.pointer_size}
    return entry


def _file_entry(snapshot: Snapshot, file: HubFile, *, expand: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "oid": file.blob_id,
        "size": file.content.size,
        "path": file.path,
    }
    if file.sha256 is not None:
        entry["lfs"] = {"oid": file.sha256, "size": file.content.size, "pointerSize": file.pointer_size}
    return entry | (_last_commit(snapshot) if expand else {})


def _folder_entry(snapshot: Snapshot, path: str, *, expand: bool) -> dict[str, Any]:
    entry = {"type": "directory", "oid": snapshot.commit, "size": 0, "path": path}
    return entry | (_last_commit(snapshot) if expand else {})


def _last_commit(snapshot: Snapshot) -> dict[str, Any]:
    return {"lastCommit": {"id": snapshot.commit, "title": "Upload model", "date": DATE}}


def _folders(snapshot: Snapshot) -> set[str]:
    return {path.rsplit("/", 1)[0] for path in snapshot.files if "/" in path}


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("1", "true")


def tree(request: web.Request, snapshot: Snapshot, page_size: int) -> web.Response:
    """One page of the file listing; the Link header leads to the next."""
    prefix = request.match_info.get("path", "").strip("/")
    expand = _flag(request, "expand")
    inside = prefix + "/" if prefix else ""
    entries = [
        *(_folder_entry(snapshot, path, expand=expand) for path in _folders(snapshot) if path.startswith(inside)),
        *(
            _file_entry(snapshot, file, expand=expand)
            for path, file in snapshot.files.items()
            if path.startswith(inside)
        ),
    ]
    if not _flag(request, "recursive"):
        entries = [entry for entry in entries if "/" not in entry["path"][len(inside) :]]
    if prefix and not entries:
        return web.json_response(
            {"error": f"{prefix} does not exist"}, status=404, headers={"X-Error-Code": "EntryNotFound"}
        )
    entries.sort(key=lambda entry: str(entry["path"]))
    limit = min(page_size, _EXPANDED_PAGE) if expand else page_size
    start = int(request.query.get("cursor", "0"))
    response = web.json_response(entries[start : start + limit])
    if start + limit < len(entries):
        following = URL(origin(request) + request.path_qs).update_query(cursor=str(start + limit))
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


async def paths_info(request: web.Request, snapshot: Snapshot) -> web.Response:
    """Entries of the paths that the form names; paths that don't exist are left out."""
    form = await request.post()
    expand = str(form.get("expand", "")).lower() in ("1", "true")
    folders = _folders(snapshot)
    entries = []
    for path in map(str, form.getall("paths", [])):
        if path in snapshot.files:
            entries.append(_file_entry(snapshot, snapshot.files[path], expand=expand))
        elif path in folders:
            entries.append(_folder_entry(snapshot, path, expand=expand))
    return web.json_response(entries)


def refs(spec: ModelSpec) -> dict[str, Any]:
    """Branches and tags: ``main`` is the branch."""
    branches: list[dict[str, str]] = []
    tags: list[dict[str, str]] = []
    for name, seed in spec.revisions.items():
        kind, target = ("heads", branches) if name == "main" else ("tags", tags)
        target.append({"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit_of(spec, seed)})
    return {"branches": branches, "tags": tags, "converts": []}
