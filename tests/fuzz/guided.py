"""Let libFuzzer search, guided by coverage (atheris, extra `fuzz`). Import it before anything that is to be searched."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from random import Random
from typing import TYPE_CHECKING

import atheris

from tests.fuzz.guard import examine, keep
from tests.fuzz.mutate import bent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.targets import Target

_OF_LIBFUZZER = 1 / 3
"""The part of inputs that libFuzzer bends in its own way."""

_SLOWER = 4
"""How many times as long the code takes while atheris looks; what is too slow by itself is too slow by far."""

with atheris.instrument_imports(include=["opsascode.proof", "opsascode.policy", "opsascode.repo"]):
    # The doors load their rooms late: here they are all loaded while atheris looks.
    for _house in ("proof", "policy"):
        _package = importlib.import_module(f"opsascode.{_house}")
        for _room in pkgutil.iter_modules(_package.__path__, f"opsascode.{_house}."):
            importlib.import_module(_room.name)
    importlib.import_module("opsascode.repo._source")
    importlib.import_module("opsascode.repo._meaning")


def search(target: Target, seconds: float, seed: int, corpus: Path) -> None:
    """Search until the time is over; libFuzzer ends the process."""
    seeds = list(target.seeds())
    for index, each in enumerate(seeds):
        (corpus / str(index)).write_bytes(each)

    def one(data: bytes) -> None:
        finding = examine(target.name, target.run, data, slower=_SLOWER)
        if finding:
            print(keep(finding, seed), flush=True)
            os._exit(1)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        chance = Random(number)  # noqa: S311 - to be repeated, not to be secret
        if chance.random() < _OF_LIBFUZZER:
            return bytes(atheris.Mutate(data, most))
        return bent(data, seeds, chance, most)

    settings = {
        "max_total_time": max(1, round(seconds)),
        "seed": seed % 2**32 or 1,
        "max_len": target.most,
        "timeout": 60,
        "rss_limit_mb": 4096,
        "artifact_prefix": f"{corpus}/",
    }
    words = [sys.argv[0], *(f"-{key}={value}" for key, value in settings.items()), str(corpus)]
    atheris.Setup(words, one, custom_mutator=mutate)
    atheris.Fuzz()
