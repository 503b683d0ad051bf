"""The command on a model card loads the very settings that the model was trained with."""

import dataclasses
import shlex

import pytest

from ser_kd.config import Config, load_config, recipe_names
from ser_kd.config.command import repeating_command
from ser_kd.errors import UserError


def loaded(command: str) -> Config:
    """The config that a printed command asks for, by the command line's own reading of it."""
    words = shlex.split(command)
    assert words[:2] == ["ser-kd", "train"]
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    given = dict(pairs)
    overrides = [value for key, value in pairs if key == "--set"]
    overrides.append(f"seed={given['--seed']}")
    if "--name" in given:
        overrides.append(f"name={given['--name']}")
    return load_config(given["--recipe"], overrides)


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_shipped_recipe_is_its_own_name(recipe):
    command = repeating_command(load_config(recipe))
    assert command.startswith(f"ser-kd train --recipe {recipe} --seed 0")
    assert "--set" not in command


@pytest.mark.parametrize(
    "overrides",
    [
        ["fit.epochs=9", "seed=4"],
        ["name=my voices", "corpus.name=folder", "student.kind=crnn"],
        ["teachers={}", "distill.teachers={}", "distill.embedding_weights={}"],
        ["corpus.label_map={calm='neutral', 'a b'=''}", "augment.noise_snr_db=[3, 20.5]"],
        ["teachers.more.kind=prosodic", "teachers.more.folds=3"],
    ],
)
@pytest.mark.parametrize("recipe", ["demo", "crema_d_two_teachers"])
def test_the_command_repeats_all_settings(recipe, overrides):
    config = load_config(recipe, overrides)
    again = loaded(repeating_command(config))
    apart = {"corpus": dataclasses.replace(config.corpus, data_dir="")}
    again = dataclasses.replace(again, corpus=dataclasses.replace(again.corpus, data_dir=""))
    assert again == dataclasses.replace(config, **apart)


def test_places_on_this_machine_are_not_named():
    command = repeating_command(load_config("crema_d_cpu", ["corpus.data_dir=/home/me/CREMA-D"]))
    assert command == "ser-kd train --recipe crema_d_cpu --seed 0 --data-dir DATA"


@pytest.mark.parametrize("name", ["", "a/b", 'a"b'])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match="a name without"):
        load_config("demo", [f"name='{name}'"])
