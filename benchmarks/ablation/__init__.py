"""What each setting is worth to the student: a base recipe and variants, one lever at a time.

    python -m benchmarks.ablation --data-dir $CREMA_D_DIR --run-dir runs/ablation [--variant NAME]
    python -m benchmarks.ablation --list
    python -m benchmarks.ablation --data-dir $CREMA_D_DIR --run-dir runs/ablation --time
    python -m benchmarks.ablation --report

The first trains what is missing, the third times the files of one lever, the last writes what
``docs/distillation.md`` shows of them. Stages meet at the files in ``benchmarks/results/ablation``.
"""
