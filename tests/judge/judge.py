"""Judges a run of two-way editing by the editors' own ledger.

The program reads a question as JSON from standard input and writes a verdict as JSON to standard output. It uses only
Python's standard library, SQL through psql, and REST through urllib. It shares nothing with what it judges.

What became of an edit is the first of these that is true:

- it stands: its value is final on both sides;
- it is in the conflict log, as the value that lost;
- it was overwritten: an editor who had seen its value, or whom the history of a side shows replacing its value, put
  another value there;
- it went with its record, which somebody deleted on a side that held its value;
- it fell into the window between Syncline's read and its write, which Syncline does not promise to guard;
- it is lost.

None of this is decided by comparing the clocks of the two sides. Only the latencies compare them.
"""

import csv
import io
import json
import subprocess
import sys
import urllib.parse
import urllib.request

csv.field_size_limit(1 << 30)
question = json.load(sys.stdin)
SHOWN = 20


def sql(statement):
    """The rows of a statement as dictionaries. psql writes a null as \\N, so it differs from an empty text."""
    command = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "--csv", "-P", "null=\\N", question["database"], "-c", statement]
    output = subprocess.run(command, capture_output=True, text=True)
    if output.returncode:
        sys.exit(output.stderr)
    rows = csv.DictReader(io.StringIO(output.stdout))
    return [{name: None if value == "\\N" else value for name, value in row.items()} for row in rows]


def http(path, form=None, token=None):
    data = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(question["salesforce"] + path, data=data)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def dynamodb_items(kept):
    """Every item of a table. The AWS that is asked must not check signatures, as the local AWS does not."""
    start = None
    while True:
        body = {"TableName": kept["table"], **({"ExclusiveStartKey": start} if start else {})}
        request = urllib.request.Request(kept["endpoint"], data=json.dumps(body).encode(), headers={
            "X-Amz-Target": "DynamoDB_20120810.Scan", "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"})
        with urllib.request.urlopen(request) as answer:
            page = json.load(answer)
        yield from page["Items"]
        start = page.get("LastEvaluatedKey")
        if not start:
            return


def kept_in_dynamodb(kept):
    """The conflicts, in the form of rows of the conflict log, and what is rejected, held or paused."""
    plain = lambda value: None if value == "null" else next(iter(value.values()))
    conflicts, left = [], []
    for item in dynamodb_items(kept):
        kind = item["pk"]["S"].split("#")[0]
        if kind == "conflict":
            conflicts += [{**conflict, "salesforce": plain(conflict["salesforce"]), "postgres": plain(conflict["postgres"])}
                          for conflict in json.loads(item["body"]["S"])]
        elif item["sk"]["S"] in ("rejected", "held"):
            left.append("%s: %s" % (item["sk"]["S"], item["body"]["S"]))
        elif kind == "paused":
            left.append("paused: %s" % item["reason"]["S"])
    return conflicts, left


def percentile(values, share):
    if not values:
        return 0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def latency(values):
    shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
    return {"count": len(values), **{name: percentile(values, share) for name, share in shares.items()}}


ours = question["syncline"]
calls = {
    call["kind"]: call["count"]
    for call in http("/sim/calls")
    if call["client"] == ours and call["count"] and "not counted" not in call["kind"]
}
sign_in = {"grant_type": "client_credentials", "client_id": question["client_id"], "client_secret": question["client_secret"]}
token = http("/services/oauth2/token", sign_in)["access_token"]
unequal, doubled = [], []
records = 0

# What each side holds: (object, editors' id) -> (Salesforce Id or link, values by field).
salesforce, postgres, editor_of_id = {}, {}, {}
remote = {}
for sync in question["syncs"]:
    names = sorted({"Id", sync["editor_field"], *sync["fields"]})
    query = "SELECT IsDeleted, %s FROM %s" % (", ".join(names), sync["object"])
    page = http("/services/data/v62.0/queryAll?" + urllib.parse.urlencode({"q": query}), token=token)
    rows = page["records"]
    while not page["done"]:
        page = http(page["nextRecordsUrl"], token=token)
        rows += page["records"]
    remote[sync["object"]] = [row for row in rows if not row["IsDeleted"]]
    for row in rows:
        editor_of_id[row["Id"]] = row[sync["editor_field"]]

