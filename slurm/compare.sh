#!/bin/bash
# Runs the comparison of defences as job arrays. Usage and settings are those of scale.sh.
STUDY=compare exec "$(dirname "$0")/scale.sh" "$@"
