"""Peers of the native learners in speed: XGBoost and scikit-learn on one table, one thread.

Usage: learners.py FOLDER [--rows 50000] [--columns 50] [--trees 100] [--repeat 3] [--only NAME]
Writes the table into FOLDER (features.f32 by columns, target.f32), which learners.ts reads, and
prints one JSON line for each system: CPU seconds of binning and fitting together (the least of
the repeats) and balanced accuracy on the last fifth of the rows, which is not fitted on.
"""
import argparse
import json
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import resource  # noqa: E402

import numpy as np  # noqa: E402


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make_table(rows, columns):
    """A sum, a product, a step and noise: trees have something to do at every depth."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    signs = np.where(np.arange(min(10, columns)) % 2, 0.5, -0.5)
    z = x[:, : len(signs)] @ signs + x[:, -1] * x[:, -2] + (x[:, 3] > 0.5)
    return x, (z + rng.standard_normal(rows) > 0).astype(np.float32)


def balanced_accuracy(target, predicted):
    return float(np.mean([np.mean(predicted[target == k] == k) for k in np.unique(target)]))


def xgboost_hist(x, y, held_out, trees):
    import xgboost

    data = xgboost.DMatrix(x, label=y, nthread=1)
    params = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": 6,
        "eta": 0.1,
        "nthread": 1,
        "verbosity": 0,
    }
    model = xgboost.train(params, data, trees)
    end = cpu_s()
    return end, model.predict(xgboost.DMatrix(held_out, nthread=1)) > 0.5


def hist_gradient_boosting(x, y, held_out, trees):
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=0.1, max_leaf_nodes=64, max_depth=6, early_stopping=False
    ).fit(x, y)
    return cpu_s(), model.predict(held_out)


def extra_trees(x, y, held_out, trees):
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(n_estimators=trees, n_jobs=1, random_state=1).fit(x, y)
    return cpu_s(), model.predict(held_out)


def random_forest(x, y, held_out, trees):
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=trees, n_jobs=1, random_state=1).fit(x, y)
    return cpu_s(), model.predict(held_out)


SYSTEMS = {
    "xgboost": ("boosting", xgboost_hist),
    "hist_gradient_boosting": ("boosting", hist_gradient_boosting),
    "sklearn_extra_trees": ("extra_trees", extra_trees),
    "sklearn_forest": ("forest", random_forest),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, default in (("rows", 50000), ("columns", 50), ("trees", 100), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=sorted(SYSTEMS))
    args = parser.parse_args()
    x, y = make_table(args.rows, args.columns)
    x.T.tofile(os.path.join(args.folder, "features.f32"))
    y.tofile(os.path.join(args.folder, "target.f32"))
    cut = args.rows * 4 // 5
    for system, (learner, run) in SYSTEMS.items():
        if args.only and system != args.only:
            continue
        times = []
        for _ in range(args.repeat):
            start = cpu_s()
            end, predicted = run(x[:cut], y[:cut], x[cut:], args.trees)
            times.append(end - start)
        score = balanced_accuracy(y[cut:], predicted)
        shape = {"rows": cut, "columns": args.columns, "trees": args.trees}
        line = {"system": system, "learner": learner, "cpu_s": min(times), "score": score, **shape}
        print(json.dumps(line), flush=True)


main()
