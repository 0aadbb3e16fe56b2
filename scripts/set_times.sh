#!/bin/sh
# Gives every tracked file the time of the last commit, so that archives of one commit are the same bytes wherever they
# are made. The tool that packs them is to be run with TZ=UTC, because zip files count in local time.
set -e
cd "$(git rev-parse --show-toplevel)"
git ls-files -z | xargs -0 touch --no-create --date="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
