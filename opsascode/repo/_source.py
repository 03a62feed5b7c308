"""What does a YAML file say, and at which line and column does it say it?

The strict reader: plain Python values (dict, list, str, int, float, bool, None) beside a tree of positions, built from
the parser's events, never from its constructors. Every problem of a file is collected in one pass; only after a YAML
syntax error, or nesting deeper than any document needs, is the rest of the file left unread.

Refused, each at its position: duplicate keys, anchors, aliases, merge keys, tags, directives, keys that are not text,
nesting deeper than 32, more than 1 MiB or 100,000 values, anything but UTF-8 without a byte order mark, control
characters, characters that reorder or hide text on a screen, and line breaks that only some readers take for one. Plain
scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), except that a number with a
leading zero stays text, as `0644` and `010` mean different numbers to different readers.

Not here: what the keys mean (schema, rules). This is the only room that knows PyYAML.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from opsascode.errors import Position
from opsascode.repo._problem import DocumentPath, InvalidDocumentsError, Problem, in_order, path_text, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 100_000
_MAX_PROBLEMS = 100
_MAX_DIGITS = 300  # Python itself refuses to read integers of more than 4300 digits

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_NUMBER_START = frozenset("+-.0123456789")

_BREAKS = "\x85\u2028\u2029"
_HIDING = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_CONTROL_BYTE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNWANTED = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_BREAKS}{_HIDING}\ufffe\uffff]")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class _Mark(Protocol):
    """Where an event starts, both counted from 0: the C and the pure parser each have a class of their own."""

    line: int
    column: int


class _Marks:
    """The positions of a mapping or list: its own and those of its children. Without children: an unread value."""

    __slots__ = ("children", "mark")

    def __init__(self, mark: _Mark, children: dict[str, tuple[_Mark, Any]] | list[Any] | None) -> None:
        self.mark = mark
        self.children = children


class _Stop(Exception):  # noqa: N818 - leaves the reader's recursion, never the room
    """Nothing more can be read of this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument:
    """One YAML document: its plain value, and the position of every key and value in it."""

    path: str
    value: Value
    marks: Any

    def at(self, where: DocumentPath) -> Value:
        """Give the value a path leads to, or null where it leads nowhere."""
        value: Any = self.value
        for step in where:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        found: Value = value
        return found

    def position(self, where: DocumentPath = ()) -> Position:
        """Give the position of a value; of its nearest container where the path leads nowhere."""
        return self._position(self._walk(where)[0])

    def key_position(self, where: DocumentPath) -> Position:
        """Give the position of the key that leads to a value, or the value's own inside a list."""
        parent, complete = self._walk(where[:-1])
        children = parent.children if complete and isinstance(parent, _Marks) else None
        if isinstance(children, dict) and where[-1] in children:
            return self._position(children[str(where[-1])][0])
        return self.position(where)

    def is_unread(self, where: DocumentPath) -> bool:
        """Tell whether the reader refused the value there, or one it lies in, so that it is not what is written."""
        found, _ = self._walk(where)
        return isinstance(found, _Marks) and found.children is None

    def _position(self, marks: Any) -> Position:  # noqa: ANN401 - a mark of either parser, or our tree of them
        mark = marks.mark if isinstance(marks, _Marks) else marks
        return Position(path=self.path, line=mark.line + 1, column=mark.column + 1)

    def _walk(self, where: DocumentPath) -> tuple[Any, bool]:
        """Follow the path as far as it leads; the second value tells whether that was to its end."""
        marks = self.marks
        for step in where:
            children = marks.children if isinstance(marks, _Marks) else None
            if isinstance(children, dict) and step in children:
                marks = children[str(step)][1]
            elif isinstance(children, list) and isinstance(step, int) and step < len(children):
                marks = children[step]
            else:
                return marks, False
        return marks, True


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """All documents of one file, and every problem of its YAML."""

    path: str
    documents: tuple[SourceDocument, ...]
    problems: tuple[Problem, ...]


def load_source(data: bytes, path: str) -> SourceFile:
    """Read a YAML file strictly; whatever the bytes are, the answer is a value.

    `path` is only used in positions: it is what the user would type.
    """
    reader = _Reader(path)
    try:
        reader.read(data)
    except _Stop:
        pass
    except RecursionError:  # pragma: no cover - the depth limit comes first
        reader.problem("too-deep", "the file nests deeper than this reader can follow", mark=None)
    return SourceFile(path=path, documents=tuple(reader.documents), problems=in_order(reader.problems))


