"""What is known of a speaker, and how a student makes use of it."""
