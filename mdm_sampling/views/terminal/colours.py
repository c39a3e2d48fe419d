"""Styles of a canvas: viridis for the order of filling, grey to orange for entropy. Both carry their own text colour,
so that they read alike on dark and on light terminals."""

from __future__ import annotations

from math import exp

from rich.style import Style

from ..drawing import Colour, between, from_hex, hex_of, ink, viridis

_ENTROPY = (from_hex("3a3a3e"), from_hex("965428"), from_hex("f2852c"))
_UNKNOWN = from_hex("2c2c30")


def filled(order: float) -> Style:
    """A token that was filled after the share `order` of all, from 0 (first) to 1."""
    return on(viridis(order))


def masked(entropy: float | None) -> Style:
    """A masked position; None where its entropy is not known. 0.5, 1 and 2 nats are at 39, 63 and 86% of the scale."""
    return on(_UNKNOWN if entropy is None else between(_ENTROPY, 1 - exp(-entropy)))


def on(background: Colour) -> Style:
    """Text on a background, black or white by what reads better."""
    return Style(color="#ffffff" if ink(background) == "white" else "#000000", bgcolor=hex_of(background))
