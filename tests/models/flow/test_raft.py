"""RAFT: published key names, golden numbers, flow of images that move evenly."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from torch.nn import functional

from models.flow import raft_clip as clip_flow
from models.flow.raft import RaftNetwork, build_raft, load_raft

pytestmark = pytest.mark.models
# Mean, standard deviation and one element; the public implementation gives the same with these weights.
GOLDEN = {
    0: (4.30349, 7.58383, -14.5938),
    1: (9.16786, 12.8035, -21.3594),
    2: (5.13915, 7.90793, -7.36328),
}


def golden_state():
    """Weights that any version of any library makes alike, in the published form."""
    rng = np.random.default_rng(5)
    state = {}
    for key, value in sorted(RaftNetwork().state_dict().items()):
        if key.endswith("num_batches_tracked"):
            values = np.zeros(())
        elif value.ndim > 1:
            values = rng.normal(0, 1.4 / np.sqrt(np.prod(value.shape[1:])), value.shape)
        else:
            level = 1.0 if key.endswith("running_var") or ("norm" in key and key.endswith("weight")) else 0.0
            values = level + rng.uniform(0, 0.2, value.shape)
        state[f"module.{key}"] = torch.tensor(values, dtype=value.dtype)
    for key in list(state):
        if ".downsample.1." in key:  # the same tensors under two names
            state[key] = state[key.replace(".downsample.1.", ".norm3.")]
    return state


def golden_images():
    rng = np.random.default_rng(6)
    coarse = torch.tensor(rng.uniform(0, 255, (3, 3, 12, 14)), dtype=torch.float32)
    return functional.interpolate(coarse, (128, 136), mode="bilinear").to(torch.uint8)


def golden_outputs():
    return clip_flow.estimate_clip_flow(build_raft(golden_state()), golden_images(), iterations=4)


def test_it_has_the_published_tensors():
    state = RaftNetwork().state_dict()
    assert len(state) == 179
    distinct = {value.data_ptr(): value.numel() for key, value in state.items() if "running" not in key}
    assert sum(distinct.values()) == pytest.approx(5_257_536, abs=20)


def test_its_numbers_are_those_of_the_public_implementation():
    found = golden_outputs()
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    for k, expected in GOLDEN.items():
        values = found.flow_px[k].double()
        numbers = (float(values.mean()), float(values.std()), float(values[9, 20, 1]))
        assert numbers == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_batches_do_not_change_the_flow(monkeypatch):
    whole = golden_outputs()
    monkeypatch.setattr(clip_flow, "PAIRS_AT_ONCE", 1)
    single = golden_outputs()
    assert torch.allclose(whole.flow_px.float(), single.flow_px.float(), atol=2e-2)


def test_consistency_follows_the_flow_there_and_back():
    forth = torch.zeros(1, 2, 20, 30)
    forth[:, 0] = 3.0
    back = -forth
    back[:, :, 10:] += 2.0
    found = clip_flow.is_consistent(forth, back)[0]
    assert found[:9, :26].all()
    assert not found[11:].any()
    assert not found[:, 28:].any()


def test_weights_load_from_a_file_and_others_are_refused(tmp_path):
    path = tmp_path / "raft-things.pth"
    torch.save(golden_state(), path)
    assert len(load_raft(path).state_dict()) == 179
    state = golden_state()
    del state["module.fnet.conv1.bias"]
    with pytest.raises(ValueError, match=r"fnet\.conv1\.bias"):
        build_raft(state)
