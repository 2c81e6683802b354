/** Loaded before every test file. */
