"""The suite file: YAML in, a validated ``Suite`` out, every complaint with file, line and remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from harness.errors import SuiteError, did_you_mean
from harness.schema import PassSpec
from harness.yaml_lines import Place, line_of, read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+\-]*$", max_length=80)]
# Strict: YAML's yes and on are no numbers.
Count = Annotated[int, Field(ge=1, strict=True)]
AXES = ("backend", "passes", "threads", "batch_size")
SYNTHETIC = "synthetic"
DTYPES = (
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip
LOGGED_PERCENTILES = (0.5, 0.9, 0.95, 0.97, 0.99, 0.999)
WEEK_S = 604_800  # the kernel's poll takes no timeout past 24 days


class _Strict(BaseModel):
    """Frozen; a key that does not exist is an error that names the closest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'{hint}",
                        {"key": str(key), "hint": did_you_mean(str(key), cls.model_fields)},
                    )
        return data


def _pass_spec(value: Any) -> Any:
    """Read a pass as the suite writes it: ``name`` or ``name: {parameter: value}``."""
    if isinstance(value, PassSpec):
        return value
    if isinstance(value, str):
        return PassSpec(value)
    if isinstance(value, Mapping) and len(value) == 1:
        [(name, params)] = value.items()
        if isinstance(name, str) and (params is None or isinstance(params, Mapping)):
            return PassSpec(name, dict(params or {}))
    raise PydanticCustomError("pass", "a pass is written 'name' or 'name: {parameter: value}'")


_PASS_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}],
    "description": "a pass: its name, or {name: {parameter: value}}",
}
Passes = tuple[Annotated[PassSpec, BeforeValidator(_pass_spec), WithJsonSchema(_PASS_SCHEMA)], ...]


