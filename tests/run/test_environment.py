"""A run sees the variables it needs and those the repository allows, and no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from opsascode.run._environment import download_environment, minimal_environment

BIN = str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    "name", ["HOME", "USER", "LANG", "LC_TIME", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"]
)
def test_what_programs_need_passes(name: str) -> None:
    assert minimal_environment({name: "C.UTF-8"})[name] == "C.UTF-8"


@pytest.mark.parametrize(
    "name",
    ["GITHUB_TOKEN", "AWS_REGION", "ANSIBLE_CONFIG", "GIT_DIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_PRELOAD", "BASH_ENV",
     "OPSASCODE_KEY", "AWX_LIB_DIRECTORY", "AD_HOC_COMMAND_ID", "SSH_ASKPASS"],
)  # fmt: skip
def test_the_rest_does_not(name: str) -> None:
    assert name not in minimal_environment({name: "x"})


@pytest.mark.parametrize(
    ("name", "allow", "passes"),
    [
        ("AWS_REGION", ["AWS_REGION"], True),
        ("AWS_REGION", ["AWS_*"], True),
        ("aws_region", ["AWS_*"], False),
        ("ANSIBLE_VAULT_PASSWORD_FILE", ["ANSIBLE_VAULT_PASSWORD_FILE"], True),
        ("ANSIBLE_VAULT_PASSWORD_FILE", ["ANSIBLE_*", "*"], False),
        ("GIT_SSH_COMMAND", ["*"], False),
        ("LD_PRELOAD", ["LD_PRELOAD", "*"], False),
        ("PYTHONPATH", ["PYTHONPATH"], False),
        ("OPSASCODE_JOURNAL", ["OPSASCODE_JOURNAL"], False),
        ("AWX_LIB_DIRECTORY", ["AWX_LIB_DIRECTORY"], False),
    ],
)
def test_a_repository_allows_more_but_not_everything(name: str, allow: list[str], passes: bool) -> None:
    assert (name in minimal_environment({name: "x"}, allow)) is passes


@pytest.mark.parametrize(
    ("path", "rest"),
    [("/usr/bin:/bin", "/usr/bin:/bin"), (":.:bin:/bin:", "/bin"), (f"/bin:{BIN}", "/bin"), ("", "")],
)
def test_the_search_path_begins_with_our_own_programs_and_is_absolute(path: str, rest: str) -> None:
    assert minimal_environment({"PATH": path})["PATH"] == f"{BIN}:{rest}".rstrip(":")


@pytest.mark.parametrize(
    ("environ", "locale"),
    [
        ({}, "C.UTF-8"),
        ({"LANG": "C"}, "C.UTF-8"),
        ({"LANG": "de_DE.ISO-8859-1"}, "C.UTF-8"),
        ({"LANG": "de_DE.UTF-8"}, None),
        ({"LANG": "de_DE.utf8"}, None),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, "C.UTF-8"),
    ],
)
def test_the_locale_is_utf8(environ: dict[str, str], locale: str | None) -> None:
    assert minimal_environment(environ).get("LC_ALL") == locale


def test_values_that_are_no_text_do_not_pass() -> None:
    assert "TZ" not in minimal_environment({"TZ": "\udcff"})


@pytest.mark.parametrize(
    "name", ["ANSIBLE_GALAXY_SERVER", "ANSIBLE_GALAXY_SERVER_HUB_TOKEN", "HTTPS_PROXY", "SSL_CERT_FILE"]
)
def test_only_a_download_knows_how_galaxy_is_reached(name: str) -> None:
    assert download_environment({name: "x"})[name] == "x"
    assert name not in minimal_environment({name: "x"})
    assert "GITHUB_TOKEN" not in download_environment({"GITHUB_TOKEN": "x"})
