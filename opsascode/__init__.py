"""Ops as code: runbooks and reliability policies in Git, run through Ansible, proven by signed records."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
