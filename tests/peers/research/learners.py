"""Peers of the native learners in speed: XGBoost and scikit-learn on one table, one thread.

Usage: learners.py FOLDER ROWS COLUMNS TREES. Writes the table into FOLDER (features.f32 by columns,
target.f32; a quarter more rows than ROWS, which are held out) and says so with a line; then fits
the system that each line of input names and prints a JSON line: CPU seconds of loading, binning and
fitting together, and balanced accuracy on the rows that are held out.
"""
import json
import os
import sys

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


def versions():
    import sklearn
    import xgboost

    return f"XGBoost {xgboost.__version__}, scikit-learn {sklearn.__version__}"


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


def extra_trees(x, y, held_out, trees):
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(n_estimators=trees, n_jobs=1, random_state=1).fit(x, y)
    return cpu_s(), model.predict(held_out)


SYSTEMS = {"xgboost": xgboost_hist, "scikit-learn extra trees": extra_trees}


def main():
    folder, rows, columns, trees = sys.argv[1], *map(int, sys.argv[2:5])
    x, y = make_table(rows + rows // 4, columns)
    x.T.tofile(os.path.join(folder, "features.f32"))
    y.tofile(os.path.join(folder, "target.f32"))
    # Libraries are loaded before anything is measured.
    for run in SYSTEMS.values():
        run(x[:100], y[:100], x[:100], 1)
    print(json.dumps({"versions": versions()}), flush=True)
    for line in sys.stdin:
        start = cpu_s()
        end, predicted = SYSTEMS[line.strip()](x[:rows], y[:rows], x[rows:], trees)
        score = balanced_accuracy(y[rows:], predicted)
        print(json.dumps({"cpu_s": end - start, "score": score}), flush=True)


main()
