"""Runs a bench of cpp/cuda/tests and makes rows of its lines: `gemm`, the matrix products of a step by
every path, and `delta`, the arithmetic of a round beside the memory's bandwidth."""
import os
import re
import subprocess
import sys

from magnet_abi import MADE, row


def lines_of(program):
    """Printed as they come; an exit status that is not 0 is raised when all of them are read."""
    with subprocess.Popen([os.path.join(MADE, program)], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            print(line, end="", flush=True)
            yield line
    if child.returncode != 0:
        raise SystemExit(f"{program} ended with {child.returncode}")


def gemm():
    """A row for each kind of product: rate of each path over all its shapes, by their operations. It
    is written when the bench has come to another kind of shape, or to its end."""
    pattern = re.compile(r"(\w+) +(\S.*?) +(\d+) x +(\d+) x +(\d+) +([\d.]+) us")
    found = {}
    try:
        for line in lines_of("gemm_bench"):
            match = pattern.match(line)
            if match is None:
                continue
            path, what, *numbers = match.groups()
            m, n, k = (int(text) for text in numbers[:3])
            total = found.setdefault(what, {}).setdefault(path, [0.0, 0.0])
            total[0] += 2.0 * m * n * k
            total[1] += float(numbers[3]) / 1e6
    finally:
        for what, paths in found.items():
            rates = [f"{path} {work / max(time, 1e-9) / 1e12:.3g}" for path, (work, time) in paths.items()]
            row(f"matrix products, {what}", "", f"TFLOP/s: {', '.join(rates)}", None)
    if not found:
        raise SystemExit("gemm_bench printed no line that is understood")


def delta():
    """A row for each encoding: its slowest kernel."""
    pattern = re.compile(r"(\S.*?) +(int4|int8|fp16|fp32)? +([\d.]+) us +([\d.]+) GB/s")
    slowest = {}
    try:
        for line in lines_of("delta_bench"):
            match = pattern.match(line)
            if match is None:
                continue
            what, kind, _, rate = match.groups()
            slowest.setdefault(kind or "outer step", []).append((float(rate), what))
    finally:
        for kind, kernels in slowest.items():
            (low, name), (high, _) = min(kernels), max(kernels)
            value = f"{low:,.4g} ({name}) to {high:,.4g} GB/s"
            row(f"round's arithmetic, {kind}", "", value, None)
    if not slowest:
        raise SystemExit("delta_bench printed no line that is understood")


{"gemm": gemm, "delta": delta}[sys.argv[1]]()
