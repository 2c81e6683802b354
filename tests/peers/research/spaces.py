"""What the peers draw from: the families of scikit-learn and XGBoost with their usual ranges.

Ranges are those of the libraries' guides and of published benchmarks of tabular search; class weights
are part of each family. All fits use one thread.
"""
import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_sample_weight

from tables import one_hot, with_codes, with_missing


class Family:
    """defaults: parameters of the first trial; draw(random): others; build: an unfitted model."""

    def __init__(self, defaults, draw, build):
        self.defaults, self.draw, self.build = defaults, draw, build


def log_uniform(random, low, high):
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def log_integer(random, low, high):
    return int(round(log_uniform(random, low, high)))


def pick(random, options):
    return options[random.integers(len(options))]


def draw_boosting(random):
    return {
        "learning_rate": log_uniform(random, 0.02, 0.3),
        "max_iter": log_integer(random, 40, 400),
        "max_leaf_nodes": log_integer(random, 4, 64),
        "min_samples_leaf": log_integer(random, 4, 80),
        "l2_regularization": pick(random, [0.0, log_uniform(random, 1e-3, 10)]),
        "class_weight": pick(random, [None, "balanced"]),
    }


def draw_trees(random, weights):
    return {
        "n_estimators": log_integer(random, 100, 400),
        "max_features": pick(random, ["sqrt", "log2", float(random.uniform(0.1, 1.0))]),
        "min_samples_leaf": pick(random, [1, log_integer(random, 1, 20)]),
        "criterion": pick(random, ["gini", "entropy"]),
        "class_weight": pick(random, weights),
    }


def draw_logistic(random, classes):
    params = {"C": log_uniform(random, 1e-3, 1e2), "class_weight": pick(random, [None, "balanced"])}
    if random.random() < 0.4:
        # The fast solver of the L1 penalty knows two classes.
        solver = "liblinear" if classes == 2 else "saga"
        return {**params, "penalty": "l1", "solver": solver, "max_iter": 200}
    return {**params, "max_iter": 500}


def sklearn_families(frame, classes):
    codes, categorical = with_codes(frame)

    def boosting(params, seed, _):
        return make_pipeline(
            codes,
            HistGradientBoostingClassifier(
                **params,
                categorical_features=categorical or None,
                early_stopping=False,
                random_state=seed,
            ),
        )

    def trees(kind):
        return lambda params, seed, _: make_pipeline(
            one_hot(frame), kind(**params, n_jobs=1, random_state=seed)
        )

    def logistic(params, seed, _):
        return make_pipeline(one_hot(frame, scaled=True), LogisticRegression(**params, random_state=seed))

    weights = [None, "balanced", "balanced_subsample"]
    return {
        "hist_gradient_boosting": Family({}, draw_boosting, boosting),
        "extra_trees": Family(
            {},
            lambda random: {**draw_trees(random, weights[:2]), "bootstrap": False},
            trees(ExtraTreesClassifier),
        ),
        "random_forest": Family(
            {}, lambda random: draw_trees(random, weights), trees(RandomForestClassifier)
        ),
        "logistic": Family(
            {"max_iter": 500}, lambda random: draw_logistic(random, classes), logistic
        ),
    }


def draw_xgboost(random):
    return {
        "n_estimators": log_integer(random, 40, 500),
        "learning_rate": log_uniform(random, 0.02, 0.4),
        "max_depth": int(random.integers(2, 11)),
        "min_child_weight": log_uniform(random, 0.5, 20),
        "subsample": float(random.uniform(0.5, 1.0)),
        "colsample_bytree": float(random.uniform(0.3, 1.0)),
        "reg_lambda": log_uniform(random, 0.01, 30),
        "reg_alpha": pick(random, [0.0, log_uniform(random, 1e-3, 3)]),
        "balanced": pick(random, [False, True]),
    }


class WeightedXgboost:
    """scale_pos_weight for two classes, sample weights for more; the rest is XGBoost's own."""

    def __init__(self, frame, params, seed, target):
        import xgboost

        own = {name: value for name, value in params.items() if name != "balanced"}
        self.by_row = params.get("balanced", False) and len(np.unique(target)) > 2
        if params.get("balanced", False) and not self.by_row:
            own["scale_pos_weight"] = float(np.sum(target == 0) / max(1, np.sum(target == 1)))
        self.columns = with_missing(frame)
        self.model = xgboost.XGBClassifier(
            tree_method="hist", n_jobs=1, random_state=seed, verbosity=0, **own
        )

    def fit(self, frame, target):
        # XGBoost wants classes 0..n-1; a fold may lack one.
        self.classes_, codes = np.unique(target, return_inverse=True)
        weight = compute_sample_weight("balanced", target) if self.by_row else None
        self.model.fit(self.columns.fit_transform(frame), codes, sample_weight=weight)
        return self

    def predict_proba(self, frame):
        return self.model.predict_proba(self.columns.transform(frame))


def xgboost_families(frame, _):
    import xgboost  # noqa: F401

    build = lambda params, seed, target: WeightedXgboost(frame, params, seed, target)  # noqa: E731
    return {"xgboost": Family({}, draw_xgboost, build)}


SYSTEMS = {"sklearn": sklearn_families, "xgboost": xgboost_families}
