"""The shell around the core: reports become events, effects become steps and records, and the loop joins them."""
