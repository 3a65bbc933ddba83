"""Settings as a form needs them: they agree with the dataclasses and with what the attacks accept."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import pytest

from mspc_core.attacks import base
from mspc_core.attacks.settings import Setting, explanations, settings_of, strength_of
from mspc_core.errors import InputError

EVERYONE = list(base.REGISTRY)


@pytest.mark.parametrize("name", EVERYONE)
def test_every_field_is_a_setting_with_words(name: str) -> None:
    settings = settings_of(name)
    assert [setting.name for setting in settings] == [field.name for field in fields(base.attack_class(name))]  # type: ignore[arg-type]
    for setting in settings:
        assert setting.help, setting.name
        if setting.low is not None and setting.high is not None:
            assert setting.low <= setting.default <= setting.high


@pytest.mark.parametrize("name", EVERYONE)
def test_what_a_form_can_give_is_accepted(name: str) -> None:
    """Each end of a range and each choice, one at a time; and together they rebuild the defaults."""
    for setting in settings_of(name):
        numbers = (setting.low, setting.high, setting.default)
        ends = numbers if setting.kind in ("whole", "number") else setting.choices or (True, False)
        for value in (end for end in ends if end is not None):
            made = base.create(name, {setting.name: setting.value(value)})
            assert getattr(made, setting.name) == setting.value(value)
    given = {setting.name: setting.value(setting.default) for setting in settings_of(name)}
    assert base.as_json(base.create(name, given)) == base.as_json(base.create(name))


@pytest.mark.parametrize("name", EVERYONE)
def test_presets_lie_within_the_ranges(name: str) -> None:
    settings = {setting.name: setting for setting in settings_of(name)}
    for preset in base.attack_class(name).presets.values():
        for key, value in preset.settings.items():
            assert settings[key].value(value) == value, key


def test_values_are_brought_into_range() -> None:
    size = Setting("size", "whole", 5, 1, 24, 1)
    assert (size.value(99), size.value(-3), size.value(4.0)) == (24, 1, 4)
    assert isinstance(size.value(4.0), int)
    assert isinstance(Setting("alpha", "number", 0.2, 0.0, 1.0, 0.1).value(1), float)
    assert Setting("place", "choice", "centre", choices=("centre", "left")).value("<b>") == "centre"
    assert size.title == "Size"
    assert Setting("pattern_seed", "whole", 0).title == "Pattern seed"


def test_a_slider_has_few_steps() -> None:
    assert Setting("size", "whole", 5, 1, 24, 1).drags
    assert not Setting("steps", "whole", 5, 1, 10_000, 1).drags
    assert not Setting("unknown", "number", 5.0).drags


def test_patches_end_at_the_image() -> None:
    ranges = {setting.name: setting for setting in settings_of("badnets", side=16)}
    assert (ranges["size"].high, ranges["margin"].high) == (16, 8)


def test_choices_that_an_attack_refuses_are_left_out() -> None:
    """TrojanNN shares BadNets' places and cannot take a random one."""
    places = {setting.name: setting.choices for setting in settings_of("trojannn")}["place"]
    assert "random" not in places
    assert "centre" in places
    with pytest.raises(InputError):
        base.create("trojannn", {"place": "random"})


@pytest.mark.parametrize("name", EVERYONE)
def test_strengths_are_settings_and_apply_without_learning_anew(name: str) -> None:
    strength = strength_of(name)
    if strength is not None:
        assert strength in {setting.name for setting in settings_of(name)}


def test_words_come_from_the_docstrings() -> None:
    @dataclass(frozen=True)
    class Example(base.Attack):
        """alpha: how much of it, in [0, 1]; beta, gamma: of the other thing. It has more to say: nothing.

        A paragraph of its own. delta: the rest.
        """

        name: ClassVar[str] = "example"
        alpha: float = 0.5
        beta: int = 1
        gamma: int = 1
        delta: Literal["a", "b"] = "a"

    assert explanations(Example) == {
        "alpha": "How much of it, in [0, 1].",
        "beta": "Of the other thing. It has more to say: nothing.",
        "gamma": "Of the other thing. It has more to say: nothing.",
        "delta": "The rest.",
    }
