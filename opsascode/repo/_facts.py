"""What does one document say that other documents, or the files of the repository, must agree with?

Facts are small plain values with positions, so that a cache can keep them for a file whose bytes have not changed,
while everything that depends on more than one file is judged anew each time.

Not here: judging them (`_crosscheck`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opsascode.errors import Position
from opsascode.repo._problem import Problem, Severity, path_text

if TYPE_CHECKING:
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

Plain = list[Any]  # what JSON can hold
SERVICE: Final = "service"
"""The kind of a name that is no document's, but a service's."""


class Place(NamedTuple):
    """A place in a file that is named elsewhere: line, column, and the path in the document."""

    line: int
    column: int
    document_path: str

    @classmethod
    def of_value(cls, document: SourceDocument, path: DocumentPath) -> Place:
        """Give the place of a value."""
        position = document.position(path)
        return cls(position.line, position.column, path_text(path))

    @classmethod
    def of_key(cls, document: SourceDocument, path: DocumentPath) -> Place:
        """Give the place of a key."""
        position = document.key_position(path)
        return cls(position.line, position.column, path_text(path))

    def problem(self, file: str, code: str, message: str, mend: str) -> Problem:
        """Make a problem of something wrong at this place."""
        position = Position(path=file, line=self.line, column=self.column)
        return Problem(position=position, document_path=self.document_path, code=code, message=message, mend=mend)


class RunbookUse(NamedTuple):
    """A step that composes another runbook, and the values it gives to its parameters.

    `conditional` tells that a condition decides whether it does; `gives` are the outputs the step declares, `reads` the
    names in them that only the other runbook can set.
    """

    name: str
    place: Place
    values: tuple[tuple[str, Any, Place], ...]
    conditional: bool = False
    gives: tuple[str, ...] = ()
    reads: tuple[tuple[str, Place], ...] = ()

    @classmethod
    def from_plain(cls, plain: Plain) -> RunbookUse:
        """Read a use back."""
        name, where, values, conditional, gives, reads = plain
        return cls(
            name=str(name),
            place=Place(*where),
            values=tuple((key, value, Place(*spot)) for key, value, spot in values),
            conditional=bool(conditional),
            gives=tuple(gives),
            reads=tuple((key, Place(*spot)) for key, spot in reads),
        )


class ContentUse(NamedTuple):
    """Something of the repository that a document refers to: a playbook, role or path."""

    kind: str
    name: str
    place: Place


class NameUse(NamedTuple):
    """A document of another kind that a document names: a calendar, or a service of a reliability policy."""

    kind: str
    name: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFacts:
    """What other documents need to know about one document.

    `made` are the names its steps set, `planned` the parameters that must be known before a run. It is `opaque` when
    its steps read content that may set any name; `asks` tells that it stops for people. `service` is the one that a
    reliability policy is about.
    """

    kind: str
    name: str
    place: Place
    parameters: dict[str, Any] = field(default_factory=dict)
    runbooks: tuple[RunbookUse, ...] = ()
    content: tuple[ContentUse, ...] = ()
    made: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    opaque: bool = False
    asks: bool = False
    names: tuple[NameUse, ...] = ()
    service: str = ""

    def plain(self) -> Plain:
        """Write the facts as values that JSON can hold."""
        about = [self.made, self.planned, self.opaque, self.asks, self.names, self.service]
        return [self.kind, self.name, self.place, self.parameters, self.runbooks, self.content, *about]

    @classmethod
    def from_plain(cls, plain: Plain) -> DocumentFacts:
        """Read the facts back."""
        kind, name, place, parameters, runbooks, content, made, planned, opaque, asks, names, service = plain
        return cls(
            kind=str(kind),
            name=str(name),
            place=Place(*place),
            parameters=dict(parameters),
            runbooks=tuple(RunbookUse.from_plain(each) for each in runbooks),
            content=tuple(ContentUse(kind, each, Place(*where)) for kind, each, where in content),
            made=tuple(made),
            planned=tuple(planned),
            opaque=bool(opaque),
            asks=bool(asks),
            names=tuple(NameUse(kind, each, Place(*where)) for kind, each, where in names),
            service=str(service),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is known of one file: its documents' facts, and the problems within it."""

    documents: tuple[DocumentFacts, ...]
    problems: tuple[Problem, ...]

    def plain(self) -> Plain:
        """Write them as values that JSON can hold; the path is left out, as equal bytes have equal facts."""
        problems = [
            [
                each.position.line,
                each.position.column,
                each.code,
                each.message,
                each.mend,
                each.document_path,
                each.severity.value,
            ]
            for each in self.problems
        ]
        return [[document.plain() for document in self.documents], problems]

    @classmethod
    def from_plain(cls, plain: Plain, path: str) -> FileFacts:
        """Read them back for the file at a path."""
        documents, problems = plain
        return cls(
            documents=tuple(DocumentFacts.from_plain(each) for each in documents),
            problems=tuple(
                Problem(
                    position=Position(path=path, line=line, column=column),
                    code=code,
                    message=message,
                    mend=mend,
                    document_path=where,
                    severity=Severity(severity),
                )
                for line, column, code, message, mend, where, severity in problems
            ),
        )
