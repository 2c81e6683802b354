"""The golden files (tests/golden/bitnet/README.md) against libmagnet_cuda on the GPU, at both
precisions: relative L2 of gradients against float64 (whole, and of the worst tensor), losses, three
AdamW steps; and that a step gives the same bits twice."""
import json
import os

import numpy

from magnet_abi import GRAD, PARAMS, Library, Trainer, pack_adamw, row

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/bitnet")
GRADIENT_GOAL = {"float32": 1e-5, "backend": 2e-2}
# Of the file in which codes flip between float32 and float64.
FLIPS_GOAL = 5e-3
LOSS_GOAL = {"float32": 1e-5, "backend": 5e-3}
NAMES = {"float32": "float32", "backend": "bfloat16"}


class Golden:
    def __init__(self, name):
        path = os.path.join(FOLDER, f"{name}.safetensors")
        with open(path, "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        self.metadata = header.pop("__metadata__")
        kinds = {"F32": "<f4", "I32": "<i4"}
        self.tensors = {
            key: numpy.frombuffer(
                data[start + e["data_offsets"][0] : start + e["data_offsets"][1]], kinds[e["dtype"]]
            ).reshape(e["shape"])
            for key, e in header.items()
        }

    def json(self, key):
        return json.loads(self.metadata[key])

    def config(self):
        c = self.json("config")
        return {
            **{"variant": "bitnet" if c["variant"] == "subln" else "llama"},
            **{"vocab_size": c["vocab"], "d_model": c["dim"], "n_layers": c["n_layers"]},
            **{"n_heads": c["n_heads"], "n_kv_heads": c["n_kv_heads"], "head_dim": c["head_dim"]},
            **{"d_ff": c["ffn_dim"], "context": c["ctx"], "rope_theta": c["rope_theta"]},
            **{"norm_eps": c["rms_eps"]},
        }

    def arena(self, prefix, tensors):
        return numpy.concatenate([self.tensors[f"{prefix}/{t[0]}"].ravel() for t in tensors])


def relative(a, b):
    a, b = a.astype(numpy.float64), b.astype(numpy.float64)
    return float(numpy.linalg.norm(a - b) / numpy.linalg.norm(b))


def worst(tensors, found, expected):
    """(error, name) of the tensor that is furthest off."""
    errors = []
    for name, at, rows, columns in tensors:
        part = slice(at, at + rows * columns)
        errors.append((relative(found[part], expected[part]), name))
    return max(errors)


def gradient_row(what, goal, tensors, found, expected):
    """The whole gradient and the tensor that is furthest off, both against the goal."""
    error = relative(found, expected)
    off, name = worst(tensors, found, expected)
    value = f"whole {error:.2e}; worst {off:.2e} of {name}"
    row(f"{what}: gradients", f"<= {goal:g}", value, max(error, off) <= goal)


def start(library, golden, batch, context, precision):
    trainer = Trainer(library, golden.config(), batch, context, precision)
    tensors = trainer.tensors()
    trainer.push(PARAMS, golden.arena("w0", tensors))
    return trainer, tensors


def check_training(library, name, precision):
    golden = Golden(name)
    tokens = golden.tensors["tokens"]
    steps, batch, width = tokens.shape
    trainer, tensors = start(library, golden, batch, width - 1, precision)
    loss, _, _ = trainer.gradient(tokens[0])
    first = trainer.pull(GRAD).copy()
    what = f"{name}, {NAMES[precision]}"
    flips = name.endswith("flips") and precision == "float32"
    goal = FLIPS_GOAL if flips else GRADIENT_GOAL[precision]
    gradient_row(what, goal, tensors, first, golden.arena("grad_f64", tensors))
    off = abs(loss - golden.json("loss_f64")[0])
    row(f"{what}: loss", f"<= {LOSS_GOAL[precision]:g}", f"{off:.1e} nats off", off <= LOSS_GOAL[precision])
    trainer.gradient(tokens[0])
    same = bool((trainer.pull(GRAD) == first).all())
    row(f"{what}: twice the same bits", "yes", "yes" if same else "no", same)
    o = golden.json("optimizer")
    for i in range(steps):
        numbers = (o["lr"], *o["betas"], o["eps"], o["weight_decay"], o["clip_norm"])
        trainer.step(tokens[i], pack_adamw(i + 1, *numbers))
    w0 = golden.arena("w0", tensors)
    moved = golden.arena("w3_f32", tensors) - w0
    error, tensor = worst(tensors, trainer.pull(PARAMS) - w0, moved)
    holds = error <= (2e-2 if flips else 1e-3) if precision == "float32" else None
    row(f"{what}: three steps", f"<= {2e-2 if flips else 1e-3:g} in float32", f"{error:.2e} ({tensor})", holds)
    trainer.close()


def check_orpo(library, precision):
    golden = Golden("orpo_small")
    t = golden.tensors
    pairs, width = t["ids_chosen"].shape
    trainer, tensors = start(library, golden, 2 * pairs, width - 1, precision)
    both = [numpy.stack([t[f"{k}_chosen"], t[f"{k}_rejected"]], 1) for k in ("ids", "labels")]
    result = trainer.orpo_gradient(*both, pairs, width, golden.json("beta"))
    what = f"orpo_small, {NAMES[precision]}"
    expected = golden.arena("grad_f64", tensors)
    gradient_row(what, GRADIENT_GOAL[precision], tensors, trainer.pull(GRAD), expected)
    off = abs(result[0] - golden.json("loss_f64"))
    row(f"{what}: loss", f"<= {LOSS_GOAL[precision]:g}", f"{off:.1e} off", off <= LOSS_GOAL[precision])
    trainer.close()


def main():
    library = Library("libmagnet_cuda.so")
    for precision in ("float32", "backend"):
        for name in ("train_tiny_subln", "train_tiny_subln_flips", "train_small_llama"):
            check_training(library, name, precision)
        check_orpo(library, precision)


main()
