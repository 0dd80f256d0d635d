ALTER TABLE {schema}.instance ADD COLUMN timeline bigint, ADD COLUMN database_oid bigint, ADD COLUMN host text;
ALTER TABLE {schema}.base ADD COLUMN ended_at timestamptz;
CREATE INDEX base_ended_at ON {schema}.base (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE {schema}.counter (
    name text NOT NULL, minute timestamptz NOT NULL, count bigint NOT NULL, PRIMARY KEY (name, minute));
CREATE TABLE {schema}.pace (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), calls_left float8 NOT NULL, at timestamptz NOT NULL);
CREATE TABLE {schema}.pulse_seen (one boolean PRIMARY KEY DEFAULT true CHECK (one), beat bigint NOT NULL);
CREATE TABLE {schema}.queue_dead (
    id bigint PRIMARY KEY, queue_group text NOT NULL, body text NOT NULL, receive_count int NOT NULL,
    sent_at timestamptz NOT NULL, dead_at timestamptz NOT NULL DEFAULT clock_timestamp());
COMMENT ON TABLE {schema}.queue_dead IS 'Messages whose runs crashed five times; syncline dead-letters shows them and sends them again.';
