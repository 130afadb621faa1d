#!/usr/bin/env bash
# What agentd does for an issue, by hand and without any care: the peer that its overhead is divided by.
# Environment: API (…/repos/owner/name), TOKEN, CLONE (a clone with a remote `origin`), PLACE, ISSUE.
set -euo pipefail

api() { # METHOD PATH [BODY]
    curl --silent --show-error --fail --request "$1" --header "Authorization: token $TOKEN" \
        --header "Content-Type: application/json" ${3:+--data "$3"} "$API$2"
}
id_of() { sed -n 's/.*"id": *\([0-9]\{6,\}\).*/\1/p' | head -n 1; }

branch=agent/issue-$ISSUE
api GET "/issues/$ISSUE/labels?per_page=100" >/dev/null
api POST "/issues/$ISSUE/labels" '["status:in-progress"]' >/dev/null
api DELETE "/issues/$ISSUE/labels/status:todo" >/dev/null
api GET "/issues/$ISSUE/comments?per_page=100" >/dev/null
comment=$(api POST "/issues/$ISSUE/comments" '{"body": "An agent works on this"}' | tr ',' '\n' | id_of)

git -C "$CLONE" fetch --quiet origin
git -C "$CLONE" worktree add --quiet -b "$branch" "$PLACE" origin/main
echo "work on $ISSUE" >"$PLACE/work.txt"
git -C "$PLACE" add --all
git -C "$PLACE" commit --quiet --message "feat: issue $ISSUE"
git -C "$PLACE" fetch --quiet origin
git -C "$PLACE" push --quiet origin "$branch"

api GET "/pulls?head=alice:$branch&state=open&per_page=100" >/dev/null
api POST /pulls "{\"head\": \"$branch\", \"base\": \"main\", \"title\": \"Issue $ISSUE\", \"body\": \"Closes #$ISSUE\"}" >/dev/null
api GET "/issues/$ISSUE/labels?per_page=100" >/dev/null
api POST "/issues/$ISSUE/labels" '["status:in-review"]' >/dev/null
api DELETE "/issues/$ISSUE/labels/status:in-progress" >/dev/null
api GET "/issues/$ISSUE/comments?per_page=100" >/dev/null
api PATCH "/issues/comments/$comment" '{"body": "Ready for review"}' >/dev/null
