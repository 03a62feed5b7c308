"""What may the ansible.cfg of an ops repository set?

An allow-list. What only says how hosts are reached and tasks are run is kept. Directories of plugins count when they
lie in the repository, where a plan can pin them. How Ansible prints, and what opsascode sets itself, is left out
without a word; the rest is left out with a warning. What would make a run unsafe, or another than was planned, is an
error.

`ansible_settings` is pure: text in, settings and problems out. `rendered` gives the file that Ansible reads instead of
the repository's own. Not here: where that file lies (`run`), and the meaning of each setting (Ansible's documentation).
"""

from __future__ import annotations

import configparser
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from opsascode.errors import Position
from opsascode.repo._problem import InvalidDocumentsError, Problem, Severity, errors_among, quoted
from opsascode.repo._walk import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANSIBLE_SETTINGS: Final = "ansible.cfg"


def _table(text: str) -> Mapping[str, frozenset[str]]:
    """Read lines of «section: names» into a set of names for each section."""
    rows = [(line.partition(":")[0], line.partition(":")[2].split()) for line in text.strip().splitlines()]
    return {
        section: frozenset(name for each, names in rows if each == section for name in names) for section, _ in rows
    }


_KEPT: Final = _table("""
defaults: allow_broken_conditionals allow_embedded_templates ansible_managed duplicate_dict_key error_on_missing_handler
defaults: error_on_undefined_vars executable facts_modules force_handlers force_valid_group_names forks gather_subset
defaults: gather_timeout gathering hash_behaviour inject_facts_as_vars internal_poll_interval interpreter_python
defaults: invalid_task_attribute_failed inventory_ignore_extensions inventory_ignore_patterns jinja2_native
defaults: max_diff_size module_compression module_ignore_exts module_lang module_set_locale module_strict_utf8_response
defaults: network_group_modules no_log no_target_syslog null_representation pipelining poll_interval precedence
defaults: private_key_file private_role_vars python_module_rlimit_nofile remote_port remote_tmp remote_user
defaults: syslog_facility system_tmpdirs target_log_info task_timeout timeout transport use_persistent_connections
defaults: validate_action_group_metadata win_async_startup_timeout yaml_valid_extensions
privilege_escalation: agnostic_become_prompt become become_allow_same_user become_exe become_flags become_method
privilege_escalation: become_user
ssh_connection: password_mechanism pipelining reconnection_retries retries scp_executable scp_extra_args scp_if_ssh
ssh_connection: sftp_batch_mode sftp_executable sftp_extra_args ssh_args ssh_common_args ssh_executable ssh_extra_args
ssh_connection: sshpass_prompt timeout transfer_method usetty
connection: pipelining
paramiko_connection: banner_timeout look_for_keys proxy_command pty timeout use_rsa_sha2_algorithms
persistent_connection: command_timeout connect_retry_timeout connect_timeout
netconf_connection: ssh_config
inventory: enable_plugins host_pattern_mismatch ignore_extensions ignore_patterns
selinux: libvirt_lxc_noseclabel special_context_filesystems
jinja2: dont_type_filters
diff: context
""")
_BECOME_PLUGIN: Final = re.compile(r"[a-z0-9_]+_become_plugin\Z")
_BECOME_PLUGIN_KEPT: Final = frozenset({"agnostic_become_prompt", "executable", "flags", "user"})

_PATHS: Final = _table("""
plugins: action_plugins become_plugins cliconf_plugins connection_plugins doc_fragment_plugins filter_plugins
plugins: httpapi_plugins inventory_plugins library lookup_plugins module_utils netconf_plugins terminal_plugins
plugins: test_plugins
roles: roles_path
collections: collections_path collections_paths
""")
_PLUGINS, _ROLES, _COLLECTIONS = _PATHS["plugins"], _PATHS["roles"], _PATHS["collections"]
_INSTALLED: Final = ("~/.ansible", "/usr/share/ansible", "/etc/ansible", "{{ANSIBLE_HOME", "{{ ANSIBLE_HOME")

