"""Turns of threads on a GPU: number, out of memory, same bits in parallel."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from models.depth.settings import ConsistencySettings
from models.flow.raft import build_raft
from models.slam.clips import run_networks
from models.slam.network import build_tracking_network as build_tracker
from models.slam.settings import MegasamSettings, TrackerSettings
from models.slam.tracker import SlamInput
from transforms.handlers.device import TURNS, in_turn

pytestmark = pytest.mark.models


@pytest.mark.parametrize(("device", "most"), [("cuda", TURNS), ("cpu", 6)])
def test_few_threads_work_on_the_gpu_at_a_time(device, most):
    lock, all_there, at_work, peaks = threading.Lock(), threading.Barrier(most), [], []

    def work():
        with lock:
            at_work.append(None)
            peaks.append(len(at_work))
        # All who may work at a time meet here; were there fewer, they would wait in vain.
        all_there.wait(timeout=20)
        with lock:
            at_work.pop()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: in_turn(device, work), range(6)))
    assert max(peaks) == most


def test_work_that_runs_out_of_memory_is_done_again_alone():
    begun, may_end, tries = threading.Event(), threading.Event(), []

    def other():
        begun.set()
        may_end.wait(20)
        return "other"

    def hungry():
        tries.append(may_end.is_set())
        if len(tries) == 1:
            raise torch.OutOfMemoryError("no memory left")
        return "hungry"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(in_turn, "cuda", other)
        begun.wait(20)
        second = pool.submit(in_turn, "cuda", hungry)
        while not tries:
            pass
        assert not second.done()
        may_end.set()
        assert (first.result(20), second.result(20)) == ("other", "hungry")
    assert tries == [False, True]


def test_what_runs_out_of_memory_alone_fails_and_others_go_on():
    def work():
        raise torch.OutOfMemoryError("no memory left")

    with pytest.raises(torch.OutOfMemoryError):
        in_turn("cuda", work)
    assert in_turn("cuda", lambda: 5) == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_turns_side_by_side_give_the_same_bits_in_memory_that_does_not_grow():
    torch.manual_seed(0)
    networks = build_tracker(None, "cuda"), build_raft(None, "cuda")
    settings = MegasamSettings(
        tracker=TrackerSettings(min_motion_px=0, probe_steps=2, keyframe_steps=2, final_steps=2),
        consistency=ConsistencySettings(align_steps=20, refine_steps=40),
    )

    def make_clip(seed):
        rng = np.random.default_rng(seed)
        return SlamInput(
            images=rng.integers(0, 256, (10, 3, 128, 192), dtype=np.uint8),
            depth=rng.uniform(0.5, 2, (10, 128, 192)).astype(np.float32),
            intrinsics_px=[160, 160, 96, 64],
            times_s=np.arange(10) / 5,
        )

    def run(seed):
        return in_turn("cuda", partial(run_networks, *networks, [make_clip(seed), make_clip(seed + 1)], settings))

    def run_side_by_side():
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(run, [0, 2] * 6))

    expected = [run(0), run(2)]
    for found, wanted in zip(run_side_by_side(), expected * 6, strict=True):
        for clip in range(2):
            for answer, truth in zip(found[clip], wanted[clip], strict=True):
                for field in fields(answer):
                    np.testing.assert_array_equal(getattr(answer, field.name), getattr(truth, field.name))
    held = torch.cuda.memory_reserved()
    run_side_by_side()
    assert torch.cuda.memory_reserved() <= 1.1 * held
