"""What failoverd gives to Prometheus."""
