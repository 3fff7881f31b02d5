from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import codec
from harness.codec import (
    artifact_from_json,
    artifact_to_json,
    decode_record,
    encode_record,
    migrate,
    scenario_from_json,
    trial_to_json,
)
from harness.errors import StoreError
from harness.protocol import trial_from_message
from harness.schema import (
    SCHEMA_VERSION,
    Artifact,
    DeviceMemory,
    Disturbance,
    Energy,
    Execution,
    Fidelity,
    FidelityCheck,
    GpuUse,
    InputSpec,
    LoadTest,
    Memory,
    ModelSource,
    OperatorUse,
    PassSpec,
    Quality,
    Record,
    Scenario,
    Status,
    Step,
    Timing,
    Trial,
    Unmeasured,
    Utilization,
)

# Never rewrite them: they stand for every file that these versions have written.
GOLDEN = Path(__file__).parent / "golden"

UNASKED = Unmeasured("version 2 did not ask the runtime")

ARTIFACT = Artifact(
    key="0123abcd",
    format="onnx",
    files={"model.onnx": "feed"},
    size_bytes=4096,
    parameters=1234,
    steps=(Step("model", 12.5), Step("lower", 1.5, "opset 18"), Step("quantize.static-int8", 0.25)),
    fidelity=Fidelity.QUANTIZED,
    versions={"onnxruntime": "1.20.0"},
    cached=True,
    code="/models/digits_cnn.py",
)
TRIAL = Trial(
    name="ort-int8",
    experiment="digits",
    model="digits-cnn",
    backend="onnxruntime",
    passes=(PassSpec("prune.channels", {"amount": 0.5}), PassSpec("quantize.static-int8")),
    options={"graph_optimization": "all"},
    workload="offline",
    batch_size=32,
    threads=2,
    interpreter="/usr/bin/python3",
)
TIMING = Timing(
    samples="samples/digits",
    replicates=3,
    rounds=24,
    dirty_rounds=1,
    calls_per_block=17,
    group=0,
    stopped_by="precision",
    load_s=(0.1, 0.11, 0.09),
    first_call_s=(0.02, 0.021, 0.019),
)
FULL = Record(
    run="quickstart-20260101T000000",
    trial=TRIAL,
    status=Status.OK,
    host="abcdef0123",
    finished_at="2026-01-01T00:00:00Z",
    artifact=ARTIFACT,
    fidelity=FidelityCheck(Fidelity.QUANTIZED, 0.0123, 0.5, 32),
    quality=Quality("accuracy", 0.975, 360, True, "predictions/digits.ort-int8.parquet", cached=True),
    memory=Memory(100_000_000, 130_000_000, 125_000_000, 90_000_000, 80_000_000, 70_000_000, -12.5),
    timing=TIMING,
    startup_s=0.75,
    actual={"threads": 2, "provider": "CPUExecutionProvider"},
    energy=Energy(0.002, 1.5, 1.02, 750, "rapl:package-0", "the whole package"),
    utilization=Utilization(1.02, 47, 21, 1.9, 0.1, {0: 0.95, 1: 0.96}),
    device_memory=DeviceMemory(1000, 2000, Unmeasured("not listed")),
)
SOURCE = ModelSource(
    kind="python",
    target="/home/me/net.py:make",
    inputs=(InputSpec("image", "float32", ("batch", 3, 8, 8)), InputSpec("ids", "int64", ("batch", 5), 0.0, 30522.0)),
    data="/home/me/arrays",
    metric="top1-agreement",
    examples=64,
    path="/home/me",
    fingerprint="feedbeef",
)
GPU = GpuUse("Fake GPU", 20, 0.8, 0.3, 250.0, 1.7e9, Unmeasured("not supported"), {"power cap": 0.5})
EXECUTION = Execution(
    source="ONNX Runtime profile",
    basis="time",
    calls=20,
    operators=(
        OperatorUse("QLinearConv", "int8", "compute", 0.75, 20.0),
        OperatorUse("Gemm", "float32", "compute", 0.15, 1.0),
        OperatorUse("QuantizeLinear", "", "conversion", 0.1, 2.0),
    ),
    outside_share=0.02,
    fallbacks=("1 Gemm ran in float32",),
    graph_breaks=1,
    recompiles=2,
)
OWN = dataclasses.replace(
    FULL,
    execution=EXECUTION,
    artifact=dataclasses.replace(
        ARTIFACT,
        steps=(*ARTIFACT.steps[:2], Step("quantize.static-int8", 0.25, "4 of 5", 4, 5, 9000, 4096)),
        lineage="beef",
    ),
    trial=dataclasses.replace(
        TRIAL, model="net.make", role="baseline", workload="single-stream", device="cuda:0", source=SOURCE
    ),
    quality=Quality("top1-agreement", 0.9, 64, True, "predictions/e.torch.parquet", cached=True, data="unlabeled"),
    timing=dataclasses.replace(TIMING, disturbance=Disturbance(0.02, 0.01, 0.04, 0.3, 2.5e9)),
    utilization=Utilization(1.02, 47, 21, 1.9, 0.1, {0: 0.95, 1: 0.96}, GPU, True),
    scenario=Scenario(
        name="server",
        valid=False,
        reason="p99 is 0.0251 s, the bound 0.02 s",
        metric="rate_per_s",
        value=1387.5,
        floor=40_000.0,
        percentile=0.99,
        latency_s=0.0251,
        early_stopping_s=Unmeasured("LoadGen estimates no latency here"),
        queries=4104,
        samples_per_query=1,
        duration_s=3.04,
        min_duration_s=3.0,
        min_queries=662,
        bound_s=0.02,
        official=False,
        log="loadgen/e/torch",
        loadgen="6.0.17",
        tests=(LoadTest(1457.0, False, 0.031, 1440, 1.02), LoadTest(1387.5, False, 0.0251, 4104, 3.04)),
        resolution=0.05,
    ),
)
EMPTY = Record(
    run="r",
    trial=Trial("vino", "digits", "digits-cnn", "openvino", unsupported="not installed"),
    status=Status.UNSUPPORTED,
    host="abcdef0123",
    finished_at="2026-01-01T00:00:00Z",
    reason="openvino ist nicht installiert – µ",
    stage="plan",
    log=None,
    **{  # type: ignore[arg-type]
        name: Unmeasured(f"no {name}")
        for name in (
            "artifact", "fidelity", "quality", "memory", "timing",
            "startup_s", "energy", "utilization", "device_memory", "execution",
        )
    },
)  # fmt: skip


