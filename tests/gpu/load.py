"""The library by itself: whether it loads and holds what these scripts call, and which GPUs it sees. In a
rehearsal also what nvcc made, which says that there is no driver, or is not there."""
import ctypes
import json
import os
import re
import time

from magnet_abi import MADE, REHEARSAL, Library, row

HERE = os.path.dirname(os.path.abspath(__file__))


def called():
    """Names of the C ABI in the scripts beside this."""
    names = set()
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".py"):
            with open(os.path.join(HERE, name)) as file:
                names.update(re.findall(r'"(mg_\w+)"', file.read()))
    return sorted(names)


def info_of(library):
    text = ctypes.create_string_buffer(65536)
    library("mg_gpu_info", text, ctypes.c_uint64(len(text)))
    return json.loads(text.value)


def main():
    started = time.perf_counter()
    library = Library("libmagnet_cuda.so")
    info = info_of(library)
    seconds = time.perf_counter() - started
    lacking = [name for name in called() if not hasattr(library.calls, name)]
    row("libmagnet_cuda.so", "holds what is called", f"lacks {lacking}" if lacking else "all", not lacking)
    print(json.dumps(info), flush=True)
    row("loading it and starting the GPUs", "", f"{seconds:.2f} s", None)
    gpus = [f"{d['name']}, {d['capability']}{d['error']}" for d in info["devices"]]
    versions = f"driver {info['driver_version']}, runtime {info['runtime_version']}"
    value = "; ".join([*gpus, info["why_none"] or versions])
    row("GPUs that it sees", "at least one", value, any(not d["error"] for d in info["devices"]))
    by_nvcc = os.path.join(MADE, "../libmagnet_cuda.so")
    if REHEARSAL and os.path.exists(by_nvcc):
        why = info_of(Library("../libmagnet_cuda.so"))["why_none"]
        row("the library of nvcc", "loads", f"sees no GPU: {why}" if why else "sees a GPU", True)


main()