_SILENT: Final = _table("""
defaults: action_warnings bin_ansible_callbacks callback_result_format check_mode_markers
defaults: collections_on_ansible_version_mismatch collections_scan_sys_path command_warnings cow_selection cowpath
defaults: cowsay_enabled_stencils debug deprecation_warnings devel_warning display_args_to_stdout display_failed_stderr
defaults: display_ok_hosts display_skipped_hosts display_traceback docsite_root_url editor enable_task_debugger
defaults: force_color home hostfile inventory local_tmp localhost_warning log_verbosity nocolor nocows
defaults: old_plugin_cache_clear pager result_format retry_files_enabled retry_files_save_path show_custom_stats
defaults: show_per_host_start show_task_path_on_failure stdout_callback system_warnings vault_encrypt_identity
defaults: vault_encrypt_salt verbose_to_stderr verbosity
ssh_connection: control_path control_path_dir verbosity
persistent_connection: control_path_dir
inventory: any_unparsed_is_failed cache cache_connection cache_plugin cache_prefix cache_timeout export
inventory: inventory_unparsed_warning unparsed_is_failed unparsed_warning
diff: always
""")
_SILENT_SECTION: Final = re.compile(r"(?:colors|galaxy(?:_server\..+)?|callback_.+|testing)\Z")
_CALLBACKS: Final = frozenset({"callback_enabled", "callback_whitelist", "callbacks_enabled"})
_ONLY_SHOW: Final = frozenset(
    {
        "cgroup_perf_recap", "community.general.yaml", "debug", "default", "minimal", "oneline", "profile_roles",
        "profile_tasks", "timer", "yaml",
    }
)  # fmt: skip

