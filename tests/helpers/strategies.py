"""Hypothesis strategies over samplers and canvases."""

from math import inf

from hypothesis import strategies as st
from toys import EOS, MASK, toy_callable, toy_transformer

import mdm_sampling as mdm

simple_planners = st.sampled_from([mdm.Random(), mdm.LeftToRight(), mdm.Confidence(), mdm.Margin(), mdm.Entropy()])
objectives = [("info-gain", future) for future in ("mean", "half-step", "step", "sum")] + [("lookum", "mean")]
info_gains = st.builds(
    lambda candidates, temperature, scope, objective: mdm.InfoGain(candidates, temperature, scope, *objective),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from(["block", "canvas"]),
    st.sampled_from(objectives),
)
plain_planners = simple_planners | info_gains
bypasses = st.builds(
    mdm.Bypass, threshold=st.sampled_from([0.2, 0.5, 0.9]), otherwise=plain_planners, capped=st.booleans()
)
shapes = st.sampled_from(
    [mdm.Prefixes(), mdm.Prefixes("entropy"), mdm.Lattice(), mdm.Lattice("entropy"), mdm.OwnSteps()]
)
adaptive_planners = st.sampled_from([mdm.EBSampler(0.1), mdm.EBSampler(2.0, "margin"), mdm.Factor(1.0)])
looking_nowhere = simple_planners | adaptive_planners
speculable = looking_nowhere | st.builds(mdm.Bypass, st.sampled_from([0.2, 0.5]), looking_nowhere, st.booleans())
speculable |= st.builds(mdm.Defer, otherwise=looking_nowhere)
drafting_planners = st.builds(mdm.Speculate, speculable, drafts=st.integers(1, 5), shape=shapes) | st.builds(
    mdm.BoundedChain,
    bound=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    slack=st.sampled_from([0.0, 0.5, inf]),
    drafts=st.integers(0, 4),
    candidates=st.integers(0, 2),
    shape=shapes,
)
planners = (
    plain_planners
    | adaptive_planners
    | bypasses
    | st.builds(mdm.Defer, otherwise=plain_planners | bypasses)
    | drafting_planners
    | st.builds(mdm.Bypass, st.sampled_from([0.2, 0.5]), drafting_planners, st.booleans())
)
plain_caches = st.sampled_from([mdm.NoCache(), mdm.PrefixCache(), mdm.DualCache()])
caches = plain_caches | st.builds(mdm.Refresh, otherwise=plain_caches, every=st.integers(1, 4))
token_samplers = st.just(mdm.Greedy()) | st.builds(
    mdm.GumbelMax,
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 3]),
    top_p=st.sampled_from([1.0, 0.7]),
)
schedules = st.sampled_from([mdm.Uniform(), mdm.Linear(), mdm.Cosine(), mdm.Constant(1), mdm.Constant(3)])
backends = st.sampled_from([toy_transformer(0), toy_transformer(1), toy_transformer(0, False), toy_callable()])
processors = st.sampled_from([(), (mdm.Penalise(by=4.0),), (mdm.Ban(),)])

tokens = st.integers(EOS, MASK - 1)
bodies = st.lists(tokens | st.just(MASK), min_size=1, max_size=9).filter(lambda body: MASK in body)
rows = st.lists(st.tuples(st.lists(tokens, max_size=4), bodies), min_size=1, max_size=3)

# A row that begins with a mask has positions that the toy transformers predict alike: all of them if it is masks only,
# the first two of a right-shifted model. Rounding then decides which is filled first, so results may be compared
# between kernels, batches and caches only where every row begins with a token.
untied_bodies = bodies.filter(lambda body: body[0] != MASK)
untied_rows = rows.filter(lambda rows: all(prefix or body[0] != MASK for prefix, body in rows))


@st.composite
def samplers(draw: st.DrawFn, **fixed: object) -> mdm.Sampler:
    choices: dict[str, object] = {
        "backend": backends,
        "planner": planners,
        "cache": caches,
        "token_sampler": token_samplers,
        "schedule": schedules,
        "processors": processors,
        "block_size": st.integers(1, 10),
        "steps": st.integers(1, 12),
        "eos": st.sampled_from(["off", "finish"]),
        "lookahead_batch": st.sampled_from([None, 1, 3]),
    }
    values = {name: fixed[name] if name in fixed else draw(part) for name, part in choices.items()}  # type: ignore[arg-type]
    return mdm.Sampler(**values)  # type: ignore[arg-type]