ON_GPU = dataclasses.replace(FULL, utilization=dataclasses.replace(FULL.utilization, gpu=GPU))  # type: ignore[type-var]
LOST = dataclasses.replace(FULL, utilization=dataclasses.replace(ON_GPU.utilization, gpu=Unmeasured("lost")))  # type: ignore[type-var]


@pytest.mark.parametrize("record", [FULL, EMPTY, ON_GPU, LOST], ids=["measured", "unmeasured", "gpu", "gpu-lost"])
def test_a_record_reads_as_it_was_written(record: Record) -> None:
    line = encode_record(record)
    assert "\n" not in line
    assert decode_record(line) == record


@given(st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3))
def test_any_reason_and_options_survive(reason: str, options: dict[str, object]) -> None:
    try:
        reason.encode()
        json.dumps(options, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    record = dataclasses.replace(EMPTY, reason=reason, trial=dataclasses.replace(EMPTY.trial, options=options))
    line = encode_record(record)
    assert "\n" not in line
    assert decode_record(line) == record


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_to_the_last_bit(seconds: float) -> None:
    assert decode_record(encode_record(dataclasses.replace(FULL, startup_s=seconds))).startup_s == seconds


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_never_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_record(dataclasses.replace(FULL, startup_s=value))
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_record(dataclasses.replace(FULL, fidelity=FidelityCheck(Fidelity.QUALITY, value, None, 1)))


def test_a_newer_version_is_refused_with_the_remedy() -> None:
    document = {**json.loads(encode_record(FULL)), "schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(StoreError, match=r"newer than this harness reads .* pip install -U optimization-harness"):
        decode_record(json.dumps(document))


def test_a_document_without_a_version_is_refused() -> None:
    document = json.loads(encode_record(FULL))
    del document["schema_version"]
    with pytest.raises(StoreError, match="no schema_version"):
        decode_record(json.dumps(document))
    with pytest.raises(StoreError, match="impossible schema version 0"):
        migrate({"schema_version": 0})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not valid JSON"),
        (encode_record(FULL)[:-5], "not valid JSON"),
        ("[1, 2]", "not a JSON object"),
        (encode_record(FULL).replace('"status": "ok"', '"status": "fine"'), "wrong field status"),
        (encode_record(FULL).replace('"size_bytes": 4096', '"size_bytes": "big"'), "wrong field artifact"),
    ],
)
def test_a_damaged_line_says_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        decode_record(line)


