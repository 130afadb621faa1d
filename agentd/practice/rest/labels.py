"""Labels of the repository and on issues."""

from __future__ import annotations

import re

from agentd.practice.acts import issues as acts
from agentd.practice.refusal import Refused, invalid, not_found
from agentd.practice.rest.issues import names_of
from agentd.practice.routing import Call, Reply, on_repo, paged
from agentd.practice.shapes.issues import label_json
from agentd.practice.world import Issue, Label

LONGEST_NAME = 50
LONGEST_DESCRIPTION = 100


def label_of(call: Call) -> Label:
    label = call.repo.labels.get(call.args["name"].lower())
    if label is None:
        raise not_found()
    return label


def shown(call: Call, issue: Issue) -> Reply:
    return Reply([label_json(call.view, call.repo, label) for label in issue.labels])


def checked_name(call: Call, name: str, own: Label | None = None) -> str:
    if not name.strip() or len(name) > LONGEST_NAME:
        raise invalid("Label", "name")
    if call.repo.labels.get(name.lower()) not in (None, own):
        raise invalid("Label", "name", "already_exists")
    return name


def apply(call: Call, label: Label) -> None:
    """Colour and description from the body."""
    color, description = call.optional("color", str), call.optional("description", str)
    if color is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{6}", color):
            raise invalid("Label", "color")
        label.color = color.lower()
    if description is not None:
        if len(description) > LONGEST_DESCRIPTION:
            raise invalid("Label", "description")
        label.description = description


@on_repo("GET", "/labels")
async def index(call: Call) -> Reply:
    return paged(call, list(call.repo.labels.values()), lambda label: label_json(call.view, call.repo, label))


@on_repo("POST", "/labels", need="write")
async def create(call: Call) -> Reply:
    label = Label(call.world.next_id(), checked_name(call, call.required("name", str)))
    apply(call, label)
    call.repo.labels[label.name.lower()] = label
    shown = label_json(call.view, call.repo, label)
    return Reply(shown, 201, {"Location": shown["url"]})


@on_repo("GET", "/labels/{name}")
async def get(call: Call) -> Reply:
    return Reply(label_json(call.view, call.repo, label_of(call)))


@on_repo("PATCH", "/labels/{name}", need="write")
async def edit(call: Call) -> Reply:
    label = label_of(call)
    name = call.optional("new_name", str) or call.optional("name", str)
    if name:
        checked_name(call, name, label)
    apply(call, label)
    if name:
        del call.repo.labels[label.name.lower()]
        label.name = name
        call.repo.labels[name.lower()] = label
    return Reply(label_json(call.view, call.repo, label))


@on_repo("DELETE", "/labels/{name}", need="write")
async def delete(call: Call) -> Reply:
    """Also takes it from all issues."""
    label = label_of(call)
    for issue in call.repo.visible_issues():
        if label in issue.labels:
            acts.remove_label(call.world, issue, call.actor, label)
    del call.repo.labels[label.name.lower()]
    return Reply(status=204)


@on_repo("GET", "/issues/{number}/labels")
async def of_issue(call: Call) -> Reply:
    return paged(call, call.issue().labels, lambda label: label_json(call.view, call.repo, label))


def asked_names(call: Call) -> list[str]:
    """{"labels": [...]} or, as GitHub takes it too, the bare list."""
    return names_of(call.body if isinstance(call.body, list) else call.optional("labels", list) or [])


@on_repo("POST", "/issues/{number}/labels", need="triage")
async def add(call: Call) -> Reply:
    issue = call.issue()
    acts.add_labels(call.world, issue, call.actor, asked_names(call))
    return shown(call, issue)


@on_repo("PUT", "/issues/{number}/labels", need="triage")
async def replace(call: Call) -> Reply:
    issue = call.issue()
    acts.set_labels(call.world, issue, call.actor, asked_names(call))
    return shown(call, issue)


@on_repo("DELETE", "/issues/{number}/labels", need="triage")
async def clear(call: Call) -> Reply:
    acts.set_labels(call.world, call.issue(), call.actor, [])
    return Reply(status=204)


@on_repo("DELETE", "/issues/{number}/labels/{name}", need="triage")
async def remove(call: Call) -> Reply:
    issue, label = call.issue(), call.repo.labels.get(call.args["name"].lower())
    if label is None or label not in issue.labels:
        raise Refused(404, "Label does not exist")
    acts.remove_label(call.world, issue, call.actor, label)
    return shown(call, issue)
