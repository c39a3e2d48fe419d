"""The page of models: it names every family and every checkpoint that a family is for, and no other."""

import re
from pathlib import Path

import mdm_sampling as mdm
from mdm_sampling.registry.registry import registry

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def test_the_table_is_that_of_the_families() -> None:
    told: dict[str, set[str]] = {}
    for line in PAGE.read_text().splitlines():
        row = re.match(r"\| `([\w-]+)` \| ([^|]+) \| [^|]+ \| [^|]+ \| (own|shifted) \|", line)
        if row:
            checkpoints = re.findall(r"[\w.-]+/[\w.-]+", row[2])
            told.setdefault(row[1], set()).update(checkpoints)
            family = registry().get("backends", row[1]).part
            assert family.format.look_back == (row[3] == "shifted")
    families = {claim.name: claim.part for claim in registry().kind("backends") if claim.distribution == "mdm-sampling"}
    published = {
        name: set(family.format.checkpoints)
        for name, family in families.items()
        if issubclass(family, mdm.CheckpointFamily)
    }
    assert told == published
