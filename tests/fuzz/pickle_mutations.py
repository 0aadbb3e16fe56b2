"""Mutations of pickled checkpoints: instructions of the pickle, entries of the archive, and programs that must not run.

A program that runs would leave a file named ``EXECUTED`` in the working folder.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import zipfile

from fuzz.bytes_mutations import mutate_bytes

MARKER = "EXECUTED"
_TOUCH, _CODE = f"touch {MARKER}", f"open('{MARKER}', 'w')"
_CALLS: list[tuple[str, tuple[object, ...]]] = [
    ("os.system", (_TOUCH,)), ("posix.system", (_TOUCH,)), ("builtins.eval", (_CODE,)), ("builtins.exec", (_CODE,)),
    ("builtins.open", (MARKER, "w")), ("io.open", (MARKER, "w")), ("subprocess.Popen", (["touch", MARKER],)),
    ("subprocess.check_output", (["touch", MARKER],)), ("builtins.__import__", ("antigravity",)),
    ("builtins.getattr", ("", "format")), ("pathlib.Path.touch", (MARKER,)), ("webbrowser.open", ("x",)),
    ("runpy._run_code", (_CODE, {})), ("timeit.timeit", (_CODE,)), ("code.InteractiveInterpreter.runcode", (_CODE,)),
    ("functools.partial", (print,)), ("operator.methodcaller", ("x",)), ("types.CodeType", ()),
    ("numpy.core.multiarray._reconstruct", (0, (0,), b"b")), ("numpy.testing._private.utils.runstring", (_CODE, {})),
    ("torch.load", (MARKER,)), ("torch.serialization.load", (MARKER,)), ("torch.hub.load", ("x", "y")),
    ("torch.jit.unsupported_tensor_ops.execWrapper", (_CODE, {}, {})), ("torch.utils._config_module.load_config", ()),
    ("torch.fx.graph_module._deserialize_graph_module", (None, {})), ("torch._utils._rebuild_sparse_tensor", (0, ())),
    ("torch._utils._rebuild_wrapper_subclass", ()), ("torch._utils._rebuild_meta_tensor_no_storage", (0, (2**40,))),
    ("torch._tensor._rebuild_from_type_v2", (print, str, (), {})), ("torch.Tensor", (2**34,)),
    ("torch.nn.parameter.Parameter", (3,)), ("torch.storage._load_from_bytes", (b"x",)),
    ("torch.FloatStorage", (2**34,)),
    ("torch._utils._rebuild_tensor_v2", (1, 0, (2**40,), (1,), False, {})), ("torch.Size", ((2**62, 2**62),)),
    ("collections.OrderedDict", ([(1, 2)],)), ("torch.device", ("meta",)), ("builtins.bytearray", (2**36,)),
    ("builtins.list", ("x" * 10,)), ("_codecs.encode", ("x", "latin1")),
    ("copyreg._reconstructor", (object, object, 0)),
    ("argparse.Namespace", ()), ("video_tokenizer.VideoTokenizerConfig", ()), ("__main__.Config", ()),
]  # fmt: skip
_NUMBERS = (-1, 0, 1, 2, 255, 2**31, 2**40, 2**62, 2**63, 2**80)


def mutate_pickled(content: bytes, chance: random.Random) -> bytes:
    """Return a checkpoint near ``content``, which is an archive or a stream of torch before 1.6."""
    action = chance.random()
    if action < 0.25:
        return mutate_bytes(content, chance)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return _mutate_stream(content, chance)
    entries = read_archive(content)
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    if action < 0.75:
        entries[pickled] = mutate_pickle(entries[pickled], chance)
    elif action < 0.9:
        entries[pickled] = make_gadget(chance)
    else:
        _change_entries(entries, chance)
    return write_archive(entries, chance)


def mutate_pickle(content: bytes, chance: random.Random) -> bytes:
    """Return a pickle with some of its instructions changed."""
    codes = _split(content)
    for _ in range(chance.choice((1, 1, 2, 3, 10))):
        if len(codes) < 4:
            break
        at = chance.randrange(1, len(codes))
        action = chance.randrange(6)
        if action == 0:
            del codes[at]
        elif action == 1:
            codes.insert(at, chance.choice(codes))
        elif action == 2:
            other = chance.randrange(1, len(codes))
            codes[at], codes[other] = codes[other], codes[at]
        elif action == 3:
            codes[at] = _make_number(chance.choice(_NUMBERS))
        elif action == 4:
            codes[at] = _make_odd(chance)
        else:
            codes.insert(at, _make_odd(chance))
    return b"".join(codes)


def make_gadget(chance: random.Random) -> bytes:
    """Return a pickle of a mapping whose one value is a call, written in one of the ways in which a pickle can call."""
    name, arguments = chance.choice(_CALLS)
    call = _make_call(name, arguments, chance)
    body = chance.choice(
        (b"X\x01\x00\x00\x00a" + call + b"s", b"X\x05\x00\x00\x00model}X\x01\x00\x00\x00a" + call + b"ss")
    )
    return b"\x80\x02}" + body + b"."


def read_archive(content: bytes) -> dict[str, bytes]:
    """Return the entries of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archive(entries: dict[str, bytes], chance: random.Random) -> bytes:
    """Return an archive of these entries; of thirty, one is compressed."""
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if chance.random() < 1 / 30 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, entry in entries.items():
            archive.writestr(zipfile.ZipInfo(name), entry, kind)
    return out.getvalue()


