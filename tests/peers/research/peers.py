"""Randomised search of scikit-learn or XGBoost under a budget of CPU seconds, one thread.

Usage: peers.py CSV ROWS.json --system sklearn|xgboost --cpu-s 60
ROWS.json: {"set", "seed", "train": [...], "test": [...], "drop": [...]?, "folds": [[train, validation], ...]?,
"metric": "balanced_accuracy" or "hit_rate"?, "tuned": false?} with numbers of lines of the CSV. Every trial is cross-validated on the training rows, its class
weights among what is drawn, and its threshold (or factors by class) tuned on the out-of-fold
probabilities. The trial that scores best there is fitted on all training rows. The budget counts
the CPU time of this process and its children from when table and libraries are loaded, the refit
included; a trial that would end beyond it is given up. Prints one JSON line.
"""
import argparse
import json
import os
import resource
import sys
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from sklearn.model_selection import StratifiedKFold  # noqa: E402

from decide import decide, tune  # noqa: E402
from spaces import SYSTEMS  # noqa: E402
from tables import balanced_accuracy, read_table  # noqa: E402

FOLDS = 5


def cpu_s():
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class OutOfBudget(Exception):
    pass


class Search:
    """Trials on the training rows until the budget, less what the refit takes, is used up."""

    def __init__(self, system, frame, target, classes, folds, seed, budget_s, rule):
        self.families = SYSTEMS[system](frame, classes)
        self.frame, self.target, self.classes = frame, target, classes
        self.folds, self.rule = folds, rule
        self.random = np.random.default_rng(seed)
        self.seed = seed
        self.end_s = cpu_s() + budget_s
        self.best = None
        self.trials = 0
        # CPU seconds of a whole trial, by family: the least seen.
        self.cost_s = {}

    def left_s(self):
        refit_s = self.best["cost_s"] * 1.3 / len(self.folds) if self.best else 0
        return self.end_s - cpu_s() - refit_s

    def probabilities(self, family, params, train, rows):
        model = self.families[family].build(params, self.seed, self.target[train])
        model.fit(self.frame.iloc[train], self.target[train])
        found = model.predict_proba(self.frame.iloc[rows])
        out = np.zeros((len(rows), self.classes))
        out[:, model.classes_] = found
        return out

    def trial(self, family, params):
        start = cpu_s()
        out = np.full((len(self.target), self.classes), np.nan)
        for train, validation in self.folds:
            # The first trial is finished whatever it costs: there must be a model.
            if self.best is not None and self.left_s() <= 0:
                raise OutOfBudget
            out[validation] = self.probabilities(family, params, train, validation)
        rows = np.flatnonzero(~np.isnan(out[:, 0]))
        factors, score = tune(out[rows], self.target[rows], **self.rule)
        self.trials += 1
        cost_s = cpu_s() - start
        self.cost_s[family] = min(cost_s, self.cost_s.get(family, cost_s))
        if self.best is None or score > self.best["score"]:
            self.best = {"family": family, "params": params, "factors": factors, "score": score, "cost_s": cost_s}

    def run(self):
        # Each family's defaults, then draws.
        plan = [(name, dict(family.defaults)) for name, family in self.families.items()]
        try:
            while True:
                if plan:
                    family, params = plan.pop(0)
                else:
                    left_s = self.left_s()
                    fitting = [f for f in self.families if self.cost_s.get(f, 0) <= left_s]
                    if not fitting:
                        return
                    family = fitting[self.random.integers(len(fitting))]
                    params = self.families[family].draw(self.random)
                if self.best is not None and self.left_s() <= 0:
                    return
                self.trial(family, params)
        except OutOfBudget:
            return

    def predict(self, rows, frame):
        """By the best trial's model, fitted on all training rows."""
        best = self.best
        model = self.families[best["family"]].build(best["params"], self.seed, self.target)
        model.fit(self.frame, self.target)
        found = model.predict_proba(frame.iloc[rows])
        out = np.zeros((len(rows), self.classes))
        out[:, model.classes_] = found
        return decide(out, best["factors"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("csv")
    parser.add_argument("rows")
    parser.add_argument("--system", choices=sorted(SYSTEMS), required=True)
    parser.add_argument("--cpu-s", type=float, default=60)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with open(args.rows) as file:
        rows = json.load(file)
    whole, target, classes = read_table(args.csv, rows.get("drop", []))
    train, test = np.array(rows["train"]), np.array(rows["test"])
    frame, known = whole.iloc[train].reset_index(drop=True), target[train]
    if "folds" in rows:
        place = {row: i for i, row in enumerate(rows["train"])}
        folds = [tuple(np.array([place[r] for r in part]) for part in fold) for fold in rows["folds"]]
    else:
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=rows["seed"] % 2**32)
        folds = list(split.split(np.zeros(len(known)), known))
    SYSTEMS[args.system](frame, len(classes))  # loads the library
    start = cpu_s()
    rule = {name: rows[name] for name in ("metric", "tuned") if name in rows}
    seed = rows["seed"] % 2**32
    search = Search(args.system, frame, known, len(classes), folds, seed, args.cpu_s, rule)
    search.run()
    predicted = search.predict(test, whole)
    used_s = cpu_s() - start
    line = {
        "system": args.system,
        "set": rows["set"],
        "seed": rows["seed"],
        "balanced_accuracy": balanced_accuracy(target[test], predicted),
        "search_score": search.best["score"],
        "cpu_s": used_s,
        "loading_cpu_s": start,
        "trials": search.trials,
        "picked": {"family": search.best["family"], "params": search.best["params"]},
        "predictions": [classes[k] for k in predicted],
    }
    json.dump(line, sys.stdout)
    print()


main()
