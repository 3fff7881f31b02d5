"""What all reference models that need more than torch promise: they are listed at no cost and export whole."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.catalog import model_unavailable
from harness.zoo import import_file, load_model, model_path

NAMES = ("resnet18", "resnet18-224", "mobilenet-v2", "minilm-sentiment", "dlrm-movielens")


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_its_files_name_and_says_where_all_of_it_comes_from(name):
    model = load_model(name)
    assert model.name == name
    assert model.license
    assert model.source
    assert model.summary


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_a_model_enter_its_cache_keys(name):
    parts = {path.name for path in load_model(name).files if path.suffix == ".py"}
    used = {line.split()[1].split(".")[-1] for line in imports(name) if line.startswith("from harness.parts.")}
    used |= {line.split()[-1] for line in imports(name) if line.startswith("from harness.parts import")}
    assert used
    assert {f"{part}.py" for part in used} <= parts


def imports(name):
    return [line.strip() for line in model_path(name).read_text().splitlines() if line.strip().startswith("from ")]


def test_listing_the_models_imports_nothing_heavy():
    code = f"import sys; from harness.zoo import load_model; [load_model(n) for n in {NAMES}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "tokenizers", "pandas", "sklearn"} & set(loaded.split())


def test_a_model_whose_data_set_is_missing_is_unavailable_with_the_remedy(tmp_path):
    model = dataclasses.replace(load_model("resnet18"), files=(Path(__file__), tmp_path / "images.gz"))
    assert model_unavailable(model) == (
        f"{tmp_path}/images.gz is missing: apt-get install dataset-fashion-mnist, or name the folder that holds it "
        "in HARNESS_FASHION_MNIST"
    )


def test_the_folder_of_the_images_can_be_named():
    code = "from harness.parts.fashion_mnist import FILES; print(FILES[0].parent)"
    environment = {"HARNESS_FASHION_MNIST": "/elsewhere", "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.strip() == "/elsewhere"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2"])
def test_a_network_trains_for_its_rounds_pickles_and_leaves_the_global_generator_alone(name, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    file = import_file(model_path(name))
    calls = []
    monkeypatch.setattr(file.fashion_mnist, "train", lambda network, *rest: calls.append(rest) or network.eval())
    before = torch.random.get_rng_state()
    network = file.build(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert calls == [(file.ROUNDS, 5)]
    assert sum(r.examples for r in file.ROUNDS) <= 60_000  # no round repeats an image
    torch.save(network, tmp_path / "network.pt")
    code = (
        f"import torch; m = torch.load({str(tmp_path / 'network.pt')!r}, weights_only=False);"
        "assert m(torch.zeros(2, 1, 64, 64)).shape == (2, 10)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)


def test_mobilenet_v2_has_the_parameters_of_the_published_one():
    pytest.importorskip("torch")
    network = import_file(model_path("mobilenet-v2")).network(0)
    published, colors, classes = 3_504_872, 2 * 32 * 9, 990 * 1281  # of three colors and 1000 classes
    assert sum(p.numel() for p in network.parameters()) == published - colors - classes


def test_the_untrained_network_gives_sane_scores_that_differ_from_image_to_image(monkeypatch):
    torch = pytest.importorskip("torch")
    file = import_file(model_path("resnet18-224"))
    monkeypatch.setattr(file, "EXAMPLES", {"train": 2, "calibration": 4, "test": 2})
    monkeypatch.setattr(file, "STATISTICS_BATCH", 2)
    assert file.data("test").inputs[0].shape == (2, 3, 224, 224)
    assert np.array_equal(file.data("test").inputs[0], file.data("test").inputs[0])
    network = file.build(0)
    with torch.inference_mode():
        scores = network(torch.from_numpy(file.data("calibration").inputs[0]))
    assert not network.training
    assert scores.shape == (4, 1000)
    assert torch.allclose(scores.mean(0), torch.zeros(1000), atol=1e-4)
    assert 1e-3 < float(scores.std()) < 1e3
    assert file.MODEL.synthetic
    assert "random weights" in file.MODEL.summary
