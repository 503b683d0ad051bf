"""Files on disk -> labelled clips; one module per corpus, one row in ``readers.CORPORA``.

Example:
    corpus = load_corpus(CorpusConfig(name="crema_d", data_dir="CREMA-D"))
"""

from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.loading import load_corpus
from ser_kd.corpora.reader import Reader
from ser_kd.corpora.readers import CORPORA, find_reader

__all__ = ["CORPORA", "Clip", "Corpus", "Reader", "find_reader", "load_corpus"]
