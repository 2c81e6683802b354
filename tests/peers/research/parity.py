"""Parity of the native learners with scikit-learn and XGBoost on real sets, by balanced accuracy.

Usage: parity.py FOLDER [--sets a,b] [--folds 5] [--seeds 3] [--learners boosting,extra_trees,forest]
[--set name=value]. FOLDER holds what export.R wrote. The library is called through its C ABI
(build/libmagnet_cpu.so), so all systems get the same folds and the same columns. One JSON line for
each set and learner: scores, CPU seconds, and whether magnet's learner is within two standard
errors of the best peer of its kind.
"""
import argparse
import ctypes
import json
import os
import pathlib
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

warnings.filterwarnings("ignore")
LIBRARY = pathlib.Path(__file__).resolve().parents[3] / "build/libmagnet_cpu.so"
LEARNERS = ("boosting", "extra_trees", "forest", "logistic")
ROWS_MAX = 20000


class Magnet:
    def __init__(self):
        self.library = ctypes.CDLL(str(LIBRARY))

    def call(self, name, *args):
        if getattr(self.library, name)(*args) != 0:
            text = ctypes.create_string_buffer(1024)
            self.library.mg_last_error(text, ctypes.c_uint64(1024))
            raise RuntimeError(f"{name}: {text.value.decode()}")

    def fit_predict(self, learner, x, levels, y, classes, train, test, settings):
        """Class probabilities of the rows of `test`."""
        pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
        u32, u64 = ctypes.c_uint32, ctypes.c_uint64
        rows, columns = x.shape
        values = np.ascontiguousarray(x.T, dtype=np.float32)
        levels = np.asarray(levels, dtype=np.int32)
        target = np.asarray(y, dtype=np.float32)
        train, test = (np.ascontiguousarray(a, dtype=np.uint32) for a in (train, test))
        names = b"".join(name.encode() + b"\0" for name in settings)
        numbers = np.array(list(settings.values()), dtype=np.float64)
        data, model = ctypes.c_void_p(), ctypes.c_void_p()
        self.call(
            "mg_bin_data", pointer(values), pointer(levels), u64(rows), u32(columns), u32(255),
            pointer(train), u64(len(train)), u32(1), ctypes.byref(data), None,
        )
        self.call(
            "mg_learner_fit", u32(LEARNERS.index(learner)), data, pointer(values), u32(classes),
            pointer(target), None, pointer(train), u64(len(train)), None, u64(0), names,
            u64(len(names)), pointer(numbers), u32(len(numbers)), u64(1), u32(1),
            ctypes.byref(model), None,
        )
        out = np.empty((len(test), classes), dtype=np.float32)
        self.call(
            "mg_learner_predict", model, data, pointer(values), u64(rows), u32(columns),
            pointer(test), u64(len(test)), pointer(out), u64(out.size), u32(1), None,
        )
        self.call("mg_learner_free", model)
        self.call("mg_binned_free", data)
        return out


def read(file):
    """Columns as float32, NaN = missing, categories as their code; class index by row."""
    frame = pd.read_csv(file)
    if len(frame) > ROWS_MAX:
        frame = frame.sample(ROWS_MAX, random_state=1)
    y = frame.pop("label").astype(str)
    y = np.searchsorted(sorted(y.unique()), y)
    columns, levels = [], []
    for name in frame:
        column = frame[name]
        if column.dtype.kind in "ifb":
            columns.append(column.to_numpy(np.float32))
            levels.append(0)
            continue
        codes = pd.Categorical(column)
        columns.append(np.where(codes.codes < 0, np.nan, codes.codes).astype(np.float32))
        levels.append(len(codes.categories))
    return np.column_stack(columns), np.array(levels), y


def filled(x):
    """For learners that take no missing values: -1 tells them apart well enough for trees."""
    return np.where(np.isnan(x), -1, x)


def peers(learner, x, levels, seed):
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from xgboost import XGBClassifier

    if learner == "boosting":
        few = [0 < level <= 255 for level in levels]
        hist = HistGradientBoostingClassifier(
            categorical_features=few, early_stopping=False, random_state=seed
        )
        xgb = XGBClassifier(n_estimators=100, learning_rate=0.1, max_depth=6, n_jobs=1,
                            tree_method="hist", random_state=seed, verbosity=0)
        return {"hist_gradient_boosting": (hist, x), "xgboost": (xgb, x)}
    kind = ExtraTreesClassifier if learner == "extra_trees" else RandomForestClassifier
    return {f"sklearn_{learner}": (kind(100, n_jobs=1, random_state=seed), filled(x))}


def balanced_accuracy(y, predicted):
    return np.mean([np.mean(predicted[y == k] == k) for k in np.unique(y)])


def main():
    from sklearn.model_selection import StratifiedKFold

    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--sets")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learners", default="boosting")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    magnet = Magnet()
    settings = {k: float(v) for k, v in (s.split("=") for s in args.set)}
    files = sorted(pathlib.Path(args.folder).glob("*.csv"))
    wanted = args.sets.split(",") if args.sets else [f.stem for f in files]
    for file in (f for f in files if f.stem in wanted):
        x, levels, y = read(file)
        classes = int(y.max()) + 1
        for learner in args.learners.split(","):
            scores, cpu = {}, {}
            for seed in range(args.seeds):
                folds = StratifiedKFold(args.folds, shuffle=True, random_state=seed).split(x, y)
                for train, test in folds:
                    start = time.process_time()
                    p = magnet.fit_predict(learner, x, levels, y, classes, train, test, settings)
                    cpu["magnet"] = cpu.get("magnet", 0) + time.process_time() - start
                    scores.setdefault("magnet", []).append(
                        balanced_accuracy(y[test], p.argmax(axis=1)))
                    for name, (peer, features) in peers(learner, x, levels, seed).items():
                        start = time.process_time()
                        predicted = peer.fit(features[train], y[train]).predict(features[test])
                        cpu[name] = cpu.get(name, 0) + time.process_time() - start
                        scores.setdefault(name, []).append(balanced_accuracy(y[test], predicted))
            line = {"set": file.stem, "learner": learner}
            for name, values in scores.items():
                line[name] = round(float(np.mean(values)), 4)
            line["cpu_s"] = {name: round(s, 2) for name, s in cpu.items()}
            best = max((n for n in scores if n != "magnet"), key=lambda n: np.mean(scores[n]))
            paired = np.array(scores["magnet"]) - np.array(scores[best])
            error = paired.std(ddof=1) / np.sqrt(len(paired))
            line["difference"] = round(float(paired.mean()), 4)
            line["standard_error"] = round(float(error), 4)
            line["within"] = bool(paired.mean() >= -2 * error)
            print(json.dumps(line), flush=True)


main()
