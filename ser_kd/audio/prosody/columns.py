"""What each column of the descriptors is."""

from dataclasses import dataclass

MFCCS = 13


@dataclass(frozen=True)
class Descriptor:
    """One column.

    Attributes:
        name: Unique.
        unit: Of its values.
        meaning: What it is, and what silence gives.
        voiced_only: It means nothing where there is no voice, and is 0 there.
    """

    name: str
    unit: str
    meaning: str
    voiced_only: bool = False


DESCRIPTORS = (
    Descriptor("voiced", "0 or 1", "whether pYIN finds a voice; silence: 0"),
    Descriptor("voicing_probability", "0 to 1", "how sure pYIN is of that; silence: 0"),
    Descriptor("f0_semitones", "semitones above 27.5 Hz", "pitch, 60 to 600 Hz, by pYIN", True),
    Descriptor("jitter_ratio", "1", "how much neighbouring periods differ in length", True),
    Descriptor("shimmer_ratio", "1", "how much neighbouring periods differ in amplitude", True),
    Descriptor("hnr_db", "dB, -20 to 40", "harmonics-to-noise ratio", True),
    Descriptor("level_db", "dB of full scale", "RMS of 25 ms; silence: -100"),
    Descriptor("slope_to_500_hz", "dB per kHz", "tilt of the spectrum up to 500 Hz; silence: 0"),
    Descriptor("slope_500_to_1500_hz", "dB per kHz", "the same from 500 Hz on; silence: 0"),
    Descriptor("flux", "0 to 1.41", "change of the spectrum's shape since 10 ms; silence: 0"),
    *(
        Descriptor(
            f"mfcc_{i}", "dB", f"shape of the mel spectrum; silence: {-632 if i == 0 else 0}"
        )
        for i in range(MFCCS)
    ),
    *(
        Descriptor(f"delta_mfcc_{i}", "dB per 10 ms", f"slope of mfcc_{i} over 90 ms; silence: 0")
        for i in range(MFCCS)
    ),
)

"""What ``descriptors`` gives, in order; a voiced-only one is 0 in silence, too."""

# Name and unit, as openSMILE calls and orders them.
EGEMAPS_COLUMNS = (
    ("Loudness_sma3", "sone, about"),
    ("alphaRatio_sma3", "dB"),
    ("hammarbergIndex_sma3", "dB"),
    ("slope0-500_sma3", "dB per Hz"),
    ("slope500-1500_sma3", "dB per Hz"),
    ("spectralFlux_sma3", "1"),
    *((f"mfcc{i}_sma3", "1") for i in range(1, 5)),
    ("F0semitoneFrom27.5Hz_sma3nz", "semitones above 27.5 Hz"),
    ("jitterLocal_sma3nz", "1"),
    ("shimmerLocaldB_sma3nz", "dB"),
    ("HNRdBACF_sma3nz", "dB"),
    ("logRelF0-H1-H2_sma3nz", "dB"),
    ("logRelF0-H1-A3_sma3nz", "dB"),
    *(
        (f"F{i}{name}_sma3nz", unit)
        for i in range(1, 4)
        for name, unit in (("frequency", "Hz"), ("bandwidth", "Hz"), ("amplitudeLogRelF0", "dB"))
    ),
)
EGEMAPS = (
    Descriptor("voiced", "0 or 1", "whether openSMILE gives an F0"),
    *(
        # Formants have a frequency without a voice, too.
        Descriptor(name, unit, "see Eyben et al. 2016", name.endswith("nz") and unit != "Hz")
        for name, unit in EGEMAPS_COLUMNS
    ),
)
"""What ``egemaps`` gives: the 25 low-level descriptors of eGeMAPSv02, and voicing before them."""
