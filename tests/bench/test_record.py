import json

from verax.bench import MIGRATIONS
from verax.store import open_database

OLD = {"registered": "exactly", "coarse": "roughly", "foreign": "not"}


def test_runs_of_before_say_in_todays_words_where_their_priors_lie(tmp_path):
    path = tmp_path / "run.sqlite"
    old = open_database(path, MIGRATIONS[:3])
    columns = len(old.execute("SELECT * FROM outputs LIMIT 0").description)
    for key in OLD:
        old.execute(
            f"INSERT INTO outputs VALUES ({', '.join('?' * columns)})", [key] + [""] * (columns - 1)
        )
        registration = json.dumps({"accepted": key == "registered", "outcome": key, "reason": "so"})
        old.execute(
            "UPDATE outputs SET registration = ?, outcome = ? WHERE key = ?",
            (registration, "registration_refused", key),
        )
        old.execute("INSERT INTO deviations VALUES (?, ?)", (key, registration))
    old.execute("INSERT INTO deviations VALUES ('failed', ?)", (json.dumps({"failed": "no"}),))
    old.commit()
    old.close()

    new = open_database(path, MIGRATIONS)
    outputs = {
        k: (o, json.loads(r))
        for k, o, r in new.execute("SELECT key, outcome, registration FROM outputs")
    }
    deviations = {k: json.loads(v) for k, v in new.execute("SELECT key, value FROM deviations")}
    new.close()

    assert outputs == {
        key: ("prior_not_placed", {"placed": placed, "reason": "so"}) for key, placed in OLD.items()
    }
    assert deviations == {
        **{key: {"placed": placed, "reason": "so"} for key, placed in OLD.items()},
        "failed": {"failed": "no"},
    }
