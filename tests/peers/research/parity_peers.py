"""Peers of the native learners in parity.py: scikit-learn's and XGBoost's of the same kind at their
defaults (XGBoost's boosting with a step of 0.1), or, with `equal`, at our settings. Without
early stopping: XGBoost has none by default, scikit-learn only above 10,000 rows.
"""
import numpy as np


def filled(x):
    """For learners that take no missing values: -1 tells them apart well enough for trees."""
    return np.where(np.isnan(x), -1, x)


def xgboost(seed, **settings):
    from xgboost import XGBClassifier

    known = {"n_estimators": 100, "learning_rate": 0.1, "max_depth": 6, "tree_method": "hist"}
    return XGBClassifier(**{**known, **settings}, n_jobs=1, random_state=seed, verbosity=0)


def boosting(x, levels, seed, equal):
    from sklearn.ensemble import HistGradientBoostingClassifier

    few = [0 < level <= 255 for level in levels]
    ours = {"max_depth": 6, "max_leaf_nodes": None, "l2_regularization": 1} if equal else {}
    hist = HistGradientBoostingClassifier(
        categorical_features=few, early_stopping=False, random_state=seed, **ours
    )
    return {"scikit-learn": (hist, x), "xgboost": (xgboost(seed), x)}


def extra_trees(x, _levels, seed, _equal):
    from sklearn.ensemble import ExtraTreesClassifier

    return {"scikit-learn": (ExtraTreesClassifier(100, n_jobs=1, random_state=seed), filled(x))}


def forest(x, _levels, seed, _equal):
    from sklearn.ensemble import RandomForestClassifier
    from xgboost import XGBRFClassifier

    xgb = XGBRFClassifier(n_estimators=100, n_jobs=1, random_state=seed, verbosity=0,
                          tree_method="hist")
    skl = RandomForestClassifier(100, n_jobs=1, random_state=seed)
    return {"scikit-learn": (skl, filled(x)), "xgboost": (xgb, x)}


def logistic(x, levels, seed, _equal):
    """Numbers standardised, a column for each level, C = 1: XGBoost's penalty is per row."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def design():
        numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        is_level = np.asarray(levels) > 0
        return ColumnTransformer(
            [("number", numbers, np.flatnonzero(~is_level)),
             ("level", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1), one_hot),
              np.flatnonzero(is_level))]
        )

    linear = xgboost(seed, booster="gblinear", updater="coord_descent", learning_rate=0.5,
                     reg_lambda=1 / (0.8 * len(x)), max_depth=None, tree_method=None)
    return {
        "scikit-learn": (make_pipeline(design(), LogisticRegression(max_iter=2000)), x),
        "xgboost": (make_pipeline(design(), linear), x),
    }


PEERS = {"boosting": boosting, "extra_trees": extra_trees, "forest": forest, "logistic": logistic}
