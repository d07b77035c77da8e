"""The objects of the notebooks as files: for Kustomize or Helm, Argo CD or Flux; and how clusters differ from them."""

from .contents import LAYERS, Contents, contents
from .make import make
from .tree import Request, Written, request_of, write

__all__ = ["LAYERS", "Contents", "Request", "Written", "contents", "make", "request_of", "write"]
