"""The programs that read what failoverd writes: monitoring systems, a browser. Each is Debian's own."""
