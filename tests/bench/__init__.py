"""What failoverd costs, measured beside what one would use instead, in one run: `make bench` prints the table.

Nothing is asserted: a figure depends on the machine and on what else runs there. Whatever is compared is measured
alternately, sample by sample, so that a busy moment hurts both sides. Times are CLOCK_MONOTONIC.

Modules, from the bottom: `row` is a line of the table; `network` looks into network namespaces; `daemon` is a
failoverd to measure; `hook`, `transition`, `burst`, `idle` and `upstream` measure.
"""
