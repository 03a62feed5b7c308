"""Hosts that are reached neither by ssh nor locally get their variables as they are, and nothing meant for ssh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.repo._ansible_settings import ansible_settings

from .staging import order, playbook, run, step

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = '''
"""A network device that answers every command with what it was told about itself."""
DOCUMENTATION = """
name: device
short_description: a device
description: [a device]
options:
  host: {description: [address], vars: [{name: inventory_hostname}, {name: ansible_host}]}
  port: {description: [port], type: int, default: 830, vars: [{name: ansible_port}]}
  remote_user: {description: [user], vars: [{name: ansible_user}]}
  password: {description: [password], vars: [{name: ansible_password}]}
  scheme: {description: [scheme], default: https, vars: [{name: ansible_device_scheme}]}
"""
import json
from ansible.plugins.connection import ConnectionBase


class Connection(ConnectionBase):
    transport = "device"
    has_pipelining = False

    def _connect(self):
        self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        told = {name: self.get_option(name) for name in ("host", "port", "remote_user", "password", "scheme")}
        return 0, json.dumps({**told, "command": cmd}).encode(), b""

    def put_file(self, in_path, out_path):
        raise NotImplementedError

    def fetch_file(self, in_path, out_path):
        raise NotImplementedError

    def close(self):
        self._connected = False
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "plugins/connection").mkdir(parents=True)
    (made / "plugins/connection/device.py").write_text(DEVICE)
    settings = ansible_settings("[defaults]\nconnection_plugins = plugins/connection\n")
    assert settings.directories == ("plugins/connection",)
    (made / "ansible.cfg").write_bytes(settings.rendered(made, made))
    return made


def test_a_connection_plugin_of_the_repository_gets_its_own_variables(tmp_path: Path, project: Path) -> None:
    variables: dict[str, Any] = {
        "ansible_connection": "device",
        "ansible_host": "10.9.8.7",
        "ansible_port": 8443,
        "ansible_user": "operator",
        "ansible_password": "p word",
        "ansible_device_scheme": "http",
        "ansible_network_os": "acme",
    }
    tasks = (step("show", "raw", "show version"), step("said", "debug", {"msg": "{{ ansible_network_os }}"}))
    inventory = {"all": {"hosts": {"switch1": variables}}}
    ordered = order(
        tmp_path,
        playbook({**tasks[0], "register": "shown"}, step("told", "debug", {"msg": "{{ shown.stdout }}"}), tasks[1]),
        hosts=("switch1",),
        inventory=inventory,
        project=project,
        settings=(project / "ansible.cfg").read_bytes(),
    )
    seen = run(ordered)
    assert seen.result.outcome.value == "succeeded", seen.result
    told = json.loads(seen.results("told")["switch1"].message)
    assert told == {
        "host": "10.9.8.7",
        "port": 8443,
        "remote_user": "operator",
        "password": "p word",
        "scheme": "http",
        "command": "show version",
    }
    assert seen.results("said")["switch1"].message == "acme"


@pytest.mark.parametrize(
    ("connection", "says"),
    [("winrm", "winrm"), ("psrp", "psrp")],
)
def test_windows_connections_are_ansibles_own_affair(tmp_path: Path, connection: str, says: str) -> None:
    """Without their libraries they fail by their own words, not by anything we assumed."""
    variables: dict[str, Any] = {
        "ansible_connection": connection,
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
        "ansible_user": "Administrator",
        "ansible_password": "p word",
        "ansible_winrm_transport": "basic",
        "ansible_shell_type": "powershell",
    }
    inventory = {"all": {"hosts": {"win1": variables}}}
    ordered = order(tmp_path, playbook(step("ask", "raw", "hostname")), hosts=("win1",), inventory=inventory)
    seen = run(ordered)
    assert seen.result.outcome.value == "failed"
    assert says in seen.results("ask")["win1"].message
    assert "ssh" not in seen.results("ask")["win1"].message
