"""``harness try MODEL``: a model of the user's own, measured without writing a suite."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from harness import units
from harness.cli.console import CONSOLE, ERRORS
from harness.cli.run import RESULTS, Watch, conclude, measure_text, run_options, watched

if TYPE_CHECKING:
    from rich.console import Console

    from harness.inspection import Inspection
    from harness.plan import ModelCard
    from harness.proposal import Proposal, Request
    from harness.schema import InputSpec
    from harness.suite import ModelEntry


def try_(
    model: str = typer.Argument(help="file.onnx, file.py:function, package.module:function, or a name in models/."),
    data: str | None = typer.Option(
        None, help="file.py:function, package.module:function or a folder of arrays; synthetic data without it."
    ),
    inputs: list[str] = typer.Option(
        [],
        "--input",
        metavar="NAME=SHAPE",
        help="Sizes of an input, as in 'image=batch,3,224,224' or 'ids=1,128:int64:0..30522'.",
    ),
    metric: str | None = typer.Option(None, help="accuracy, roc-auc, top1-agreement or cosine-agreement."),
    batch_size: int = typer.Option(1, min=1, help="Examples in a call."),
    threads: int = typer.Option(1, min=1, help="Threads of each runtime."),
    budget: float = typer.Option(
        60.0,
        min=1.0,
        help="About how many seconds to measure, after building; the least that a verdict needs is always taken.",
    ),
    models: Path | None = typer.Option(None, help="Folder of model files of your own, known by their names."),
    save: Path | None = typer.Option(None, metavar="FILE", help="Keep the suite that is run in this file."),
    report: Path | None = typer.Option(None, metavar="FILE", help="Where the report goes; reports/ by default."),
    results: Path = typer.Option(RESULTS, help="Folder that the run's own folder is made in."),
    cache: Path | None = typer.Option(None, help="Folder of cached builds."),
    force: bool = typer.Option(False, "--force", help="Measure on a busy host too; the run says so."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, only the verdicts."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead; progress goes to stderr."),
) -> None:
    """Measure a model with every optimization that is sensible here, and write the report."""
    from harness.errors import UserError
    from harness.proposal import Request

    told = None if quiet else ERRORS if json else CONSOLE
    if save is not None and save.exists():
        raise UserError(f"{save} exists; name another file for the suite")
    entry = read_model(model, data, inputs, metric)
    place = save or Path("suite.yaml")
    proposal = look(entry, Request(batch_size, threads, budget), place.resolve().parent, models, told)
    if save is not None:
        _write(save, proposal.text, model)
    if told is not None:
        for backend, reason in proposal.left_out.items():
            told.print(f"[dim]not tried: {escape(backend)} ({escape(reason)})[/dim]")

    def begin(watch: Watch) -> Path:
        return measure_text(proposal.text, place, run_options(results, cache, models, force=force), watch)

    directory = watched(begin, told, results)
    if told is not None and not json:
        CONSOLE.print(f"\nthe suite that was run{f', kept in {save}' if save else ' (--save FILE keeps it)'}:\n")
        print(proposal.text)
    conclude(directory, json=json, report=report or Path("reports") / f"{directory.name}.html")


def _write(path: Path, text: str, model: str) -> None:
    from harness.errors import UserError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Proposed by harness try {model}; run it with harness run {path}\n{text}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another file") from error


def read_model(model: str, data: str | None, inputs: list[str], metric: str | None) -> ModelEntry:
    """Return the suite's entry for what the user typed; paths stay as typed. Raises UserError."""
    from pydantic import ValidationError

    from harness.errors import UserError
    from harness.suite import SYNTHETIC, ModelEntry
    from harness.targets import is_target

    kind = "onnx" if model.endswith(".onnx") else "python" if is_target(model) else "zoo"
    if kind == "zoo" and (os.sep in model or model.endswith(".py")):
        raise UserError(f"'{model}' is no model: name file.onnx, file.py:function, package.module:function")
    document: dict[str, Any] = {kind: model}
    if inputs:
        document["inputs"] = dict(map(read_input, inputs))
    if data is not None:
        document["data"] = data
    if metric is not None:
        document["metric"] = metric
    if kind == "zoo" and len(document) > 1:
        raise UserError(f"'{model}' from models/ brings its own data; leave --data, --input and --metric out")
    try:
        return ModelEntry.model_validate(document | ({} if data else {"data": SYNTHETIC} if kind != "zoo" else {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


_INPUT = re.compile(
    r"(?P<name>[^=]+)=(?P<shape>[^:]*)(:(?P<dtype>[a-z]+\d*))?(:(?P<low>-?[\d.]+)\.\.(?P<high>-?[\d.]+?))?"
)


def read_input(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name=batch,3,224,224``, ``name=1,128:int64`` or ``name=batch,128:int64:0..30522``; raises UserError."""
    from harness.errors import UserError

    hint = "write it like 'image=batch,3,224,224' or 'ids=1,128:int64:0..30522'"
    match = _INPUT.fullmatch(text)
    if match is None:
        raise UserError(f"--input '{text}': {hint}")
    shape: list[int | str] = []
    for size in filter(None, (part.strip() for part in match["shape"].split(","))):
        if size != "batch" and not size.isdigit():
            raise UserError(f"--input '{text}': '{size}' is no size; {hint}")
        shape.append(size if size == "batch" else int(size))
    document: dict[str, Any] = {"shape": shape}
    if match["dtype"]:
        document["dtype"] = match["dtype"]
    if match["low"]:
        document |= {"low": float(match["low"]), "high": float(match["high"])}
    return match["name"], document


def look(entry: ModelEntry, request: Request, folder: Path, models: Path | None, told: Console | None) -> Proposal:
    """Look at the model in a process of its own and propose a suite, with paths relative to ``folder``."""
    from harness import catalog
    from harness.proposal import Subject, model_yaml, propose

    known = catalog.catalog(models)
    card = known.model(entry, Path.cwd())
    found = None if entry.zoo is not None else inspect_apart(card, request.batch_size, request.threads)
    if found is not None and told is not None:
        _describe(card, found, told)

    def unavailable(backend: str) -> str | None:
        return known.backends[backend].unavailable(None, card.form)

    specs: tuple[InputSpec, ...] = found.inputs if found else ()
    document = model_yaml(_relative(entry, folder), specs, found.call_s if found else 0.0)
    subject = Subject(card.name, card.form, document)
    if found is not None:
        subject = replace(subject, call_s=found.call_s, replaceable_weights=found.replaceable_weights)
    return propose(subject, request, unavailable)


def inspect_apart(card: ModelCard, batch_size: int, threads: int) -> Inspection:
    """Inspect in a process of its own: the user's code may load torch, crash or hang. Raises UserError."""
    from harness.errors import UserError
    from harness.inspection import Inspection
    from harness.launcher import Launcher, WorkerFailure
    from harness.protocol import source_from_message
    from harness.schema import Trial
    from harness.suite import Measure

    assert card.source is not None
    backend = "onnxruntime" if card.form == "onnx" else "torch"
    trial = Trial("inspect", "try", card.name, backend, batch_size=batch_size, threads=threads, source=card.source)
    with tempfile.TemporaryDirectory(prefix="harness-try-") as logs:
        try:
            worker = Launcher(Path(logs))(trial, "build")
            try:
                reply = worker.call("inspect", Measure().build_timeout_s, trial=asdict(trial))
            finally:
                worker.close()
        except WorkerFailure as failure:
            raise UserError(failure.reason) from failure
    source = source_from_message({**asdict(card.source), "inputs": reply["inputs"]})
    return Inspection(source.inputs, tuple(map(tuple, reply["outputs"])), reply["call_s"], reply["replaceable_weights"])


def _relative(entry: ModelEntry, folder: Path) -> ModelEntry:
    """Return the entry with its files relative to ``folder``, where the suite will stand."""

    def moved(place: str) -> str:
        return os.path.relpath(Path(place).resolve(), folder)

    changed: dict[str, Any] = {}
    if entry.onnx is not None:
        changed["onnx"] = moved(entry.onnx)
    for field in ("python", "data"):
        value = getattr(entry, field)
        place, colon, name = (value or "").rpartition(":")
        if place.endswith(".py"):
            changed[field] = moved(place) + colon + name
        elif field == "data" and value and Path(value).is_dir():
            changed[field] = moved(value)
    return entry.model_copy(update=changed)


def _describe(card: ModelCard, found: Inspection, told: Console) -> None:
    takes = ", ".join(f"{i.name} {i.dtype} [{', '.join(map(str, i.shape))}]" for i in found.inputs)
    gives = ", ".join(str(list(shape)) for shape in found.outputs)
    told.print(
        f"[bold]{escape(card.name)}[/bold] takes {escape(takes)} and gives {escape(gives)}; "
        f"a call lasts about {units.seconds(found.call_s)}"
    )
    guessed = [i.name for i in found.inputs if (i.low, i.high) == (0, 2)]
    if guessed:
        told.print(
            f"[yellow]nobody knows the range of {escape(', '.join(guessed))}, so zeros and ones are fed; state it, as "
            f"in --input '{escape(guessed[0])}=...:int64:0..257', or give --data[/yellow]"
        )
    if found.replaceable_weights:
        told.print(
            "[yellow]its weights are listed among its inputs, which keeps runtimes from preparing them; "
            "onnx.constant-weights shows what that costs[/yellow]"
        )
