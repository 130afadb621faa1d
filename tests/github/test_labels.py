import pytest

from agentd.github.labels import LABELS, STATUS, ensure_labels, set_status


@pytest.fixture
def number(hub):
    return hub.create_issue("alice/widget", "t", "b", ["agent-ready", "status:todo"], "alice")


def labels_of(gh, number):
    return {item["name"] for item in gh.request("GET", f"{gh.base}/issues/{number}/labels", {"per_page": 100}).data}


def test_all_labels_are_made_once(gh, seen):
    made = ensure_labels(gh)
    assert set(made) <= {label.name for label in LABELS}
    there = {item["name"]: item["color"] for item in gh.request("GET", f"{gh.base}/labels", {"per_page": 100}).data}
    assert all(there[label.name] == label.colour for label in LABELS if label.name in made)
    assert {label.name for label in LABELS} <= set(there)
    watch = seen()
    assert ensure_labels(gh) == ()
    assert watch.writes == [] and len(watch.requests) == 1


def test_a_colour_that_a_person_chose_stays(gh):
    gh.repository().create_label("risk:low", "123456", "mine")
    assert "risk:low" not in ensure_labels(gh)


def test_the_status_moves_with_two_writes_the_new_label_first(gh, number, seen):
    watch = seen()
    assert set_status(gh, number, "status:in-progress")
    assert labels_of(gh, number) == {"agent-ready", "status:in-progress"}
    assert [record.method for record in watch.writes] == ["POST", "DELETE"]


def test_where_there_is_no_room_for_another_label_the_old_one_goes_first(gh, number, seen):
    gh.issue(number).add_to_labels(*(f"area:{place}" for place in range(98)))
    watch = seen()
    assert set_status(gh, number, "status:in-progress")
    assert [record.method for record in watch.writes] == ["DELETE", "POST"]
    assert {"agent-ready", "status:in-progress", "area:97"} <= labels_of(gh, number)


def test_no_write_when_it_is_right_and_no_request_when_that_is_known(gh, number, seen):
    watch = seen()
    assert not set_status(gh, number, "status:todo")
    assert [record.method for record in watch.requests] == ["GET"]
    watch = seen()
    assert not set_status(gh, number, "status:todo", current=("agent-ready", "Status:Todo"))
    assert watch.requests == []


def test_none_takes_all_status_labels_away(gh, number):
    gh.issue(number).add_to_labels("status:blocked")
    assert set_status(gh, number, None)
    assert labels_of(gh, number) == {"agent-ready"}


def test_a_label_that_is_gone_already_is_fine(gh, number):
    assert set_status(gh, number, "status:in-review", current=("agent-ready", *STATUS[:2], "status:blocked"))
    assert labels_of(gh, number) == {"agent-ready", "status:in-review"} or "status:in-review" in labels_of(gh, number)


def test_other_labels_are_no_status(gh, number):
    with pytest.raises(ValueError, match="agent-ready"):
        set_status(gh, number, "agent-ready")
