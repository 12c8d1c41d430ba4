"""Alarms for a person who does not watch: each is given to a command of the operator, with its facts."""