def load_mapping(data: bytes, path: str) -> dict[str, Value]:
    """Read a YAML file that holds one mapping, such as a file of parameters.

    Raises:
        InvalidDocumentsError: it is not readable, or holds something else.
    """
    source = load_source(data, path)
    if source.problems:
        raise InvalidDocumentsError(source.problems)
    value = source.documents[0].value if len(source.documents) == 1 else None
    if not isinstance(value, dict):
        message, mend = "the file must hold one mapping", "write one «name: value» a line"
        raise InvalidDocumentsError(
            [Problem(position=Position(path=path), code="wrong-type", message=message, mend=mend)]
        )
    return value


def parser_events(data: bytes) -> Callable[[], Any]:
    """Give a function that returns the next parser event: libyaml's where it is installed, else the pure parser's."""
    import yaml  # noqa: PLC0415 - costs 15 ms that the answers from the cache do without

    loader: Any = vars(yaml.cyaml)["CParser"] if yaml.__with_libyaml__ else yaml.SafeLoader
    getter: Callable[[], Any] = loader(data).get_event
    return getter


class _Reader:
    """Reads one file. The path of the value being read is kept on a stack, as only problems need it in full."""

    def __init__(self, path: str) -> None:
        self.documents: list[SourceDocument] = []
        self.problems: list[Problem] = []
        self.values = 0
        self._file = path
        self._path: list[str | int] = []

    def problem(self, code: str, message: str, *, mark: _Mark | None, mend: str = "") -> None:
        """Note a problem at a mark (or at the file's start), up to a number nobody would read beyond."""
        position = Position(path=self._file) if mark is None else self._position(mark)
        where = path_text(tuple(self._path))
        if len(self.problems) >= _MAX_PROBLEMS:
            message, mend = "there are more problems than are worth listing; the rest is not read", ""
            self.problems.append(Problem(position=position, code="too-many", message=message, document_path=where))
            raise _Stop
        self.problems.append(Problem(position=position, code=code, message=message, mend=mend, document_path=where))

    def _position(self, mark: _Mark) -> Position:
        return Position(path=self._file, line=mark.line + 1, column=mark.column + 1)

    def read(self, data: bytes) -> None:
        """Look at the bytes, then at the characters, then at the events."""
        self._look_at_bytes(data)
        import yaml  # noqa: PLC0415 - see parser_events

        try:
            self._documents(parser_events(data))
        except yaml.YAMLError as error:
            self._syntax(error, data.decode())
        if not self.documents and not self.problems:
            self.problem("empty", "the file holds no document", mark=None, mend="write a document or delete the file")

    def _look_at_bytes(self, data: bytes) -> None:
        """Refuse what must not reach the parser; stop where going on would only mislead."""
        if len(data) > MAX_BYTES:
            message = f"the file is {len(data)} bytes long; at most {MAX_BYTES} (1 MiB) are read"
            self.problem("too-large", message, mark=None, mend="split it into several documents")
            raise _Stop
        if data.isascii() and not _CONTROL_BYTE.search(data):
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            mark = _TextMark(data[: error.start].decode(errors="replace"), -1)
            message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} cannot stand here"
            self.problem("not-utf-8", message, mark=mark, mend="save it as UTF-8")
            raise _Stop from None
        fatal = False
        for match in _UNWANTED.finditer(text):
            fatal = self._unwanted(match.group(), text, match.start()) or fatal
        if fatal:
            raise _Stop

    def _unwanted(self, character: str, text: str, index: int) -> bool:
        """Say what one unwanted character does; true when the file is better not read any further."""
        name, mark = f"U+{ord(character):04X}", _TextMark(text, index)
        if character == "\ufeff" and index == 0:
            self.problem(
                "byte-order-mark",
                "the file starts with a byte order mark",
                mark=mark,
                mend="save it as UTF-8 without one",
            )
        elif character in _BREAKS:
            message = f"{name} breaks the line for some readers only, so reviewers and machines see different documents"
            self.problem("line-break", message, mark=mark, mend="use an ordinary line break")
            return True
        elif character in _HIDING:
            message = f"{name} hides or reorders text on the screen, so a reviewer does not see what is read"
            mend = f'delete it, or write "\\u{ord(character):04X}" in double quotes'
            self.problem("hidden-character", message, mark=mark, mend=mend)
        else:
            mend = "delete it, or write it as an escape in double quotes"
            self.problem("control-character", f"{name} is a control character", mark=mark, mend=mend)
            return True
        return False

    def _documents(self, next_event: Callable[[], Any]) -> None:
        """Read document after document until the stream ends."""
        import yaml  # noqa: PLC0415 - see parser_events

        while True:
            event = next_event()
            kind = event.__class__
            if kind is yaml.StreamEndEvent:
                return
            if kind is yaml.DocumentStartEvent and (event.version or event.tags):
                message = "directives such as %YAML and %TAG are not used in documents"
                self.problem("directive", message, mark=event.start_mark, mend="delete the line")
            elif (
                kind is not yaml.StreamStartEvent
                and kind is not yaml.DocumentStartEvent
                and kind is not yaml.DocumentEndEvent
            ):
                nodes = _Nodes(self, next_event, self._path)
                value, marks = nodes.node(event, 1)
                if value is not None or isinstance(marks, _Marks):
                    self.documents.append(SourceDocument(path=self._file, value=value, marks=marks))

    def _syntax(self, error: Exception, text: str) -> None:
        """Turn the parser's complaint into one problem that says how such a line is mended."""
        from opsascode.repo._syntax import explain_syntax  # noqa: PLC0415 - only a mistake needs it

        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        message, mend = explain_syntax(error, text)
        self._path.clear()
        self.problem("syntax", message, mark=mark, mend=mend)


