"""How does a runbook become a plan?

Hosts, waves, parameters and the compiled playbooks are settled before anything starts. The same runbook, inventory,
parameters, commit and limit always give the same plan. An empty target set is an error, never "nothing to do".

Not here: whether the plan may run (`policy`), running it (`_perform`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError, ResolveError, UsageError
from opsascode.policy import BlastRadius, Subject, Trigger
from opsascode.proof import sha256_digest
from opsascode.repo import CheckedValue, PlaybookStep, PrometheusCheck, RoleStep, git_state, resolve_inventory
from opsascode.run._compiler import compile_wave, parameter_variables, render
from opsascode.run._compose import SECRET_PREFIX, FlatStep, flatten
from opsascode.run._content import ROLES_DIRECTORIES, pin_content, read_texts
from opsascode.run._environment import minimal_environment
from opsascode.run._plan import ParameterValue, Pin, Plan, PlannedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from opsascode.proof import Json
    from opsascode.repo import GitState, Inventory, Parameter, Repository, Runbook, Settings, Value, Wave
    from opsascode.run._compose import Binding

_NAME_ALONE: Final = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}")
_SHORTEST_LEAK: Final = 4
ANSIBLE_SETTINGS: Final = "ansible.cfg"
_ANSIBLE_NAME: Final = re.compile(rb"\bansible_[a-z0-9_]+")
_NOT_FACTS: Final = re.compile(
    rb"ansible_(?:become\w*|check_mode|collection_name|config_file|connection|dependent_role_names|diff_mode|forks|host"
    rb"|index_var|inventory_sources|limit|loop\w*|parent_role\w*|password|pipelining|play_batch|play_hosts\w*|play_name"
    rb"|play_role_names|playbook_python|port|private_key_file|python_interpreter|role_name|role_names|run_tags|search_path"
    rb"|shell_\w+|skip_tags|ssh_\w+|user|verbosity|version|winrm_\w+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: a runbook, and the words and values for its targets and parameters."""

    runbook: Runbook
    inventory: tuple[str, ...] = ()
    limit: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All steps on one wave: the playbook and exactly the hosts it acts on."""

    wave: int
    hosts: tuple[str, ...]
    playbook: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A plan and what it takes to carry it out."""

    plan: Plan
    runbook: Runbook
    flats: tuple[FlatStep | Binding, ...]
    values: Mapping[str, Value]
    secrets: Mapping[str, Json] = field(repr=False)
    inventory: Inventory
    stages: tuple[Stage, ...]
    playbook: bytes
    gather_facts: bool


def resolve(repository: Repository, request: Request, *, environ: Mapping[str, str], cache: Path | None) -> Resolution:
    """Settle everything about a run before it starts.

    Raises:
        ResolveError: a parameter is missing or wrong, or no host is left.
        DocumentError: the inventory or content cannot be used.
    """
    runbook, settings = request.runbook, repository.settings
    values, secrets = _parameters(runbook, request)
    inventory = resolve_inventory(
        _sources(repository, request),
        pattern=runbook.targets.hosts,
        limit=request.limit,
        environment=minimal_environment(environ, settings.environment_allow),
        root=repository.root,
        cache=cache,
    )
    _check_hosts(runbook, request, inventory)
    waves = split_waves(inventory.hosts, runbook.targets.waves)
    composed: dict[str, Runbook] = {}

    def lookup(name: str) -> Runbook:
        return composed.setdefault(name, repository.runbook(name))

    flats = flatten(runbook, lookup)
    _check_prometheus(flats, settings)
    stages, whole, facts = _compile(
        runbook,
        flats,
        waves,
        values,
        prometheus=settings.prometheus_url or "",
        role_texts=lambda: read_texts(repository.root, (*ROLES_DIRECTORIES, *settings.roles_path)),
    )
    pins, trees = _pins(repository, (runbook, *composed.values())), _trees(repository, flats)
    plan = _plan(request, _Settled(git_state(repository.root), inventory, pins, trees, flats, values, waves, stages))
    return Resolution(
        plan=plan,
        runbook=runbook,
        flats=flats,
        values=values,
        secrets={f"{SECRET_PREFIX}{name}": value for name, value in secrets.items()},
        inventory=inventory,
        stages=stages,
        playbook=whole,
        gather_facts=facts,
    )


def subject_of(resolution: Resolution, trigger: Trigger) -> Subject:
    """Give the facts about a plan that guardrails judge."""
    plan, runbook = resolution.plan, resolution.runbook
    targets = runbook.targets
    return Subject(
        plan_digest=plan.digest,
        runbook=plan.runbook,
        labels=runbook.metadata.labels,
        blast_radius=BlastRadius(
            max_hosts=targets.max_hosts, max_percent=targets.max_percent, position=targets.position
        ),
        host_count=len(plan.hosts),
        inventory_total=plan.inventory_total,
        groups=frozenset(group for groups in resolution.inventory.groups.values() for group in groups),
        dirty=plan.dirty or plan.commit is None,
        trigger=trigger,
        approvals_required=runbook.approvals_required,
        position=runbook.position,
    )


