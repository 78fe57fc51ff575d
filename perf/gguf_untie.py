"""A copy of a GGUF with tied embeddings in which output.weight is a tensor of its own: the same function, and
both uses of the matrix can be quantised apart."""
import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
BYTES = {0: 4, 1: 2, 30: 2}  # f32, f16, bf16
ALIGNMENT = 32


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value = struct.unpack_from("<" + form, self.data, self.at)[0]
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at]

    def skip(self, kind):
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            item, n = self.take("I"), self.take("Q")
            if item == STRING:
                for _ in range(n):
                    self.text()
            else:
                self.at += SIZES[item] * n
        else:
            self.at += SIZES[kind]


def padded(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def untie(source, target):
    """Returns False, and writes nothing, when the output is a tensor already."""
    with open(source, "rb") as file:
        data = file.read()
    r = Reader(data)
    r.at = 8
    n_tensors, n_keys = r.take("Q"), r.take("Q")
    for _ in range(n_keys):
        r.text()
        r.skip(r.take("I"))
    infos_begin, embedding = r.at, None
    for _ in range(n_tensors):
        begin, name = r.at, r.text()
        n_dims = r.take("I")
        dims = [r.take("Q") for _ in range(n_dims)]
        kind, offset = r.take("I"), r.take("Q")
        if name == b"output.weight":
            return False
        if name == b"token_embd.weight":
            size = BYTES[kind]
            for n in dims:
                size *= n
            embedding = (data[begin + 8 + len(name):r.at - 8], offset, size)
    body = padded(data[len(padded(data[:r.at])):])
    shape, offset, size = embedding
    name = b"output.weight"
    info = struct.pack("<Q", len(name)) + name + shape + struct.pack("<Q", len(body))
    head = data[:8] + struct.pack("<QQ", n_tensors + 1, n_keys) + data[24:infos_begin] + data[infos_begin:r.at] + info
    with open(target, "wb") as file:
        file.write(padded(head) + body + padded(body[offset:offset + size]))
    return True
