"""All files of an export, from the parameters alone."""

from __future__ import annotations

from .. import params as parameters
from ..errors import RunbookError
from ..params import Params
from . import helm, kserve, kustomize
from .contents import Contents, contents
from .tree import Request


def make(request: Request) -> tuple[dict[str, str], list[Contents]]:
    """The files by path, and what they were made of.

    Raises:
        ParamsError: a platform or model isn't there, or an override doesn't fit.
        RunbookError: an object can't be computed, or two platforms have one name.
    """
    loaded = [params_of(request, name) for name in request.platforms]
    names = [params.platform.name for params in loaded]
    if len(set(names)) < len(names):
        raise RunbookError("A platform is named twice", why=", ".join(names))
    if request.form == "kserve":
        return kserve.files(request, loaded)
    platforms = [contents(params, request.notebooks or None) for params in loaded]
    form = {"kustomize": kustomize.files, "helm": helm.files}[request.form]
    return form(request, platforms), platforms


def params_of(request: Request, platform: str) -> Params:
    """The parameters of one platform of an export."""
    return parameters.load(platform, request.model, request.overrides)
