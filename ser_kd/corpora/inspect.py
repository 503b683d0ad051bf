"""What is in a folder of speech, and what is wrong with it; every file is decoded."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_kd.audio.decoding import AudioError, decode, is_silent
from ser_kd.config import AudioConfig, CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.corpora.clip import Clip, Corpus, file_name
from ser_kd.corpora.listing import AUDIO_SUFFIXES
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.splits import Splits, class_gaps, split_corpus
from ser_kd.errors import UserError

VERY_SHORT_SECONDS = 0.1

_NAMES_SHOWN = 5
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class FileFinding:
    """What decoding one file showed.

    Attributes:
        name: Relative to the corpus's folder.
        seconds: Length; 0 where unreadable.
        error: Why it cannot be read; empty where it can.
        silent: No sound in it.
        content_sha256: Of the decoded samples (hex); empty where unreadable.
    """

    name: str
    seconds: float
    error: str
    silent: bool
    content_sha256: str


@dataclass(frozen=True)
class CorpusReport:
    """What was found.

    Attributes:
        corpus: The clips, and what was left out.
        splits: None where the corpus cannot be split; ``split_error`` says why.
        split_error: One line, or empty.
        findings: One for every audio file, clips and others, in order of name.
        duplicates: Groups of names with the same sound (silent files aside).
    """

    corpus: Corpus
    splits: Splits | None
    split_error: str
    findings: tuple[FileFinding, ...]
    duplicates: tuple[tuple[str, ...], ...]

    @property
    def unreadable(self) -> tuple[FileFinding, ...]:
        return tuple(finding for finding in self.findings if finding.error)

    @property
    def silent(self) -> tuple[FileFinding, ...]:
        return tuple(finding for finding in self.findings if finding.silent)

    @property
    def very_short(self) -> tuple[FileFinding, ...]:
        return tuple(
            finding
            for finding in self.findings
            if not finding.error and finding.seconds < VERY_SHORT_SECONDS
        )

    @property
    def clip_seconds(self) -> tuple[float, ...]:
        """Lengths of the readable clips, in order of name."""
        names = {file_name(clip.path, self.corpus.folder) for clip in self.corpus.clips}
        return tuple(
            finding.seconds
            for finding in self.findings
            if finding.name in names and not finding.error
        )


def inspect_corpus(
    config: CorpusConfig,
    audio_config: AudioConfig,
    progress: Callable[[str], None] = lambda _: None,
) -> CorpusReport:
    """Lists, splits and decodes a corpus.

    Args:
        config: Which corpus, where.
        audio_config: How to decode.
        progress: Takes one line of text, every few seconds.

    Raises:
        UserError: as ``load_corpus``. Files that cannot be read are findings, not errors.
    """

    def making(done: int, total: int) -> None:
        if done % 200 == 0 or done == total:
            progress(f"{config.name} corpus: {done:,}/{total:,} clips made")

    corpus = load_corpus(config, progress=making)
    splits, split_error = None, ""
    try:
        splits = split_corpus(corpus, config)
    except UserError as error:
        split_error = str(error)
    paths = {file_name(clip.path, corpus.folder): clip.path for clip in corpus.clips}
    # Dropped files too: a duplicate of one of them is worth knowing.
    dropped = {name: corpus.folder / name for name in corpus.dropped}
    paths |= {name: path for name, path in dropped.items() if _is_audio(path)}
    findings = _decode_all(dict(sorted(paths.items())), audio_config, progress)
    names_of_content = defaultdict(list)
    for finding in findings:
        if not finding.error and not finding.silent:
            names_of_content[finding.content_sha256].append(finding.name)
    duplicates = tuple(tuple(names) for names in names_of_content.values() if len(names) > 1)
    return CorpusReport(corpus, splits, split_error, findings, duplicates)


def print_report(report: CorpusReport, write: Callable[[str], None] = print) -> None:
    """Writes the report as text, line by line."""
    corpus = report.corpus
    write(f"{corpus.name}: {corpus.folder}" + (" (synthetic speech)" if corpus.synthetic else ""))
    _write_counts(report, write)
    if report.splits is not None:
        write("")
        _write_table(report.splits, corpus.labels, write)
    else:
        write(f"no splits: {report.split_error}")
    write("")
    _write_problems(report, write)


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()


def _decode_all(
    paths: dict[str, Path], audio_config: AudioConfig, progress: Callable[[str], None]
) -> tuple[FileFinding, ...]:
    def examine(item: tuple[str, Path]) -> FileFinding:
        name, path = item
        try:
            waveform = decode(path, audio_config.sample_rate_hz, audio_config.decoder)
        except AudioError as error:
            return FileFinding(name, 0.0, str(error).removeprefix(f"{path}: "), False, "")
        return FileFinding(
            name=name,
            seconds=len(waveform) / audio_config.sample_rate_hz,
            error="",
            silent=is_silent(waveform),
            content_sha256=hashlib.sha256(waveform.tobytes()).hexdigest(),
        )

    findings = []
    started = last_shown = time.monotonic()
    progress(f"reading {len(paths):,} files")
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for finding in pool.map(examine, paths.items()):
            findings.append(finding)
            now = time.monotonic()
            if now - last_shown >= _PROGRESS_SECONDS:
                last_shown = now
                remaining = (now - started) / len(findings) * (len(paths) - len(findings))
                progress(f"{len(findings):,}/{len(paths):,} files, about {remaining:.0f} s left")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return tuple(findings)


def _write_counts(report: CorpusReport, write: Callable[[str], None]) -> None:
    corpus = report.corpus
    speakers = {clip.speaker for clip in corpus.clips if clip.speaker_known}
    unknown = sum(not clip.speaker_known for clip in corpus.clips)
    write(f"files     {len(report.findings):,}")
    write(f"clips     {len(corpus.clips):,}")
    write(f"speakers  {len(speakers):,}" + (f" ({unknown:,} clips: unknown)" if unknown else ""))
    counts = Counter(clip.emotion for clip in corpus.clips)
    write("labels    " + ", ".join(f"{label} {counts[label]:,}" for label in corpus.labels))
    if any({"ratings", "votes"} & set(clip.attributes) for clip in corpus.clips):
        write(f"ratings   {_ratings(corpus)}")
    if seconds := report.clip_seconds:
        write(
            f"length    {min(seconds):.2f} to {max(seconds):.2f} s, mean "
            f"{sum(seconds) / len(seconds):.2f} s, {sum(seconds) / 3600:.2f} h in all"
        )


def _ratings(corpus: Corpus) -> str:
    """What continuous targets the clips have, or what is wrong with them."""
    try:
        dimensions = dimensions_of(corpus.name)
        rated = ~np.isnan(read_ratings(corpus.clips, dimensions)).any(axis=1)
    except UserError as error:
        return str(error)
    names = ", ".join(dimension.name for dimension in dimensions)
    return f"{names}: {rated.sum():,} clips"


def _write_table(splits: Splits, labels: tuple[str, ...], write: Callable[[str], None]) -> None:
    width = max(6, *(len(label) for label in labels))
    write(
        f"{'split':<12}{'clips':>8}{'speakers':>10}  "
        + " ".join(label.rjust(width) for label in labels)
    )
    for name, clips in _parts(splits):
        counts = Counter(clip.emotion for clip in clips)
        speakers = len({clip.speaker for clip in clips})
        write(
            f"{name:<12}{len(clips):>8,}{speakers:>10,}  "
            + " ".join(f"{counts[label]:>{width},}" for label in labels)
        )
    for line in class_gaps(_labelled(splits), labels):
        write(f"({line})")
    if not splits.test:
        write("(none of the test speakers is here)")
    left_out = len(splits.train) - len(splits.training)
    if left_out:
        write(f"({left_out} of the training clips are known to be bad and not trained on)")


def _labelled(splits: Splits) -> dict[str, list[str]]:
    parts = dict(_parts(splits)) | {"train": splits.training}
    return {name: [clip.emotion for clip in clips] for name, clips in parts.items()}


def _parts(splits: Splits) -> tuple[tuple[str, tuple[Clip, ...]], ...]:
    return (("train", splits.train), ("validation", splits.validation), ("test", splits.test))


def _write_problems(report: CorpusReport, write: Callable[[str], None]) -> None:
    corpus = report.corpus
    for note in corpus.notes:
        write(f"note: {note}")
    _write_list(
        "not used", [f"{name} ({reason})" for name, reason in corpus.dropped.items()], write
    )
    _write_list(
        "not trained on",
        [f"{clip_id} ({reason})" for clip_id, reason in corpus.left_out.items()],
        write,
    )
    _write_list(
        "unreadable", [f"{finding.name} ({finding.error})" for finding in report.unreadable], write
    )
    _write_list("silent", [finding.name for finding in report.silent], write)
    _write_list("duplicates", [" = ".join(names) for names in report.duplicates], write)
    _write_list(
        f"shorter than {VERY_SHORT_SECONDS} s",
        [f"{finding.name} ({finding.seconds:.3f} s)" for finding in report.very_short],
        write,
    )


def _write_list(title: str, items: list[str], write: Callable[[str], None]) -> None:
    write(f"{title}: {len(items):,}")
    for item in items[:_NAMES_SHOWN]:
        write(f"    {item}")
    if len(items) > _NAMES_SHOWN:
        write(f"    ... and {len(items) - _NAMES_SHOWN:,} more")
