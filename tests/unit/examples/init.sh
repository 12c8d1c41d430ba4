#!/bin/sh
# The first process of the sandbox: it is there while its standard input is.
echo "$1"
read -r _
