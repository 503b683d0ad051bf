"""Arguments that several commands take."""

from collections.abc import Iterable

from ser_kd.errors import UserError


def label_map(items: Iterable[str]) -> dict[str, str]:
    """``--label-map`` as a mapping: label -> class, an empty class drops the label.

    Raises:
        UserError: An item is not ``LABEL=CLASS``.
    """
    pairs = {}
    for item in items:
        label, separator, target = item.partition("=")
        if not separator or not label:
            raise UserError(f"--label-map {item!r}: write label=class, such as calm=NEU")
        pairs[label] = target
    return pairs
