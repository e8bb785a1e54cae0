#!/usr/bin/env bash
# The documentation as a site, every link checked: `bash scripts/site.sh` builds it in build/site, `bash scripts/site.sh serve` shows it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DYGAIT_PAGES=$(mktemp -d)
export DYGAIT_PAGES NO_MKDOCS_2_WARNING=1
trap 'rm -rf "$DYGAIT_PAGES"' EXIT
# The pages and what they link to, as they lie here; datasets and output hold data and runs besides.
for page in *.md LICENSE docs configs lib output/README.md datasets/README.md datasets/*/README.md datasets/*/*.json; do
    mkdir -p "$DYGAIT_PAGES/$(dirname "$page")"
    ln -s "$PWD/$page" "$DYGAIT_PAGES/$page"
done

case "${1:-build}" in
build) python -m mkdocs build --strict --config-file docs/mkdocs.yml --site-dir "$PWD/build/site" ;;
serve) python -m mkdocs serve --config-file docs/mkdocs.yml ;;
*) sed -n '2s/^# //p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
