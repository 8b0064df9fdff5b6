"""Streams the files of a folder or glob pattern.

One page or folder is in memory at a time.
"""

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
    """Yields the file at `path`, a folder's files, or a glob's matches, unordered.

    Args:
      fs: file system of the path.
      path: file, folder, or glob pattern with `*`, `?`, `[...]`, or `**` as a whole path component.
      on_error: called with the error of a folder that cannot be read; the folder is skipped.
    """
    if fs.isfile(path):
        yield path
    elif fs.isdir(path):
        yield from _list_prefix(fs, path.rstrip("/") + "/", None, on_error)
    elif wildcard := _WILDCARD.search(path):
        matches = re.compile(glob_translate(path)).match
        for found in _list_prefix(fs, path[: wildcard.start()], None if "**" in path else path.count("/"), on_error):
            # Skips links to folders; object stores have no links, and the check would cost a request per object.
            if matches(found) and (not is_local(fs) or fs.isfile(found)):
                yield found


def _list_prefix(
    fs: fsspec.AbstractFileSystem, prefix: str, levels: int | None, on_error: Callable[[OSError], None]
) -> Iterator[str]:
    """Yields files whose path starts with `prefix`, at most `levels` slashes deeper."""
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol in _PAGES:
        yield from _list_pages(fs, prefix, _PAGES[protocol])
        return
    folder = prefix[: prefix.rfind("/") + 1]
    folder = folder.rstrip("/") or folder
    depth = None if levels is None else levels - folder.rstrip("/").count("/")
    yield from _walk(fs, folder, depth, on_error)


def _walk(
    fs: fsspec.AbstractFileSystem, folder: str, depth: int | None, on_error: Callable[[OSError], None]
) -> Iterator[str]:
    """Yields the files of `depth` levels of folders; unlike fsspec's `walk` it reports errors."""
    folders = []
    try:
        for name, is_folder in _list_folder(fs, folder):
            if not is_folder:
                yield name
            elif name != folder:
                folders.append(name)
    except FileNotFoundError:
        return
    except OSError as error:
        on_error(error)
    # Else the file system caches every listing.
    fs.invalidate_cache(folder)
    if depth != 1:
        for subfolder in sorted(folders):
            yield from _walk(fs, subfolder, depth and depth - 1, on_error)


def _list_folder(fs: fsspec.AbstractFileSystem, folder: str) -> Iterator[tuple[str, bool]]:
    """Yields (path, is_folder) of a folder's entries; a link is not a folder."""
    if is_local(fs):
        with os.scandir(folder) as entries:
            yield from ((entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries)
    else:
        for entry in fs.ls(folder, detail=True):
            yield entry["name"].rstrip("/"), entry["type"] == "directory"


def _list_pages(fs: Any, start: str, page_of: Callable[[Any, str, str, str | None], Page]) -> Iterator[str]:
    bucket, _, prefix = start.partition("/")
    token = None
    while True:
        names, token = page_of(fs, bucket, prefix, token)
        # Object names that end with a slash are folder placeholders.
        yield from (f"{bucket}/{name}" for name in names if not name.endswith("/"))
        if token is None:
            return


def _gcs_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    query = {"fields": "items(name),nextPageToken", "maxResults": PAGE_OBJECTS, "pageToken": token}
    page = fs.call("GET", "b/{}/o", bucket, prefix=prefix, json_out=True, **query)
    return [item["name"] for item in page.get("items", ())], page.get("nextPageToken")


def _s3_page(fs: Any, bucket: str, prefix: str, token: str | None) -> Page:
    continuation = {"ContinuationToken": token} if token else {}
    page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_OBJECTS, **continuation)
    return [item["Key"] for item in page.get("Contents", ())], page.get("NextContinuationToken")


_PAGES: dict[str, Callable[[Any, str, str, str | None], Page]] = {
    "gs": _gcs_page,
    "s3": _s3_page,
}
