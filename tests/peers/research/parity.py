"""Parity of the native learners with scikit-learn and XGBoost on real sets, by balanced accuracy.

Usage: parity.py FOLDER [--sets a,b] [--folds 5] [--seeds 3] [--learners boosting,forest] [--equal:
scikit-learn's boosting with depth 6 and L2 of 1, as ours and XGBoost's] [--kept FILE: the peers'
folds are run once] [--set name=value]. FOLDER holds what export.R wrote. The library is
called through its C ABI (build/libmagnet_cpu.so), so all systems get the same folds and the same
columns. One JSON line for each set and learner: scores, CPU seconds, and by peer the paired
difference and whether magnet's learner is within two standard errors.
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
from parity_peers import PEERS  # noqa: E402

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


def balanced_accuracy(y, predicted):
    return np.mean([np.mean(predicted[y == k] == k) for k in np.unique(y)])


class Scores:
    """Of peers, by set, learner, system, seed and fold: a peer's folds are run once and kept."""

    def __init__(self, file):
        self.file, self.known = file, {}
        if file and os.path.exists(file):
            for line in open(file, encoding="utf8"):
                entry = json.loads(line)
                self.known[tuple(entry["key"])] = entry["values"]

    def get(self, key, make):
        """[balanced accuracy, CPU seconds]"""
        if key not in self.known:
            start = time.process_time()
            score = make()
            self.known[key] = [float(score), time.process_time() - start]
            if self.file:
                with open(self.file, "a", encoding="utf8") as out:
                    out.write(json.dumps({"key": key, "values": self.known[key]}) + "\n")
        return self.known[key]


def compare(ours, theirs, test_to_train):
    """The paired difference with its standard error over folds and, as folds share their rows, the
    one corrected for that (Nadeau and Bengio 2003)."""
    paired = np.array(ours) - np.array(theirs)
    spread, count = paired.std(ddof=1), len(paired)
    error = spread / np.sqrt(count)
    corrected = spread * np.sqrt(1 / count + test_to_train)
    return {
        "score": round(float(np.mean(theirs)), 4),
        "difference": round(float(paired.mean()), 4),
        "standard_error": round(float(error), 4),
        "corrected_error": round(float(corrected), 4),
        "within": bool(paired.mean() >= -2 * error),
        "within_corrected": bool(paired.mean() >= -2 * corrected),
    }


def run_set(magnet, file, learner, args, settings, kept):
    from sklearn.model_selection import StratifiedKFold

    x, levels, y = read(file)
    classes = int(y.max()) + 1
    results = {}
    for seed in range(args.seeds):
        splits = StratifiedKFold(args.folds, shuffle=True, random_state=seed).split(x, y)
        for fold, (train, test) in enumerate(splits):

            def ours():
                p = magnet.fit_predict(learner, x, levels, y, classes, train, test, settings)
                return balanced_accuracy(y[test], p.argmax(axis=1))

            fresh = Scores(None)
            results.setdefault("magnet", []).append(fresh.get((), ours))
            for name, (peer, features) in PEERS[learner](x, levels, seed, args.equal).items():

                def theirs():
                    fitted = peer.fit(features[train], y[train])
                    return balanced_accuracy(y[test], fitted.predict(features[test]))

                key = (file.stem, learner, name, args.equal, args.folds, seed, fold)
                results.setdefault(name, []).append(kept.get(key, theirs))
    scores = {name: [s for s, _ in values] for name, values in results.items()}
    own = round(float(np.mean(scores["magnet"])), 4)
    line = {"set": file.stem, "learner": learner, "magnet": own}
    for name, values in scores.items():
        if name != "magnet":
            line[name] = compare(scores["magnet"], values, 1 / (args.folds - 1))
    line["cpu_s"] = {name: round(sum(s for _, s in v), 2) for name, v in results.items()}
    return line


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--sets")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learners", default=",".join(LEARNERS))
    parser.add_argument("--equal", action="store_true")
    parser.add_argument("--kept")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    magnet = Magnet()
    kept = Scores(args.kept)
    settings = {k: float(v) for k, v in (s.split("=") for s in args.set)}
    wanted = args.sets.split(",") if args.sets else sorted(
        f.stem for f in pathlib.Path(args.folder).glob("*.csv"))
    for learner in args.learners.split(","):
        for name in wanted:
            file = pathlib.Path(args.folder) / f"{name}.csv"
            print(json.dumps(run_set(magnet, file, learner, args, settings, kept)), flush=True)


main()
