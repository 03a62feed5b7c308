"""A large ops repository to measure with: realistic runbooks of about 70 lines, each different, none invalid.

The same number always gives the same runbook, so that figures can be compared. Run as a program it writes a repository:
`python benchmarks/runbooks.py DIRECTORY [COUNT]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SERVICES = (
    "api-gateway",
    "billing",
    "catalogue",
    "checkout",
    "identity",
    "ledger",
    "mailer",
    "search",
    "sessions",
    "wallet",
)
_GROUPS = ("web", "database", "cache", "queue", "edge", "batch", "storage")
_TEAMS = ("sre", "payments", "platform", "data", "storefront")
_STORES = ("postgresql", "redis", "rabbitmq", "etcd", "memcached")


def runbook_text(number: int) -> str:
    """Write the runbook of a number."""
    service = _SERVICES[number % len(_SERVICES)]
    group = _GROUPS[number % len(_GROUPS)]
    team = _TEAMS[number % len(_TEAMS)]
    store = _STORES[number % len(_STORES)]
    port = 8000 + number % 1000
    return f"""\
# yaml-language-server: $schema=../schemas/runbook.schema.json
apiVersion: opsascode/v1
kind: Runbook
metadata:
  name: {service}-recovery-{number}
  title: Recover {service} number {number} from a stuck {store}
  description: |
    Used when {service} answers slowly and {store} reports blocked clients.
    Takes about {30 + number % 60} seconds on each host.
  owners: [team:{team}]
  version: 1.{number % 10}.{number % 7}
  labels: {{category: recovery, service: {service}, tier: "{number % 4}"}}
spec:
  severity: [0, {1 + number % 4}]
  prerequisites:
    - a second instance of {service} takes the traffic
    - the {store} backup of last night is complete
  estimated_duration: {30 + number % 60}s
  parameters:
    service_name:
      {{type: string, pattern: '^[a-z][a-z0-9-]*$', default: {service}-{number}, description: The unit to restart.}}
    min_rps: {{type: number, minimum: 1, default: {50 + number}}}
    drain_seconds: {{type: integer, minimum: 0, maximum: 600, default: {number % 300}}}
    force: {{type: boolean, default: false}}
    queues: {{type: array, items: {{type: string, pattern: '^[a-z.]+$'}}, default: [orders, mails], maxItems: 20}}
  targets:
    hosts: {group}:!maintenance
    max_hosts: {5 + number % 20}
    max_percent: 25%
    waves: [1, 50%, 100%]
    variables: [http_port]
  on_failure: undo
  steps:
    - id: verify
      title: Is {service} known to systemd
      check: {{command: "systemctl status {{{{ service_name }}}}.service", expect: {{rc: [0, 3]}}}}
      timeout: {5 + number % 10}s
    - id: drain
      title: Take the host out of the pool
      task:
        ansible.builtin.command:
          argv: [/usr/local/bin/pool, drain, "{{{{ inventory_hostname }}}}", --wait, "{{{{ drain_seconds }}}}"]
        changed_when: "'already' not in drained.stdout"
      register: drained
      timeout: 2m
      undo:
        task: {{ansible.builtin.command: "/usr/local/bin/pool add {{{{ inventory_hostname }}}} --note {number}"}}
    - id: flush
      task:
        ansible.builtin.command: "{store}-admin flush {{{{ item }}}} --tag run-{number}"
        loop: "{{{{ queues | map('lower') | list }}}}"
      when: force or drained.rc == {number % 3}
      become: true
      become_user: {store}
    - id: restart
      title: Restart the service
      task: {{ansible.builtin.service: {{name: "{{{{ service_name }}}}", state: restarted}}}}
      timeout: 30s
      undo: {{task: {{ansible.builtin.service: {{name: "{{{{ service_name }}}}.backup", state: started}}}}}}
    - id: health
      check:
        http: "http://{{{{ inventory_hostname }}}}:{port}/health/{number}"
        expect: {{status: [200, 204], contains: ok}}
        from: controller
      retry: {{attempts: 3, delay: 5s}}
    - id: listens
      check: {{tcp: "127.0.0.1:{{{{ http_port | default({port}) }}}}"}}
    - id: traffic
      title: Does the traffic come back
      check:
        prometheus: 'sum(rate(http_requests_total{{service="{{{{ service_name }}}}",id="{number}"}}[1m]))'
        expect: "> {{{{ min_rps }}}}"
"""


def write_repository(directory: Path, count: int = 1000) -> Path:
    """Write an ops repository of many runbooks, and give its directory."""
    (directory / "playbooks").mkdir(parents=True, exist_ok=True)
    (directory / "opsascode.yml").write_text("apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: large}\n")
    for number in range(count):
        (directory / "playbooks" / f"runbook-{number:04}.yml").write_text(runbook_text(number))
    return directory


if __name__ == "__main__":
    write_repository(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
