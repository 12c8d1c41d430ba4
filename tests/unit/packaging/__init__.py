"""The script that makes a release."""
