"""The nouns that cross room borders: trials, artifacts, measurements and their record.

Standard-library dataclasses only, because the measured process imports this module and must stay what a
user would deploy. JSON lives in codec.py. SI units stand in the names. A value that was not measured is an
``Unmeasured`` with its reason, never 0 and never a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

SCHEMA_VERSION = 3
MODEL_STEP = "model"  # the step that makes (trains) the reference model


class Status(StrEnum):
    """How a trial ended."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    INVALID = "invalid"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OOM = "oom"
    SKIPPED = "skipped"


class Fidelity(StrEnum):
    """How close outputs must stay to the reference, from tight to loose."""

    RUNTIME = "runtime"  # another runtime, the same arithmetic
    PRECISION = "precision"  # fewer bits of mantissa
    QUANTIZED = "quantized"  # integers
    QUALITY = "quality"  # another function on purpose: only the quality metric can judge


# Largest accepted relative error ‖y − y_ref‖₂ / ‖y_ref‖₂ per class; None: only finite and of the right shape.
FIDELITY_BOUND: Mapping[Fidelity, float | None] = {
    Fidelity.RUNTIME: 1e-3,
    Fidelity.PRECISION: 0.1,  # bfloat16 keeps 8 bits: 6 % were seen after the 20 layers of an untrained ResNet-18
    Fidelity.QUANTIZED: 0.5,
    Fidelity.QUALITY: None,
}


@dataclass(frozen=True)
class Unmeasured:
    """A quantity without a value, and why."""

    reason: str


