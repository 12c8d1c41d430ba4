"""How alarms reach a person."""
