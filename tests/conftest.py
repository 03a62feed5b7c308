"""What holds for every test: how long an example of a property takes says something of the machine, not of the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("opsascode", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("opsascode")
