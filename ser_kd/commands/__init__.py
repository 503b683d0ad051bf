"""The command line: one module per command; argparse and late imports are here and nowhere else."""
