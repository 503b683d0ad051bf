"""Running finished students: files, streams, and what they cost."""
