"""How OpenCV is set up by whatever imports this program."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2

import core.records  # noqa: F401


def test_no_thread_uses_primitives_that_round_by_processor_and_place():
    with ThreadPoolExecutor(1) as pool:
        assert not cv2.ipp.useIPP()
        assert not pool.submit(cv2.ipp.useIPP).result()