for sync in question["syncs"]:
    name = sync["object"]
    for row in remote[name]:
        editor = row[sync["editor_field"]]
        if (name, editor) in salesforce:
            doubled.append("Salesforce has %s %s twice" % (name, editor))
        values = {field: row[field] for field in sync["fields"]}
        for field in sync["lookups"]:
            values[field] = editor_of_id.get(values[field])
        salesforce[name, editor] = (row["Id"], values)
    columns = ", ".join('(%s)::text AS "%s"' % (text, field) for field, text in sync["fields"].items())
    statement = 'SELECT %s AS "_editor", %s AS "_link", %s FROM %s t' % (
        sync["editor_column"], sync["link"], columns, sync["table"])
    for row in sql(statement):
        editor = row.pop("_editor")
        if (name, editor) in postgres:
            doubled.append("Postgres has %s %s twice" % (name, editor))
        postgres[name, editor] = (row.pop("_link"), row)

for key in sorted(set(salesforce) | set(postgres), key=str):
    here, there = salesforce.get(key), postgres.get(key)
    if here is None or there is None:
        unequal.append("%s %s stands in %s only" % (*key, "Postgres" if here is None else "Salesforce"))
        continue
    records += 1
    if here[0] != there[0]:
        unequal.append("%s %s: the row's link is %s, the record is %s" % (*key, there[0], here[0]))
    for field, value in here[1].items():
        if value != there[1][field]:
            unequal.append("%s %s: %s is %r and %r" % (*key, field, value, there[1][field]))

# What happened on each side, in order: (object, editors' id, field) -> [(before, after, written by Syncline, time)].
history = {"salesforce": {}, "postgres": {}}
fields_of = {sync["object"]: sync["fields"] for sync in question["syncs"]}
lookups_of = {sync["object"]: sync["lookups"] for sync in question["syncs"]}
for change in http("/sim/history"):
    if change["field"] in fields_of.get(change["object"], {}) and change["field"] not in lookups_of[change["object"]]:
        key = change["object"], editor_of_id.get(change["id"]), change["field"]
        entry = change["before"], change["after"], change["user"] == ours, change["at_ms"]
        history["salesforce"].setdefault(key, []).append(entry)
column_of = {}
for sync in question["syncs"]:
    for field, text in sync["fields"].items():
        column_of[sync["table"].split(".")[-1], text] = sync["object"], field
for row in sql("SELECT source, editor, field, before, after, application, at_ms FROM %s ORDER BY n" % question["audit"]):
    known = column_of.get((row["source"], row["field"]))
    if known:
        key = known[0], row["editor"], known[1]
        entry = row["before"], row["after"], row["application"] == ours, int(row["at_ms"])
        history["postgres"].setdefault(key, []).append(entry)

edits = [json.loads(line) for line in open(question["ledger"], encoding="utf-8")]
edits = [edit for edit in edits if edit["outcome"] == "confirmed"]
deletes = [edit for edit in edits if edit["op"] == "delete"]
edits = [edit for edit in edits if edit["op"] != "delete"]

# How often people typed a value. A value that they typed more than once may return without having flipped back.
typed_again = {}
for fields in history.values():
    for key, entries in fields.items():
        for _, after, was_ours, _ in entries:
            if not was_ours:
                typed_again[(*key, after)] = typed_again.get((*key, after), 0) + 1
elsewhere = question.get("dynamodb")
conflicts_elsewhere, left_elsewhere = kept_in_dynamodb(elsewhere) if elsewhere else ([], [])
conflicts = conflicts_elsewhere if question["schema"] is None else sql(
    "SELECT sync, salesforce_id, postgres_key, field, salesforce, postgres, winner, reason FROM %s.conflict"
    % question["schema"])
lost_to_conflict = set()
false_conflicts = []
lookups = {field for fields in lookups_of.values() for field in fields}
# If an editor saw the other value and replaced it, the two values are no conflict.
followed = {(edit["field"], edit["value"], edit["saw"]) for edit in edits if edit["saw"] is not None}
typed = {
    side: {(key[2], after) for key, entries in fields.items() for _, after, was_ours, _ in entries if not was_ours}
    for side, fields in history.items()
}
for conflict in conflicts:
    here, there = conflict["salesforce"], conflict["postgres"]
    if {(conflict["field"], here, there), (conflict["field"], there, here)} & followed:
        false_conflicts.append("%s %s: %r and %r, and one editor saw the other's value" % (
            conflict["salesforce_id"], conflict["field"], here, there))
    for side in ("salesforce", "postgres"):
        if side != conflict["winner"]:
            lost_to_conflict.add((conflict["field"], conflict[side]))
        if conflict["reason"] == "deleted" and (conflict[side] is None or conflict["field"] in lookups):
            # Where a delete met an edit, each value that was never agreed on is kept, also that of a lookup whose parent
            # was linked late. What people chose as a parent is not in the history.
            continue
        if (conflict["field"], conflict[side]) not in typed[side]:
            false_conflicts.append("%s %s: %r and %r, and nobody typed the one of %s" % (
                conflict["salesforce_id"], conflict["field"], conflict["salesforce"], conflict["postgres"], side))

