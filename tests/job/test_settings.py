import dataclasses

import pytest

from proxyless import ProxylessError
from proxyless.job import settings
from proxyless.job.consistency import search_without_effect
from proxyless.job.settings import Settings, Update


def test_yaml_and_back_is_the_same(tmp_path):
    chosen = Settings().replace(
        {"data": "digits", "latency": 0.5, "search.update": "all-path", "space.kernels": [3, 5]}
    )
    settings.save(chosen, tmp_path / "config.yaml")
    assert settings.load(tmp_path / "config.yaml") == chosen
    assert chosen.search.update is Update.ALL_PATH
    assert chosen.space.kernels == (3, 5)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    (tmp_path / "c.yaml").write_text("latency: 2\nsearch:\n  weight_decay: 1e-5\n")
    loaded = settings.load(tmp_path / "c.yaml")
    assert loaded.latency == 2.0
    assert loaded.search == dataclasses.replace(Settings().search, weight_decay=1e-5)
    assert loaded.training == Settings().training


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("latencyy: 1", "unknown setting latencyy: did you mean latency?"),
        ("search:\n  epoch: 1", "unknown setting search.epoch: did you mean search.epochs?"),
        ("epochs: 1", "unknown setting epochs: did you mean search.epochs or training.epochs?"),
        ("zzz: 1", "unknown setting zzz: there is data, task, device"),
        ("latency: fast", "setting latency must be a number or null, got 'fast'"),
        ("seed: 1.5", "setting seed must be a whole number, got 1.5"),
        ("seed: -1", "setting seed must be at least 0, got -1"),
        (f"seed: {10**30}", f"setting seed must be at most {2**62}, got 1000000000"),
        ("search:\n  epochs: 0", "setting search.epochs must be at least 1, got 0"),
        ("latency: .nan\nmeasure: {burst_ms: .nan}", "setting latency must be a number or null, got nan"),
        ("training: {dropout: 1.5}", "setting training.dropout must be at least 0 and at most 0.95, got 1.5"),
        ("seed: true", "setting seed must be a whole number, got True"),
        ("training:\n  ema: 1", "setting training.ema must be true or false"),
        ("space:\n  kernels: 3", "setting space.kernels must be a list of whole numbers"),
        (
            "search:\n  update: sideways",
            "setting search.update must be two-path or all-path or reinforce, got 'sideways'",
        ),
        ("search: 3", "setting search is a section"),
        ("- 1", "a config is a mapping of settings, this is a list"),
        ("a: [", "not valid YAML at line"),
    ],
)
def test_a_bad_config_is_one_line_that_names_file_and_mend(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ProxylessError) as caught:
        settings.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(ProxylessError, match="no such config file"):
        settings.load(tmp_path / "none.yaml")


def test_yaml_cannot_run_code(tmp_path):
    (tmp_path / "c.yaml").write_text("data: !!python/object/apply:os.getcwd []")
    with pytest.raises(ProxylessError, match="not valid YAML"):
        settings.load(tmp_path / "c.yaml")


def test_every_setting_is_described():
    described = list(settings.describe())
    assert len({item.name for item in described}) == len(described)
    assert all(item.help for item in described)
    assert {"data", "search.epochs", "training.dropout"} <= {item.name for item in described}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"search.latency_weight": 0.3}, []),
        (
            {"search.latency_weight": 0.3, "search.loss": "mul-log"},
            ["search.latency_weight has no effect with search.loss mul-log"],
        ),
        (
            {"search.multiplier_gain": 0.1, "search.loss": "weighted"},
            ["search.multiplier_gain has no effect with search.loss weighted"],
        ),
        ({"search.multiplier_gain": 0.1}, []),
        ({"search.update": "reinforce", "search.loss": "none"}, []),  # a search for accuracy alone
        (
            {"search.update": "reinforce", "search.loss": "none", "latency": 80.0},
            ["search.loss has no effect with search.update reinforce"],
        ),
        (
            {"search.update": "reinforce", "search.zero_gate": "skipped", "search.loss": "mul-log", "latency": 80.0},
            [f"search.{name} has no effect with search.update reinforce" for name in ("zero_gate", "loss")],
        ),
    ],
)
def test_what_was_chosen_in_vain_is_told(values, expected):
    assert sorted(search_without_effect(Settings().replace(values))) == sorted(expected)


@pytest.mark.parametrize("recipe", settings.recipes())
def test_no_recipe_chooses_anything_in_vain(recipe):
    assert search_without_effect(settings.load(recipe)) == []
