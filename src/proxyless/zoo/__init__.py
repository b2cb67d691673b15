"""The published networks, and the authors' files: network configurations and checkpoints read and written."""

from proxyless.zoo.networks import PublishedNetwork, architecture, build, catalogue
from proxyless.zoo.official import (
    from_config,
    load_official,
    load_official_state_dict,
    official_config,
    official_state_dict,
)

__all__ = [
    "PublishedNetwork",
    "architecture",
    "build",
    "catalogue",
    "from_config",
    "load_official",
    "load_official_state_dict",
    "official_config",
    "official_state_dict",
]
