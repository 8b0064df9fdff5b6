"""URIs: normalization, and the fsspec file systems that they name."""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import unquote

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_URL_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|[a-z]+::")
# Extras of this package that install the fsspec implementation of a protocol.
_EXTRAS = {"gs": "gcp", "gcs": "gcp", "s3": "s3", "s3a": "s3"}


class UriError(ValueError):
    """A URI whose file system cannot be used; the message says what is missing."""


def is_url(uri: str) -> bool:
    """Whether a URI has a protocol; everything else is a local path."""
    return bool(_URL_PATTERN.match(uri))


def url_scheme(uri: str) -> str:
    """Lower-case scheme of a URL, of a chained one (`a::b://`) its first; empty for local paths."""
    found = _URL_PATTERN.match(uri)
    return found.group().split(":", 1)[0].lower() if found else ""


def is_utf8(uri: str) -> bool:
    """Whether a URI can be written to tables; file names may hold any bytes."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True


def normalize_uri(uri: str, base: str | None = None) -> str:
    """Normalizes a URI: local paths and `file://` URLs become absolute paths.

    `%20` in `file://` URLs is decoded; other URIs are unchanged.

    Args:
      uri: path or URL.
      base: folder that relative paths refer to; the working directory by default.
    """
    if uri.startswith("file://"):
        # As `Path.as_uri` encodes them.
        uri = unquote(uri.removeprefix("file://").removeprefix("localhost"), errors="surrogateescape")
    if is_url(uri):
        return uri
    if base is not None and not os.path.isabs(uri):
        if is_url(base):
            return posixpath.join(base, uri)
        uri = os.path.join(base, uri)
    return os.path.abspath(os.path.expanduser(uri))


def open_uri(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and path of a normalized URI; local paths are taken literally.

    Raises:
      UriError: if no installed package supports the protocol.
    """
    if not is_url(uri):
        return LocalFileSystem(), uri
    try:
        return url_to_fs(uri)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(uri.split(":", 1)[0].lower())
        remedy = f"pip install 'spatialbeam[{extra}]'" if extra else "install the package that supports it"
        raise UriError(
            f"{uri!r} names a file system that cannot be used ({error}). Remedy: {remedy}, or check the URI."
        ) from error


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether a file system is the local one."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
