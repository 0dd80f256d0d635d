#!/bin/sh
# Builds the previous release (the last tag, or the commit before this one where there is none) for the test that
# upgrades from it and rolls back to it: target/previous/{ingest,poll,applier,syncline,template.yaml}. Nothing is built
# twice, and nothing at all where there is no earlier commit.
set -eu
cd "$(dirname "$0")/.."
previous=$(git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || git rev-parse --verify --quiet HEAD^ || true)
if [ -z "$previous" ] || ! git cat-file -e "$previous:template.yaml" 2>/dev/null; then
    rm -rf target/previous
    exit 0
fi
previous=$(git rev-parse "$previous^{commit}")
[ "$(cat target/previous/commit 2>/dev/null)" = "$previous" ] && exit 0
tree=target/previous-tree
git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"
git worktree prune
git worktree add --quiet --detach "$tree" "$previous"
target=$(pwd)/target
# With one test among the targets, dependencies are built with the features of `cargo build --all-targets`, once for both.
(cd "$tree" && CARGO_TARGET_DIR="$target" cargo build --locked --workspace --bins --test crate_graph)
rm -rf target/previous
mkdir -p target/previous
for program in ingest poll applier syncline; do
    cp "target/debug/$program" "target/previous/$program"
done
cp "$tree/template.yaml" target/previous/template.yaml
git worktree remove --force "$tree"
echo "$previous" >target/previous/commit
