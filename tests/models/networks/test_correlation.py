"""Correlation of features against whole volumes, pooled and sampled by torch's own functions."""

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from torch.nn import functional

from models.networks import correlation

pytestmark = pytest.mark.models


def sampled(first, second, coords):
    """(e, 196, h, w) from feature maps (e, c, h, w) of both frames."""
    edges, _, height, width = first.shape
    volume = torch.einsum("ecp,ecq->epq", first.flatten(2), second.flatten(2)) / 16
    volume = volume.reshape(-1, 1, height, width)
    offsets = torch.arange(-3.0, 4.0)
    levels = []
    for level in range(4):
        h, w = volume.shape[2:]
        x, y = (coords.reshape(-1, 2) / 2**level).unbind(1)
        grid = torch.stack(
            torch.broadcast_tensors(
                2 * (x[:, None, None] + offsets[:, None]) / (w - 1) - 1,
                2 * (y[:, None, None] + offsets) / (h - 1) - 1,
            ),
            -1,
        )
        found = functional.grid_sample(volume, grid, align_corners=True)
        levels.append(found.reshape(edges, height, width, 49).permute(0, 3, 1, 2))
        volume = functional.avg_pool2d(volume, 2)
    return torch.cat(levels, 1)


def test_it_is_the_volume_pooled_and_sampled(monkeypatch):
    torch.manual_seed(3)
    features = torch.randn(3, 128, 17, 25)
    source, target = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 2, 0, 2])
    coords = torch.rand(4, 17, 25, 2) * torch.tensor([34.0, 26.0]) - 5
    coords[0, 0, 0] = torch.tensor([1e9, -1e9])
    pyramid = correlation.FeaturePyramid.from_features(features)
    found = correlation.correlate(pyramid, source, target, coords)
    assert found.shape == (4, 200, 17, 25) and not found[:, 196:].any()
    found = found[:, :196]
    expected = sampled(features[source], features[target], coords)
    assert torch.linalg.norm(found - expected) < 1e-5 * torch.linalg.norm(expected)
    monkeypatch.setattr(correlation, "MAX_VOLUME_BYTES", 1)
    split = correlation.correlate(pyramid, source, target, coords)[:, :196]
    assert torch.allclose(split, found, atol=1e-5)
