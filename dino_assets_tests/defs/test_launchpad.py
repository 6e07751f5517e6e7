"""The launchpad: words that it offers and refuses before a run is made."""

import json
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from dino_assets.compute.settings import Device, EngineChoice, PrecisionClass
from dino_assets.definitions import make_definitions
from dino_assets.defs.assets.embeddings import EmbeddingsConfig
from dino_assets.embeddings.options import VectorType
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.errors import ConfigError
from dino_assets.projections.layout import Method
from dino_assets.selections.strategies.names import RoundStrategyName, UncertaintyKind
from dino_assets.settings.environment import load_settings
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.ui import LAUNCH, LOCATION, serving_ui

CHOICES = {
    "ops:selections:config:strategy": RoundStrategyName,
    "ops:selections:config:uncertainty": UncertaintyKind,
    "ops:selections:config:column": EmbeddingColumn,
    "ops:projections:config:method": Method,
    "ops:projections:config:column": EmbeddingColumn,
    "ops:embeddings:config:dtype": VectorType,
    "ops:embeddings:config:columns:0": EmbeddingColumn,
    "resources:compute:config:device": Device,
    "resources:compute:config:precision": PrecisionClass,
    "resources:compute:config:engine": EngineChoice,
}
SELECTOR = {**LOCATION, "pipelineName": "lineage"}
VALIDATE = """query($selector: PipelineSelector!, $config: RunConfigData) {
  isPipelineConfigValid(pipeline: $selector, mode: "default", runConfigData: $config) {
    __typename ... on RunConfigValidationInvalid { errors { message reason } } } }"""
WORDS_QUERY = """query($selector: PipelineSelector!) { runConfigSchemaOrError(selector: $selector) {
  ... on RunConfigSchema { allConfigTypes { ... on EnumConfigType { values { value } } } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId } } } }"


def config_with(path: str, word: str) -> dict:
    """Make a run config with one word in one field."""
    *parents, last_key = path.split(":")
    config: object = [word] if last_key == "0" else {last_key: word}
    for key in reversed(parents):
        config = {key: config}
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize("path", CHOICES)
def test_run_config__invalid_word_is_refused_with_the_valid_ones(project: Path, path):
    job = make_definitions(load_settings()).resolve_job_def("lineage")
    words = get_args(CHOICES[path])
    for word in words:
        dg.validate_run_config(job, config_with(path, word))
    with pytest.raises(dg.DagsterInvalidConfigError) as caught:
        dg.validate_run_config(job, config_with(path, "hybird"))
    (fault,) = caught.value.errors
    assert [word for word in (*words, "hybird") if word not in fault.message] == []


def test_embeddings_config__enum_values_are_plain_strings():
    config = EmbeddingsConfig(columns=["mean", "cls"], dtype="fp32")
    options = config.options()
    assert [type(word) for word in (*options.columns, options.dtype)] == [str, str, str]
    assert (options.columns, options.dtype) == (("cls", "mean"), "fp32")


def test_definitions__unknown_device(project: Path, monkeypatch):
    monkeypatch.setenv("DINO_DEVICE", "abacus")
    with raising(ConfigError, setting="DINO_DEVICE", value="abacus", match="mps"):
        make_definitions(load_settings())


@pytest.mark.slow
def test_launchpad__invalid_word_makes_no_run(project: Path, tmp_path: Path):
    """In the UI, valid words are offered and accepted, others are refused."""
    wrong_config, right_config = (
        json.dumps({"ops": {"selections": {"config": {"strategy": word}}}})
        for word in ("hybird", "hybrid")
    )
    with serving_ui(project, tmp_path / "ui.log") as ui:
        answer = ui.ask(VALIDATE, selector=SELECTOR, config=wrong_config)["isPipelineConfigValid"]
        assert answer["__typename"] == "RunConfigValidationInvalid"
        (fault,) = answer["errors"]
        assert all(word in fault["message"] for word in ("hybird", *get_args(RoundStrategyName)))
        params = {"selector": SELECTOR, "mode": "default", "runConfigData": wrong_config}
        launch_answer = ui.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launch_answer["__typename"] == "RunConfigValidationInvalid"
        assert ui.ask(RUNS)["runsOrError"]["results"] == []

        answer = ui.ask(VALIDATE, selector=SELECTOR, config=right_config)["isPipelineConfigValid"]
        assert answer["__typename"] == "PipelineConfigValidationValid"

        schema = ui.ask(WORDS_QUERY, selector=SELECTOR)["runConfigSchemaOrError"]
        offered_words = {
            tuple(value["value"] for value in kind["values"])
            for kind in schema["allConfigTypes"]
            if kind
        }
        assert {get_args(choice) for choice in CHOICES.values()} <= offered_words
