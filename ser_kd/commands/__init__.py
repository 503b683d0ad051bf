"""The command line: every argument parser."""
