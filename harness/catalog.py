"""What exists here: models, passes, backends and suites, with the reason where one cannot be used."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.backends import BACKENDS
from harness.backends.base import Unavailable, distribution_versions
from harness.errors import UnknownNameError, UserError
from harness.measure.quality import METRICS
from harness.passes import PASSES, Pass
from harness.plan import BackendEntry, Catalog, ModelCard, PassEntry
from harness.schema import InputSpec, ModelSource
from harness.suite import SYNTHETIC, ModelEntry
from harness.targets import is_target, parse_target
from harness.zoo import Form, Model, load_model_file, model_files, resource_dir

PROBE_TIMEOUT_S = 60.0
QUALITY_MARGIN = 0.01  # of a model that states none
_PROBE = (
    "import json,sys; from harness.backends import BACKENDS; b=BACKENDS.get(sys.argv[1]); "
    "print(json.dumps([getattr(b.probe(r,sys.argv[2]),'reason',None) for r in ('build','measure')]))"
)


def catalog(models: Path | None = None) -> Catalog:
    """Return everything this installation knows, and the model files in the folder ``models``."""
    files = model_files(models)
    return Catalog(
        model=functools.partial(_model_card, files),
        backends={
            name: BackendEntry(
                BACKENDS.get(name).options, functools.partial(backend_unavailable, name), BACKENDS.get(name).devices
            )
            for name in BACKENDS
        },
        passes={name: _pass_entry(PASSES.get(name)) for name in PASSES},
        cores=len(os.sched_getaffinity(0)),
        device_unavailable=device_unavailable,
    )


@functools.cache
def device_unavailable(device: str, root: Path = Path("/")) -> str | None:
    """Return why a device cannot be used on this host, or None. The driver is asked, not torch, which is heavy."""
    if device == "cpu" or (root / "proc/driver/nvidia/version").is_file():
        return None
    return "no NVIDIA driver is loaded (/proc/driver/nvidia is missing), so there is no CUDA device"


def _model_card(files: Mapping[str, Path], entry: ModelEntry, base: Path) -> ModelCard:
    """Return what planning needs to know of a suite's model; its own code is not run."""
    if entry.zoo is not None:
        if entry.zoo not in files:
            raise UnknownNameError("model", entry.zoo, [name for name in files if not name.startswith("_")])
        path = files[entry.zoo].resolve()
        model = load_model_file(path)
        own = path.parent == resource_dir("models")
        source = None if own else ModelSource("file", str(path))
        unavailable = functools.cache(functools.partial(model_unavailable, model))  # asked for each trial
        return ModelCard(entry.zoo, model.quality_margin, unavailable, model.form, source)
    if entry.metric is not None:
        METRICS.get(entry.metric)
    inputs = tuple(InputSpec(name, i.dtype, i.shape, i.low, i.high) for name, i in entry.inputs.items())
    common = {
        "inputs": inputs,
        "data": _data_place(entry.data, base),
        "metric": entry.metric,
        "examples": entry.examples,
        "path": str(base),
    }
    if entry.onnx is not None:
        path = (base / entry.onnx).resolve()
        if not path.is_file():
            raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
        source = ModelSource("onnx", str(path), **common)  # type: ignore[arg-type]
        lacking = functools.partial(_lacking, ("onnxruntime", "onnx"), "onnxruntime")
        return ModelCard(entry.name or _plain(path.stem), QUALITY_MARGIN, lacking, "onnx", source)
    target = parse_target(str(entry.python), base)
    source = ModelSource("python", str(target), **common)  # type: ignore[arg-type]
    lacking = functools.partial(_lacking, ("torch",), "torch")
    place = Path(target.place).stem if target.is_file else target.place.rpartition(".")[2]
    return ModelCard(entry.name or _plain(f"{place}.{target.name}"), QUALITY_MARGIN, lacking, "torch", source)


def _data_place(data: str, base: Path) -> str | None:
    """Return a folder or a target with its file made absolute; None for synthetic data."""
    if data == SYNTHETIC:
        return None
    if is_target(data):
        return str(parse_target(data, base))
    folder = (base / data).resolve()
    if not folder.is_dir():
        raise UserError(f"data: {folder} is no folder; name one, file.py:function, or leave it out for synthetic data")
    return str(folder)


def _plain(name: str) -> str:
    """Return a name that a record may have."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "model"


@functools.cache
def backend_unavailable(name: str, interpreter: str | None = None, form: Form = "torch") -> str | None:
    """Return why a backend cannot be used by an interpreter (None: this one) for a form of model, or None."""
    backend = BACKENDS.get(name)
    if form not in backend.forms:
        return f"{name} runs torch modules, and this model is an ONNX file"
    if interpreter is None:
        for role in ("build", "measure"):
            probe = backend.probe(role, form)
            if isinstance(probe, Unavailable):
                return probe.reason
        return None
    root = str(Path(__file__).resolve().parent.parent)
    try:
        reply = subprocess.run(
            [interpreter, "-c", _PROBE, name, form],
            capture_output=True,
            check=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": root},
        )
        reasons: list[str | None] = json.loads(reply.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return f"interpreter {interpreter} cannot run the harness: {last}"
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return f"interpreter {interpreter} cannot be used: {error}"
    return next((reason for reason in reasons if reason), None)


def pass_unavailable(cls: type[Pass], backend: str) -> str | None:
    """Return which packages a pass lacks to work with a backend and how to install them, or None."""
    return _lacking(cls.distributions_on(backend), cls.extra)


def model_unavailable(model: Model) -> str | None:
    """Return which packages or files a model lacks and how to get them, or None."""
    return _lacking(model.packages, model.extra) or model.missing_files()


def suite_files() -> dict[str, Path]:
    """Map the names of the suites that come with the harness to their files."""
    return {path.stem: path for path in sorted(resource_dir("suites").glob("*.yaml"))}


def find_suite(name: str) -> Path:
    """Return a suite's file: a path that exists, or the name of one that comes with the harness."""
    path = Path(name)
    if path.suffix == ".onnx":
        raise UserError(f"{name} is a model and no suite; harness try {name} measures it")
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{name} is a folder; name the suite's file in it")
    if path.suffix in (".yaml", ".yml") or os.sep in name:
        raise UserError(f"{name} does not exist; harness list suites shows those that come with the harness")
    files = suite_files()
    if name not in files:
        raise UnknownNameError("suite", name, files)
    return files[name]


def _lacking(distributions: tuple[str, ...], extra: str) -> str | None:
    _, missing = distribution_versions(distributions)
    if not missing:
        return None
    hint = f"pip install 'optimization-harness[{extra}]'" if extra else f"pip install {' '.join(missing)}"
    return f"{', '.join(missing)} not installed: {hint}"


def _pass_entry(cls: type[Pass]) -> PassEntry:
    lacking = functools.cache(functools.partial(pass_unavailable, cls))  # asked for each trial

    def unsupported_on(backend: str) -> str | None:
        return cls.unsupported_on(backend) or lacking(backend)

    return PassEntry(cls.form, _checker(cls), unsupported_on)


def _checker(cls: type[Pass]) -> Callable[[Mapping[str, object]], None]:
    def check(params: Mapping[str, Any]) -> None:
        known = set(cls.__dataclass_fields__) if hasattr(cls, "__dataclass_fields__") else set()
        for name in params:
            if name not in known:
                raise ValueError(str(UnknownNameError("parameter", name, known)))
        try:
            TypeAdapter(cls).validate_python(dict(params), strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{where}: {message}" if where else message) from error

    return check
