#!/bin/bash
# The comparison of defences as job arrays; usage and settings as of scale.sh.
STUDY=compare exec "$(dirname "$0")/scale.sh" "$@"
