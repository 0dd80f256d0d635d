CREATE TABLE {schema}.log (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sync      text NOT NULL,
    operation text NOT NULL,
    key       text,
    old_key   text,
    link      text,
    old_link  text,
    actor     text,
    at        timestamptz NOT NULL DEFAULT clock_timestamp());
COMMENT ON TABLE {schema}.log IS 'Rows that changed and that Syncline has not taken up yet. Keys only, no values.';

CREATE TABLE {schema}.history (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    at            timestamptz NOT NULL,
    sync          text NOT NULL,
    record        text NOT NULL,
    salesforce_id text,
    postgres_key  text,
    side          text NOT NULL,
    field         text,
    before        text,
    after         text,
    source        text NOT NULL,
    reason        text NOT NULL,
    actor         text,
    intent        text NOT NULL,
    outcome       text NOT NULL,
    closed_at     timestamptz,
    PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE {schema}.history_rest PARTITION OF {schema}.history DEFAULT;
CREATE INDEX ON {schema}.history (sync, salesforce_id);
CREATE INDEX ON {schema}.history (sync, postgres_key);
CREATE INDEX ON {schema}.history (intent);
COMMENT ON TABLE {schema}.history IS 'One row per field that Syncline changed; an insert is one row. Rows of writes to Salesforce have an outcome.';
CREATE VIEW {schema}.changes AS
    SELECT at, sync, salesforce_id, postgres_key, side, field, before, after, reason, source, actor
    FROM {schema}.history WHERE outcome = 'written';
COMMENT ON VIEW {schema}.changes IS 'Why has this field this value: what Syncline wrote, when, from where, by which rule.';

CREATE TABLE {schema}.pulse (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    beat bigint NOT NULL,
    at   timestamptz NOT NULL);
INSERT INTO {schema}.pulse (beat, at) VALUES (0, now());
COMMENT ON TABLE {schema}.pulse IS 'For telling a restored database from the one that was synced; not advanced yet.';
