"""An evaluation as ``eval.json`` has it, with everything in it, made up by hand."""

from typing import Any

LABELS = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]
CONFUSION = [
    [111, 12, 3, 0, 0, 0],
    [23, 77, 14, 2, 3, 7],
    [6, 8, 71, 10, 12, 19],
    [24, 8, 21, 65, 7, 1],
    [4, 1, 3, 6, 90, 4],
    [0, 9, 17, 4, 21, 75],
]
WAVEFORM = "student, distilled, waveform"


def around(value: float, half: float) -> list[float]:
    return [max(value - half, 0.0), min(value + half, 1.0)]


def recall(half: float = 0.08) -> dict[str, Any]:
    found = {}
    for number, (label, row) in enumerate(zip(LABELS, CONFUSION, strict=True)):
        value = row[number] / sum(row)
        found[label] = {"value": value, "interval": around(value, half), "clips": sum(row)}
    return found


def scores(ua: float, role: str = "student") -> dict[str, Any]:
    values = {"wa": ua - 0.006, "ua": ua, "macro_f1": ua - 0.012}
    return {
        "role": role,
        **values,
        "intervals": {key: around(value, 0.04) for key, value in values.items()},
        "recall": recall(),
        "confusion": CONFUSION,
        "nll": 0.888,
    }


def bins() -> list[dict[str, Any]]:
    clips = [0, 0, 0, 2, 18, 55, 70, 64, 61, 58, 66, 74, 90, 99, 81]
    return [
        {
            "low": number / 15,
            "high": (number + 1) / 15,
            "clips": count,
            "confidence": (number + 0.5) / 15 if count else 0.0,
            "accuracy": min(1.0, 0.08 + 0.85 * (number + 0.5) / 15) if count else 0.0,
        }
        for number, count in enumerate(clips)
    ]


def group(name: str, speakers: int, clips: int, ua: float) -> dict[str, Any]:
    return {
        "name": name,
        "clips": clips,
        "speakers": speakers,
        "ua": ua,
        "interval": around(ua, 0.05),
        "recall": recall(),
    }


def condition(name: str, kind: str, drop: float, unchanged: float, limit: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "limit": limit,
        "ua": 0.669 - drop,
        "ua_drop": drop,
        "unchanged": unchanged,
    }


def limit(name: str, worst: float, where: str, met: bool, published: bool = True) -> dict[str, Any]:
    at_most = "unchanged" not in name
    return {
        "name": name,
        "limit": 0.05 if at_most else 0.9,
        "bound": "at most" if at_most else "at least",
        "worst": worst,
        "condition": where,
        "met": met,
        "published": published,
    }


def part(speakers: int = 9) -> dict[str, Any]:
    return {
        "clips": 738,
        "speakers": speakers,
        "models": {
            "teacher ensemble": scores(0.70, "teacher"),
            "student, labels alone": scores(0.64),
            "student, distilled": scores(0.672),
            WAVEFORM: scores(0.669),
        },
        "agreement": {
            "teacher ensemble": {
                "student, labels alone": 0.71,
                "student, distilled": 0.79,
                WAVEFORM: 0.782,
            },
            "student, labels alone": {"student, distilled": 0.8, WAVEFORM: 0.8},
            "student, distilled": {WAVEFORM: 0.9797},
        },
        "clips_of_training_speakers": 0,
        "unreadable": {"1076_MTI_SAD_XX": "no samples"},
        "file": {
            "model": WAVEFORM,
            "calibration": {"ece": 0.0424, "ece_by_chance": [0.031, 0.052], "bins": bins()},
            "slices": [
                {
                    "by": "sex",
                    "groups": [group("female", 5, 410, 0.695), group("male", 4, 328, 0.633)],
                }
            ],
            "robustness": {
                "conditions": [
                    condition("white noise, 20 dB", "noise", 0.016, 0.9648, "noise at 20 dB"),
                    condition("babble noise, 5 dB", "noise", 0.176, 0.6128, "noise at 5 dB"),
                    condition("Opus, 6 kbit/s", "codec", 0.081, 0.74, ""),
                ],
                "limits": [
                    limit("noise at 20 dB: drop of UA", 0.016, "white noise, 20 dB", True),
                    limit("noise at 20 dB: labels unchanged", 0.88, "pink noise, 20 dB", False),
                    limit("noise at 5 dB: drop of UA", 0.176, "babble noise, 5 dB", False, False),
                ],
            },
            "worst": [
                {
                    "id": "1077_IEO_ANG_HI",
                    "speaker": "1077",
                    "truth": "ANG",
                    "predicted": "HAP",
                    "probability_of_truth": 0.011,
                    "probability": 0.977,
                }
            ],
        },
    }


def sample() -> dict[str, Any]:
    """Of a run, with robustness and another corpus as ``ser-kd evaluate`` adds them."""
    return {
        "format": 2,
        "labels": LABELS,
        "synthetic": False,
        "corpus": "crema_d",
        "model": {
            "name": "student_waveform.tflite",
            "takes": "waveform",
            "runtime": "LiteRT",
            "window_seconds": 3.0,
            "bytes": 637_000,
            "sha256": "7dc9396b1ef8bb50a247df04949b91e0cb68a0ecc6fa9ea74e4353d039da04bc",
        },
        "parts": {"validation": part(), "test": part(19)},
        "teachers_out_of_fold": {"ensemble": {"wa": 0.63, "ua": 0.62, "macro_f1": 0.61}},
        "cross_corpus": [
            {
                "corpus": "emodb",
                "clips": 454,
                "speakers": 10,
                "labels": LABELS,
                "dropped": {"boredom": 81},
                "scores": scores(0.418),
            }
        ],
        "history": [
            {"epoch": 1, "loss": 1.5, "accuracy": 0.31, "validation_ua": 0.35},
            {"epoch": 2, "loss": 1.2, "accuracy": 0.52, "validation_ua": 0.574},
        ],
        "settings": {
            "bootstrap_resamples": 1000,
            "seed": 0,
            "noise_seed": 0,
            "limits": "somebody's tests",
            "machine": "2 cores (a processor)",
        },
        "notes": ["emodb: 81 clips are left out: 'boredom' is no class of the model"],
    }


def resources() -> dict[str, Any]:
    return {
        "teacher ensemble": {
            "parameters": 12_345_678,
            "bytes": 49_382_712,
            "latency_ms": 21.567,
            "peak_memory_mb": 801.4,
            "runtime": "Keras",
        },
        "student, distilled": {
            "parameters": 400_123,
            "bytes": 1_560_000,
            "latency_ms": 1.3649,
            "peak_memory_mb": None,
            "runtime": "Keras",
        },
        WAVEFORM: {
            "parameters": 400_123,
            "bytes": 637_000,
            "latency_ms": 0.3649,
            "latency_p95_ms": 0.72,
            "peak_memory_mb": 51.18,
            "runtime": "LiteRT",
        },
    }
