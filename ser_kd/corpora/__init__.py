"""Files on disk -> labelled clips; one module per corpus.

corpus = load_corpus(CorpusConfig(name="crema_d", data_dir="CREMA-D"))
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora import crema_d, emodb, folder, iemocap, msp_podcast, ravdess
from ser_kd.corpora.clip import UNKNOWN_SPEAKER_PREFIX, Clip, Corpus, Found
from ser_kd.errors import UserError

__all__ = [
    "CORPORA",
    "DEMO_DIR",
    "Clip",
    "Corpus",
    "Reader",
    "demo_folder",
    "find_reader",
    "load_corpus",
]

DEMO_DIR = Path("runs/demo_corpus")


@dataclass(frozen=True)
class Reader:
    """How one corpus is read.

    Attributes:
        read: (data folder, metadata folder or None) -> what is there.
        label_map: The corpus's own labels -> classes; None = the labels are the folder's.
        name_example: A file name as it is expected, for messages.
        synthetic: True where no human speaks.
    """

    read: Callable[[Path, Path | None], Found]
    label_map: Mapping[str, str] | None
    name_example: str
    synthetic: bool = False


def _read_demo(folder: Path, metadata_dir: Path | None) -> Found:
    from ser_kd.corpora import demo  # here, because it takes a moment and few need it

    return demo.read(folder, metadata_dir)


CORPORA: dict[str, Reader] = {
    "crema_d": Reader(crema_d.read, crema_d.LABEL_MAP, crema_d.NAME_EXAMPLE),
    "ravdess": Reader(ravdess.read, ravdess.LABEL_MAP, ravdess.NAME_EXAMPLE),
    "emodb": Reader(emodb.read, emodb.LABEL_MAP, emodb.NAME_EXAMPLE),
    "iemocap": Reader(iemocap.read, iemocap.LABEL_MAP, iemocap.NAME_EXAMPLE),
    "msp_podcast": Reader(msp_podcast.read, msp_podcast.LABEL_MAP, msp_podcast.NAME_EXAMPLE),
    "folder": Reader(folder.read, None, folder.NAME_EXAMPLE),
    "demo": Reader(_read_demo, crema_d.LABEL_MAP, crema_d.NAME_EXAMPLE, synthetic=True),
}


def find_reader(name: str) -> Reader:
    """The reader of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in CORPORA:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), CORPORA, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown corpus {name!r}: {hint}(there are {', '.join(CORPORA)})")
    return CORPORA[name]


def load_corpus(
    config: CorpusConfig, audio_check: Callable[[Path], str | None] | None = None
) -> Corpus:
    """Lists the clips of a corpus; reads names and CSVs only, unless ``audio_check`` is given.

    Args:
        config: Which corpus, where, under which labels. With ``keep_flawed`` the corpus's known
            bad clips are not in ``left_out``. With ``allow_unknown_speakers`` every clip without
            a speaker gets one of its own, ``unknown/<id>``.
        audio_check: Says why a file cannot be used, or None. Clips that it objects to are in
            ``left_out`` whatever ``keep_flawed`` says.

    Returns:
        The corpus: clips in order of id; classes in the order ANG DIS FEA HAP NEU SAD, then any
        others by name.

    Raises:
        UserError: unknown corpus, missing or empty folder, no labelled file, only one class, a
            label map with an unknown label, a bad CSV.
    """
    reader = find_reader(config.name)
    root = _data_dir(config, reader)
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
            dropped[_name(clip.path, found.folder)] = f"label {clip.emotion!r} is mapped to nothing"
            continue
        speaker = clip.speaker
        if not speaker and config.allow_unknown_speakers:
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
    )


def demo_folder(config: CorpusConfig, progress: Callable[[int, int], None] | None = None) -> Path:
    """The demo corpus's folder; makes the corpus where there is none.

    Args:
        config: Its ``data_dir``; ``runs/demo_corpus`` if empty. A folder with clips that is given
            by name is taken as it is, unless its making was interrupted.
        progress: Called with (clips made, clips in all).

    Raises:
        UserError: the speech synthesiser is missing, or the folder holds something else.
    """
    given = Path(config.data_dir).expanduser() if config.data_dir else None
    if given is not None:
        unfinished = any(
            given.glob("*.started.json")
        )  # the mark that demo.py takes away at the end
        if not unfinished and any(crema_d.audio_folder(given).glob("*_*_*_*.*")):
            return given
    # Imported here: the speech synthesiser is an optional extra.
    from ser_kd.corpora.demo import ensure_demo_corpus

    return ensure_demo_corpus(given or DEMO_DIR, progress=progress)


def _data_dir(config: CorpusConfig, reader: Reader) -> Path:
    if reader.synthetic:
        return demo_folder(config)
    if config.data_dir:
        return Path(config.data_dir).expanduser()
    raise UserError(
        f"corpus {config.name!r} needs a folder: name it (names there look like "
        f"{reader.name_example})"
    )


def _nothing_found(name: str, reader: Reader, root: Path, found: Found) -> str:
    message = f"no labelled file in {root} for corpus {name!r} (names look like "
    message += f"{reader.name_example})"
    if found.dropped:
        first, reason = next(iter(sorted(found.dropped.items())))
        message += f"; {len(found.dropped)} files do not fit, first {first}: {reason}"
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
    shared = [label for label in crema_d.LABELS if label in labels]
    return (*shared, *sorted(labels - set(shared)))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
