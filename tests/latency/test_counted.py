from itertools import product

import torch

from proxyless import Supernet, derive
from proxyless.latency.counted import macs_table, parameters_table


def test_every_network_costs_what_it_counts_as_a_whole(tiny_net):
    supernet = Supernet(tiny_net)
    macs, parameters = macs_table(supernet, (2, 6, 6)), parameters_table(supernet, (2, 6, 6))
    macs.check(supernet)
    stem, head = 2 * 4 * 9 * 36, 5 * 3
    first, second = (4 * 4 * 36, 4 * 4 * 9 * 36, 0), 4 * 5 * 9 * 16
    for path in product(range(3), range(2)):
        network = derive(supernet, list(path))
        assert parameters.of_path(path) == sum(p.numel() for p in network.parameters())
        assert macs.of_path(path) == stem + first[path[0]] + second + head
        assert network(torch.zeros(1, 2, 6, 6)).shape == (1, 3)