_ASKED: Final[Mapping[tuple[str, str], str]] = {
    ("defaults", "ask_pass"): "give -k (--ask-pass) when you run",
    ("defaults", "ask_vault_pass"): "give -J (--ask-vault-pass) when you run",
    ("defaults", "become_password_file"): "give --become-password-file when you run",
    ("defaults", "connection_password_file"): "give --connection-password-file when you run",
    ("privilege_escalation", "become_ask_pass"): "give -K (--ask-become-pass) when you run",
    ("defaults", "log_path"): "remove it: opsascode keeps what Ansible said, without secrets, beside each run",
    ("defaults", "strategy"): "remove it: opsascode runs every wave task by task",
    ("defaults", "strategy_plugins"): "remove it: opsascode runs every wave task by task",
    ("defaults", "keep_remote_files"): "remove it: these files may hold secrets",
    ("defaults", "fact_caching"): "remove it: opsascode keeps facts for one run, so that none is stale",
}
_KNOWN: Final = (
    "remove it and make the keys known (ssh-keyscan HOST, then compare), or say for single hosts in the inventory: "
    "ansible_ssh_common_args: -o StrictHostKeyChecking=accept-new"
)
_TAGS: Final = "remove it, and give --tags or --skip-tags when you run: they then stand in the plan"
_NO: Final = frozenset({"false", "no", "off", "0", "n", "f"})
_LAX_SSH: Final = re.compile(
    r"stricthostkeychecking[ =]+[\"']?(?:no|off)\b|userknownhostsfile[ =]+[\"']?/dev/null", re.IGNORECASE
)
_PROGRAMS: Final = frozenset({"scp_executable", "sftp_executable", "ssh_executable"})
_CONTROL_PATH: Final = re.compile(r"\s*-o\s*[\"']?ControlPath[ =]\S+", re.IGNORECASE)
_SSH_ARGUMENTS: Final = frozenset({"ssh_args", "ssh_common_args", "ssh_extra_args"})
_SECTION_LINE: Final = re.compile(r"\[([^\]]+)\]")
_KEY_LINE: Final = re.compile(r"([^\s=:#;\[][^=:]*?)\s*[=:]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleSettings:
    """What counts of an ansible.cfg; paths of plugins, roles and collections are relative to the repository.

    `kept` are sections, their keys and values; `vault` are words as `--vault-id` takes them.
    """

    kept: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plugins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    vault: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories of plugins, which a plan must pin."""
        return tuple(dict.fromkeys(path for paths in self.plugins.values() for path in paths))

    @property
    def forks(self) -> int | None:
        """On how many hosts Ansible works at the same time, where that is said."""
        text = self.kept.get("defaults", {}).get("forks", "").strip()
        return int(text) if text.isdecimal() and int(text) > 0 else None

    def rendered(self, root: Path, content: Path) -> bytes:
        """Give the file for Ansible: what is kept, with plugins from below `content` and other files from `root`.

        Pipelining is on unless something is said about it: it halves the time of a task over ssh.
        """
        parser = configparser.RawConfigParser()
        for section, values in self.kept.items():
            parser[section] = {key: _placed(key, value, root) for key, value in values.items()}
        if self.plugins:
            paths = {key: os.pathsep.join(str(content / path) for path in each) for key, each in self.plugins.items()}
            parser["defaults"] = {**(parser["defaults"] if parser.has_section("defaults") else {}), **paths}
        if not any("pipelining" in values for values in self.kept.values()):
            parser["connection"] = {"pipelining": "True"}
        written = io.StringIO()
        parser.write(written)
        return written.getvalue().encode()


def read_ansible_settings(root: Path) -> AnsibleSettings:
    """Read the repository's ansible.cfg; without one there is nothing but our own defaults."""
    path = root / ANSIBLE_SETTINGS
    if not os.path.lexists(path):
        return AnsibleSettings()
    if inside(root, ANSIBLE_SETTINGS) is None:
        return _unreadable("it is a link that leads out of the repository")
    try:
        return ansible_settings(path.read_bytes().decode())
    except UnicodeDecodeError:
        return _unreadable("it is not UTF-8")
    except OSError as error:
        return _unreadable(error.strerror or "it is no file")


def usable_ansible_settings(root: Path) -> AnsibleSettings:
    """Read the repository's ansible.cfg for a run.

    Raises:
        InvalidDocumentsError: it sets what a run must not have.
    """
    settings = read_ansible_settings(root)
    if errors := errors_among(settings.problems):
        raise InvalidDocumentsError(errors)
    return settings


def ansible_settings(text: str, name: str = ANSIBLE_SETTINGS) -> AnsibleSettings:
    """Judge the text of an ansible.cfg: what is kept, and what is wrong with the rest, at its line."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    try:
        parser.read_string(text, source=name)
    except configparser.Error as error:
        return AnsibleSettings(problems=(_unparsed(error, name),))
    reading = _Reading(name, _lines(text))
    for section in parser.sections():
        for key in parser[section]:
            reading.take(section, key, parser[section][key])
    return reading.settings()


class _Reading:
    """Judges one setting after the other and gathers what comes of them."""

    def __init__(self, name: str, lines: Mapping[tuple[str, str], int]) -> None:
        self._name, self._lines = name, lines
        self._kept: dict[str, dict[str, str]] = {}
        self._plugins: dict[str, tuple[str, ...]] = {}
        self._roles: tuple[str, ...] = ()
        self._collections: tuple[str, ...] = ()
        self._vault: list[str] = []
        self._problems: list[Problem] = []

    def settings(self) -> AnsibleSettings:
        return AnsibleSettings(
            kept=self._kept,
            plugins=self._plugins,
            roles=self._roles,
            collections=self._collections,
            vault=tuple(self._vault),
            problems=tuple(self._problems),
        )

    def take(self, section: str, key: str, value: str) -> None:
        """Judge one setting."""
        dangers = tuple(_dangers(section, key, value))
        for message, mend in dangers:
            self._tell(section, key, message, mend)
        if dangers:
            return
        if section == "defaults" and key in _PLUGINS | _ROLES | _COLLECTIONS:
            self._take_paths(key, value)
        elif section == "defaults" and key in {"vault_password_file", "vault_identity_list"}:
            self._vault += [word for part in value.split(",") if (word := part.strip())]
        elif _is_kept(section, key):
            self._keep(section, key, value)
        elif not _is_silent(section, key, value):
            mend = _ASKED.get((section, key), "remove it, or say it in the inventory or on the command line")
            self._tell(
                section, key, f"{key} in [{section}] does not count in a run of opsascode", mend, Severity.WARNING
            )

    def _keep(self, section: str, key: str, value: str) -> None:
        if key in _SSH_ARGUMENTS and _CONTROL_PATH.search(value):
            value = _CONTROL_PATH.sub("", value).strip()
            message = f"ControlPath in {key} does not count: each run has connections of its own, which end with it"
            self._tell(section, key, message, "remove it", Severity.WARNING)
        self._kept.setdefault(section, {})[key] = value

    def _take_paths(self, key: str, value: str) -> None:
        found: list[str] = []
        for word in (part.strip().strip("\"'") for part in value.split(os.pathsep)):
            path = _in_repository(word)
            if path is not None:
                found.append(path)
            elif word and key in _PLUGINS and not word.startswith(_INSTALLED):
                message = f"{key} leads out of the repository: {quoted(word)}"
                mend = "put the plugins into the repository, where a plan pins them, or use a collection"
                self._tell("defaults", key, message, mend)
            elif word and not word.startswith(_INSTALLED):
                message = f"{key} leads out of the repository: {quoted(word)} does not count in a run"
                self._tell("defaults", key, message, "put the content into the repository", Severity.WARNING)
        if key in _ROLES:
            self._roles = tuple(found)
        elif key in _COLLECTIONS:
            self._collections = tuple(found)
        elif found:
            self._plugins[key] = tuple(found)

    def _tell(self, section: str, key: str, message: str, mend: str, severity: Severity = Severity.ERROR) -> None:
        position = Position(path=self._name, line=self._lines.get((section, key), 1))
        self._problems.append(
            Problem(position=position, code="ansible-setting", message=message, mend=mend, severity=severity)
        )


def _dangers(section: str, key: str, value: str) -> Iterator[tuple[str, str]]:
    """Say why a setting must not be there, and what to do instead."""
    said = value.strip().strip("\"'").lower()
    if key == "host_key_checking" and said in _NO:
        yield "host keys are always checked: a run must not act on a machine that only claims to be the host", _KNOWN
    if key == "host_key_auto_add" and said not in _NO:
        yield "unknown host keys are never accepted by themselves", _KNOWN
    if key in _SSH_ARGUMENTS and _LAX_SSH.search(value):
        yield f"{key} turns the checking of host keys off", _KNOWN
    if section == "tags" and said:
        yield f"{key} in [tags] would silently leave out tasks that were planned", _TAGS
    if _BECOME_PLUGIN.match(section) and key == "password":
        yield "a password must not stand in a file of the repository", "remove it; give -K or --become-password-file"
    if key in _PROGRAMS and "/" in said and not said.startswith(("/", "~")):
        yield f"{key} is a program in the repository, which no plan pins", "give the absolute path of an installed one"


def _is_kept(section: str, key: str) -> bool:
    if _BECOME_PLUGIN.match(section):
        return key in _BECOME_PLUGIN_KEPT
    return key in _KEPT.get(section, ())


def _is_silent(section: str, key: str, value: str) -> bool:
    if _SILENT_SECTION.match(section) or key in _SILENT.get(section, ()) or key == "host_key_checking":
        return True
    if section == "defaults" and key in _CALLBACKS:
        names = {word.strip().removeprefix("ansible.posix.") for word in value.split(",")}
        return names <= _ONLY_SHOW
    return key == "host_key_auto_add" or not value.strip()


def _in_repository(word: str) -> str | None:
    """Give the path relative to the repository, or None when it leads out or cannot be known."""
    if not word or word.startswith(("/", "~", "$")) or "{{" in word or "$" in word:
        return None
    path = PurePosixPath(os.path.normpath(word))
    return None if path.parts[:1] == ("..",) else str(path)


def _placed(key: str, value: str, root: Path) -> str:
    """Give the value with a relative path of a file made absolute, as Ansible reads it beside its ansible.cfg."""
    if key != "private_key_file" or value.startswith(("/", "~", "$", "{{")):
        return value
    return str(root / value)


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Find the line each setting stands at."""
    found: dict[tuple[str, str], int] = {}
    for number, (section, key) in _keys(text):
        found.setdefault((section, key), number)
    return found


def _keys(text: str) -> Iterator[tuple[int, tuple[str, str]]]:
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _SECTION_LINE.match(line):
            section = heading[1]
        elif key := _KEY_LINE.match(line):
            yield number, (section, key[1].strip().lower())


def _unreadable(said: str) -> AnsibleSettings:
    problem = Problem(
        position=Position(path=ANSIBLE_SETTINGS),
        code="unreadable",
        message=f"{ANSIBLE_SETTINGS} cannot be read: {said}",
        mend="put the file itself into the repository, as UTF-8 text",
    )
    return AnsibleSettings(problems=(problem,))


def _unparsed(error: configparser.Error, name: str) -> Problem:
    line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), 1)
    said = str(error.message).partition("\n")[0].replace(f"While reading from '{name}' ", "").strip()
    return Problem(
        position=Position(path=name, line=line),
        code="ansible-setting",
        message=f"Ansible cannot read this: {said}",
        mend="write «[section]» lines and «name = value» lines, each name once",
    )
