from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.coders import registry
from apache_beam.typehints import Optional, Tuple
from hypothesis import given
from hypothesis import strategies as st

from beam_pipeline.config import load_config
from beam_pipeline.graph import build_graph, make_stages
from core.records import ClipRecord, FailureRecord, VideoRecord, VideoWindow
from storage.manifest import OutputFile
from storage.sources import SourceSpec
from transforms.coders import RecordCoder
from transforms.dataset import DatasetSettings
from transforms.run_context import RunContext

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(st.dictionaries(st.text(), SCALARS), st.text())
def test_records_come_back_as_they_were_whatever_the_order_of_their_columns(extra, uri):
    coder = RecordCoder(VideoRecord)
    record = VideoRecord(video_id="v", uri=uri, extra=extra)
    turned = VideoRecord(video_id="v", uri=uri, extra=dict(reversed(extra.items())))
    assert coder.decode(coder.encode(record)) == record
    assert coder.encode(record) == coder.encode(turned)


def test_a_record_of_another_type_is_refused():
    with pytest.raises(TypeError, match="expected ClipRecord"):
        RecordCoder(ClipRecord).encode(VideoRecord(video_id="v", uri="u"))


@pytest.mark.parametrize("record_type", [SourceSpec, VideoRecord, VideoWindow, ClipRecord, FailureRecord, OutputFile])
def test_beam_picks_a_deterministic_coder(record_type):
    assert registry.get_coder(record_type) == RecordCoder(record_type)
    assert registry.get_coder(record_type).is_deterministic()


def test_no_record_is_pickled_on_its_way(tmp_path):
    """All collections of records, and all that is grouped or spread anew, have typed coders."""
    root = beam.Pipeline(runner="FnApiRunner")
    context = RunContext(str(tmp_path / "store"))
    build_graph(
        root, make_stages(load_config()), DatasetSettings(), [SourceSpec(uri=str(tmp_path))], str(tmp_path), context
    )
    grouped = {}

    class Visitor(beam.pipeline.PipelineVisitor):
        def visit_transform(self, node):
            if isinstance(node.transform, beam.GroupByKey):
                grouped[node.full_label] = node.inputs[0].element_type

    root.visit(Visitor())
    # Beam's own steps group by keys of theirs.
    ours = {label: kind for label, kind in grouped.items() if "Combine" not in label and "Reshuffle" not in label}
    pairs = {label: str(ours.pop(label)) for label in list(ours) if "FindDuplicates" in label}
    assert "Any" not in "".join(pairs.values())
    assert "ClipRecord" in pairs["Clips/FindDuplicates/WithGroup/Group"]
    assert ours == {
        "ListVideos/GroupById": Tuple[str, VideoRecord],
        "Videos/AnalyzeVideo/AwaitParts": Tuple[str, Optional[VideoRecord]],
        "WriteDataset/GroupShards": Tuple[int, Optional[ClipRecord]],
        "WriteDataset/GroupRows": Tuple[Tuple[str, int, int], bytes],
        "WriteDataset/GroupFiles": Tuple[str, OutputFile],
    }
    assert "ClipRecord" in str(next(kind for label, kind in grouped.items() if "FanOutClips" in label))
