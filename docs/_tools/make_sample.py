"""Makes the bundled sample clip: two sentences of one synthetic voice, angry and sad.

python docs/_tools/make_sample.py     writes ser_kd/inference/sample.ogg (needs the extra [demo])
"""

from pathlib import Path

import numpy as np
import soundfile

from ser_kd.corpora.crema_d import SENTENCES
from ser_kd.corpora.demo.espeak import Espeak
from ser_kd.corpora.demo.rendering import SAMPLE_RATE_HZ, render_clip
from ser_kd.corpora.demo.voices import FIRST_SPEAKER, draw_speaker

_SAMPLE = Path(__file__).parents[2] / "ser_kd" / "inference" / "sample.ogg"


def main() -> None:
    """Writes the file."""
    speaker = draw_speaker(FIRST_SPEAKER, 0)
    first, second = list(SENTENCES)[:2]
    with Espeak([speaker]) as espeak:
        angry = render_clip(espeak, speaker, first, "ANG", 0)
        sad = render_clip(espeak, speaker, second, "SAD", 0)
    pause = np.zeros(SAMPLE_RATE_HZ, np.int16)
    soundfile.write(_SAMPLE, np.concatenate([angry, pause, sad]), SAMPLE_RATE_HZ)
    print(f"{_SAMPLE}: {_SAMPLE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
