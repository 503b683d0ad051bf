"""Speech without labels: folders of recordings -> segments that the teachers label.

They take part in nothing but distillation: no label, no score, no statistics come of them.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from ser_kd.audio import decoding
from ser_kd.config import AudioConfig
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.listing import list_audio
from ser_kd.data import clip_arrays
from ser_kd.errors import UserError
from ser_kd.progress import say

_SHORTEST_SECONDS = 1.0
_PADDING_SECONDS = 0.2


@dataclass(frozen=True)
class Unlabelled:
    """Segments of speech without labels.

    Attributes:
        ids: Of the segments that take part, in order.
        pieces: All pieces of all files as int16 samples; those that do not take part are among
            them, so that the samples stay where they are (in a file, mapped into memory).
        left_out: Reason -> how many pieces or files.
    """

    ids: tuple[str, ...] = ()
    pieces: clip_arrays.ClipArrays = clip_arrays.NO_WAVEFORMS
    left_out: Mapping[str, int] = field(default_factory=dict)


def unlabelled_files(folders: Sequence[str], corpus: Corpus) -> tuple[Clip, ...]:
    """The audio files below some folders, without those that the labelled corpus holds as well.

    A file that is a clip of the corpus would bring speakers of the validation and test parts into
    training; it is left out, which is said: by path, whatever lies in the corpus's folder, by
    content, and by name and length, which finds copies in another format. So is a file that the
    corpus has and does not use, such as one whose label is mapped to nothing.

    Args:
        folders: Searched recursively.
        corpus: The labelled one.

    Returns:
        Clips without speaker and emotion. Their ids are ``unlabelled/<path in its folder>``; where
        there are several folders, ``unlabelled/<number of the folder, from 1>/<path in it>``.

    Raises:
        UserError: A folder is missing or holds no audio, or nothing is left.
    """
    known = _Known(corpus)
    found: dict[Path, Clip] = {}  # by the path that links lead to: folders may overlap
    twins: list[str] = []
    for number, name in enumerate(folders, 1):
        folder = Path(name).expanduser()
        try:
            listing = list_audio(folder)
        except UserError as error:
            raise UserError(f"corpus.unlabelled_dirs: {error}") from None
        if listing.unused:
            name, reason = next(iter(listing.unused.items()))
            say(f"  unlabelled: {len(listing.unused):,} not used in {folder}: {name} ({reason})")
        prefix = f"unlabelled/{number}/" if len(folders) > 1 else "unlabelled/"
        for path in listing.files:
            if known.holds(path):
                twins.append(str(path))
                continue
            clip_id = prefix + path.relative_to(folder).as_posix()
            found.setdefault(path.resolve(), Clip(clip_id, path, "", ""))
    if twins:
        say(
            f"  unlabelled: {len(twins):,} files are left out, because they are of the labelled "
            f"corpus, such as {twins[0]}"
        )
    if folders and not found:
        raise UserError(
            f"corpus.unlabelled_dirs: every file in {', '.join(folders)} is of the labelled "
            "corpus; give folders of other speech"
        )
    return tuple(found.values())


class _Known:
    """The files of a corpus: by place, by content, by name and length."""

    def __init__(self, corpus: Corpus) -> None:
        paths = [clip.path for clip in corpus.clips]
        paths += [corpus.folder / name for name in corpus.dropped]
        self.paths = {path.resolve() for path in paths}
        self.folder = corpus.folder.resolve() if self.paths else None
        self.of_size: dict[int, list[Path]] = {}
        self.of_stem: dict[str, list[Path]] = {}
        for path in sorted(self.paths):
            self.of_stem.setdefault(path.stem.lower(), []).append(path)
            if path.is_file():
                self.of_size.setdefault(path.stat().st_size, []).append(path)
        self.digests: dict[Path, bytes] = {}

    def holds(self, path: Path) -> bool:
        place = path.resolve()
        if place in self.paths or (self.folder and place.is_relative_to(self.folder)):
            return True
        if not path.is_file():  # a link to nowhere: decoding says so
            return False
        # Only files of one size can be the same: most are never read.
        candidates = self.of_size.get(path.stat().st_size, [])
        if any(self._digest(path) == self._digest(other) for other in candidates):
            return True
        # CREMA-D, for one, has all of its clips twice, as WAV and as MP3, which pads a little.
        seconds = _seconds(path)
        return any(
            abs(seconds - _seconds(other)) < _PADDING_SECONDS
            for other in self.of_stem.get(path.stem.lower(), [])
        )

    def _digest(self, path: Path) -> bytes:
        if path not in self.digests:
            with path.open("rb") as file:
                self.digests[path] = hashlib.file_digest(file, "sha256").digest()
        return self.digests[path]


def _seconds(path: Path) -> float:
    """Length of an audio file; 0 where it cannot be read, which decoding will say."""
    try:
        return float(soundfile.info(str(path)).duration)
    except (OSError, soundfile.LibsndfileError):
        return 0.0


def cut_into_segments(
    recordings: clip_arrays.ClipArrays, skipped: Mapping[str, str], config: AudioConfig
) -> Unlabelled:
    """Cuts recordings into consecutive segments of a window's length.

    A rest shorter than 1 s is left out, and so are a recording shorter than that and digital
    silence.

    Args:
        recordings: int16 samples.
        skipped: What could not be decoded; counted only.
        config: The window.

    Returns:
        Segments with ids ``<id of the recording>@<start in seconds>``.

    Raises:
        UserError: No segment is left.
    """
    window, rate_hz = config.window_samples, config.sample_rate_hz
    shortest = round(_SHORTEST_SECONDS * rate_hz)
    ids: list[str] = []
    offsets: list[int] = []
    used: list[str] = []
    left_out: Counter[str] = Counter()
    if skipped:
        left_out["files that cannot be decoded"] = len(skipped)
    for index, recording_id in enumerate(recordings.ids):
        samples = recordings.clip(index)
        for start in range(0, max(len(samples), 1), window):
            piece = samples[start : start + window]
            ids.append(f"{recording_id}@{round(start / rate_hz, 3):.12g}")
            offsets.append(int(recordings.offsets[index]) + start)
            if len(samples) < shortest:
                left_out["files shorter than 1 s"] += start == 0
            elif len(piece) < min(window, shortest):
                left_out["rests shorter than 1 s"] += 1
            elif decoding.is_silent(decoding.to_float(piece)):
                left_out["segments of digital silence"] += 1
            else:
                used.append(ids[-1])
    if not used:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise UserError(f"corpus.unlabelled_dirs: no segment can be used ({reasons})")
    bounds = np.array([*offsets, int(recordings.offsets[-1])], np.int64)
    pieces = clip_arrays.ClipArrays(tuple(ids), recordings.values, bounds, np.diff(bounds), 1, 0.0)
    return Unlabelled(tuple(used), pieces, left_out)
