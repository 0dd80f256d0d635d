#!/bin/sh
# Builds the previous release into target/previous/{ingest,poll,applier,syncline,template.yaml}, for the test that
# upgrades from that release and rolls back to it. The previous release is the last tag v* before this commit, or the
# commit before this one if there is no such tag. Does nothing if that commit is built already. If there is no earlier
# commit with a template, removes target/previous.
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
# With a test among the targets, cargo builds the dependencies with the same features as `cargo build --all-targets`, so
# that both builds share the compiled dependencies.
(cd "$tree" && CARGO_TARGET_DIR="$target" cargo build --locked --workspace --bins --test crate_graph)
rm -rf target/previous
mkdir -p target/previous
for program in ingest poll applier syncline; do
    cp "target/debug/$program" "target/previous/$program"
done
cp "$tree/template.yaml" target/previous/template.yaml
git worktree remove --force "$tree"
echo "$previous" >target/previous/commit
