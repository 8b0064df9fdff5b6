from __future__ import annotations

import pytest

from tests.support.annotated import AnnotatedRun, make_annotated_run


@pytest.fixture(scope="session")
def annotated(tmp_path_factory) -> AnnotatedRun:
    """A finished data set with exact annotation; tests must not write into it."""
    return make_annotated_run(tmp_path_factory.mktemp("annotated"))
