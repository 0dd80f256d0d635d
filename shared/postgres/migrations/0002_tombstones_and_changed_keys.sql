CREATE TABLE {schema}.tombstone (
    sync         text NOT NULL,
    postgres_key text NOT NULL,
    row          jsonb NOT NULL,
    deleted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sync, postgres_key));
CREATE INDEX ON {schema}.tombstone (deleted_at);
CREATE TABLE {schema}.rekeyed (
    sync    text NOT NULL,
    key     text NOT NULL,
    old_key text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sync, key));
COMMENT ON TABLE {schema}.rekeyed IS 'Rows whose key changed: where the link is empty, by nothing else would a record find its row.';
COMMENT ON TABLE {schema}.tombstone IS 'Rows that Syncline deleted, for 30 days: an undelete in Salesforce brings them back whole.';
COMMENT ON TABLE {schema}.pulse IS 'For telling a restored database from the one that was synced, by its beat.';
