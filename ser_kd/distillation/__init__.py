"""Teaching a student: the Distiller, its losses and the training loop."""
