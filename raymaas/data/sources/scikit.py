"""Sets that come with scikit-learn, and its generator of synthetic ones: small, and there without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.table import table_of, table_of_numbers


class Digits(Source):
    """1,797 handwritten digits of 8 x 8 pixels with values 0 to 16.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI repository, 1998 (its test part).
    """

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import load_digits  # a second to import, and only needed here

        return _table(load_digits())


class BreastCancer(Source):
    """569 tumours, malignant or benign, by 30 measures of their cells.

    W. H. Wolberg, O. L. Mangasarian, W. N. Street: Breast Cancer Wisconsin (Diagnostic), UCI repository, 1993.
    """

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import load_breast_cancer

        return _table(load_breast_cancer())


class Iris(Source):
    """150 irises of three species by 4 lengths in cm.

    R. A. Fisher: The Use of Multiple Measurements in Taxonomic Problems, 1936.
    """

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import load_iris

        return _table(load_iris())


class Wine(Source):
    """178 wines of three growers by 13 chemical measures.

    M. Forina and others, UCI repository, 1991.
    """

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import load_wine

        return _table(load_wine())


class Diabetes(Source):
    """442 patients by 10 measures; to predict is a number, how far their diabetes went on in the year after.

    B. Efron, T. Hastie, I. Johnstone, R. Tibshirani: Least Angle Regression, 2004. The measures are centred and
    scaled as scikit-learn has them; the target is 25 to 346.
    """

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        return table_of_numbers(np.asarray(bunch.data), np.asarray(bunch.target))


class Synthetic(Source):
    """Rows drawn around the corners of a hypercube by scikit-learn's make_classification.

    I. Guyon: Design of experiments for the NIPS 2003 variable selection benchmark. The settings have
    scikit-learn's names; rows are float32 of what it gives.
    """

    n_samples: int = Field(1000, ge=1, description="Rows.")
    n_features: int = Field(20, ge=1, description="Features; those that are neither below are noise.")
    n_informative: int = Field(2, ge=1, description="Features that tell the classes apart.")
    n_redundant: int = Field(10, ge=0, description="Features that are linear combinations of those.")
    n_classes: int = Field(2, ge=2, description="Classes.")
    random_state: int = Field(42, ge=0, description="Seed.")

    @model_validator(mode="after")
    def _enough_features(self) -> Synthetic:
        if self.n_informative + self.n_redundant > self.n_features:
            raise ValueError("n_informative + n_redundant must be at most n_features")
        # Two clusters for each class, make_classification's default, each around a corner of its own.
        if 2 * self.n_classes > 2**self.n_informative:
            raise ValueError("2 * n_classes must be at most 2 ** n_informative; raise n_informative")
        return self

    def table(self, files: DataFiles) -> pa.Table:
        from sklearn.datasets import make_classification

        x_ND, y_N = make_classification(**self.model_dump())
        return table_of(x_ND, y_N, classes=tuple(str(index) for index in range(self.n_classes)))


def _table(bunch: Any) -> pa.Table:
    return table_of(np.asarray(bunch.data), bunch.target, classes=tuple(str(n) for n in bunch.target_names))
