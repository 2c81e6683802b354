"""Tables for the peers of research: a CSV with the column `label`, as numbers for each library.

Rows are numbers of lines below the header, from 0. Levels and medians come from training rows alone.
"""
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

# HistGradientBoosting's and one column of bits for each: rarer levels share one.
LEVELS_MAX = 100


def read_table(csv, drop=()):
    """Features, class numbers, names of the classes."""
    frame = pd.read_csv(csv, low_memory=False).drop(columns=list(drop))
    label = frame.pop("label").astype(str)
    classes = sorted(label.unique())
    for name in frame.columns:
        if frame[name].dtype == bool:
            frame[name] = frame[name].astype(int)
        elif not np.issubdtype(frame[name].dtype, np.number):
            frame[name] = frame[name].astype(object)
    return frame, label.map({name: k for k, name in enumerate(classes)}).to_numpy(), classes


def kinds(frame):
    category = [name for name in frame.columns if frame[name].dtype == object]
    return [name for name in frame.columns if name not in category], category


def one_hot(frame, scaled=False):
    """Median and an indicator for missing numbers, a column for each level."""
    number, category = kinds(frame)
    steps = [SimpleImputer(strategy="median", add_indicator=True)]
    if scaled:
        steps.append(StandardScaler())
    levels = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=LEVELS_MAX, sparse_output=False
    )
    return ColumnTransformer(
        [
            ("number", make_pipeline(*steps), number),
            ("category", make_pipeline(SimpleImputer(strategy="constant", fill_value="(missing)"), levels), category),
        ]
    )


def with_missing(frame):
    """Numbers as they are, NaN included, and a column for each level: for XGBoost."""
    number, category = kinds(frame)
    levels = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=LEVELS_MAX, sparse_output=False
    )
    return ColumnTransformer(
        [
            ("number", "passthrough", number),
            ("category", make_pipeline(SimpleImputer(strategy="constant", fill_value="(missing)"), levels), category),
        ]
    )


def with_codes(frame):
    """Numbers as they are, levels as codes; answers too which of the columns are codes."""
    number, category = kinds(frame)
    few = [name for name in category if frame[name].nunique() <= LEVELS_MAX]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    transformer = ColumnTransformer(
        [("number", "passthrough", number), ("category", codes, few + [c for c in category if c not in few])]
    )
    return transformer, list(range(len(number), len(number) + len(few)))


def balanced_accuracy(target, predicted):
    return float(np.mean([np.mean(predicted[target == k] == k) for k in np.unique(target)]))
