"""A corpus's folder -> its clips, whichever reader it takes."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import LABEL_ORDER, UNKNOWN_SPEAKER_PREFIX, Corpus, Found, file_name
from ser_kd.corpora.reader import Reader
from ser_kd.corpora.readers import find_reader
from ser_kd.errors import UserError

BY_CLIP = "divided by clip, not by speaker (corpus.split_by): of new voices the scores tell nothing"


def load_corpus(
    config: CorpusConfig,
    audio_check: Callable[[Path], str | None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Lists the clips of a corpus; reads names and CSVs only, unless ``audio_check`` is given.

    The demo corpus is made first where it is not there: in ``config.data_dir``, or
    ``runs/demo_corpus``.

    Args:
        config: Which corpus, where, under which labels. With ``keep_flawed`` the corpus's known
            bad clips are not in ``left_out``. With ``allow_unknown_speakers`` every clip without
            a speaker gets one of its own, ``unknown/<id>``.
        audio_check: Says why a file cannot be used, or None. Clips that it objects to are in
            ``left_out`` whatever ``keep_flawed`` is.
        progress: Called with (clips made, clips in all) while a corpus is made.

    Returns:
        The corpus: clips in order of id; classes in the order ANG DIS FEA HAP NEU SAD, then any
        others by name.

    Raises:
        UserError: Unknown corpus, missing or empty folder, no labelled file, only one class, a
            label map with an unknown label, a bad CSV; the demo corpus cannot be made.
    """
    reader = find_reader(config.name)
    root = corpus_folder(config)
    if reader.prepare is not None:
        root = reader.prepare(config, progress)
    assert root is not None  # a corpus that is not made has a folder
    metadata_dir = Path(config.metadata_dir).expanduser() if config.metadata_dir else None
    if metadata_dir is not None and not metadata_dir.is_dir():
        raise UserError(f"metadata folder {metadata_dir} does not exist: check the path")
    found = reader.read(root, metadata_dir)
    if not found.clips:
        raise UserError(_nothing_found(config.name, reader, root, found))

    own_labels = sorted({clip.emotion for clip in found.clips})
    default_map = reader.label_map or {label: label for label in own_labels}
    label_map = _override(default_map, config.label_map, config.name)
    clips, dropped = [], dict(found.dropped)
    for clip in sorted(found.clips, key=lambda clip: clip.id):
        emotion = label_map[clip.emotion]
        if not emotion:
            dropped[file_name(clip.path, found.folder)] = (
                f"label {clip.emotion!r} is mapped to nothing"
            )
            continue
        speaker = clip.speaker
        if config.split_by == "clip" or (not speaker and config.allow_unknown_speakers):
            speaker = UNKNOWN_SPEAKER_PREFIX + clip.id
        clips.append(dataclasses.replace(clip, emotion=emotion, speaker=speaker))

    classes = {clip.emotion for clip in clips}
    if not classes:
        raise UserError(f"no clip is left in {root}: the label map drops {', '.join(own_labels)}")
    if len(classes) == 1:
        raise UserError(
            f"only one class ({classes.pop()}) in {root}: at least two are needed; check the "
            "folder and the label map"
        )
    left_out = {} if config.keep_flawed else dict(found.flawed)
    if audio_check is not None:
        reasons = ((clip.id, audio_check(clip.path)) for clip in clips)
        left_out |= {clip_id: reason for clip_id, reason in reasons if reason is not None}
    present = {clip.id for clip in clips}
    return Corpus(
        name=config.name,
        clips=tuple(clips),
        labels=_ordered(set(label_map.values()) - {""}),
        left_out={clip_id: left_out[clip_id] for clip_id in sorted(left_out) if clip_id in present},
        dropped=dict(sorted(dropped.items())),
        synthetic=reader.synthetic,
        folder=found.folder,
        notes=(*found.notes, *([BY_CLIP] if config.split_by == "clip" else [])),
    )


def corpus_folder(config: CorpusConfig) -> Path | None:
    """The folder that a corpus is to be read from; None: it is made where it is not there.

    Raises:
        UserError: There is no such corpus, or its folder is not given.
    """
    reader = find_reader(config.name)
    if reader.prepare is not None:
        return None
    if config.data_dir:
        return Path(config.data_dir).expanduser()
    raise UserError(
        f"corpus {config.name!r} needs a folder: give --data-dir DIR (names there look like "
        f"{reader.name_example})"
    )


def _nothing_found(name: str, reader: Reader, root: Path, found: Found) -> str:
    message = f"no labelled file in {root} for corpus {name!r} (names look like "
    message += f"{reader.name_example})"
    if found.dropped:
        first, reason = next(iter(sorted(found.dropped.items())))
        message += f"; {len(found.dropped)} files do not fit, first {first}: {reason}"
    if name != "folder":
        message += (
            f"; clips of your own ({find_reader('folder').name_example}, or a CSV) are read as "
            "corpus 'folder', as by: ser-kd train DIR"
        )
    return message


def _override(
    default: Mapping[str, str], changes: Mapping[str, str], corpus: str
) -> Mapping[str, str]:
    """``default`` with ``changes``; a label that the corpus does not have is an error."""
    for label in changes:
        if label not in default:
            near = difflib.get_close_matches(label.lower(), default, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"label map: {corpus} has no label {label!r}: {hint}(it has {', '.join(default)})"
            )
    return {**default, **changes}


def _ordered(labels: set[str]) -> tuple[str, ...]:
    shared = [label for label in LABEL_ORDER if label in labels]
    return (*shared, *sorted(labels - set(shared)))
