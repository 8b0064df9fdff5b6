"""When PyTorch does the work of the CUDA kernels."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from native.cuda import library

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    ("capability", "built", "said"),
    [((7, 5), True, "compute capability 7.5"), ((9, 0), False, "make cuda"), ((8, 0), True, None)],
)
def test_an_unsupported_gpu_is_logged_once(capability, built, said, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(library, "_library", lambda: object() if built else None)
    library._serves.cache_clear()
    tensor = SimpleNamespace(is_cuda=True, device=SimpleNamespace(index=0))
    assert [library.usable_for(tensor) for _ in range(2)] == [said is None] * 2
    library._serves.cache_clear()
    assert len(caplog.messages) == (said is not None)
    assert said is None or said in caplog.text


def test_tensors_on_the_cpu_say_nothing(caplog):
    assert not library.usable_for(torch.zeros(1))
    assert not caplog.messages
