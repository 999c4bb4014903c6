from __future__ import annotations

import re
from collections import Counter

from planmesh.chaos.catalogue import SCENARIOS


def test_every_scenario_has_a_name_of_its_own_and_bounds_that_can_be_judged() -> None:
    assert [name for name, count in Counter(one.name for one in SCENARIOS).items() if count > 1] == []
    for one in SCENARIOS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", one.name)
        assert one.bounds.recovery_s_max > one.lasts_s, f"{one.name}: the harm lasts longer than it may be felt"
