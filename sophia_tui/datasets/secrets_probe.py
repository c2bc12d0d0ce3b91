"""The section of an inspection on secrets; how they are looked for is told in personal_probe."""

from typing import Any

from sophia_tui.datasets.personal_probe import SECRETS, PersonalCollector, PersonalProbe


def probe(_asked: Any) -> PersonalProbe:
    return PersonalProbe(SECRETS)


def collector(_asked: Any) -> PersonalCollector:
    return PersonalCollector(SECRETS)
