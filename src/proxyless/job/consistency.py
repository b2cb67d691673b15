"""Settings that contradict each other, or that have no effect beside others."""

from __future__ import annotations

from collections.abc import Iterable

from proxyless.errors import ProxylessError
from proxyless.job.settings import LossForm, MeasureSettings, SearchSettings, Settings, Update
from proxyless.latency.device import Device


def check_latency(settings: Settings) -> None:
    """Make sure that there is a budget, or that the search needs none.

    Raises:
        ProxylessError: there is none, or it is not above 0.
    """
    if settings.latency is not None and settings.latency <= 0:
        raise ProxylessError(f"--latency must be above 0 ms, got {settings.latency:g}")
    if settings.latency is None and settings.search.loss not in (LossForm.NONE, LossForm.WEIGHTED):
        raise ProxylessError(
            "no latency budget: pass --latency MS (`proxyless measure` shows what a space spans), or --search-loss none"
            " for a search that looks at the task alone"
        )


def needs_table(settings: Settings) -> bool:
    """Whether the search looks at latency at all."""
    return settings.latency is not None or settings.search.loss is LossForm.WEIGHTED


def without_effect(settings: Settings, target: Device) -> list[str]:
    """In words, which settings were chosen in vain, since something else that was chosen does not use them."""
    return [*search_without_effect(settings), *measuring_without_effect(settings, target)]


def search_without_effect(settings: Settings) -> list[str]:
    """Those of the search."""
    loss, update = settings.search.loss, settings.search.update
    unused: dict[str, str] = {}
    if loss in (LossForm.MUL_LOG, LossForm.NONE):
        unused["latency_weight"] = f"search.loss {loss.value}"
    if loss is not LossForm.ADD_LINEAR:
        unused["multiplier_gain"] = f"search.loss {loss.value}"
    if update is Update.REINFORCE:  # its reward takes the latency by the budget, or where there is none, not
        without_budget = loss is LossForm.NONE and settings.latency is None
        names = ["zero_gate", "latency_weight", "multiplier_gain"] + ["loss"] * (not without_budget)
        unused |= dict.fromkeys(names, f"search.update {update.value}")
    changed = _changed(settings.search, SearchSettings(), unused)
    return [f"search.{name} has no effect with {unused[name]}" for name in changed]


def measuring_without_effect(settings: Settings, target: Device) -> list[str]:
    """Those of measuring: on some devices, and for some searches, nothing is measured."""
    names: tuple[str, ...] = ()
    reason = ""
    if not target.here:
        names = ("rounds", "loadings", "burst_ms", "width", "limit_s", "share", "networks")
        reason = f"device {settings.device}, whose latencies are known"
    elif not needs_table(settings):
        names, reason = ("share", "networks"), "a search that looks at the task alone"
    return [
        f"measure.{name} has no effect with {reason}" for name in _changed(settings.measure, MeasureSettings(), names)
    ]


def _changed(chosen: object, usual: object, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(chosen, name) != getattr(usual, name)]