def detect_trigger(environ: Mapping[str, str]) -> Trigger:
    """Tell a CI job (it sets CI=true) from a person at a terminal."""
    return Trigger.CI if environ.get("CI", "").lower() in {"1", "true"} else Trigger.MANUAL


def split_waves(hosts: Sequence[str], sizes: Sequence[Wave]) -> tuple[tuple[str, ...], ...]:
    """Cut the hosts into batches as Ansible's `serial` does: the last size repeats, a percentage is of all hosts."""
    waves: list[tuple[str, ...]] = []
    rest = tuple(hosts)
    number = 0
    while rest:
        size = sizes[min(number, len(sizes) - 1)]
        width = size.count or max(1, int((size.percent or 0) * len(hosts) / 100))
        waves.append(rest[:width])
        rest = rest[width:]
        number += 1
    return tuple(waves)


def _sources(repository: Repository, request: Request) -> tuple[str, ...]:
    if request.inventory:
        return request.inventory
    if not repository.settings.inventory:
        raise UsageError(
            "no inventory was given and opsascode.yml names none",
            advice="add -i INVENTORY, or set spec.inventory in opsascode.yml",
        )
    return tuple(str(repository.root / source) for source in repository.settings.inventory)


def _parameters(runbook: Runbook, request: Request) -> tuple[dict[str, Value], dict[str, Json]]:
    known = {parameter.name for parameter in runbook.parameters}
    given = {*request.texts, *request.values, *request.secrets}
    faults = [f"{name}: {runbook.metadata.name} has no such parameter" for name in sorted(given - known)]
    values: dict[str, Value] = {}
    secrets: dict[str, Json] = {}
    for parameter in runbook.parameters:
        name = parameter.name
        if parameter.secret and name in request.texts:
            faults.append(
                f"{name}: a secret cannot be given on the command line, where every user of the machine sees it"
            )
            continue
        if name not in given and parameter.required:
            faults.append(f"{name}: is required" + (f" ({parameter.description})" if parameter.description else ""))
            continue
        settled = _settle(parameter, request)
        faults.extend(f"{name}: {fault}" for fault in settled.faults)
        if parameter.secret:
            secrets[name] = str(settled.value)
        else:
            values[name] = settled.value
    faults.extend(_leaks(values, secrets))
    if faults:
        known_names = ", ".join(parameter.name for parameter in runbook.parameters) or "none"
        raise ResolveError("; ".join(faults), advice=f"parameters of {runbook.metadata.name}: {known_names}")
    return values, secrets


def _leaks(values: Mapping[str, Value], secrets: Mapping[str, Json]) -> Iterator[str]:
    """Find secrets that stand in another parameter too, which plan and record would hold for ever."""
    for name, secret in secrets.items():
        for other, value in values.items():
            if (
                isinstance(secret, str)
                and len(secret) >= _SHORTEST_LEAK
                and secret in json.dumps(value, ensure_ascii=False)
            ):
                yield f"{other}: holds the value of the secret {name}, and would be recorded"


def _settle(parameter: Parameter, request: Request) -> CheckedValue:
    name = parameter.name
    if name in request.texts:
        return parameter.from_text(request.texts[name])
    if name in request.secrets:
        return parameter.check(request.secrets[name])
    return parameter.check(request.values.get(name, parameter.default))


def _check_hosts(runbook: Runbook, request: Request, inventory: Inventory) -> None:
    targets = runbook.targets
    if not inventory.hosts:
        limited = f" with --limit «{request.limit}»" if request.limit else ""
        raise ResolveError(
            f"the pattern «{targets.hosts}»{limited} matches none of the {inventory.total} hosts of the inventory",
            position=targets.position,
            advice="nothing to act on is a failure, not a success: mend the pattern, the limit or the inventory",
        )
    for host in inventory.hosts:
        missing = [name for name in targets.variables if name not in inventory.variable_names(host)]
        if missing and not inventory.has_sealed_variables(host):
            raise ResolveError(
                f"host {host} has no variable {', '.join(missing)}, which this runbook needs",
                position=targets.position,
                advice="set it in the inventory (host_vars or group_vars)",
            )


def _check_prometheus(flats: Sequence[FlatStep | Binding], settings: Settings) -> None:
    for flat in flats:
        if isinstance(flat, FlatStep) and isinstance(flat.step.action, PrometheusCheck) and not settings.prometheus_url:
            raise DocumentError(
                f"step {flat.id} asks Prometheus, and opsascode.yml does not say where it is",
                position=flat.step.position,
                advice="set spec.prometheus.url in opsascode.yml",
            )


