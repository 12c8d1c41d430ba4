"""Xen's state, as ``xl`` prints it: for the driver of guests, and for DRBD's, whose devices guests hold open.

listing.py runs ``xl list`` for all callers at a time, and domain.py parses it. single.py asks about one domain.
"""
