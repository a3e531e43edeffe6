"""Values and fakes that tests are built from."""
