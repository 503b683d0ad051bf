"""The networks that go onto phones."""
