#!/usr/bin/env python3
from __future__ import annotations

import json
import os

print(  # noqa: T201 - how an inventory script answers
    json.dumps(
        {
            "_meta": {
                "hostvars": {
                    "dyn1": {
                        "templated": "{{ 'now ' + level }}",
                        "inert": {"__ansible_unsafe": "{{ 1 + 1 }}"},
                        "mixed": [{"__ansible_unsafe": "{{ x }}"}, "{{ level }}"],
                    },
                    "dyn2": {
                        "given": os.environ.get("GIVEN", "nothing"),
                        "leaked": os.environ.get("SECRET_OF_THE_CALLER", "nothing"),
                    },
                }
            },
            "cloud": {"hosts": ["dyn1", "dyn2"], "vars": {"level": "cloud"}, "children": ["zone_a"]},
            "zone_a": {"hosts": ["dyn2"]},
        }
    )
)
