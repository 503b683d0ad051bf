"""The corpora that can be read, by name: a new one is a module with a ``READER`` and a row here."""

import difflib

from ser_kd.corpora.reader import Reader
from ser_kd.errors import UserError
from ser_kd.registry import load_object

CORPORA = {
    "crema_d": "ser_kd.corpora.crema_d:READER",
    "ravdess": "ser_kd.corpora.ravdess:READER",
    "emodb": "ser_kd.corpora.emodb:READER",
    "iemocap": "ser_kd.corpora.iemocap:READER",
    "msp_podcast": "ser_kd.corpora.msp_podcast:READER",
    "folder": "ser_kd.corpora.folder:READER",
    "demo": "ser_kd.corpora.demo.folder:READER",
}
"""Name -> where its ``Reader`` is."""


def find_reader(name: str) -> Reader:
    """The reader of that name.

    Raises:
        UserError: There is none; names the nearest.
    """
    if name not in CORPORA:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), CORPORA, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown corpus {name!r}: {hint}(there are {', '.join(CORPORA)})")
    reader: Reader = load_object(CORPORA[name])
    return reader