class _TextMark:
    """A mark for a character the parser has not come to; an index of -1 means the end of the text."""

    def __init__(self, text: str, index: int) -> None:
        before = text if index < 0 else text[:index]
        lines = _LINE_BREAK.split(before)
        self.line, self.column = len(lines) - 1, len(lines[-1])


class _Nodes:
    """Builds the values of one document from events, and the marks beside them."""

    def __init__(self, reader: _Reader, next_event: Callable[[], Any], path: list[str | int]) -> None:
        import yaml  # noqa: PLC0415 - see parser_events

        self._reader, self._next, self._path = reader, next_event, path
        self._scalar, self._alias = yaml.ScalarEvent, yaml.AliasEvent
        self._mapping, self._sequence = yaml.MappingStartEvent, yaml.SequenceStartEvent
        self._mapping_end, self._sequence_end = yaml.MappingEndEvent, yaml.SequenceEndEvent

    def node(self, event: Any, depth: int) -> tuple[Value, Any]:  # noqa: ANN401 - PyYAML's event classes share no typed base
        """Read the node that starts with this event: its value and its marks."""
        kind, mark = event.__class__, event.start_mark
        self._reader.values += 1
        if self._reader.values > MAX_VALUES:
            message = f"the file holds more than {MAX_VALUES} values; the rest of it is not read"
            self._reader.problem("too-large", message, mark=mark, mend="split it into several documents")
            raise _Stop
        if kind is self._alias:
            message = f"aliases are not used in documents: {quoted('*' + event.anchor)}"
            self._reader.problem("alias", message, mark=mark, mend="write the value out where it is meant")
            return None, _Marks(mark, None)
        refused = event.anchor is not None or event.tag is not None
        if refused:
            refused = self._anchor_or_tag(event)
        if kind is self._scalar:
            if not event.implicit[0]:
                return event.value, _Marks(mark, None) if refused else mark
            value, marks = self._plain(event.value, mark), mark
        elif depth > MAX_DEPTH:
            message = f"values nest deeper than {MAX_DEPTH}; the rest of the file is not read"
            self._reader.problem("too-deep", message, mark=mark, mend="a document never needs that: write it flatter")
            raise _Stop
        elif kind is self._mapping:
            value, marks = self._entries(mark, depth)
        else:
            value, marks = self._items(mark, depth)
        return value, _Marks(mark, None) if refused else marks

    def _anchor_or_tag(self, event: Any) -> bool:  # noqa: ANN401 - see node
        """Refuse an anchor or a tag; true when the value cannot be read without the tag."""
        mark, tag = event.start_mark, event.tag
        if event.anchor is not None:
            message = f"anchors are not used in documents: {quoted('&' + event.anchor)}"
            self._reader.problem("anchor", message, mark=mark, mend="delete it and write the value where it is meant")
        if tag is None:
            return False
        mend = "delete the tag; quote the value if it is meant as text"
        if tag == "!vault":
            mend = "secrets do not belong in a document: declare a parameter with secret: true"
        name = tag.replace("tag:yaml.org,2002:", "!!")
        self._reader.problem("tag", f"tags are not used in documents: {quoted(name)}", mark=mark, mend=mend)
        return True

    def _plain(self, text: str, mark: _Mark) -> Value:
        """Resolve a plain scalar by the core schema."""
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_START:
            return text
        number: Value = None
        if _INTEGER.match(text) or _BASED.match(text):
            number = int(text, 0) if len(text) <= _MAX_DIGITS else None
        elif _FLOAT.match(text):
            number = float(text) if math.isfinite(float(text)) else None
        elif not _NOT_FINITE.match(text):
            return text
        if number is None:
            message = f"{quoted(text)} is not a number that every reader can hold"
            self._reader.problem("number", message, mark=mark, mend="quote it if it is meant as text")
        return text if number is None else number

    def _entries(self, mark: _Mark, depth: int) -> tuple[Value, Any]:
        """Read a mapping up to its end."""
        values: dict[str, Value] = {}
        children: dict[str, tuple[_Mark, Any]] = {}
        path, end, scalar, next_event = self._path, self._mapping_end, self._scalar, self._next
        whole = True
        event = next_event()
        while event.__class__ is not end:
            key_mark = event.start_mark
            key = event.value if event.__class__ is scalar else None
            if key is None or (event.implicit[0] and not self._is_text(key)) or event.anchor or event.tag:
                whole = self._odd_key(event, depth) and whole
                key = None
            elif key in children:
                first = children[key][0].line + 1
                message = f"the key {quoted(key)} stands here a second time; it is already on line {first}"
                path.append(key)
                self._reader.problem("duplicate-key", message, mark=key_mark, mend="keep one of the two")
                path.pop()
                key = None
            path.append("?" if key is None else key)
            value, marks = self.node(next_event(), depth + 1)
            path.pop()
            if key is not None:
                values[key] = value
                children[key] = (key_mark, marks)
            event = next_event()
        return values, _Marks(mark, children if whole else None)

    def _is_text(self, key: str) -> bool:
        """Tell whether a plain key is text by the core schema, and not a merge key."""
        if key in _WORDS or key == "<<":
            return False
        if key[0] not in _NUMBER_START:
            return True
        return not (_INTEGER.match(key) or _BASED.match(key) or _FLOAT.match(key) or _NOT_FINITE.match(key))

    def _odd_key(self, event: Any, depth: int) -> bool:  # noqa: ANN401 - see node
        """Say why this key is refused, reading past one that is a node of its own; true when the others still count."""
        mark = event.start_mark
        if event.__class__ is self._scalar and not event.anchor and not event.tag:
            if event.value == "<<":
                message, mend = "merge keys are not used in documents: «<<»", "write the keys out"
                self._reader.problem("merge-key", message, mark=mark, mend=mend)
            else:
                message = f"the key {quoted(event.value)} is not text"
                self._reader.problem("key-not-text", message, mark=mark, mend=f'quote it: "{event.value[:60]}"')
            return True
        before = len(self._reader.problems)
        self._path.append("?")
        self.node(event, depth + 1)
        self._path.pop()
        if len(self._reader.problems) == before:
            message = "a mapping or list cannot be a key"
            mend = 'quote a template as a whole: "{{ name }}"'
            self._reader.problem("key-not-text", message, mark=mark, mend=mend)
        return False

    def _items(self, mark: _Mark, depth: int) -> tuple[Value, Any]:
        """Read a list up to its end."""
        values: list[Value] = []
        children: list[Any] = []
        path, end, next_event = self._path, self._sequence_end, self._next
        event = next_event()
        while event.__class__ is not end:
            path.append(len(values))
            value, marks = self.node(event, depth + 1)
            path.pop()
            values.append(value)
            children.append(marks)
            event = next_event()
        return values, _Marks(mark, children)
