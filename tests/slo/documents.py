"""Reliability policies for tests, read from real documents."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from opsascode.repo import open_repository

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.repo import Policies, ReliabilityPolicy

_HEAD = "apiVersion: opsascode/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def write_policies(root: Path, *, prometheus: str = "", **specs: str) -> Path:
    """Write an ops repository with one reliability policy for each name and the lines of its spec."""
    (root / "policies").mkdir(parents=True, exist_ok=True)
    spec = f"spec: {{prometheus: {prometheus}}}\n" if prometheus else "spec: {}\n"
    (root / "opsascode.yml").write_text(_HEAD.format(kind="Repository", name="test-repository") + spec, "utf-8")
    for name, text in specs.items():
        body = textwrap.indent(textwrap.dedent(text).strip("\n"), "  ")
        if "escalation_chain" not in body:
            body += "\n  escalation_chain: [{notify: team:sre}]"
        head = _HEAD.format(kind="ReliabilityPolicy", name=name)
        (root / "policies" / f"{name}.yml").write_text(f"{head}spec:\n{body}\n", "utf-8")
    return root


def policies_in(root: Path, **specs: str) -> Policies:
    """Write policies and read them back."""
    return open_repository(write_policies(root, **specs)).policies()


def policy_in(root: Path, spec: str, name: str = "shop") -> ReliabilityPolicy:
    """Write one policy and read it back."""
    (policy,) = policies_in(root, **{name: spec}).reliability
    return policy


def bare(found: Any) -> Any:
    """A policy, or a part of one, without places: where it stands in a file is not what it says."""
    if isinstance(found, dict):
        return {key: bare(value) for key, value in found.items() if key not in ("position", "source")}
    return [bare(each) for each in found] if isinstance(found, list | tuple) else found
