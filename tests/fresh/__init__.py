"""A fresh machine: a Debian on which nothing is installed but `make` and what apt brings.

What README says first, `make demo` and `make quick`, has to work there: what a list of packages lacks, no machine shows
on which it was once installed.
"""
