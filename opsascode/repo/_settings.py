"""What does a document of kind Repository say?

Read by every command, so this room needs nothing of the other documents.

Not here: judging the document (`_analysis`), what the settings mean (`run`, `proof`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsascode.repo._documents import PROMETHEUS_TIMEOUT, PrometheusSettings, Settings, optional_duration

if TYPE_CHECKING:
    from opsascode.repo._documents import Source
    from opsascode.repo._source import SourceDocument


def build_settings(document: SourceDocument, source: Source) -> Settings:
    """Build the settings of a repository from a document without problems."""
    written: Any = document.value
    spec: dict[str, Any] = written.get("spec") or {}
    return Settings(
        name=written["metadata"]["name"],
        inventory=_texts(spec.get("inventory")),
        state=spec.get("state"),
        locks=spec.get("locks"),
        machine_key=spec.get("keys", {}).get("machine"),
        environment_allow=_texts(spec.get("environment", {}).get("allow")),
        prometheus=_prometheus(spec["prometheus"]) if "prometheus" in spec else None,
        alertmanager_url=spec.get("alertmanager", {}).get("url"),
        approvals_remote=spec.get("approvals", {}).get("remote"),
        ledger_remote=spec.get("ledger", {}).get("remote"),
        ledger_require=spec.get("ledger", {}).get("require", False),
        roles_path=_texts(spec.get("roles_path")),
        collections_path=_texts(spec.get("collections_path")),
        source=source,
        position=document.position(),
    )


def _prometheus(written: dict[str, Any]) -> PrometheusSettings:
    return PrometheusSettings(
        url=written["url"],
        timeout=optional_duration(written.get("timeout")) or PROMETHEUS_TIMEOUT,
        ca_file=written.get("ca_file"),
        bearer=written.get("bearer"),
        username=written.get("username"),
        password=written.get("password"),
    )


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - a text, a list of texts, or nothing
    return (value,) if isinstance(value, str) else tuple(value or ())
