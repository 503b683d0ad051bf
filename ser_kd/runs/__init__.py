"""The run folder, where all stages meet, and the data that they share."""