def _mutate_stream(content: bytes, chance: random.Random) -> bytes:
    """Change one of the pickles at the beginning of a stream."""
    stream = io.BytesIO(content)
    parts: list[bytes] = []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        parts.append(content[start : stream.tell()])
    at = chance.choice((0, 1, 2, 3, 3, 3, 3, 4))
    parts[at] = make_gadget(chance) if chance.random() < 0.2 else mutate_pickle(parts[at], chance)
    return b"".join(parts) + content[stream.tell() :]


def _split(content: bytes) -> list[bytes]:
    starts = [position for _, _, position in pickletools.genops(content) if position is not None]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def _make_number(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]


def _make_odd(chance: random.Random) -> bytes:
    """Return an instruction, or a few, that asks for much, for nothing that is there, or for a call."""
    name, arguments = chance.choice(_CALLS)
    return chance.choice((
        b"N", b"(", b"t", b"R", b"b", b"0", b"2", b"]", b"}", b")", b"\x81", b"Q", b"s", b"u", b"e", b".", b"\x85",
        b"K\xff", b"\x8a\xff" + b"\xff" * 255, b"\x8b" + struct.pack("<i", 2**31 - 1),
        b"X" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"r" + struct.pack("<I", 2**31), b"h\xfe", b"j" + b"\xff" * 4,
        b"\x94", b"\x82\x01", b"\x97", b"\x98", b"\x80\x05", b"\x95" + b"\xff" * 8, b"P1\n",
        b"G" + struct.pack(">d", 1e308),
        b"X\x03\x00\x00\x00\x1b[2", _make_call(name, arguments, chance), b"(" * 100 + b"t" * 100, b"]2" * 50,
    ))  # fmt: skip


def _make_call(name: str, arguments: tuple[object, ...], chance: random.Random) -> bytes:
    module, _, attribute = name.rpartition(".")
    plain = tuple(value if isinstance(value, int | str | bytes | tuple | list | dict) else None for value in arguments)
    given = pickle.dumps(plain, 2)[2:-1]
    found = f"c{module}\n{attribute}\n".encode()
    texts = b"".join(b"X" + struct.pack("<I", len(text)) + text.encode() for text in (module, attribute))
    values = b"".join(pickle.dumps(value, 2)[2:-1] for value in plain)
    return chance.choice((
        found + given + b"R",
        found + given + b"\x81",
        texts + b"\x93" + given + b"R",
        b"(" + values + f"i{module}\n{attribute}\n".encode(),
        b"(" + found + values + b"o",
        found,
        found + b")R" + given + b"b",
    ))  # fmt: skip


def _change_entries(entries: dict[str, bytes], chance: random.Random) -> None:
    name = chance.choice(list(entries))
    action = chance.randrange(7)
    if action == 0:
        del entries[name]
    elif action == 1:
        entries[name] = mutate_bytes(entries[name], chance)
    elif action == 2:
        entries[chance.choice(("../out", "/etc/x", name + "\x1b[2J", name * 9, "archive/code/x.py"))] = entries.pop(
            name
        )
    elif action == 3:
        entries["archive/byteorder"] = chance.choice((b"big", b"little", b"", b"\xff\xfe"))
    elif action == 4:
        entries["constants.pkl"] = make_gadget(chance)
    elif action == 5:
        entries[name] = entries[name][: len(entries[name]) // 2]
    else:
        entries[name] = entries[chance.choice(list(entries))]
