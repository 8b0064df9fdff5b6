from __future__ import annotations

import pickle

from core.failures import ItemError, TransientError


def test_the_message_has_cause_and_remedy():
    assert str(ItemError("NotAVideo", "it is text.", "give a video.")) == "it is text. Remedy: give a video."
    assert str(ItemError("NotAVideo", "it is text.")) == "it is text."


def test_errors_come_back_from_other_processes():
    error = pickle.loads(pickle.dumps(TransientError("LostLine", "it broke.", "try again.")))
    assert isinstance(error, TransientError)
    assert (error.error_class, error.cause, error.remedy) == ("LostLine", "it broke.", "try again.")
