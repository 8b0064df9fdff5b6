"""Streams large files from a folder or over HTTP, and resumes broken connections."""

from __future__ import annotations

import io
import os
import time
from typing import BinaryIO, cast

import requests

from explore.outputs import OutputError
from storage.uris import normalize_uri, open_uri

RETRIES = 8
TIMEOUT_S = 60
FIRST_BACKOFF_S, MAX_BACKOFF_S = 1.0, 30.0
BLOCK_BYTES = 1 << 20


class StreamError(OSError):
    """A file cannot be read; the message says why."""


def open_stream(uri: str, token: str | None = None) -> BinaryIO:
    """Opens a file as a stream of bytes.

    Args:
      uri: path, http(s) address, or any fsspec URI.
      token: bearer token, sent to the host of an http(s) address and never to a redirect's.

    Raises:
      StreamError: if there is no such file.
    """
    uri = normalize_uri(uri)
    if uri.startswith(("http://", "https://")):
        return io.BufferedReader(ResumingStream(uri, token), BLOCK_BYTES)
    fs, path = open_uri(uri)
    try:
        return cast(BinaryIO, fs.open(path, "rb"))
    except OSError as error:
        raise StreamError(f"{uri!r} cannot be read: {error}") from error


def read_token(variable: str | None) -> str | None:
    """The access token in an environment variable.

    Raises:
      OutputError: if the variable is not set.
    """
    if variable is None:
        return None
    if not (token := os.environ.get(variable, "").strip()):
        raise OutputError(f"the environment variable {variable} (--token-env) is not set")
    return token


class ResumingStream(io.RawIOBase):
    """A file over HTTP that resumes at its offset when the connection breaks.

    Raises:
      StreamError: after too many retries, without range requests, or if the file has changed meanwhile.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._session = requests.Session()
        if token:
            # The session drops this header on redirects to another host.
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._response: requests.Response | None = None
        self._offset = 0
        self._length: int | None = None
        self._etag: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads at most `len(buffer)` bytes with retries and exponential backoff."""
        for attempt in range(RETRIES + 1):
            try:
                if self._response is None:
                    self._connect()
                part = self._read(len(buffer))
                if not part and self._length is not None and self._offset < self._length:
                    raise requests.ConnectionError(f"ends after {self._offset} of {self._length} bytes")
            except (requests.RequestException, OSError) as error:
                if isinstance(error, StreamError):
                    raise
                self._disconnect()
                if attempt == RETRIES:
                    raise StreamError(f"{self._url!r} cannot be read: {error}") from error
                time.sleep(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt))
                continue
            buffer[: len(part)] = part
            self._offset += len(part)
            return len(part)
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._disconnect()
        self._session.close()
        super().close()

    def _connect(self) -> None:
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={self._offset}-"}
        response = self._session.get(self._url, headers=headers, stream=True, timeout=TIMEOUT_S)
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            response.close()
            raise requests.ConnectionError(f"the server answers {response.status_code}")
        if response.status_code not in (200, 206):
            response.close()
            raise StreamError(f"{self._url!r}: the server answers {response.status_code}")
        etag = response.headers.get("etag") or response.headers.get("last-modified")
        if self._offset and (response.status_code != 206 or etag != self._etag):
            response.close()
            raise StreamError(f"{self._url!r} cannot be continued at byte {self._offset}: start again")
        self._etag = etag
        if (size := response.headers.get("content-length")) is not None:
            self._length = self._offset + int(size)
        self._response = response

    def _read(self, size: int) -> bytes:
        if self._response is None:
            raise ValueError("not connected")
        try:
            return bytes(self._response.raw.read(size, decode_content=False))
        except Exception as error:  # urllib3's own errors
            raise requests.ConnectionError(str(error)) from error

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
