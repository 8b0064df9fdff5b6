"""Files below a folder or behind a pattern, as a stream: what is held at a time is one page or one folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
from fsspec.utils import glob_translate

from storage.uris import is_local

PAGE_OBJECTS = 1000
Page = tuple[list[str], str | None]

_WILDCARD = re.compile(r"[*?\[]")


def stream_files(
    fs: fsspec.AbstractFileSystem, path: str, on_error: Callable[[OSError], None] = lambda _: None
) -> Iterator[str]:
    """The file at `path`, those below a folder, or those behind a pattern, in no particular order.

    Args:
      fs: file system of the path.
      path: file, folder, or a pattern with `*`, `?`, `[...]` or, as a whole name, `**`.
      on_error: takes what a folder says that cannot be read; it is left out.
    """
    if fs.isfile(path):
        yield path
    elif fs.isdir(path):
        yield from _below(fs, path.rstrip("/") + "/", None, on_error)
    elif start := _WILDCARD.search(path):
        fits = re.compile(glob_translate(path)).match
        for found in _below(fs, path[: start.start()], None if "**" in path else path.count("/"), on_error):
            # A link to a folder is no file; object stores have no links, and would be asked for each object.
            if fits(found) and (not is_local(fs) or fs.isfile(found)):
                yield found


def _below(
    fs: fsspec.AbstractFileSystem, start: str, levels: int | None, on_error: Callable[[OSError], None]
) -> Iterator[str]:
    """All files whose path begins with `start` and has no more than `levels` slashes (None: any number)."""
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol in _PAGES:
        yield from _paged(fs, start, _PAGES[protocol])
        return
    folder = start[: start.rfind("/") + 1]
    folder = folder.rstrip("/") or folder
    depth = None if levels is None else levels - folder.rstrip("/").count("/")
    yield from _walk(fs, folder, depth, on_error)


def _walk(
    fs: fsspec.AbstractFileSystem, folder: str, depth: int | None, on_error: Callable[[OSError], None]
) -> Iterator[str]:
    """Files of a folder and of those below it, `depth` levels in all; fsspec's own walk leaves errors out."""
    folders = []
    try:
        for name, is_folder in _entries(fs, folder):
            if not is_folder:
                yield name
            elif name != folder:
                folders.append(name)
    except FileNotFoundError:
        return
    except OSError as error:
        on_error(error)
    # Else the file system keeps all that it has seen.
    fs.invalidate_cache(folder)
    if depth != 1:
        for below in sorted(folders):
            yield from _walk(fs, below, depth and depth - 1, on_error)


def _entries(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[tuple[str, bool]]:
    """Names in a folder, and which of them are folders; a link is none."""
    if is_local(fs):
        with os.scandir(folder) as found:
            yield from ((entry.path, entry.is_dir(follow_symlinks=False)) for entry in found)
    else:
        for entry in fs.ls(folder, detail=True):
            yield entry["name"].rstrip("/"), entry["type"] == "directory"


def _paged(fs: Any, start: str, page_of: Callable[[Any, str, str, str | None], Page]) -> Iterator[str]:
    bucket, _, prefix = start.partition("/")
    token = None
    while True:
        names, token = page_of(fs, bucket, prefix, token)
        # An object whose name ends with a slash is a folder that a console has made.
        yield from (f"{bucket}/{name}" for name in names if not name.endswith("/"))
        if token is None:
            return


def _gcs_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    wanted = {"fields": "items(name),nextPageToken", "maxResults": PAGE_OBJECTS, "pageToken": token}
    page = fs.call("GET", "b/{}/o", bucket, prefix=prefix, json_out=True, **wanted)
    return [item["name"] for item in page.get("items", ())], page.get("nextPageToken")


def _s3_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    further = {"ContinuationToken": token} if token else {}
    page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_OBJECTS, **further)
    return [item["Key"] for item in page.get("Contents", ())], page.get("NextContinuationToken")


_PAGES: dict[str, Callable[[Any, str, str, str | None], Page]] = {
    "gs": _gcs_page,
    "s3": _s3_page,
}
