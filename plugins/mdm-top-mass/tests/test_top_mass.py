import mdm_top_mass
import pytest
import torch

import mdm_sampling as mdm
from mdm_sampling.testing import check_planner


@pytest.mark.parametrize("k", [1, 5])
def test_it_conforms(k: int) -> None:
    check_planner(mdm_top_mass.TopMass(k))


def test_it_is_registered_under_its_name() -> None:
    assert mdm.build("planners", "top-mass:k=3") == mdm_top_mass.TopMass(k=3)


def test_it_fills_the_position_with_the_most_mass_first() -> None:
    table = torch.tensor([[0.5, 0.2, 0.2, 0.1, 0.0], [0.4, 0.4, 0.1, 0.1, 0.0]]).clamp(min=1e-9).log()
    backend = mdm.wrap(lambda tokens: table.expand(len(tokens), 2, 5).clone(), mask_id=4, vocab_size=5)
    for k, expected in ((1, 0), (2, 1)):
        sampler = mdm.Sampler(backend, planner=mdm_top_mass.TopMass(k), steps=2)
        first = next(iter(sampler.iterate(sampler.canvas([([], [4, 4])]))))
        assert first.unmask[0].nonzero().item() == expected


def test_a_k_out_of_range_is_refused() -> None:
    with pytest.raises(mdm.SpecError, match="k must be at least 1"):
        mdm.build("planners", "top-mass:k=0")