def _compile(
    runbook: Runbook,
    flats: Sequence[FlatStep | Binding],
    waves: Sequence[tuple[str, ...]],
    values: Mapping[str, Value],
    *,
    prometheus: str,
    role_texts: Callable[[], bytes],
) -> tuple[tuple[Stage, ...], bytes, bool]:
    variables = parameter_variables(runbook, values)

    def plays(hosts: Sequence[str], *, facts: bool) -> list[dict[str, object]]:
        return compile_wave(runbook, flats, hosts=hosts, variables=variables, gather_facts=facts, prometheus=prometheus)

    facts = _needs_facts(flats, render(plays(waves[0], facts=False), header=()), role_texts)
    compiled = [plays(wave, facts=facts) for wave in waves]
    header = (
        f"Compiled from {runbook.source.path} ({runbook.source.digest}).",
        "Runs with plain ansible-playbook when it lies in the repository's playbooks/ directory.",
    )
    stages = []
    for number, (wave, content) in enumerate(zip(waves, compiled, strict=True), start=1):
        if len(waves) > 1:
            for play in content:
                play["name"] = f"{play['name']} (wave {number} of {len(waves)})"
        stages.append(Stage(wave=number, hosts=wave, playbook=render(content, header=header)))
    whole = render([play for content in compiled for play in content], header=header)
    return tuple(stages), whole, facts


def _needs_facts(flats: Sequence[FlatStep | Binding], playbook: bytes, role_texts: Callable[[], bytes]) -> bool:
    """Whether the steps, or the roles they use, name a fact; what a collection's role uses is not known."""
    roles = [
        flat.step.action.name for flat in flats if isinstance(flat, FlatStep) and isinstance(flat.step.action, RoleStep)
    ]
    if any("." in name for name in roles):
        return True
    text = playbook + role_texts() if roles else playbook
    return any(not _NOT_FACTS.fullmatch(name) for name in _ANSIBLE_NAME.findall(text))


def _pins(repository: Repository, runbooks: Sequence[Runbook]) -> tuple[Pin, ...]:
    settings = repository.settings
    sources = [runbook.source for runbook in runbooks]
    sources.extend(guardrail.source for guardrail in repository.guardrails())
    if settings.source:
        sources.append(settings.source)
    documents = {source.path: Pin(path=source.path, digest=source.digest) for source in sources}
    settings_of_ansible = repository.root / ANSIBLE_SETTINGS
    if settings_of_ansible.is_file():
        digest = sha256_digest(settings_of_ansible.read_bytes())
        documents[ANSIBLE_SETTINGS] = Pin(path=ANSIBLE_SETTINGS, digest=digest)
    return tuple(documents[path] for path in sorted(documents))


def _trees(repository: Repository, flats: Sequence[FlatStep | Binding]) -> tuple[Pin, ...]:
    settings = repository.settings
    actions = [flat.step.action for flat in flats if isinstance(flat, FlatStep)]
    playbooks = [action.path for action in actions if isinstance(action, PlaybookStep)]
    return pin_content(repository.root, (*settings.roles_path, *settings.collections_path), playbooks)


@dataclass(frozen=True, slots=True)
class _Settled:
    state: GitState
    inventory: Inventory
    pins: tuple[Pin, ...]
    trees: tuple[Pin, ...]
    flats: Sequence[FlatStep | Binding]
    values: Mapping[str, Value]
    waves: tuple[tuple[str, ...], ...]
    stages: Sequence[Stage]


def _plan(request: Request, settled: _Settled) -> Plan:
    runbook, inventory = request.runbook, settled.inventory
    return Plan(
        runbook=runbook.metadata.name,
        version=runbook.metadata.version or "",
        title=runbook.metadata.title,
        source=Pin(path=runbook.source.path, digest=runbook.source.digest),
        commit=settled.state.commit,
        dirty=settled.state.dirty,
        pins=settled.pins,
        trees=settled.trees,
        inventory_sources=tuple(inventory.sources),
        inventory_digest=inventory.digest,
        inventory_total=inventory.total,
        pattern=runbook.targets.hosts,
        limit=request.limit,
        parameters=tuple(
            ParameterValue(
                name=parameter.name,
                value=None if parameter.secret else _exact(settled.values[parameter.name]),
                secret=parameter.secret,
            )
            for parameter in runbook.parameters
        ),
        on_failure=runbook.on_failure.value,
        steps=tuple(_planned(flat, settled.values) for flat in settled.flats if isinstance(flat, FlatStep)),
        waves=settled.waves,
        playbooks=tuple(sha256_digest(stage.playbook) for stage in settled.stages),
    )


def _planned(flat: FlatStep, values: Mapping[str, Value]) -> PlannedStep:
    step = flat.step
    known = {**values, **flat.scope}

    def value_of(match: re.Match[str]) -> str:
        value = known.get(match[1])
        return str(value) if isinstance(value, (str, int)) else match[0]

    return PlannedStep(
        id=flat.id,
        title=_NAME_ALONE.sub(value_of, step.title),
        kind=step.kind.value,
        can_undo=step.undo is not None,
        conditional=bool(step.when or flat.conditions),
    )


def _exact(value: Value) -> Json:
    """Give a value as JSON without floats: a number that is no integer becomes its exact decimal text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return f"{Decimal(repr(value)):f}"
