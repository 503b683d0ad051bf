"""``python -m ser_kd``, installed as ``ser-kd``."""

from ser_kd.commands.entry import entry

if __name__ == "__main__":
    entry()
