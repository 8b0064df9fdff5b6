"""Frame networks on a real GPU: half precision, and real out-of-memory errors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from models.depth.depth_anything import DepthAnything
from models.depth.settings import DepthSettings
from models.networks.batches import BatchRunner
from models.networks.depth_anything import DepthAnythingV2
from models.networks.hiera import TINY
from models.networks.pixels import DTYPES
from models.networks.sam2 import Sam2
from models.segmentation.sam import SamMasks
from models.segmentation.settings import MaskSettings
from tests.support.formula_weights import fill_by_formula, wavy_images

pytestmark = [
    pytest.mark.models,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


def relative_error(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def depth(device, precision):
    network = DepthAnythingV2("vits")
    fill_by_formula(network, 0.5)
    network.depth_head.scratch.output_conv2[2].bias.data.fill_(2.0)
    settings = DepthSettings(device=device, precision=precision, batch_frames=2)
    return DepthAnything(network.prepare(DTYPES[precision]), settings).predict(list(wavy_images(3, 180, 320)), (64, 36))


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("fp16", 5e-3), ("bf16", 3e-2)])
def test_depth_on_the_gpu_equals_the_cpus(precision, most):
    wanted = depth("cpu", "fp32").maps
    assert relative_error(depth("cuda", precision).maps, wanted) < most


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_outlines_and_propagation_run_in_half_precision(precision):
    network = Sam2(TINY)
    fill_by_formula(network, 0.5)
    model = SamMasks(network, MaskSettings(precision=precision, max_area_share=1.0, min_overlap=0.0))
    images = list(wavy_images(3, 180, 320))
    moving = np.zeros((3, 90, 160), bool)
    moving[:, 20:50, 40:90] = True
    moving[1, 60:80, 100:140] = True
    outlined = model.refine(images, moving)
    assert outlined.shape == moving.shape and outlined.any()
    carried = model.propagate(images, outlined)
    assert (carried & outlined == outlined).all()


def test_memory_that_runs_out_halves_the_batch():
    def compute(images, first):
        # 1 GiB an image.
        held = torch.ones(len(images), 1 << 28, device="cuda")
        return (held.mean(dim=1) + images.float().mean(dim=(1, 2, 3)),)

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 6.5 * 2**30) / total))
    try:
        runner = BatchRunner(compute, torch.device("cuda"), 16, 1 << 30)
        (means,) = runner.run([np.full((4, 4, 3), i, np.uint8) for i in range(20)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    np.testing.assert_allclose(means, 1 + np.arange(20))
    assert runner.halvings >= 1
