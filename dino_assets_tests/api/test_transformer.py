"""``DINOv2Transformer``: scikit-learn's estimator checks, pipelines, refusals."""

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from dino_assets import DINOv2Extractor, DINOv2Transformer
from dino_assets.errors import CheckpointNotFoundError, ConfigError, UnusableImageError
from dino_assets_tests.worlds.networks import Sample
from dino_assets_tests.worlds.pictures import write_pictures
from dino_assets_tests.worlds.raising import raising

NUMBERS = "feeds numbers to `transform`, which takes the paths of pictures"
FED_NUMBERS = (
    "check_f_contiguous_array_estimator",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_pipeline_consistency",
    "check_estimator_sparse_tag",
    "check_fit_score_takes_y",
    "check_transformers_unfitted_stateless",
    "check_estimators_pickle",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_dict_unchanged",
    "check_fit_idempotent",
)
EXCLUDED = dict.fromkeys(FED_NUMBERS, NUMBERS) | {
    "check_complex_data": "fits numbers, which it refuses when it transforms",
    "check_estimators_nan_inf": "fits numbers, which it refuses when it transforms",
    "check_estimators_empty_data_messages": "there is nothing to fit, so nothing is refused then",
    "check_n_features_in": "it takes no features",
    "check_n_features_in_after_fitting": "it takes no features",
    "check_fit2d_predict1d": "one dimension is what it takes",
    "check_fit1d": "one dimension is what it takes",
}


class OfNumbers(DINOv2Transformer):
    """A transformer that declares numbers as input, since scikit-learn checks only those."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


@parametrize_with_checks(
    [OfNumbers()], expected_failed_checks=lambda _: EXCLUDED, xfail_strict=True
)
def test_transformer__passes_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    folder = write_pictures(tmp_path, [f"{number}.jpg" for number in range(12)])
    return [str(folder / f"{number}.jpg") for number in range(12)]


@pytest.fixture
def transformer(tiny: Sample) -> DINOv2Transformer:
    return DINOv2Transformer(str(tiny.folder), device="cpu")


def test_transform__equals_the_extractor_for_every_input_type(
    transformer: DINOv2Transformer, tiny: Sample, pictures: list[str]
):
    extractor = DINOv2Extractor(str(tiny.folder), device="cpu", progress=False)
    wanted = extractor.extract_from_list(pictures)[0].numpy()
    for paths in (
        pictures,
        np.array(pictures),
        [Path(path) for path in pictures],
        pd.Series(pictures),
        pd.DataFrame({"image_path": pictures}),
    ):
        embeddings = transformer.fit_transform(paths)
        np.testing.assert_array_equal(embeddings, wanted)
        assert embeddings.dtype == np.float32
    assert transformer.transform([]).shape == (0, 48)


def test_transform__refuses_other_values(
    transformer: DINOv2Transformer, pictures: list[str], tmp_path: Path
):
    for wrong_value in (pictures[0], 3, [1, 2], np.zeros((2, 2)), [None]):
        with raising(ConfigError, setting="X"):
            transformer.transform(wrong_value)
    (tmp_path / "5.jpg").write_text("no picture")
    with pytest.warns(), pytest.raises(UnusableImageError, match=r"5\.jpg"):
        transformer.transform(pictures)
    with pytest.raises(CheckpointNotFoundError):
        DINOv2Transformer("models/none").transform(pictures)


def test_transformer__clones_share_one_model(
    transformer: DINOv2Transformer, pictures: list[str], tmp_path: Path
):
    vectors = transformer.transform(pictures)
    assert len(pickle.dumps(transformer)) < 1000
    joblib.dump(transformer, tmp_path / "transformer.joblib")
    loaded_transformer = joblib.load(tmp_path / "transformer.joblib")
    for other_transformer in (clone(transformer), loaded_transformer):
        assert other_transformer._open() is transformer._open()
        np.testing.assert_array_equal(other_transformer.transform(pictures), vectors)


def test_transformer__in_a_grid_search(transformer: DINOv2Transformer, pictures: list[str]):
    labels = [number % 2 for number in range(12)]
    pipeline = make_pipeline(transformer, LogisticRegression())
    grid = {"dinov2transformer__batch_size": [4, 8], "logisticregression__C": [0.1, 1]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(pictures, labels)
    assert len(search.predict(pictures)) == 12
    assert len(search.cv_results_["params"]) == 4
    # A picture's embedding does not depend on its batch.
    scores = search.cv_results_["mean_test_score"]
    assert scores[:2].tolist() == scores[2:].tolist()


def test_set_output__names_the_columns(transformer: DINOv2Transformer, pictures: list[str]):
    table = transformer.set_output(transform="pandas").fit_transform(pictures)
    assert table.columns.tolist() == [f"dinov2transformer{column}" for column in range(48)]
    assert transformer.get_feature_names_out().tolist() == table.columns.tolist()
