"""magnet's C ABI from Python, as far as tests/gpu needs it: layouts in cpp/include/magnet.h and
magnet_train.h. The same class drives libmagnet_cuda and libmagnet_cpu."""
import ctypes
import json
import os
import struct

import numpy

MADE = os.environ.get("MAGNET_GPU_MADE", "build/gpu")
ROWS = [file for file in os.environ.get("MAGNET_GPU_ROWS", "").split(":") if file]
# Without a GPU, at tiny sizes: says whether the scripts work.
REHEARSAL = os.environ.get("MAGNET_GPU_REHEARSAL", "") != ""
PRECISIONS = {"backend": 0, "float32": 1}
PARAMS, M, V, GRAD = range(4)


def row(what, goal, value, holds):
    """A row of the table at the end of run.sh; printed too. A full disk takes one of its places."""
    print(f"{what}: {value} (goal: {goal or 'none'})", flush=True)
    line = json.dumps({"what": what, "goal": goal, "value": value, "holds": holds}) + "\n"
    for name in ROWS:
        try:
            with open(name, "a") as file:
                file.write(line)
        except OSError as error:
            print(f"{name}: {error}", flush=True)


def speed_row(what, goal, value, holds):
    """Of a rehearsal no speed is judged."""
    row(what, goal, value, None if REHEARSAL else holds)


class Library:
    def __init__(self, name):
        self.calls = ctypes.CDLL(os.path.join(MADE, name))

    def __call__(self, symbol, *arguments):
        status = getattr(self.calls, symbol)(*arguments)
        if status != 0:
            text = ctypes.create_string_buffer(1024)
            self.calls.mg_last_error(text, ctypes.c_uint64(1024))
            raise RuntimeError(f"{symbol}: {status}: {text.value.decode()}")


def pack_model(c):
    """c: fields as in src/model/config.ts."""
    return struct.pack(
        "<9I2fI",
        *(["llama", "bitnet"].index(c["variant"]), c["vocab_size"], c["d_model"], c["n_layers"]),
        *(c["n_heads"], c["n_kv_heads"], c["head_dim"], c["d_ff"], c["context"]),
        *(c["rope_theta"], c["norm_eps"], 0),
    )


def pack_adamw(step, lr, beta1, beta2, eps, weight_decay, clip):
    return struct.pack("<I7f2Q", 0, lr, beta1, beta2, eps, weight_decay, clip, 0.0, step, 0)


def address(array):
    return ctypes.c_void_p(array.ctypes.data)


class Trainer:
    def __init__(self, library, config, batch, context, precision="backend"):
        self.call = library
        self.config = config
        self.model = pack_model(config)
        self.options = struct.pack(
            "<8I", batch, context, 0, 0, 0, PRECISIONS[precision], 0, 0
        )
        count = ctypes.c_uint64()
        self.call("mg_model_param_count", self.model, ctypes.byref(count))
        self.count = count.value
        self.handle = ctypes.c_void_p()
        self.call("mg_trainer_create", self.model, self.options, ctypes.byref(self.handle))

    @staticmethod
    def bytes_needed(library, config, batch, context):
        out = ctypes.c_uint64()
        options = struct.pack("<8I", batch, context, 0, 0, 0, 0, 0, 0)
        library("mg_trainer_bytes", pack_model(config), options, ctypes.byref(out))
        return out.value

    def arena(self, which):
        """The host's view; pull before reading, push after writing."""
        pointer = ctypes.POINTER(ctypes.c_float)()
        self.call("mg_trainer_arena", self.handle, which, ctypes.byref(pointer))
        return numpy.ctypeslib.as_array(pointer, (self.count,))

    def pull(self, which):
        self.call("mg_trainer_pull", self.handle, which)
        return self.arena(which)

    def push(self, which, values):
        self.arena(which)[:] = values
        self.call("mg_trainer_push", self.handle, which)

    def initialise(self, seed):
        params = self.arena(PARAMS)
        self.call(
            "mg_model_init",
            self.model,
            ctypes.c_uint64(seed),
            address(params),
            ctypes.c_uint64(self.count),
        )
        self.call("mg_trainer_push", self.handle, PARAMS)

    def tensors(self):
        """(name, first element, rows, columns) in the order of the arenas."""
        count = ctypes.c_uint32()
        self.call("mg_model_tensor_count", self.model, ctypes.byref(count))
        found = []
        for i in range(count.value):
            info = ctypes.create_string_buffer(128)
            self.call("mg_model_tensor_info", self.model, i, info)
            name = info.raw[:96].split(b"\0")[0].decode()
            found.append((name, *struct.unpack_from("<QII", info.raw, 96)))
        return found

    def step(self, tokens, optimizer, accumulate=1):
        """Loss, gradient norm, tokens."""
        tokens = numpy.ascontiguousarray(tokens, numpy.int32)
        out = ctypes.create_string_buffer(32)
        self.call("mg_trainer_step", self.handle, address(tokens), accumulate, optimizer, None, out)
        return struct.unpack_from("<ddQ", out.raw)

    def gradient(self, tokens):
        tokens = numpy.ascontiguousarray(tokens, numpy.int32)
        out = ctypes.create_string_buffer(32)
        self.call("mg_trainer_gradient", self.handle, address(tokens), None, out)
        return struct.unpack_from("<ddQ", out.raw)

    def orpo_gradient(self, tokens, labels, pairs, width, beta):
        """Loss first; the rest as in mg_orpo_result."""
        tokens = numpy.ascontiguousarray(tokens, numpy.int32)
        labels = numpy.ascontiguousarray(labels, numpy.int32)
        out = ctypes.create_string_buffer(72)
        self.call(
            "mg_trainer_orpo",
            *(self.handle, address(tokens), address(labels), pairs, width, 1),
            *(ctypes.c_float(beta), None, None, out),
        )
        return struct.unpack_from("<7d2Q", out.raw)

    def profile(self, reset=False):
        text = ctypes.create_string_buffer(16384)
        self.call("mg_trainer_profile", self.handle, int(reset), text, ctypes.c_uint64(16384))
        return json.loads(text.value)

    def close(self):
        self.call("mg_trainer_free", self.handle)
        self.handle = ctypes.c_void_p()
