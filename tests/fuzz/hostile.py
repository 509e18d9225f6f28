"""What is drawn: damaged bytes, values of any kind, names that try to be more than names."""

import json
import signal
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from aeflow_utils.errors import TrainingError, UserError

SECONDS = 30  # that one case may take


class Hang(BaseException):
    """Raised where a case takes too long; no reader may catch it."""


def _hang(*_):
    raise Hang


@contextmanager
def read_or_refused(*names):
    """What is inside goes well, or is refused by a message that has one of the `names`."""
    before = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(SECONDS)
    try:
        yield
    except (UserError, TrainingError) as error:
        assert any(str(name) in str(error) for name in names), error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def folder_in(tmp_path):
    """A folder for one case."""
    with TemporaryDirectory(dir=tmp_path) as name:
        yield tmp_path / name


@st.composite
def damaged(draw, content, times=3):
    """Bytes with up to so many damages of the usual kinds."""
    for _ in range(draw(st.integers(1, times))):
        low, high = sorted(draw(st.integers(0, len(content))) for _ in range(2))
        part = content[low:high]
        kind = draw(st.sampled_from(["flip", "cut", "delete", "repeat", "zero", "insert", "swap"]))
        if kind == "flip" and low < len(content):
            part = bytes([content[low] ^ 1 << draw(st.integers(0, 7))]) + content[low + 1 : high]
            content = content[:low] + part + content[max(high, low + 1) :]
        elif kind == "cut":
            content = content[:low]
        elif kind == "delete":
            content = content[:low] + content[high:]
        elif kind == "repeat":
            content = content[:high] + part[:4096] + content[high:]
        elif kind == "zero":
            content = content[:low] + bytes(high - low) + content[high:]
        elif kind == "insert":
            content = content[:low] + draw(st.binary(max_size=20)) + content[low:]
        elif kind == "swap":
            content = content[high:] + part + content[:low]
    return content


NUMBERS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**64, 10**400, 1e308, -0.0, float("nan"), float("inf")]),
    st.floats(),
)
MARKUP = ["<script>alert(1)</script>", "</script>", "<!--", "&amp;", "\"'><img src=x onerror=a>"]
PLACES = ["..", ".", "", "/", "/etc/passwd", "../../x", "a/../../b", "C:\\x", "a\\..\\b", "~", "~x"]
ODD = ["\0", "\n", "\r", "\t", "\x1b[31m", "\u202e", "é", "e\u0301", "💥", "NA", "nan", "{0}", "%s"]
# `st.text` would first count Unicode's categories, which takes seconds.
CODES = st.lists(st.integers(1, 255) | st.integers(1, 0x10FFFF), max_size=30)
WORDS = CODES.map(lambda codes: "".join(map(chr, codes)).encode("utf-8", "ignore").decode())
TEXTS = st.one_of(
    st.sampled_from([*MARKUP, *PLACES, *ODD, "x" * 300, "é" * 200]),
    WORDS,
    st.lists(st.sampled_from([*MARKUP, *PLACES, *ODD, "a", "1", ".png"]), max_size=4).map("".join),
)
VALUES = st.recursive(
    NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
DEEP = st.sampled_from(
    [b"[" * 100_000, b'{"a":' * 100_000, b"", b"\xff\xfe\x00", b"null", b"1" * 9000]
)


@st.composite
def changed(draw, content):
    """A JSON-ready value with a part of it in another's place, gone, or added."""
    if isinstance(content, dict) and content and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(content)))
        what = draw(st.sampled_from(["inside", "inside", "inside", "gone", "more"]))
        if what == "inside":
            return content | {key: draw(changed(content[key]))}
        if what == "gone":
            return {name: value for name, value in content.items() if name != key}
        return content | {draw(TEXTS): draw(VALUES)}
    if isinstance(content, list) and content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        return [*content[:place], draw(changed(content[place])), *content[place + 1 :]]
    return draw(VALUES)


@st.composite
def json_files(draw, content):
    """The bytes of a JSON file whose content is nearly this, or whose bytes are, or neither."""
    text = json.dumps(draw(changed(content))).encode()
    return draw(st.just(text) | DEEP | damaged(json.dumps(content, indent=1).encode()))


# Of files: no separator and no NUL, which no system takes; bytes that are no UTF-8 too.
FILE_NAMES = st.one_of(
    TEXTS.map(lambda text: text.replace("/", "").replace("\0", "")),
    st.binary(max_size=30).map(
        lambda name: name.replace(b"/", b"").replace(b"\0", b"").decode("utf-8", "surrogateescape")
    ),
).filter(lambda name: name not in ("", ".", "..") and is_short(name))


def is_short(name):
    """Whether a file may have this name with an ending; surrogates count as the byte they are."""
    try:
        return len(name.encode("utf-8", "surrogateescape")) < 240
    except UnicodeEncodeError:
        return False
