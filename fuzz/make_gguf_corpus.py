#!/usr/bin/env python3
"""Write the seed corpus of the GGUF reader: fuzz/make_gguf_corpus.py [FOLDER]

Tiny files, made by hand so that each has one fault. valid-*.gguf must open, every other file must
be refused; tests/unit/test_gguf_corpus.c holds the reader to both."""
import os
import struct
import sys

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
T_F32, T_F16, T_Q4_0 = 0, 1, 2


def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def key(name, kind, value):
    head = text(name) + struct.pack("<I", kind)
    if kind == STRING:
        return head + text(value)
    return head + struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}[kind], value)


def array(name, kind, items):
    head = text(name) + struct.pack("<IIQ", ARRAY, kind, len(items))
    if kind == STRING:
        return head + b"".join(text(i) for i in items)
    return head + b"".join(struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], i) for i in items)


def tensor(name, ne, kind, offset):
    return (text(name) + struct.pack("<I", len(ne)) + b"".join(struct.pack("<Q", n) for n in ne) +
            struct.pack("<IQ", kind, offset))


def gguf(keys, tensors, n_data, version=3, n_keys=None, n_tensors=None, align=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                                 len(keys) if n_keys is None else n_keys)
    head += b"".join(keys) + b"".join(tensors)
    if tensors:
        head += bytes(-len(head) % align)
    return head + bytes((i * 37 + 11) % 251 for i in range(n_data))


ARCH = key("general.architecture", STRING, "llama")
KEYS = [
    ARCH,
    key("general.name", STRING, "tiny"),
    key("general.file_type", U32, 2),
    key("llama.block_count", U32, 1),
    key("llama.context_length", U32, 64),
    key("llama.embedding_length", U32, 32),
    key("llama.feed_forward_length", U32, 64),
    key("llama.attention.head_count", U32, 4),
    key("llama.attention.head_count_kv", U32, 2),
    key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
    key("tokenizer.ggml.model", STRING, "llama"),
    array("tokenizer.ggml.tokens", STRING, ["<unk>", "<s>", "</s>", "a", "b", "ab", "\u2581", ""]),
    array("tokenizer.ggml.scores", F32, [0, 0, 0, -1, -2, -3, -4, -5]),
    array("tokenizer.ggml.token_type", I32, [2, 3, 3, 1, 1, 1, 1, 1]),
    key("tokenizer.ggml.add_bos_token", BOOL, 1),
]
TENSORS = [
    tensor("token_embd.weight", [32, 8], T_Q4_0, 0),  # 144 bytes
    tensor("blk.0.attn_norm.weight", [32], T_F32, 160),  # 128
    tensor("blk.0.ffn_up.weight", [32, 16], T_F16, 288),  # 1024
]
N_DATA = 288 + 1024
VALID = gguf(KEYS, TENSORS, N_DATA)
ONE = [tensor("t", [32], T_F32, 0)]


