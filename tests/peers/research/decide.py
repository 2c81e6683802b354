"""Decision rules tuned on out-of-fold probabilities: one factor for each class.

For two classes that is a threshold. The best factor of one class, the others' held, is found exactly;
that is repeated over the classes until nothing improves.
"""
import numpy as np


def weights(target, classes, metric):
    """What a row of each class that is decided right adds to the score."""
    count = np.bincount(target, minlength=classes)
    if metric == "hit_rate":
        return np.full(classes, 1.0 / len(target))
    present = max(1, int(np.sum(count > 0)))
    return np.where(count > 0, 1.0 / np.maximum(count, 1) / present, 0.0)


def score_of(probabilities, target, factors, weight):
    return float(np.sum(weight[target] * (decide(probabilities, factors) == target)))


def decide(probabilities, factors):
    return np.argmax(probabilities * factors, axis=1)


def best_factor(p, target, factors, k, weight):
    """The factor of class k with which the score is highest, and that score."""
    scaled = p * factors
    scaled[:, k] = -1.0
    other = scaled.argmax(axis=1)
    with np.errstate(divide="ignore"):
        # With a factor above it the row goes to k.
        limit = scaled[np.arange(len(p)), other] / p[:, k]
    gain = np.where(target == k, weight[target], np.where(other == target, -weight[target], 0.0))
    order = np.argsort(limit, kind="stable")
    limit, score = limit[order], np.cumsum(gain[order])
    start = float(np.sum(np.where(other == target, weight[target], 0.0)))
    ends = np.flatnonzero(np.append(limit[1:] > limit[:-1], True) & np.isfinite(limit))
    if len(ends) == 0:
        return factors[k], score_of(p, target, factors, weight)
    at = ends[np.argmax(score[ends])]
    if score[at] <= 0:
        return factors[k], start
    following = limit[at + 1] if at + 1 < len(limit) and np.isfinite(limit[at + 1]) else limit[at] * 1.01
    factor = np.sqrt(max(limit[at], 1e-12) * max(following, 1e-12))
    return float(factor), start + float(score[at])


def tune(probabilities, target, metric="balanced_accuracy", tuned=True, sweeps=3):
    """Factors by class (all 1 if not tuned), and the score with them."""
    classes = probabilities.shape[1]
    weight = weights(target, classes, metric)
    best = np.ones(classes)
    best_score = score_of(probabilities, target, best, weight)
    if not tuned:
        return best, best_score
    share = np.bincount(target, minlength=classes) / len(target)
    # From equal factors, and from those that undo the classes' shares.
    for start in (np.ones(classes), 1.0 / np.maximum(share, 1e-3)):
        factors = start.copy()
        for _ in range(sweeps):
            before = factors.copy()
            for k in range(classes if classes > 2 else 1):
                factors[k], _ = best_factor(probabilities, target, factors, k, weight)
            if np.allclose(before, factors):
                break
        score = score_of(probabilities, target, factors, weight)
        if score > best_score:
            best, best_score = factors, score
    return best, best_score