class InputEntry(_Strict):
    """What one input takes. ``batch`` as the first size stands for the experiment's batch size.

    ``low`` and ``high`` bound synthetic values: uniform in [low, high).
    """

    shape: tuple[Count | Literal["batch"], ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> InputEntry:
        if "batch" in self.shape[1:]:
            raise PydanticCustomError("shape", "only the first size may be 'batch'")
        if self.dtype not in DTYPES:
            raise PydanticCustomError(
                "dtype",
                "unknown number format '{dtype}'{hint}",
                {"dtype": self.dtype, "hint": did_you_mean(self.dtype, DTYPES)},
            )
        if (self.low is None) != (self.high is None):
            raise PydanticCustomError("range", "low and high come together; give both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PydanticCustomError("range", "high must lie above low")
        return self


class ModelEntry(_Strict):
    """A name in models/, a Python function, or an ONNX file: exactly one of the three.

    Attributes:
        zoo: the name of a model file; a suite may write ``model: name`` instead.
        python: ``file.py:function`` (relative to the suite's file) or ``package.module:function``. It returns a
            torch module, a pair of module and example inputs, or a ``harness.Model``.
        onnx: path of an ONNX file, relative to the suite's file.
        name: what records call it; the file's or function's name by default.
        inputs: by name; for a Python function in the order of its arguments. May be left out where the target
            tells; of an ONNX file any may be given.
        data: ``synthetic``, ``file.py:function``, ``package.module:function``, or a folder of arrays.
        metric: how outputs are judged; by default accuracy with targets, agreement without.
        examples: how many synthetic examples are made.
    """

    zoo: str | None = None
    python: str | None = None
    onnx: str | None = None
    name: Name | None = None
    inputs: dict[str, InputEntry] = {}
    data: str = SYNTHETIC
    metric: str | None = None
    examples: Count = 400  # enough to call a change of 1 pt kept

    @model_validator(mode="after")
    def _consistent(self) -> ModelEntry:
        if sum(kind is not None for kind in (self.zoo, self.python, self.onnx)) != 1:
            raise PydanticCustomError(
                "model", "a model is a name from models/, {python: file.py:function} or {onnx: file.onnx}"
            )
        if self.zoo is not None and self.model_fields_set - {"zoo"}:
            raise PydanticCustomError("model", "a model from models/ brings its own data; give its name only")
        return self


def _model_entry(value: Any) -> Any:
    return {"zoo": value} if isinstance(value, str) else value


class Variant(_Strict):
    """A backend, an ordered list of passes, and the backend's options."""

    name: Name | None = None
    backend: str
    passes: Passes = ()
    options: dict[str, Any] = {}
    threads: Count | None = None
    interpreter: str | None = None

    @property
    def label(self) -> str:
        """The given name, or one made of backend and passes."""
        return self.name or "+".join([self.backend, *(p.name for p in self.passes)])


class Measure(_Strict):
    """How long and how precisely to measure.

    Attributes:
        replicates, max_replicates: fresh sets of worker processes, at least and at most. Three are the least
            that a verdict under 5 % can rest on.
        rounds: clean rounds in each replicate.
        budget_s: seconds of measuring one experiment; no further replicate starts that would exceed it. The
            least number of replicates is always taken.
        precision: stop when every variant's speed-up is known to this relative half-width (95 %).
        margin: differences below it are ``same``.
        block_s: timed work of one worker on its turn. Short, because a shared host changes its speed every few
            hundred milliseconds: the closer two blocks are in time, the more of that cancels in their ratio.
        utilization_s: seconds of calls back to back in which CPU, GPU and energy are watched; lengthened to what
            the counters need; 0 leaves it out.
        stage_timeout_s, build_timeout_s: a worker that needs longer for one step is killed and recorded.
    """

    replicates: Count = 5
    max_replicates: Count = 10
    rounds: Count = 25
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 180.0
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.01
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    block_s: Annotated[float, Field(gt=0, le=10)] = 0.03
    utilization_s: Annotated[float, Field(ge=0, le=600)] = 1.0
    stage_timeout_s: Annotated[float, Field(gt=0, le=WEEK_S)] = 120.0
    build_timeout_s: Annotated[float, Field(gt=0, le=WEEK_S)] = 900.0

    @model_validator(mode="after")
    def _consistent(self) -> Measure:
        if self.max_replicates < self.replicates:
            raise PydanticCustomError(
                "replicates",
                "max_replicates ({most}) is below replicates ({least}); raise it",
                {"most": self.max_replicates, "least": self.replicates},
            )
        if self.replicates * self.rounds < 20:
            raise PydanticCustomError(
                "rounds",
                "replicates × rounds is {n}, at least 20 rounds are needed; raise one of them",
                {"n": self.replicates * self.rounds},
            )
        return self


class Load(_Strict):
    """A test with MLPerf's LoadGen after the rounds, each trial alone.

    Attributes:
        official: MLPerf's own durations, counts and percentiles: at least ten minutes a trial.
        min_duration_s: 3 by default.
        latency_bound_s: what the percentile of a query's latency must stay within; for ``server``, which needs it.
        percentile: the share of queries that is judged, one of those LoadGen logs. By default MLPerf's own, but
            0.9 for ``multi-stream``, whose 0.99 takes 662 queries.
        samples_per_query: examples that ``multi-stream`` sends at once; MLPerf's own is 8.
    """

    official: Annotated[bool, Field(strict=True)] = False
    min_duration_s: Annotated[float, Field(gt=0, le=WEEK_S)] | None = None
    latency_bound_s: Annotated[float, Field(gt=0, le=WEEK_S)] | None = None
    percentile: float | None = None
    samples_per_query: Count = 8

    @model_validator(mode="after")
    def _consistent(self) -> Load:
        if self.percentile is not None and self.percentile not in LOGGED_PERCENTILES:
            known = ", ".join(map(str, LOGGED_PERCENTILES))
            raise PydanticCustomError(
                "percentile", "percentile is one of those that LoadGen logs: {known}", {"known": known}
            )
        if self.official and self.model_fields_set & {"min_duration_s", "percentile", "samples_per_query"}:
            raise PydanticCustomError(
                "official",
                "official takes MLPerf's own min_duration_s, percentile and samples_per_query; remove either",
            )
        return self


class Matrix(_Strict):
    """Axes that are multiplied. ``backend`` and ``passes`` make variants; ``threads`` and ``batch_size`` make
    experiments, since only what runs side by side can be compared."""

    backend: tuple[str, ...] = ()
    passes: dict[Name, Passes] = {}
    threads: tuple[Count, ...] = ()
    batch_size: tuple[Count, ...] = ()


class ExperimentSpec(_Strict):
    """One model, one workload, one device; a baseline and the variants compared with it.

    Without a ``baseline`` it is the unoptimized model: eager torch, or ONNX Runtime for an ONNX file.
    """

    name: Name
    model: Annotated[ModelEntry, BeforeValidator(_model_entry, json_schema_input_type=str | ModelEntry)]
    workload: Literal["offline", "single-stream", "server", "multi-stream"] = "offline"
    batch_size: Count = 1
    threads: Count = 1
    device: Literal["cpu", "cuda"] = "cpu"
    baseline: Variant | None = None
    variants: tuple[Variant, ...] = ()
    matrix: Matrix = Matrix()
    exclude: tuple[dict[str, str | int], ...] = ()
    measure: Measure | None = None
    load: Load | None = None
    quality_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentSpec:
        for rule in self.exclude:
            for axis in rule:
                if axis not in AXES:
                    raise PydanticCustomError(
                        "exclude",
                        "exclude: unknown axis '{axis}'{hint}",
                        {"axis": axis, "hint": did_you_mean(axis, AXES)},
                    )
        if self.workload in ("single-stream", "server") and (self.batch_size != 1 or set(self.matrix.batch_size) - {1}):
            raise PydanticCustomError(
                "workload",
                "{workload} sends one example at a time; set batch_size: 1 or workload: offline",
                {"workload": self.workload},
            )
        if self.workload == "multi-stream" and ("batch_size" in self.model_fields_set or self.matrix.batch_size):
            raise PydanticCustomError(
                "workload",
                "multi-stream takes its batch from load: {samples_per_query: N}; remove batch_size",
            )
        bound = self.load.latency_bound_s if self.load else None
        if self.workload == "server" and bound is None:
            raise PydanticCustomError(
                "load", "server needs the bound that latencies must hold: load: {latency_bound_s: SECONDS}"
            )
        if self.workload != "server" and bound is not None:
            raise PydanticCustomError("load", "latency_bound_s is for workload: server; remove it")
        return self

    @property
    def load_test(self) -> Load | None:
        """The LoadGen test that was asked for; ``server`` and ``multi-stream`` always have one."""
        return self.load or (Load() if self.workload == "multi-stream" else None)


class Profile(_Strict):
    """A smaller cut of the suite, chosen with ``--profile``: what is listed is kept, an empty list keeps all.

    Attributes:
        experiments: names as the file has them.
        variants: labels, in every experiment that has some of them; an experiment that has none keeps its own.
        backend, passes, threads, batch_size: values of the matrix's axes; ``passes`` by their labels.
        measure: replaces that of the suite and of its experiments.
    """

    description: str = ""
    experiments: tuple[Name, ...] = ()
    variants: tuple[Name, ...] = ()
    backend: tuple[str, ...] = ()
    passes: tuple[Name, ...] = ()
    threads: tuple[Count, ...] = ()
    batch_size: tuple[Count, ...] = ()
    measure: Measure | None = None


class SuiteFile(_Strict):
    """The whole file."""

    suite: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    measure: Measure = Measure()
    profiles: dict[Name, Profile] = {}
    experiments: Annotated[tuple[ExperimentSpec, ...], Field(min_length=1)]


class Suite:
    """A validated suite together with where everything stands in its file."""

    def __init__(self, spec: SuiteFile, file: str, lines: Mapping[Place, int]) -> None:
        self.spec = spec
        self.file = file
        self._lines = lines

    @property
    def folder(self) -> Path:
        """The folder that paths in the suite are relative to."""
        return Path(self.file).resolve().parent

    def keeping(self, spec: SuiteFile, experiments: Sequence[int]) -> Suite:
        """Return the same file cut down to ``spec``, whose experiments are those that had these numbers.

        Errors still point at the right experiment; its variants are no longer counted as the file counts them.
        """
        place = {old: new for new, old in enumerate(experiments)}
        lines = {
            ("experiments", place[int(path[1])], *path[2:]): line
            for path, line in self._lines.items()
            if path[:1] == ("experiments",) and len(path) > 1 and path[1] in place and path[2:3] != ("variants",)
        }
        others = {path: line for path, line in self._lines.items() if path[:1] != ("experiments",) or len(path) == 1}
        return Suite(spec, self.file, {**others, **lines})

    def error(self, message: str, *path: str | int) -> SuiteError:
        """Return a SuiteError that points at the line of ``path``, or of its closest known parent."""
        return SuiteError(message, file=self.file, line=line_of(self._lines, path))


def read_suite(path: Path) -> Suite:
    """Read and validate a suite file; raises SuiteError with file and line."""
    return parse_suite(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return a suite file's text; raises SuiteError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot be read: {error}", file=str(path)) from error


def parse_suite(text: str, file: str) -> Suite:
    """Validate a suite given as text; ``file`` is what errors name."""
    data, lines = read_yaml(text, file)
    try:
        return Suite(SuiteFile.model_validate(data), file, lines)
    except ValidationError as error:
        first = error.errors()[0]
        location: Place = tuple(p for p in first["loc"] if not _is_tag(p))
        context = first.get("ctx") or {}
        if first["type"] == "unknown_key":
            location = (*location, context["key"])
        raise SuiteError(_sentence(first, location), file=file, line=line_of(lines, location)) from error


def _sentence(error: Any, location: Place) -> str:
    where = ".".join(str(p) for p in location)
    if error["type"] == "missing":
        return f"'{where}' is missing"
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "unknown_key":
        parent = ".".join(str(p) for p in location[:-1])
        return f"{message} in {parent}" if parent else message
    got = error.get("input")
    shown = f", got {got!r}" if isinstance(got, (str, int, float, bool)) or got is None else ""
    return f"{where}: {message[0].lower() + message[1:]}{shown}" if where else message


def _is_tag(part: str | int) -> bool:
    # pydantic puts validator names such as function-before[...] into locations.
    return isinstance(part, str) and "[" in part