def flip(data, at, bit):
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def files():
    layers = [ARCH, key("llama.block_count", U32, 3), key("llama.attention.head_count", U32, 4),
              array("llama.attention.head_count_kv", I32, [4, 0, 2]),
              array("llama.feed_forward_length", I32, [8, 16, 4])]
    yield "valid-tiny", VALID
    yield "valid-version-2", gguf(KEYS, TENSORS, N_DATA, version=2)
    yield "valid-no-tensors", gguf(KEYS, [], 0)
    yield "valid-layers", gguf(layers, [], 0)
    yield "valid-align-64", gguf([ARCH, key("general.alignment", U32, 64)], ONE, 128, align=64)
    yield "valid-gap", gguf([ARCH], [tensor("late", [8], T_F32, 4096), tensor("early", [8], T_F32, 0)],
                            4096 + 32)
    yield "valid-unknown-arch", gguf([key("general.architecture", STRING, "nobody-knows")], ONE, 128)
    yield "empty", b""
    yield "not-gguf", b"PK\x03\x04 this is some other file"
    yield "magic-only", b"GGUF"
    for n in (6, 23, 24, 40, 200, 500, len(VALID) - N_DATA, len(VALID) - 1):
        yield f"truncated-{n}", VALID[:n]
    yield "version-1", gguf(KEYS, TENSORS, N_DATA, version=1)
    yield "big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "tensors-huge", gguf(KEYS, TENSORS, N_DATA, n_tensors=2**63)
    yield "tensors-many", gguf(KEYS, TENSORS, N_DATA, n_tensors=60000)
    yield "keys-huge", gguf(KEYS, TENSORS, N_DATA, n_keys=2**64 - 1)
    yield "keys-many", gguf(KEYS, TENSORS, N_DATA, n_keys=60000)
    yield "keys-one-less", gguf(KEYS, TENSORS, N_DATA, n_keys=len(KEYS) - 1)
    yield "string-huge", gguf([ARCH, text("k") + struct.pack("<IQ", STRING, 2**64 - 1)], [], 0)
    yield "array-huge", gguf([ARCH, text("k") + struct.pack("<IIQ", ARRAY, U64, 2**61)], [], 0)
    yield "array-of-arrays", gguf([ARCH, text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)], [], 64)
    yield "array-string-huge", gguf([ARCH, text("k") + struct.pack("<IIQQ", ARRAY, STRING, 1, 2**63)], [], 64)
    yield "key-type", gguf([ARCH, text("k") + struct.pack("<IQ", 99, 0)], [], 0)
    yield "key-twice", gguf([ARCH, ARCH], [], 0)
    yield "key-empty", gguf([ARCH, key("", U32, 0)], [], 0)
    yield "key-zero-byte", gguf([ARCH, key("a\0b", U32, 0)], [], 0)
    yield "align-33", gguf([ARCH, key("general.alignment", U32, 33)], ONE, 128)
    yield "arch-none", gguf([], ONE, 128)
    yield "arch-number", gguf([key("general.architecture", U32, 1)], ONE, 128)
    yield "layers-negative", gguf([ARCH, key("llama.block_count", I32, -1)], ONE, 128)
    yield "layers-text", gguf([ARCH, key("llama.block_count", STRING, "32")], ONE, 128)
    yield "split-lost", gguf([ARCH, key("split.no", U32, 0), key("split.count", U32, 3)], ONE, 128)
    yield "dims-none", gguf([ARCH], [tensor("t", [], T_F32, 0)], 128)
    yield "dims-5", gguf([ARCH], [tensor("t", [1, 1, 1, 1, 1], T_F32, 0)], 128)
    yield "dim-zero", gguf([ARCH], [tensor("t", [0], T_F32, 0)], 128)
    yield "dim-negative", gguf([ARCH], [tensor("t", [2**64 - 4], T_F32, 0)], 128)
    yield "product-overflow", gguf([ARCH], [tensor("t", [2**32, 2**32, 2**32], T_F32, 0)], 128)
    yield "bytes-overflow", gguf([ARCH], [tensor("t", [2**62], T_F32, 0)], 128)
    yield "row-odd", gguf([ARCH], [tensor("t", [33], T_Q4_0, 0)], 128)
    yield "type-dropped", gguf([ARCH], [tensor("t", [32], 4, 0)], 128)
    yield "type-unknown", gguf([ARCH], [tensor("t", [32], 2**32 - 1, 0)], 128)
    yield "offset-odd", gguf([ARCH], [tensor("t", [8], T_F32, 8)], 128)
    yield "offset-huge", gguf([ARCH], [tensor("t", [8], T_F32, 2**64 - 32)], 128)
    yield "overlap", gguf([ARCH], [tensor("a", [32], T_F32, 0), tensor("b", [32], T_F32, 96)], 256)
    yield "overlap-equal", gguf([ARCH], [tensor("a", [8], T_F32, 0), tensor("b", [8], T_F32, 0)], 64)
    yield "tensor-twice", gguf([ARCH], [tensor("a", [8], T_F32, 0), tensor("a", [8], T_F32, 32)], 64)
    yield "name-long", gguf([ARCH], [tensor("n" * 64, [8], T_F32, 0)], 64)
    for at, bit in ((0, 0), (4, 6), (8, 5), (16, 4), (24, 7), (25, 0), (31, 3), (52, 2)):
        yield f"flipped-{at}-{bit}", flip(VALID, at, bit)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "corpus", "gguf")
    os.makedirs(folder, exist_ok=True)
    for name, data in files():
        with open(os.path.join(folder, name + ".gguf"), "wb") as f:
            f.write(data)


main()
