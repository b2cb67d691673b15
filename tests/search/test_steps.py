"""An update rule of one's own in the loop of a search: who calls what, and when."""

from __future__ import annotations

import torch
from test_search_loop import PLAIN, TASK, Noise

from proxyless import Supernet, architecture_of
from proxyless.search.loop import SearchLoop
from proxyless.search.steps import StepResult, of_pairs


class BestOfTwo:
    """Compares two sampled paths on the batch, and makes the better one a little more probable."""

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.calls: list[str] = []
        self.steps = 0

    def step(self, batch, criterion, forward=of_pairs):
        self.calls.append("step")
        tried = []
        with torch.no_grad():
            for _ in range(2):
                path = list(self.supernet.sample())
                outputs, targets = forward(self.supernet, batch)
                tried.append((float(criterion(outputs, targets)), path, outputs))
            loss, path, outputs = min(tried, key=lambda one: one[0])
            for row, candidate in enumerate(path):
                self.supernet.alpha[row, candidate] += 0.1
        self.steps += 1
        return StepResult(loss, outputs)

    def measures(self):
        self.calls.append("measures")
        return {"steps": float(self.steps)}

    def architecture(self):
        return architecture_of(self.supernet)

    def state_dict(self):
        self.calls.append("state_dict")
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.calls.append("load_state_dict")
        self.steps = state["steps"]


def loop_with(network, **arguments):
    supernet = Supernet(network, seed=2)
    rule = BestOfTwo(supernet)
    return SearchLoop(supernet, rule, Noise(), PLAIN, TASK, measures=rule.measures, **arguments), rule


def test_an_update_rule_is_called_in_the_order_that_is_documented(tiny_net):
    loop, rule = loop_with(tiny_net)
    loop.run()
    of_an_epoch = ["step", "measures", "step", "step", "measures", "state_dict"]  # 6 weight steps, reports every 3
    assert rule.calls == ["state_dict"] * PLAIN.warmup_epochs + of_an_epoch * PLAIN.epochs
    assert set(rule.architecture().choices) == set(loop.supernet.choices)


def test_a_search_by_a_rule_of_ones_own_goes_on_where_it_stopped(tiny_net):
    import copy

    states, start = [], copy.deepcopy(tiny_net)
    whole, _ = loop_with(tiny_net, checkpoint=lambda state: states.append(copy.deepcopy(state)))
    whole.run()
    resumed, rule = loop_with(start)
    resumed.load_state_dict(states[2])
    resumed.run()
    assert rule.calls[0] == "load_state_dict"
    assert torch.equal(whole.supernet.alpha, resumed.supernet.alpha)
    assert rule.steps == whole.update.steps == 9