@dataclass(frozen=True)
class PassSpec:
    """One optimization step as the suite names it."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.params:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.params.items())})"


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        dtype: numpy's name of the number format.
        shape: sizes of the axes; ``"batch"``, on the first axis only, stands for the trial's batch size.
        low, high: synthetic values are uniform in [low, high); None: standard normal, or 0 and 1 for integers.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from that is none of the harness's own.

    Attributes:
        kind: ``python`` (a function that returns a torch module or a ``Model``), ``onnx`` (a file), or
            ``file`` (a model file as in models/, from a folder given by ``--models``).
        target: ``/path/file.py:function``, ``package.module:function``, or an absolute path.
        inputs: what it takes; may be empty where the target itself tells.
        data: ``file.py:function``, ``package.module:function`` or a folder; None for synthetic data.
        metric: a name in ``METRICS``; None to choose by the data.
        examples: how many synthetic examples are made.
        path: a folder that Python modules may be imported from beside the installed ones; empty for none.
        fingerprint: hash of what ``target`` stood for, so that a changed model is never mistaken for the old one;
            empty until the first build of a run has seen the model.
    """

    kind: Literal["python", "onnx", "file"]
    target: str
    inputs: tuple[InputSpec, ...] = ()
    data: str | None = None
    metric: str | None = None
    examples: int = 400
    path: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Trial:
    """One variant within one experiment: everything a worker needs to know.

    Attributes:
        source: where ``model`` comes from; None for a name in models/.
        role: ``baseline``; ``plain`` for a backend's row without passes; else ``variant``.
        threads: intra-op threads asked for.
        interpreter: path of the Python that runs the workers; None is the coordinator's own.
        unsupported: set by the plan when the trial cannot run here, with the reason.
    """

    name: str
    experiment: str
    model: str
    backend: str
    passes: tuple[PassSpec, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    role: Literal["baseline", "plain", "variant"] = "variant"
    workload: str = "offline"
    batch_size: int = 1
    threads: int = 1
    device: str = "cpu"
    interpreter: str | None = None
    unsupported: str | None = None
    source: ModelSource | None = None


@dataclass(frozen=True)
class Step:
    """One step of a build. ``seconds`` is wall time when it was done, also when it came from the cache later.

    Attributes:
        layers, of: layers that a pass changed, of those it could have; None where it does not count them.
        bytes_before, bytes_after: size of what it worked on, files or pickled module; None where none was taken.
    """

    name: str
    seconds: float
    detail: str = ""
    layers: int | None = None
    of: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None


@dataclass(frozen=True)
class Work:
    """What a call must compute and move at the least: counted from the model, not measured.

    Attributes:
        flops: arithmetic operations of one example, a multiply-add counts two; of the optimized module before it
            was lowered.
        input_bytes, output_bytes: of one example, in host arrays.
        weight_bytes: parameters and constants of what was lowered, so INT8 weights count a quarter.
        weight_format: the number format of most of them.
        source: what counted, and on how many examples.
        uncounted: operators whose arithmetic is left out, because it is small beside the counted one.
    """

    flops: float
    input_bytes: float
    output_bytes: float
    weight_bytes: int
    weight_format: str
    source: str
    uncounted: tuple[str, ...] = ()

    def flops_of(self, batch_size: int) -> float:
        """Return the operations of one call."""
        return self.flops * batch_size

    def bytes_of(self, batch_size: int) -> float:
        """Return what one call must move: the weights once, and its examples in and out.

        Everything between the layers is taken to stay in the cache, so this is the least.
        """
        return self.weight_bytes + batch_size * (self.input_bytes + self.output_bytes)


@dataclass(frozen=True)
class Artifact:
    """What a build left on disk.

    Attributes:
        key: content-addressed cache key (hex).
        format: the backend's file format, such as ``onnx``.
        size_bytes: all files that a deployment needs, external data included.
        parameters: number of parameters of the module that was lowered; None when it is no torch module.
        fidelity: the class of bound its outputs must meet against the stored reference.
        cached: whether this run found it in the cache.
        code: file or module that must be imported before unpickling; None for nothing.
        work: what a call must compute and move.
        lineage: the same for artifacts that differ in baked-in batch size or thread count only; empty before
            version 3.
    """

    key: str
    format: str
    files: dict[str, str]
    size_bytes: int
    parameters: int | None
    steps: tuple[Step, ...]
    fidelity: Fidelity
    versions: dict[str, str]
    cached: bool = False
    code: str | None = None
    work: Work | Unmeasured = Unmeasured("the artifact was built by a harness that did not count it")
    lineage: str = ""

    @property
    def build_s(self) -> float:
        """Seconds of all steps but the making of the reference model itself, which every variant shares."""
        return sum(step.seconds for step in self.steps if step.name != MODEL_STEP)


@dataclass(frozen=True)
class Quality:
    """The metric on the whole test split; ``scores`` of each example stand in ``predictions``.

    Attributes:
        data: ``test`` for the model's own labeled test split, ``synthetic`` for generated inputs, ``unlabeled``
            for inputs without targets. The last two are judged by their agreement with the unoptimized model.
    """

    metric: str
    value: float
    n: int
    higher_is_better: bool
    predictions: str  # Parquet beside the records: example, score, and prediction and target where there are any
    cached: bool = False
    data: Literal["test", "synthetic", "unlabeled"] = "test"


@dataclass(frozen=True)
class FidelityCheck:
    """Relative output error against the reference, and the bound it had to meet."""

    kind: Fidelity
    relative_error: float
    bound: float | None
    n: int


@dataclass(frozen=True)
class Memory:
    """Resident memory of the measured process in bytes, from the kernel's high-water mark.

    ``floor`` is the process with its runtime imported and no model; ``load_peak`` and ``inference_peak`` are
    the marks reached in those phases, each reset before. Subtract the floor for what the model costs.

    Attributes:
        pss_bytes: proportional set size after inference: pages that n processes share count one n-th each.
        uss_bytes: unique set size after inference: what would come back if this process ended.
            Both depend on who else has the same libraries mapped.
        anonymous_bytes: the part that is backed by no file, such as heap and stacks: independent of others.
        growth_bytes_per_call: by how much that part grows with each further call; near 0 without a leak.
    """

    floor_bytes: int
    load_peak_bytes: int
    inference_peak_bytes: int
    pss_bytes: int | Unmeasured = Unmeasured("recorded before the harness measured it")
    uss_bytes: int | Unmeasured = Unmeasured("recorded before the harness measured it")
    anonymous_bytes: int | Unmeasured = Unmeasured("recorded before the harness measured it")
    growth_bytes_per_call: float | Unmeasured = Unmeasured("recorded before the harness measured it")


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of the GPU that a trial runs on.

    Attributes:
        allocated_peak_bytes, reserved_peak_bytes: highest marks of torch's allocator during inference.
        process_bytes: what the driver counts for the process, the CUDA context included (NVML).
    """

    allocated_peak_bytes: int | Unmeasured
    reserved_peak_bytes: int | Unmeasured
    process_bytes: int | Unmeasured


@dataclass(frozen=True)
class GpuUse:
    """What the GPU did during the window, as means over samples from outside the process.

    Attributes:
        sm, memory: share of time in which a kernel ran, and in which the memory was read or written, in [0, 1].
        throttling: reason → share of the samples in which it slowed the clocks; empty when none did.
    """

    name: str
    samples: int
    sm: float | Unmeasured
    memory: float | Unmeasured
    power_w: float | Unmeasured
    sm_clock_hz: float | Unmeasured
    memory_clock_hz: float | Unmeasured
    throttling: dict[str, float] | Unmeasured


@dataclass(frozen=True)
class Utilization:
    """How much of the machine calls back to back used, watched from outside in a block of its own.

    Attributes:
        cores_used: CPU seconds of the process and its children by their exact clocks, divided by the window.
        cores_waited: by the same measure, time in which a thread was ready to run and something else had the core.
        per_core: core → CPU seconds there by the window, from samples of where each thread ran; approximate.
        gpu: None for a trial that uses none.
        disturbed: whether others took CPU meanwhile: then the trial got less than it could have used, and the
            energy is theirs too.
    """

    window_s: float
    calls: int
    samples: int
    cores_used: float
    cores_waited: float | Unmeasured
    per_core: dict[int, float] | Unmeasured
    gpu: GpuUse | Unmeasured | None = None
    disturbed: bool = False


@dataclass(frozen=True)
class Energy:
    """Energy of the window in which calls ran back to back, from a counter of the hardware.

    Attributes:
        source: the counters that were read, such as ``rapl:package-0`` or ``nvml:GPU-…``.
        scope: what they count beside the trial's own work.
    """

    joules_per_example: float
    joules: float
    window_s: float
    examples: int
    source: str
    scope: str


@dataclass(frozen=True)
class OperatorUse:
    """All runs of one operator in one number format.

    Attributes:
        name: as the runtime calls it, such as ``QLinearConv``.
        format: the number format it computes in (``float32``, ``bfloat16``, ``float16``, ``int8``, ``int4``, …);
            empty where the runtime does not tell.
        kind: ``compute`` for products of matrices, convolutions and attention; ``conversion`` for what only changes
            a number format or a layout (quantize, dequantize, cast, reorder); else ``other``.
        share: of what ``Execution.basis`` says, in [0, 1]; they sum to 1.
        count: runs in one call.
    """

    name: str
    format: str
    kind: Literal["compute", "conversion", "other"]
    share: float
    count: float


@dataclass(frozen=True)
class Execution:
    """What really ran in a call, told by the runtime itself in a block of its own.

    Attributes:
        source: what told it, such as ``ONNX Runtime profile``.
        basis: ``time`` when shares are of the operators' time, ``count`` when only their number is known.
        calls: that were watched.
        operators: largest share first.
        outside_share: of a call's wall time, spent in no operator: dispatch, Python, copies.
        fallbacks: sentences on what did not run as it was asked.
        graph_breaks, recompiles: of a compiled module; None where nothing is compiled at run time.
    """

    source: str
    basis: Literal["time", "count"]
    calls: int
    operators: tuple[OperatorUse, ...]
    outside_share: float | Unmeasured
    fallbacks: tuple[str, ...] = ()
    graph_breaks: int | None = None
    recompiles: int | None = None

    @property
    def formats(self) -> dict[str, float]:
        """Return number format → share of the computing operators, largest first; empty without any."""
        shares: dict[str, float] = {}
        for operator in self.operators:
            if operator.kind == "compute":
                shares[operator.format] = shares.get(operator.format, 0.0) + operator.share
        total = sum(shares.values())
        return {name: share / total for name, share in sorted(shares.items(), key=lambda s: -s[1])} if total else {}

    def share(self, kind: Literal["compute", "conversion", "other"]) -> float:
        """Return the share of all operators of a kind."""
        return sum(o.share for o in self.operators if o.kind == kind)


@dataclass(frozen=True)
class Disturbance:
    """What came from outside while the rounds were taken, as shares of the measured cores' time.

    Attributes:
        other_cpu_share: used by processes that are none of ours.
        steal_share: taken by the hypervisor.
        crowding: both together, as a share of the time in which the cores were busy: what a running worker lost.
        waiting_share: of the wall time, in which some task of the host waited for a CPU (PSI, our own included).
        frequency_hz: mean clock frequency of the measured cores.
    """

    other_cpu_share: float
    steal_share: float
    crowding: float
    waiting_share: float | Unmeasured
    frequency_hz: float | Unmeasured


@dataclass(frozen=True)
class Timing:
    """Where the raw samples are and how they were taken.

    Attributes:
        samples: directory of Parquet files beside the records, one a replicate.
        calls_per_block: timed calls in each block.
        rounds: rounds taken in all; ``dirty_rounds`` of them were disturbed from outside and repeated.
        stopped_by: ``precision``, ``budget`` or ``limit``.
    """

    samples: str
    replicates: int
    rounds: int
    dirty_rounds: int
    calls_per_block: int
    group: int
    stopped_by: str
    load_s: tuple[float, ...]
    first_call_s: tuple[float, ...]
    disturbance: Disturbance | Unmeasured = Unmeasured("not recorded by this version")


@dataclass(frozen=True)
class LoadTest:
    """One LoadGen test of a search: the rate of its queries, and what it gave at the searched percentile."""

    rate_per_s: float
    valid: bool
    latency_s: float
    queries: int
    duration_s: float


@dataclass(frozen=True)
class Scenario:
    """What MLPerf's LoadGen says of a trial, taken alone: no verdict is drawn from it.

    Attributes:
        name: the workload.
        valid: LoadGen's own judgement; ``reason`` says what was not met.
        metric: ``latency_s`` (the percentile of a query's latency), ``rate_per_s`` (the highest Poisson rate of
            queries that holds the bound), ``samples_per_s``.
        floor: the same metric of a system that answers at once: what LoadGen and Python cost by themselves.
        percentile: the one that is judged; None where no latency is.
        latency_s: a query's latency at the percentile; None where no latency is judged.
        early_stopping_s: LoadGen's estimate of the percentile, on the safe side for the number of queries.
        queries: of ``samples_per_query`` examples, in the test that gave the value; ``offline`` has one.
        min_duration_s, min_queries: what the test had to reach.
        bound_s: what the percentile had to stay within.
        official: whether durations, counts and percentiles are MLPerf's own.
        log: folder of LoadGen's logs, below the run's.
        tests: all tests of a search, in order; the last one gave the value.
        resolution: the search's, relative; None where nothing was searched.
    """

    name: Literal["single-stream", "multi-stream", "server", "offline"]
    valid: bool
    reason: str
    metric: Literal["latency_s", "rate_per_s", "samples_per_s"]
    value: float
    floor: float | Unmeasured
    percentile: float | None
    latency_s: float | None
    early_stopping_s: float | Unmeasured
    queries: int
    samples_per_query: int
    duration_s: float
    min_duration_s: float
    min_queries: int
    bound_s: float | None
    official: bool
    log: str
    loadgen: str
    tests: tuple[LoadTest, ...] = ()
    resolution: float | None = None


NO_LOAD_TEST = "no load test was asked for"


@dataclass(frozen=True)
class Record:
    """The document of one trial. Exactly one is written however the trial ends."""

    run: str
    trial: Trial
    status: Status
    host: str
    finished_at: str
    reason: str | None = None
    stage: str | None = None
    log: str | None = None
    artifact: Artifact | Unmeasured = Unmeasured("not reached")
    fidelity: FidelityCheck | Unmeasured = Unmeasured("not reached")
    quality: Quality | Unmeasured = Unmeasured("not reached")
    memory: Memory | Unmeasured = Unmeasured("not reached")
    timing: Timing | Unmeasured = Unmeasured("not reached")
    startup_s: float | Unmeasured = Unmeasured("not reached")
    actual: dict[str, Any] = field(default_factory=dict)
    energy: Energy | Unmeasured = Unmeasured("not reached")
    utilization: Utilization | Unmeasured = Unmeasured("not reached")
    device_memory: DeviceMemory | Unmeasured = Unmeasured("not reached")
    scenario: Scenario | Unmeasured = Unmeasured(NO_LOAD_TEST)
    execution: Execution | Unmeasured = Unmeasured("not reached")
    schema_version: int = SCHEMA_VERSION
