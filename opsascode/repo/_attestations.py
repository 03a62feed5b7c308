"""Where do people leave what they signed about a change, so that every place that judges it finds it?

In the Git repository, under a ref of its own: `refs/opsascode/attestations` holds
`changes/<first two>/<scope>/<payload digest>.json`, proposals, approvals, declines and whatever else is signed about a
change, each under the digest of what was signed. They lie by the scope digest of the pack the change leads to, not by
the change's own id: that names a base commit too, and what was signed goes on counting while the base moves beside it.
How it travels, and that it only grows, is `_append_ref`'s; the hook of a server reads it in the bare repository.

Everything in it may come from anybody who can push: it carries statements and proves nothing. Something that is lost or
hidden here can only make a change lack an approval, never have one. Not here: what the statements mean and whether
they count (`policy`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._append_ref import AppendRef, RefForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opsascode.repo._append_ref import RefEntry

ATTESTATIONS_REF: Final = "refs/opsascode/attestations"
_PATH: Final = re.compile(
    r"changes/(?P<start>[0-9a-f]{2})/(?P<id>(?P=start)[0-9a-f]{62})/(?P<digest>[0-9a-f]{64})\.json"
)
_ID: Final = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})")
_FORM: Final = RefForm(
    ref=ATTESTATIONS_REF,
    paths=_PATH,
    subject="opsascode attestations",
    noun="an attestation",
    advice="see spec.approvals.remote of opsascode.yml, or use files: opsascode approve --out FILE",
)
_MAX_ATTESTATION: Final = 65535
_READ_FOR_A_CHANGE: Final = 1024
_ASKED_BY_NAME: Final = 50


class Attestations:
    """What was signed about changes, in one clone or bare repository, and at its remote if there is one."""

    def __init__(self, ref: AppendRef, *, commit: str | None = None) -> None:
        self._ref, self._commit = ref, commit

    @classmethod
    def of(cls, root: Path, remote: str | None) -> Attestations | None:
        """Open them in the repository around a directory, or in the bare one it is; None where there is no Git.

        Raises:
            ResolveError: git is missing, or the remote's name is none.
        """
        ref = AppendRef.of(root, remote, _FORM)
        return None if ref is None else cls(ref)

    @classmethod
    def of_bare(
        cls, directory: Path, *, quarantine: Mapping[str, str] | None = None, commit: str | None = None
    ) -> Attestations:
        """Open those of a server's repository; with `commit`, as they will be once a push under way is taken.

        Raises:
            ResolveError: git is missing.
        """
        return cls(AppendRef.of_bare(directory, _FORM, quarantine=quarantine), commit=commit)

    @property
    def remote(self) -> str | None:
        """The name of the remote that others read, if there is one."""
        return self._ref.remote

    def post(self, scope: str, digest: str, envelope: bytes) -> None:
        """Leave an envelope about a change to the pack of this scope, under the digest of its payload.

        Raises:
            ResolveError: it cannot be written, did not reach the remote (then the next post takes it along), or
                something else stands in its place.
        """
        if len(envelope) > _MAX_ATTESTATION:
            raise ResolveError(f"an attestation of {len(envelope)} bytes where at most {_MAX_ATTESTATION} fit")
        path = f"{_folder(scope)}{digest.removeprefix('sha256:')}.json"
        self._ref.add({path: envelope})
        there = self._ref.contents(self._ref.entries(below=(path,)))
        if there != (envelope,):
            raise ResolveError(
                f"something else stands in the place of the attestation {digest} in {ATTESTATIONS_REF}",
                advice="find out who pushed it, and hand the attestation over as a file",
            )

    def of_change(self, *scopes: str) -> tuple[bytes, ...]:
        """Give what was left about changes to the packs of these scopes, unjudged, each content once.

        Raises:
            ResolveError: there are so many that somebody is hiding one among them.
        """
        folders = [_folder(each) for each in scopes]
        listed = self._ref.entries(self._commit, folders if len(folders) <= _ASKED_BY_NAME else ())
        ours = frozenset(folders)
        found = {
            each.blob: each
            for each in listed
            if each.size <= _MAX_ATTESTATION and f"{each.path.rpartition('/')[0]}/" in ours
        }
        if len(found) > _READ_FOR_A_CHANGE:
            raise ResolveError(
                f"{len(found)} attestations are left for {scopes[0]}, which nobody can need",
                advice="find out who pushed them, and bring the right ones as files",
            )
        return self._ref.contents(tuple(found.values()))

    def fetch(self) -> None:
        """Take in what others left at the remote; without a remote nothing happens.

        Raises:
            ResolveError: the remote cannot be read.
        """
        self._ref.fetch()


def _folder(scope: str) -> str:
    found = _ID.fullmatch(scope)
    if found is None:
        raise ResolveError(f"{scope[:80]!r} is no scope digest", advice="it is sha256: and 64 hex digits")
    return f"changes/{found['hex'][:2]}/{found['hex']}/"


def _scope(entry: RefEntry) -> str:
    found = _PATH.fullmatch(entry.path)
    return str(found["id"]) if found else ""
