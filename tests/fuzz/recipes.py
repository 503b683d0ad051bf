"""Random recipes and overrides: a config, or one line that says what is wrong.

python tests/fuzz/recipes.py --minutes 10
"""

import tempfile
from importlib import resources
from pathlib import Path

from frame import Checks, adds_to, main, tried
from hypothesis import strategies as st

from ser_kd.config import config_to_dict, load_config, recipe_names
from ser_kd.config.recipes import config_from_dict, parse_value

CHECKS: Checks = {}
check = adds_to(CHECKS)

_FOLDER = resources.files("ser_kd") / "recipes"
TEXTS = [(_FOLDER / f"{name}.toml").read_text(encoding="utf-8") for name in recipe_names()]
_signs = st.text(st.sampled_from("\"'[]{}=.,#\\\n\t 0159eE+-_xXtrufalsinäß\0\ufeff"), max_size=8)
_KEYS = """
fit.epochs fit student.width teachers.a.kind teachers.a.fit.epochs corpus.label_map.x name seed
. fit. augment.noise_snr_db distill.teachers dimensions.ranges.v corpus a.b.c .epochs
corpus.unlabelled_dirs student.initial_weights deterministic logmel.mels
"""
_VALUES = """
0 -1 1e400 nan inf true [] {} [1,2] [[1]] '' "x" 1979-05-27 0x10 1_000 99999999999999999999
[3,1] {a=1} "C:\\Users" mobilenet
"""
_keys = st.sampled_from(_KEYS.split())
_values = st.one_of(st.sampled_from(_VALUES.split()), _signs, st.text(max_size=12))


@check(
    text=st.sampled_from(TEXTS),
    changes=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 60), _signs), max_size=4),
    noise=st.binary(max_size=3),
)
def damaged_recipes_are_told_of(
    text: str, changes: list[tuple[int, int, str]], noise: bytes
) -> None:
    """Parts of a shipped recipe that are cut out or replaced."""
    for place, length, new in changes:
        at = place % (len(text) + 1)
        text = text[:at] + new + text[at + length :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.toml")
        path.write_bytes(text.encode() + noise)
        tried(lambda: load_config(str(path)))


@check(overrides=st.lists(st.tuples(_keys, _values), min_size=1, max_size=4))
def overrides_are_settings_or_told_of(overrides: list[tuple[str, str]]) -> None:
    """What is accepted can be written down and read back."""
    given = [f"{key}={value}" for key, value in overrides]
    config, _ = tried(lambda: load_config("crema_d_cpu", given))
    if config is not None:
        assert config_from_dict(config_to_dict(config)) == config


@check(text=st.one_of(_signs, st.text(max_size=20)))
def any_text_is_some_value(text: str) -> None:
    """Of ``--set``."""
    tried(lambda: parse_value(text))


if __name__ == "__main__":
    main(CHECKS, __doc__)
