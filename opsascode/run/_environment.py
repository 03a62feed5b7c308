"""Which of the caller's environment variables may a run see?

Few: those without which programs on this machine do not work, and those an ops repository allows by name. A run must
not depend on the shell it was started from, and what a shell holds (tokens, hooks, preloads) must not reach tasks.

- A glob allows ordinary names. Names that change how Ansible or Git behave must be allowed one by one, in full.
- Names that change which code a program loads, and those that steer this engine, are never passed.

Not here: the variables that the engine itself sets for Ansible (`_engine`).
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PASSED: Final = frozenset(
    {
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "TERM", "TMPDIR", "TZ", "USER",
        "XDG_RUNTIME_DIR",
    }
)  # fmt: skip
NEVER: Final = ("LD_*", "DYLD_*", "PYTHON*", "BASH_ENV", "ENV", "BASH_FUNC_*", "AWX_*", "RUNNER_*", "AD_HOC_COMMAND_ID")
NEVER_OURS: Final = ("OPSASCODE_*", "ORIGINAL_STDOUT_CALLBACK")
GALAXY: Final = ("ANSIBLE_GALAXY_*", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
                 "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")  # fmt: skip
ONLY_BY_NAME: Final = ("ANSIBLE_*", "GIT_*", "VIRTUAL_ENV*", "SSH_ASKPASS*", "DISPLAY")


def minimal_environment(environ: Mapping[str, str], allow: Sequence[str] = ()) -> dict[str, str]:
    """Give the environment of a run: what it needs of `environ`, and what `allow` names (names or shell globs).

    PATH begins with the directory of the running interpreter, so that its ansible-playbook is found, and holds
    absolute directories only. The locale is made UTF-8, without which Ansible does not start.
    """
    kept = {name: value for name, value in environ.items() if _passes(name, allow) and _is_text(value)}
    kept["PATH"] = _path(environ.get("PATH", os.defpath))
    spoken = kept.get("LC_ALL") or kept.get("LC_CTYPE") or kept.get("LANG") or "C"
    if spoken.rpartition(".")[2].lower().replace("-", "") != "utf8":
        kept["LC_ALL"] = "C.UTF-8"
    return dict(sorted(kept.items()))


def download_environment(environ: Mapping[str, str], allow: Sequence[str] = ()) -> dict[str, str]:
    """Give the environment for downloading collections: that of a run, and how Galaxy and the network are reached."""
    reached = {name: value for name, value in environ.items() if _matches(name, GALAXY) and _is_text(value)}
    return {**minimal_environment(environ, allow), **reached}


def _passes(name: str, allow: Sequence[str]) -> bool:
    if _matches(name, NEVER) or _matches(name, NEVER_OURS):
        return False
    if name in PASSED or name.startswith("LC_") or name in allow:
        return True
    return not _matches(name, ONLY_BY_NAME) and _matches(name, allow)


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _is_text(value: str) -> bool:
    """Whether the value is UTF-8, as ansible-runner needs it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(inherited: str) -> str:
    """Give the search path; an empty or relative entry would find programs in the repository we run in."""
    ours = str(Path(sys.executable).parent)  # not resolved: the interpreter of a venv is a link
    entries = [ours, *(entry for entry in inherited.split(os.pathsep) if entry.startswith("/") and _is_text(entry))]
    return os.pathsep.join(dict.fromkeys(entries))
