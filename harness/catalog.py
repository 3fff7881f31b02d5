"""What exists here: models, passes, backends and suites, with the reason where one cannot be used."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.backends import BACKENDS
from harness.backends.base import Unavailable, distribution_versions
from harness.errors import UnknownNameError, UserError
from harness.passes import PASSES, Pass
from harness.plan import BackendEntry, Catalog, ModelEntry, PassEntry
from harness.zoo import Model, load_model, model_files, resource_dir

PROBE_TIMEOUT_S = 60.0
_PROBE = (
    "import json,sys; from harness.backends import BACKENDS; b=BACKENDS.get(sys.argv[1]); "
    "print(json.dumps([getattr(b.probe(r),'reason',None) for r in ('build','measure')]))"
)


def catalog() -> Catalog:
    """Return everything this installation knows."""
    return Catalog(
        models={name: _model_entry(load_model(name)) for name in model_files()},
        backends={
            name: BackendEntry(BACKENDS.get(name).options, functools.partial(backend_unavailable, name))
            for name in BACKENDS
        },
        passes={name: _pass_entry(PASSES.get(name)) for name in PASSES},
        cores=len(os.sched_getaffinity(0)),
    )


@functools.cache
def backend_unavailable(name: str, interpreter: str | None = None) -> str | None:
    """Return why a backend cannot be used by an interpreter (None: this one), or None when it can."""
    if interpreter is None:
        backend = BACKENDS.get(name)
        for role in ("build", "measure"):
            probe = backend.probe(role)
            if isinstance(probe, Unavailable):
                return probe.reason
        return None
    root = str(Path(__file__).resolve().parent.parent)
    try:
        reply = subprocess.run(
            [interpreter, "-c", _PROBE, name],
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


def pass_unavailable(cls: type[Pass]) -> str | None:
    """Return which packages a pass lacks and how to install them, or None."""
    return _lacking(cls.distributions, cls.extra)


def model_unavailable(model: Model) -> str | None:
    """Return which packages a model lacks and how to install them, or None."""
    return _lacking(model.packages, model.extra)


def suite_files() -> dict[str, Path]:
    """Map the names of the suites that come with the harness to their files."""
    return {path.stem: path for path in sorted(resource_dir("suites").glob("*.yaml"))}


def find_suite(name: str) -> Path:
    """Return a suite's file: a path that exists, or the name of one that comes with the harness."""
    path = Path(name)
    if path.is_file():
        return path
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


def _model_entry(model: Model) -> ModelEntry:
    return ModelEntry(model.quality_margin, functools.partial(model_unavailable, model))


def _pass_entry(cls: type[Pass]) -> PassEntry:
    def unsupported_on(backend: str) -> str | None:
        return cls.unsupported_on(backend) or pass_unavailable(cls)

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
