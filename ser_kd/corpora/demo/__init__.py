"""The demo corpus: CREMA-D's twelve sentences spoken by espeak-ng, so that nothing is downloaded.

**Synthetic.** It shows that the pipeline runs and learns; a figure measured on it says nothing
about human emotion and is labelled synthetic wherever it is shown.

voices.py      who speaks, and how each emotion is spoken
espeak.py      the speech synthesiser
rendering.py   one clip
folder.py      the corpus's folder: made, resumed, read
"""
