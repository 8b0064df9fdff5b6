"""The tracker's network: published key names, golden numbers, refused files."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from models.networks.layers import pad_channels
from models.slam.network import EdgeGroups, TrackingNetwork, build_tracking_network, load_tracking_network

pytestmark = pytest.mark.models


def golden_state():
    """Weights that any version of any library makes alike, in the published form."""
    rng = np.random.default_rng(7)
    shapes = {key: value.shape for key, value in TrackingNetwork().state_dict().items()}
    for key in ("update.weight.2", "update.delta.2"):
        shapes[f"{key}.weight"], shapes[f"{key}.bias"] = (3, 128, 3, 3), (3,)
    state = {}
    for key in sorted(shapes):
        shape = shapes[key]
        values = rng.normal(0, 1.4 / np.sqrt(max(np.prod(shape[1:]), 1)), shape) if len(shape) > 1 else None
        offset = 1.0 if "norm" in key and key.endswith("weight") else 0.0
        values = rng.normal(offset, 0.1, shape) if values is None else values
        state[f"module.{key}"] = torch.tensor(values, dtype=torch.float32)
    return state


def golden_outputs(network, device="cpu", dtype=torch.float32):
    rng = np.random.default_rng(8)
    images = torch.from_numpy(rng.integers(0, 256, (3, 3, 64, 96), dtype=np.uint8)).to(device)
    features, net, context = network.encode(images)
    source = np.array([0, 0, 1, 2, 2])
    correlation = torch.tensor(rng.normal(0, 1, (5, 196, 8, 12)), dtype=torch.float32)
    motion = torch.tensor(rng.normal(0, 5, (5, 4, 8, 12)), dtype=torch.float32)
    frames = torch.from_numpy(source).to(device)
    correlation, motion = (x.to(device, dtype) for x in (pad_channels(correlation), motion))
    update = network.update(net[frames], context, frames, correlation, motion, EdgeGroups(source, device))
    return {
        "features": features,
        "net": net,
        "context": context,
        "hidden": update.net,
        "delta": update.delta_px,
        "weight": update.weight,
        "static": update.static,
        "eta": update.eta,
    }


# Mean, standard deviation and one element of each output; the public implementation gives the same with these weights.
GOLDEN = {
    "features": (0.05055883, 2.085304, -3.728105),
    "net": (-0.02414566, 0.9802887, 0.9690497),
    "context": (0.2588684, 11.01032, -7.774665),
    "hidden": (-0.0249326, 0.936135, 0.8479554),
    "delta": (0.03767447, 0.8677221, -0.08994137),
    "weight": (0.6049477, 0.1593989, 0.6604345),
    "static": (0.5532157, 0.2261261, 0.7368709),
    "eta": (0.00323885, 0.001827634, 0.001095172),
}


def test_it_has_the_published_tensors():
    state = TrackingNetwork().state_dict()
    assert len(state) == 130
    assert sum(value.numel() for value in state.values()) == 5_192_467


def test_its_numbers_are_those_of_the_public_implementation():
    outputs = golden_outputs(build_tracking_network(golden_state()))
    for name, (mean, deviation, element) in GOLDEN.items():
        values = outputs[name].double()
        found = (float(values.mean()), float(values.std()), float(values.flatten()[values.numel() // 2 + 3]))
        assert found == pytest.approx((mean, deviation, element), rel=1e-3, abs=2e-5), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_half_precision_on_a_gpu_gives_nearly_the_same():
    expected = golden_outputs(build_tracking_network(golden_state()))
    found = golden_outputs(build_tracking_network(golden_state(), "cuda"), "cuda", torch.float16)
    for name, values in expected.items():
        error = torch.linalg.norm(found[name].float().cpu() - values) / torch.linalg.norm(values)
        assert error < 5e-3, name


def test_a_batch_gives_what_its_edges_give_alone():
    network = build_tracking_network(golden_state())
    rng = np.random.default_rng(1)
    net, context, correlation, motion = (
        torch.tensor(rng.normal(0, 1, (2, c, 6, 9)), dtype=torch.float32) for c in (128, 384, 200, 4)
    )
    both = network.update(net, context, torch.tensor([0, 1]), correlation, motion, EdgeGroups(np.array([4, 9]), "cpu"))
    for k in range(2):
        one = slice(k, k + 1)
        group = EdgeGroups(np.array([0]), "cpu")
        alone = network.update(net[one], context, torch.tensor([k]), correlation[one], motion[one], group)
        assert torch.allclose(both.static[one], alone.static, atol=1e-5)
        assert torch.allclose(both.eta[one], alone.eta, atol=1e-6)


def test_weights_load_from_a_file_that_runs_no_code(tmp_path):
    path = tmp_path / "megasam_final.pth"
    torch.save(golden_state(), path)
    loaded, built = load_tracking_network(path).state_dict(), build_tracking_network(golden_state()).state_dict()
    assert all(torch.equal(loaded[key], built[key]) for key in built)


def test_other_weights_are_refused_by_name():
    state = golden_state()
    del state["module.fnet.conv1.bias"]
    with pytest.raises(ValueError, match=r"fnet\.conv1\.bias"):
        build_tracking_network(state)