seen = {(edit["object"], edit["record"], edit["field"], edit["saw"]) for edit in edits if edit["saw"] is not None}
replaced = {
    (*key, before)
    for fields in history.values() for key, entries in fields.items()
    for before, after, was_ours, _ in entries if not was_ours and before is not None
}
arrived = {side: {} for side in history}
for side, fields in history.items():
    for key, entries in fields.items():
        for _, after, was_ours, at in entries:
            if was_ours and after is not None:
                arrived[side].setdefault((*key, after), at)

# Every value that a side ever held. A delete takes along the values of the side on which somebody deleted the record.
stood = {side: {(*key, after) for key, entries in fields.items() for _, after, _, _ in entries}
         for side, fields in history.items()}
deleted_on = {}
for delete in deletes:
    deleted_on.setdefault((delete["object"], delete["record"]), set()).add(delete["side"])
brought_back = {editor_of_id.get(conflict["salesforce_id"]) for conflict in conflicts if conflict["reason"] == "deleted"}
revived = ["%s %s stands in %s" % (*key, " and ".join(
    side for side, records_of in (("Salesforce", salesforce), ("Postgres", postgres)) if key in records_of))
    for key in sorted(deleted_on) if (key in salesforce or key in postgres) and key[1] not in brought_back]

flipped = []
for side, fields in history.items():
    for key, entries in fields.items():
        if key[:2] in deleted_on and key[1] in brought_back:
            continue  # Before and after the delete, the record has two histories that do not belong together.
        earlier = set()
        for before, after, was_ours, _ in entries:
            again = typed_again.get((*key, after), 0) > 1
            if was_ours and after is not None and after in earlier and after != before and not again:
                flipped.append("%s: %s %s %s went back to %r" % (side, *key, after))
            earlier |= {before, after}

# Salesforce has no compare-and-set. Syncline overwrites an edit that falls between its read and its write of the same
# field, by Salesforce's own clock. This is the one thing that Syncline does not promise.
in_window = set()
for change in http("/sim/history"):
    if change["user"] == ours and change["read_at_ms"] is not None and change["before"] is not None:
        key = change["object"], editor_of_id.get(change["id"]), change["field"]
        for _, after, was_ours, at in history["salesforce"].get(key, ()):
            if not was_ours and after == change["before"] and change["read_at_ms"] <= at <= change["at_ms"]:
                in_window.add((*key, after))

stands = overwritten = in_conflict = went = window = 0
lost = []
waits = {"salesforce": [], "postgres": []}
for edit in edits:
    key = edit["object"], edit["record"]
    value = edit["value"]
    here = salesforce.get(key, (None, {}))[1].get(edit["field"])
    there = postgres.get(key, (None, {}))[1].get(edit["field"])
    whole = (*key, edit["field"], value)
    if here == value and there == value:
        stands += 1
    elif (edit["field"], value) in lost_to_conflict:
        in_conflict += 1
    elif whole in seen or whole in replaced:
        overwritten += 1
    elif any(whole in stood[side] for side in deleted_on.get(key, ())):
        went += 1
    elif edit["side"] == "salesforce" and whole in in_window:
        window += 1
    else:
        lost.append("edit %s: %s %s %s = %r; Salesforce holds %r, Postgres %r" % (
            edit["n"], edit["side"], edit["record"], edit["field"], value, here, there))
    across = "postgres" if edit["side"] == "salesforce" else "salesforce"
    at = arrived[across].get(whole)
    if at is not None:
        waits[across].append(max(0, at - edit["at_ms"]))

# What is rejected, held or paused at the end.
left = left_elsewhere if question["schema"] is None else ["%s: %s" % (table, row["what"]) for table, what in (("rejected", "body"), ("held", "body"), ("paused", "reason"))
        for row in sql("SELECT %s AS what FROM %s.%s" % (what, question["schema"], table))]

json.dump({
    "left": left[:SHOWN],
    "edits": len(edits), "stands": stands, "overwritten": overwritten, "deleted": went, "window": window, "conflict": in_conflict,
    "lost": lost[:SHOWN], "lost_count": len(lost), "deletes": len(deletes), "revived": revived[:SHOWN],
    "unequal_count": len(unequal), "flipped_count": len(flipped),
    "records": records, "unequal": unequal[:SHOWN], "doubled": doubled[:SHOWN],
    "false_conflicts": false_conflicts[:SHOWN], "flipped": flipped[:SHOWN],
    "to_postgres": latency(waits["postgres"]), "to_salesforce": latency(waits["salesforce"]), "calls": calls,
}, sys.stdout)
