from __future__ import annotations

from storage.store import Store
from tests.transforms.test_stage import Double, Item


def test_results_are_found_again(tmp_path):
    item, store = Item(key="k", number=3), Store(str(tmp_path))
    output = Double().output(item, store)
    assert output.load(Item) is None
    output.save({"doubled": 6})
    assert Double().output(item, store).load(Item) == {"doubled": 6}


def test_blobs_are_named_by_the_cache_key(tmp_path):
    item, store = Item(key="k", number=3), Store(str(tmp_path))
    ref = Double().output(item, store).write("blob.bin", b"bytes", "application/octet-stream")
    assert store.read_bytes(ref.path) == b"bytes"
    assert ref.path.startswith("Double/") and Double().digest(item) in ref.path


def test_other_inputs_do_not_find_the_result(tmp_path):
    store = Store(str(tmp_path))
    Double().output(Item(key="k", number=3), store).save({"doubled": 6})
    assert Double().output(Item(key="k", number=4), store).load(Item) is None
    assert Double().output(Item(key="other", number=3), store).load(Item) is None
