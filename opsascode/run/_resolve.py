"""How does a runbook become a plan?

Hosts, waves, parameters and the compiled playbooks are settled before anything starts. The same runbook, inventory,
parameters, commit and limit always give the same plan. An empty target set is an error, never "nothing to do".

Not here: whether the plan may run (`policy`), running it (`_perform`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError, ResolveError, UsageError
from opsascode.proof import sha256_digest
from opsascode.repo import PlaybookStep, PrometheusCheck, RoleStep, RunbookStep, git_state, resolve_inventory
from opsascode.run._compiler import Frame, compile_undo, parameter_variables, render
from opsascode.run._compose import SECRET_PREFIX, FlatStep, flatten, known_text
from opsascode.run._content import ROLES_DIRECTORIES, pin_content, read_texts
from opsascode.run._cut import Cutter, Stage, between_checks
from opsascode.run._environment import minimal_environment
from opsascode.run._modules import Places, Uses, uses_of
from opsascode.run._pins import root_used
from opsascode.run._plan import APPLIED_PACK, ParameterValue, Pin, Plan, PlannedStage, PlannedStep, RootUsed
from opsascode.run._provisions import Provisions, find_provisions
from opsascode.run._settle import lock_names, settle_parameters
from opsascode.run._stage import unusable
from opsascode.run._subject import unasked_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from opsascode.policy import Subject
    from opsascode.proof import Json, TrustChain
    from opsascode.repo import GitState, Inventory, Repository, Runbook, Settings, Value, Wave
    from opsascode.run._compose import Composition
    from opsascode.run._cut import Flat
    from opsascode.run._enforce import Rules
    from opsascode.run._plan import AskedApproval

__all__ = [
    "Request",
    "Resolution",
    "Stage",
    "resolve",
    "rest_of",
    "split_waves",
    "undo_of",
]

_ANSIBLE_NAME: Final = re.compile(rb"\bansible_[a-z0-9_]+")
_NOT_FACTS: Final = re.compile(
    rb"ansible_(?:become\w*|check_mode|collection_name|config_file|connection|dependent_role_names|diff_mode|forks|host"
    rb"|index_var|inventory_sources|limit|loop\w*|parent_role\w*|password|pipelining|play_batch|play_hosts\w*|play_name"
    rb"|play_role_names|playbook_python|port|private_key_file|python_interpreter|role_name|role_names|run_tags|search_path"
    rb"|shell_\w+|skip_tags|ssh_\w+|user|verbosity|version|winrm_\w+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: a runbook, the words and values for its targets and parameters, and the rules that hold.

    `rules` gives them for the hosts that are targeted; without it those of the work tree hold. `trusted` gives the
    trust root where somebody must approve; it is asked again for each answer. `asked` says which approvals guardrails
    ask of these facts; without it, none.
    """

    runbook: Runbook
    inventory: tuple[str, ...] = ()
    limit: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    rules: Callable[[Sequence[str]], Rules] | None = None
    trusted: Callable[[], TrustChain] | None = None
    asked: Callable[[Rules | None, Subject], Sequence[AskedApproval]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A plan and what it takes to carry it out.

    `playbook` is one playbook of all stages, for people. `locks` are names that no two runs hold at once, `outputs` the
    names that each step declares as outputs.
    """

    plan: Plan
    runbook: Runbook
    flats: tuple[Flat, ...]
    values: Mapping[str, Value]
    secrets: Mapping[str, Json] = field(repr=False)
    inventory: Inventory
    stages: tuple[Stage, ...]
    playbook: bytes
    gather_facts: bool
    locks: tuple[str, ...]
    timeout: timedelta | None
    outputs: Mapping[str, tuple[str, ...]]
    cutter: Cutter = field(repr=False)
    provisions: Provisions = field(default_factory=Provisions)
    trusted: Callable[[], TrustChain] | None = field(default=None, repr=False)
    uses: Uses = field(default_factory=Uses)


def resolve(repository: Repository, request: Request, *, environ: Mapping[str, str], cache: Path | None) -> Resolution:
    """Settle everything about a run before it starts.

    Raises:
        ProofError: somebody must approve, and there is no trust root to say who may.
        ResolveError: a parameter is missing or wrong, or no host is left.
        DocumentError: the inventory or content cannot be used.
    """
    runbook = request.runbook
    provisions = find_provisions(repository, environ=environ, cache=cache)
    values, secrets = settle_parameters(runbook, request)
    inventory = _inventory(repository, request, environ, cache)
    composed: dict[str, Runbook] = {}

    def lookup(name: str) -> Runbook:
        return composed.setdefault(name, repository.runbook(name))

    composition = flatten(runbook, lookup, values)
    flats = composition.flats
    waves = split_waves(inventory.hosts, runbook.targets.waves)
    state = git_state(repository.root)
    uses = uses_of((*flats, *_checks_between(runbook)), _places(repository, provisions))
    rules = request.rules(inventory.hosts) if request.rules else None
    subject = unasked_subject(runbook, inventory, uses, dirty=state.dirty or state.commit is None)
    asked = tuple(request.asked(rules, subject)) if request.asked else ()
    cutter = replace(_cutter(repository, runbook, composition, waves, values, provisions), asked=asked)
    stages = _stages(repository, runbook, cutter, flats)
    settled = _Settled(
        state=state,
        inventory=inventory,
        pins=_pins(repository, rules, (runbook, *composed.values()), provisions),
        trees=_trees(repository, flats, provisions),
        flats=flats,
        values=values,
        waves=waves,
        stages=stages,
        locks=lock_names(composition.runbooks, inventory.hosts),
        trust=root_used(stages, request.trusted),
        asked=asked,
    )
    return Resolution(
        plan=_plan(request, settled),
        runbook=runbook,
        flats=flats,
        values=values,
        secrets={f"{SECRET_PREFIX}{name}": value for name, value in secrets.items()},
        inventory=inventory,
        stages=stages,
        playbook=cutter.whole(stages),
        gather_facts=cutter.frame.gather_facts,
        locks=settled.locks,
        timeout=runbook.timeout,
        outputs=_outputs(flats),
        cutter=cutter,
        provisions=provisions,
        trusted=request.trusted,
        uses=uses,
    )


def _inventory(repository: Repository, request: Request, environ: Mapping[str, str], cache: Path | None) -> Inventory:
    inventory = resolve_inventory(
        _sources(repository, request),
        pattern=request.runbook.targets.hosts,
        limit=request.limit,
        environment=minimal_environment(environ, repository.settings.environment_allow),
        root=repository.root,
        cache=cache,
    )
    _check_hosts(request.runbook, request, inventory)
    return inventory


def _outputs(flats: Sequence[Flat]) -> dict[str, tuple[str, ...]]:
    return {each.id: tuple(each.step.outputs) for each in flats if isinstance(each, FlatStep) and each.step.outputs}


def _stages(repository: Repository, runbook: Runbook, cutter: Cutter, flats: Sequence[Flat]) -> tuple[Stage, ...]:
    _check_prometheus((*flats, *_checks_between(runbook)), repository.settings)
    stages = cutter.stages()
    if not any(stage.flats for stage in stages):
        msg = f"{runbook.name} has no step for Ansible to carry out"
        raise ResolveError(msg, position=runbook.position, advice="see what its loops and questions leave")
    return stages


def rest_of(
    resolution: Resolution,
    stage: Stage,
    completed: Mapping[str, Collection[str]],
    *,
    left_out: Collection[str] = (),
) -> tuple[bytes, tuple[str, ...]] | None:
    """Give the playbook for what is left of a stage and the hosts in it, or nothing when nothing is left.

    `completed` holds the steps each host need not take again, the skipped ones too. Hosts that are `left_out` take no
    step, and what they did not do is nobody else's excuse.
    """
    return resolution.cutter.rest(stage, completed, left_out)


def undo_of(
    resolution: Resolution, completed: Mapping[str, Sequence[str]], *, header: Sequence[str]
) -> tuple[bytes, tuple[str, ...]] | None:
    """Give the playbook that takes back what each host completed, and its hosts; nothing when nothing is to do."""
    plays, hosts = compile_undo(resolution.cutter.frame, resolution.flats, completed)
    return (render(plays, header=header), hosts) if plays else None


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


def _check_hosts(runbook: Runbook, request: Request, inventory: Inventory) -> None:
    targets = runbook.targets
    if not inventory.hosts:
        limited = f" with --limit «{request.limit}»" if request.limit else ""
        raise ResolveError(
            f"the pattern «{targets.hosts}»{limited} matches none of the {inventory.total} hosts of the inventory",
            position=targets.position,
            advice="nothing to act on is a failure, not a success: mend the pattern, the limit or the inventory",
        )
    misleading = unusable(inventory.hosts)
    if misleading:
        raise ResolveError(
            f"Ansible would not take {misleading[0][:80]!a} for the name of one host, and could act on others",
            position=targets.position,
            advice="rename it in the inventory: no comma, colon, white space or control character, no ! & @ first",
        )
    for host in inventory.hosts:
        missing = [name for name in targets.variables if name not in inventory.variable_names(host)]
        if missing and not inventory.has_sealed_variables(host):
            raise ResolveError(
                f"host {host} has no variable {', '.join(missing)}, which this runbook needs",
                position=targets.position,
                advice="set it in the inventory (host_vars or group_vars)",
            )


def _check_prometheus(flats: Sequence[Flat], settings: Settings) -> None:
    for flat in flats:
        if not isinstance(flat, FlatStep):
            continue
        actions = (flat.step.action, flat.step.undo.check if flat.step.undo else None)
        if any(isinstance(action, PrometheusCheck) for action in actions) and not settings.prometheus_url:
            raise DocumentError(
                f"step {flat.id} asks Prometheus, and opsascode.yml does not say where it is",
                position=flat.step.position,
                advice="set spec.prometheus.url in opsascode.yml",
            )


def _checks_between(runbook: Runbook) -> tuple[FlatStep, ...]:
    between = runbook.targets.between_waves
    return between_checks(between, 1) if between else ()


def _cutter(
    repository: Repository,
    runbook: Runbook,
    composition: Composition,
    waves: tuple[tuple[str, ...], ...],
    values: Mapping[str, Value],
    provisions: Provisions,
) -> Cutter:
    """Make the one that cuts the run into stages; facts are gathered where any stage, or an undo, names one."""
    settings, flats = repository.settings, composition.flats
    frame = Frame(
        name=runbook.metadata.name,
        variables=parameter_variables(runbook, values),
        gather_facts=False,
        prometheus=settings.prometheus_url or "",
    )
    cutter = Cutter(runbook=runbook, frame=frame, flats=flats, waves=waves, values=values)
    steps = [flat.id for flat in flats if isinstance(flat, FlatStep)]
    undo, _ = compile_undo(frame, flats, {waves[0][0]: steps})
    small = replace(cutter, waves=(waves[0][:1], waves[0][:1]))  # two waves of one host hold every text there is
    text = small.whole(small.stages()) + render(undo, header=())
    roles = (*ROLES_DIRECTORIES, *settings.roles_path, *provisions.settings.roles)
    facts = _needs_facts(flats, text, lambda: read_texts(repository.root, roles))
    return replace(cutter, frame=replace(frame, gather_facts=True)) if facts else cutter


def _needs_facts(flats: Sequence[Flat], playbook: bytes, role_texts: Callable[[], bytes]) -> bool:
    """Whether the steps, or the roles they use, name a fact; what a collection's role uses is not known."""
    roles = [
        flat.step.action.name for flat in flats if isinstance(flat, FlatStep) and isinstance(flat.step.action, RoleStep)
    ]
    if any("." in name for name in roles):
        return True
    text = playbook + role_texts() if roles else playbook
    return any(not _NOT_FACTS.fullmatch(name) for name in _ANSIBLE_NAME.findall(text))


def _pins(
    repository: Repository, rules: Rules | None, runbooks: Sequence[Runbook], provisions: Provisions
) -> tuple[Pin, ...]:
    """Pin every document that has a say: runbooks, settings, and the policies of the work tree or the applied pack."""
    sources = [runbook.source for runbook in runbooks]
    scope = rules.snapshot if rules else None
    if scope is None:
        policies = rules.policies if rules else repository.policies()
        sources.extend(guardrail.source for guardrail in policies.guardrails)
    sources.extend(source for source in (repository.settings.source,) if source)
    documents = {source.path: Pin(path=source.path, digest=source.digest) for source in sources}
    documents |= {pin.path: pin for pin in provisions.pins}
    documents |= {APPLIED_PACK: Pin(path=APPLIED_PACK, digest=scope.digest)} if scope else {}
    return tuple(documents[path] for path in sorted(documents))


def _places(repository: Repository, provisions: Provisions) -> Places:
    settings = repository.settings
    return Places(
        root=repository.root,
        roles=tuple(dict.fromkeys((*settings.roles_path, *ROLES_DIRECTORIES, *provisions.settings.roles))),
        collections=tuple(dict.fromkeys((*settings.collections_path, *provisions.settings.collections))),
    )


def _trees(repository: Repository, flats: Sequence[Flat], provisions: Provisions) -> tuple[Pin, ...]:
    settings = repository.settings
    actions = [flat.step.action for flat in flats if isinstance(flat, FlatStep)]
    playbooks = [action.path for action in actions if isinstance(action, PlaybookStep)]
    extra = (*settings.roles_path, *settings.collections_path, *provisions.directories)
    return pin_content(repository.root, extra, playbooks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    state: GitState
    inventory: Inventory
    pins: tuple[Pin, ...]
    trees: tuple[Pin, ...]
    flats: Sequence[Flat]
    values: Mapping[str, Value]
    waves: tuple[tuple[str, ...], ...]
    stages: Sequence[Stage]
    locks: tuple[str, ...]
    trust: RootUsed | None
    asked: tuple[AskedApproval, ...]


def _plan(request: Request, settled: _Settled) -> Plan:
    runbook, inventory = request.runbook, settled.inventory
    tolerance = runbook.targets.max_fail_percent
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
        undo_scope=runbook.undo_scope.value,
        timeout=int(runbook.timeout.total_seconds()) if runbook.timeout else None,
        max_fail_percent=None if tolerance is None else f"{tolerance:f}",
        locks=settled.locks,
        steps=tuple(_planned(flat, settled.values) for flat in settled.flats if isinstance(flat, FlatStep)),
        waves=settled.waves,
        stages=tuple(_planned_stage(stage) for stage in settled.stages),
        trust=settled.trust,
        asked=settled.asked,
    )


def _planned_stage(stage: Stage) -> PlannedStage:
    return PlannedStage(
        id=stage.id,
        wave=stage.wave,
        kind=stage.kind,
        steps=stage.steps,
        playbook=sha256_digest(stage.playbook) if stage.flats else None,
        ask=stage.ask.to_json() if stage.ask else None,
        seconds=int(stage.seconds),
    )


def _planned(flat: FlatStep, values: Mapping[str, Value]) -> PlannedStep:
    step = flat.step
    return PlannedStep(
        id=flat.id,
        title=known_text(step.title, {**values, **flat.scope}),
        kind=step.kind.value,
        can_undo=step.undo is not None,
        conditional=bool(step.when or flat.conditions),
        looped=step.loop is not None and not isinstance(step.action, RunbookStep),
        resumable=step.resumable,
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
