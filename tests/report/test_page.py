"""The page as text: complete, offline, and deaf to markup in names."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.noise import Noise
from harness.report.method import environment, gaps, procedure
from harness.report.page import render, script_json, write_report
from harness.report.rows import report_df
from harness.schema import Energy, Memory, Quality, Status, Trial, Unmeasured, Utilization
from harness.store import Run, read_run
from tests.run_folder import BASELINE, INT8, PLAIN, Folder, Row

EVIL = "<script>alert(1)</script>"
FETCHING = {"src", "href", "data", "action", "poster", "srcset", "background", "formaction", "xlink:href"}


def stored(folder: Path) -> Run:
    """Return a run with a baseline, a plain row, a variant and a crash."""
    crashed = (Trial("broken", "e", "net", "ort", batch_size=4), Status.CRASHED, "killed by SIGSEGV")
    rows = [Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(INT8, 0.5)]
    return read_run(Folder(rows, failed=[crashed], dirty={(0, 1)}).write(folder / "run-1"))


def hostile(folder: Path) -> Run:
    """Return a run in which everything that a user can type is a script."""
    evil = replace(INT8, name=f"{EVIL}'\"", backend=EVIL, model=EVIL)
    crashed = (
        Trial(f"broken {EVIL}", "e", EVIL, EVIL),
        Status.CRASHED,
        f"{EVIL} <!-- </script> <img src=x onerror=alert(1)>",
    )
    run = read_run(
        Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(evil, 0.5)], failed=[crashed]).write(folder / "run-1")
    )
    [experiment] = run.header["experiments"]
    header = {
        **run.header,
        "suite": EVIL,
        "suite_text": f"suite: {EVIL}\n# </pre>",
        "noise": [{**NOISE, "model": EVIL, "backend": EVIL}],
        "command": ["harness", EVIL],
        "versions": {EVIL: EVIL},
        "host": {**run.header["host"], "cpu": EVIL, "kernel": EVIL},
        "experiments": [{**experiment, "name": EVIL, "model": EVIL, "baseline": EVIL, "trials": ["torch", EVIL]}],
    }
    records = [replace(r, trial=replace(r.trial, experiment=EVIL), log=EVIL) for r in run.records]
    return Run(run.directory, header, tuple(records))


NOISE = asdict(
    Noise(
        host="host-a", threads=1, measured_at="2026-01-01T00:00:00Z", harness="0", model="digits-cnn", backend="torch",
        batch_size=32, block_s=0.03, processes=18, replicates=3, rounds=60, dirty_rounds=0, clean=True,
        within=0.02, between=0.005, between_low=0.0, between_high=0.01,
    )
)  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, scripts and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))
        elif self._open != "style":
            self.words.append(data)


def test_the_page_holds_answer_table_failures_and_method(tmp_path: Path) -> None:
    text = render(stored(tmp_path))
    words = " ".join(" ".join(Page(text).words).split())
    assert re.search(r"ort-int8 : 4\.0\d× \[.*\] faster than torch, accuracy kept", words)
    assert "The engine alone (ort) gives" in words
    assert "killed by SIGSEGV (stage measure)" in words
    assert "not measured (harness doctor --noise)" in words
    assert "Compare within this run only." in words
    assert "energy no counter" in words


def test_the_page_fetches_nothing_and_says_so_to_the_browser(tmp_path: Path) -> None:
    page = Page(render(stored(tmp_path)))
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in FETCHING or str(value).startswith("#"), (tag, name, value)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    [policy] = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert str(policy).startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in str(policy)
    assert "@import" not in render(stored(tmp_path / "again"))
    assert not re.search(r"url\(", (Path(__file__).parents[2] / "harness/report/templates/report.css").read_text())


def test_plotly_is_embedded_once_and_last(tmp_path: Path) -> None:
    page = Page(render(stored(tmp_path)))
    large = [number for number, (_, text) in enumerate(page.scripts) if len(text) > 1_000_000]
    assert large == [len(page.scripts) - 1]
    assert sum(len(text) for _, text in page.scripts[:-1]) < 200_000


def test_what_a_user_types_is_never_markup_nor_script(tmp_path: Path) -> None:
    plain, evil = Page(render(stored(tmp_path / "a"))), Page(render(hostile(tmp_path / "b")))
    runnable = [attributes for attributes, _ in evil.scripts if attributes.get("type") != "application/json"]
    assert len(runnable) == 2
    assert len([1 for a, _ in plain.scripts if a.get("type") != "application/json"]) == 2
    assert not [a for tag, a in evil.elements if tag == "img" or any(name.startswith("on") for name in a)]
    for attributes, text in evil.scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in text
            json.loads(text)
    assert any(EVIL in word for word in evil.words)


def test_json_in_a_script_cannot_close_it() -> None:
    text = script_json({"a": "</script><!-- \u2028 &"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- \u2028 &"}


def test_a_run_without_quality_has_a_page(tmp_path: Path) -> None:
    run = stored(tmp_path)
    bare = [replace(r, quality=Unmeasured("there is no labeled data")) for r in run.records]
    text = render(Run(run.directory, run.header, tuple(bare)))
    assert "Quality was not measured, so only speed is judged." in text
    assert "Quality against speed" not in text
    assert "there is no labeled data" in text


def test_a_metric_where_less_is_better_has_no_percent_signs(tmp_path: Path) -> None:
    run = stored(tmp_path)
    records = [
        replace(r, quality=replace(r.quality, metric="perplexity", higher_is_better=False))
        if isinstance(r.quality, Quality)
        else r
        for r in run.records
    ]
    text = render(Run(run.directory, run.header, tuple(records)))
    assert "perplexity kept (no change, margin 0.01)" in text


def test_a_run_that_was_cut_short_has_a_page(tmp_path: Path) -> None:
    run = stored(tmp_path)
    assert "no record, since the run was cut short" in render(Run(run.directory, run.header, ()))


def test_the_header_may_say_more_or_less(tmp_path: Path) -> None:
    run = stored(tmp_path)
    facts = {fact.name: fact.text for fact in environment(run)}
    assert "command" not in facts
    assert facts["noise of the host"] == "not measured (harness doctor --noise)"
    more = {**run.header, "noise": [NOISE], "suite_text": "suite: s", "seed": 0}
    facts = {fact.name: fact.text for fact in environment(Run(run.directory, more, run.records))}
    assert facts["noise of the host"] == (
        "1 thread: standard deviation 2.0 % of a block, 0.5 % of a process "
        "(18 processes of digits-cnn on torch, 2026-01-01)"
    )
    assert facts["seed"] == "0"
    assert "<pre>suite: s</pre>" in render(Run(run.directory, more, run.records))


def test_how_it_was_measured_names_margins_and_disturbance(tmp_path: Path) -> None:
    run = stored(tmp_path)
    facts = {f.name: f.text for f in procedure(run.header["experiments"][0], report_df(run))}
    assert facts["disturbed rounds"] == "1 (4 %), repeated for all"
    assert facts["margin of quality"] == "1 pt of accuracy"
    assert facts["margin of speed"].startswith("2 %")
    assert facts["workload"] == "offline, batch 4, 1 thread asked for, cpu"


def test_use_of_the_machine_and_what_is_odd_about_it_is_said(tmp_path: Path) -> None:
    base, leaky = replace(BASELINE, threads=2), replace(PLAIN, threads=2)
    energy = Energy(0.0125, 10.0, 1.0, 800, "rapl:package-0", "whole package, idle included")
    rows = [
        Row(base, 2.0, utilization=Utilization(1.0, 50, 20, 1.95, 0.0, {0: 1.0}), energy=energy),
        Row(
            leaky,
            1.0,
            utilization=Utilization(1.0, 50, 20, 1.03, 0.0, {0: 1.0}, disturbed=True),
            memory=Memory(100, 300, 250, 90, 80, 70, 1e6),
        ),
    ]
    run = read_run(Folder(rows).write(tmp_path / "run"))
    facts = {f.name: f.text for f in procedure(run.header["experiments"][0], report_df(run))}
    assert facts["CPU use"] == (
        "1.03 to 1.95 cores, in 1 s of calls back to back (1 of 2 disturbed from outside); "
        "ort asked for 2 threads, used 1.03 cores"
    )
    assert facts["energy"] == "from rapl:package-0: whole package, idle included"
    assert facts["memory"] == "ort grows by 1.00 MB with each call: a leak, or a cache that fills"
    words = " ".join(" ".join(Page(render(run)).words).split())
    assert "cores used energy/example" in words
    assert "12.5 mJ" in words
    assert "1.03 (!)" in words
    assert "GPU use" not in words


def test_what_nobody_measured_has_no_column(tmp_path: Path) -> None:
    words = " ".join(" ".join(Page(render(stored(tmp_path))).words).split())
    assert "cores used" not in words
    assert "energy/example" not in words


def test_gaps_are_grouped_by_quantity_and_leave_out_what_ended_early(tmp_path: Path) -> None:
    found = {gap.name: gap for gap in gaps(report_df(stored(tmp_path)))}
    assert found["energy"].reason == "no counter"
    assert not found["energy"].trials
    assert {fact.name for fact in found["p99 latency"].trials} <= {"torch", "ort", "ort-int8"}
    assert "speed-up" not in found


def test_the_page_is_written_where_asked_or_refused_in_a_sentence(tmp_path: Path) -> None:
    run = stored(tmp_path)
    target = write_report(run, tmp_path / "new" / "r.html")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(UserError, match=r"cannot write .*; choose another place with --output"):
        write_report(run, tmp_path)