def test_an_older_document_is_brought_forward_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCHEMA_VERSION", 3)
    steps = {
        1: lambda d: {**d, "path": [*d["path"], 2], "schema_version": 2},
        2: lambda d: {**d, "path": [*d["path"], 3], "schema_version": 3},
    }
    monkeypatch.setattr(codec, "MIGRATIONS", steps)
    assert migrate({"schema_version": 1, "path": []}) == {"schema_version": 3, "path": [2, 3]}


def golden(name: str) -> list[str]:
    return (GOLDEN / name).read_text(encoding="utf-8").splitlines()


def test_a_file_of_version_1_still_reads() -> None:
    old = Unmeasured("version 1 did not tell how it was measured")
    full = dataclasses.replace(
        FULL,
        memory=Memory(100_000_000, 130_000_000, 125_000_000),
        energy=old,
        utilization=old,
        device_memory=old,
        execution=UNASKED,
    )
    reasons = {
        "energy": Unmeasured("no energy_j"),
        "utilization": Unmeasured("no utilization"),
        "device_memory": Unmeasured("no device_memory_bytes"),
        "execution": UNASKED,
    }
    empty = dataclasses.replace(EMPTY, **reasons)  # type: ignore[arg-type]
    assert [decode_record(line) for line in golden("record-v1.jsonl")] == [full, empty]


def test_a_file_of_version_2_still_reads() -> None:
    own = dataclasses.replace(OWN, artifact=ARTIFACT, execution=UNASKED)
    empty = dataclasses.replace(EMPTY, execution=UNASKED)
    assert [decode_record(line) for line in golden("record-v2.jsonl")] == [own, empty]


def test_shares_of_formats_are_those_of_the_computing_operators() -> None:
    assert EXECUTION.formats == pytest.approx({"int8": 0.75 / 0.9, "float32": 0.15 / 0.9})
    assert EXECUTION.share("conversion") == pytest.approx(0.1)
    assert dataclasses.replace(EXECUTION, operators=()).formats == {}


def test_the_present_version_is_written_as_its_golden_file_shows() -> None:
    version = json.loads(golden("record-v3.jsonl")[0])["schema_version"]
    assert version == SCHEMA_VERSION, "a new version needs a golden file of its own"
    assert [encode_record(record) for record in (OWN, EMPTY)] == golden("record-v3.jsonl")


def test_a_golden_record_leaves_no_field_at_its_default() -> None:
    assert _at_default(OWN) <= {"reason", "stage", "log", "schema_version", "trial.unsupported"}


def _at_default(value: Any, prefix: str = "") -> set[str]:
    """Return the dotted names of dataclass fields that have their default."""
    found = set()
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if dataclasses.is_dataclass(item):
            found |= _at_default(item, f"{prefix}{field.name}.")
        elif field.default is not dataclasses.MISSING and item == field.default:
            found.add(prefix + field.name)
    return found


def test_a_model_source_crosses_to_a_worker_and_back() -> None:
    message = json.loads(json.dumps(dataclasses.asdict(OWN.trial)))
    assert trial_from_message(message) == OWN.trial


def test_artifacts_and_trials_cross_to_json_and_back() -> None:
    assert artifact_from_json(json.loads(json.dumps(artifact_to_json(ARTIFACT)))) == ARTIFACT
    assert trial_from_message(json.loads(json.dumps(trial_to_json(TRIAL)))) == TRIAL


def test_a_damaged_artifact_is_refused() -> None:
    with pytest.raises(StoreError, match="an artifact description is damaged"):
        artifact_from_json({"key": "x"})


def test_the_time_to_build_leaves_the_reference_model_out() -> None:
    assert ARTIFACT.build_s == 1.75


def test_a_scenario_crosses_from_a_worker() -> None:
    assert isinstance(OWN.scenario, Scenario)
    assert scenario_from_json(json.loads(json.dumps(dataclasses.asdict(OWN.scenario)))) == OWN.scenario
    with pytest.raises(StoreError, match="a scenario is damaged"):
        scenario_from_json({"name": "server"})


def test_a_record_without_a_scenario_says_that_none_was_asked_for() -> None:
    document = json.loads(encode_record(FULL))
    del document["scenario"]
    assert decode_record(json.dumps(document)).scenario == Unmeasured("no load test was asked for")
