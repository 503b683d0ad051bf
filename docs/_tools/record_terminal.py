"""Records ``ser-kd predict`` on synthetic speech as an SVG: ``docs/images/terminal.svg``.

    python docs/_tools/record_terminal.py

Needs the extra ``demo`` (espeak-ng makes the speech). The commands are run as they are shown, and
what they print is drawn line by line; in a stream a line appears when its moment of the recording
has come. Until then it is dim: all lines can be read at once.
"""

import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from ser_kd.corpora.demo.folder import ensure_demo_corpus

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "images" / "terminal.svg"
# One voice of the demo corpus: it speaks a sentence afraid, happy, and sad.
CLIPS = {"afraid": "2003_IEO_FEA_XX", "happy": "2003_IEO_HAP_XX", "sad": "2003_IEO_SAD_XX"}
STREAMED = ("afraid", "sad")
PAUSE_SECONDS = 4.0
CHARACTER, LINE, MARGIN = 7.8, 19, 18


def make_speech(folder: Path) -> None:
    """The clips, and a recording of two of them with a pause between them."""
    corpus = ensure_demo_corpus(folder / "corpus", speakers=10, sentences=2, seed=0)
    spoken, rate_hz = {}, 16_000
    for name, clip in CLIPS.items():
        (path,) = corpus.rglob(f"{clip}.wav")
        spoken[name], rate_hz = soundfile.read(path, dtype="float32")
        soundfile.write(folder / f"{name}.wav", spoken[name], rate_hz)
    # The pause has the faintest noise, as a microphone has.
    pause = np.random.default_rng(0).normal(0, 1e-4, int(PAUSE_SECONDS * rate_hz))
    first, second = (spoken[name] for name in STREAMED)
    recording = np.concatenate([first, pause.astype(np.float32), second])
    soundfile.write(folder / "recording.wav", recording, rate_hz)


def record(command: str, folder: Path) -> list[str]:
    """What ``command`` prints, errors as well, run in ``folder``."""
    arguments = [sys.executable, "-m", *command.replace("ser-kd", "ser_kd").split()]
    paths = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(arguments, cwd=folder, env=paths, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()


def draw(lines: list[tuple[float, str]]) -> str:
    """An SVG of lines, each with the second at which it appears."""
    width = 2 * MARGIN + CHARACTER * max(len(text) for _, text in lines)
    height = 2 * MARGIN + LINE * len(lines) + 14
    rows = []
    for number, (second, text) in enumerate(lines):
        css = "prompt" if text.startswith("$") else "quiet" if "no speech" in text else "text"
        marked = re.sub(
            r"\b((?:ANG|DIS|FEA|HAP|NEU|SAD)(?: [a-z]+)?) (\d\.\d\d)(?=\s+\[|\s*$)",
            r'<tspan class="label">\1 \2</tspan>',
            html.escape(text),
        )
        rows.append(
            f'<text x="{MARGIN}" y="{MARGIN + 26 + LINE * number}" class="{css}" '
            f'style="animation-delay:{second:.1f}s">{marked}</text>'
        )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}"
     width="{width:.0f}" role="img">
<title>ser-kd predict on synthetic speech</title>
<style>
text {{
  font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre; fill: #d5dae2
}}
@media (prefers-reduced-motion: no-preference) {{ text {{ animation: appear .2s both }} }}
@keyframes appear {{ from {{ opacity: .3 }} to {{ opacity: 1 }} }}
.prompt {{ fill: #8fd18f }} .quiet {{ fill: #7d8795 }} .label {{ fill: #ffd479; font-weight: 600 }}
</style>
<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>
<circle cx="{MARGIN}" cy="14" r="5" fill="#ff5f57"/>
<circle cx="{MARGIN + 16}" cy="14" r="5" fill="#febc2e"/>
<circle cx="{MARGIN + 32}" cy="14" r="5" fill="#28c840"/>
{chr(10).join(rows)}
</svg>
"""


def main() -> None:
    """Records and draws."""
    predict = "ser-kd predict " + " ".join(f"{name}.wav" for name in CLIPS)
    stream = "ser-kd predict --stream recording.wav"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_speech(folder)
        lines = [(0.0, f"$ {predict}")]
        lines += [(0.5, line) for line in record(predict, folder)]
        lines += [(1.5, ""), (1.5, f"$ {stream}")]
        for line in record(stream, folder):
            moment = re.search(r"(\d+\.\d) s", line)
            lines.append((1.5 + float(moment.group(1)) if moment else 1.5, line))
    OUTPUT.write_text(draw(lines), encoding="utf-8")
    print(f"{OUTPUT.relative_to(ROOT)}: {len(lines)} lines, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
