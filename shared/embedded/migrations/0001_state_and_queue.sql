CREATE TABLE {schema}.instance (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    fingerprint_key   bytea NOT NULL,
    organization_id   text NOT NULL,
    system_identifier text NOT NULL,
    database_name     text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now());
CREATE TABLE {schema}.definition (
    sync       text PRIMARY KEY,
    version    int NOT NULL,
    body       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now());

CREATE TABLE {schema}.base (
    sync          text NOT NULL,
    key           text NOT NULL,
    salesforce_id text,
    postgres_key  text,
    external_id   text,
    live          boolean NOT NULL,
    has_intent    boolean NOT NULL,
    version       bigint NOT NULL,
    body          text NOT NULL,
    PRIMARY KEY (sync, key)) WITH (fillfactor = 80);
CREATE UNIQUE INDEX base_salesforce_id ON {schema}.base (sync, salesforce_id) WHERE salesforce_id IS NOT NULL;
CREATE UNIQUE INDEX base_postgres_key ON {schema}.base (sync, postgres_key) WHERE postgres_key IS NOT NULL;
CREATE UNIQUE INDEX base_external_id ON {schema}.base (sync, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE {schema}.conflict (
    id            text PRIMARY KEY,
    sync          text NOT NULL,
    record        text NOT NULL,
    salesforce_id text,
    postgres_key  text,
    field         text NOT NULL,
    salesforce    text,
    postgres      text,
    winner        text NOT NULL,
    reason        text NOT NULL,
    at            timestamptz NOT NULL);
CREATE INDEX ON {schema}.conflict (at);
CREATE TABLE {schema}.rejected (
    sync text NOT NULL, record text NOT NULL, body text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (sync, record));
CREATE TABLE {schema}.held (
    sync text NOT NULL, record text NOT NULL, body text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (sync, record));

CREATE SEQUENCE {schema}.deferred_token;
CREATE TABLE {schema}.deferred (
    sync      text NOT NULL,
    record    text NOT NULL,
    due       timestamptz NOT NULL,
    touch     text NOT NULL,
    waits_for text[] NOT NULL,
    token     bigint NOT NULL UNIQUE DEFAULT nextval('{schema}.deferred_token'),
    PRIMARY KEY (sync, record));
CREATE INDEX ON {schema}.deferred (due);
CREATE INDEX ON {schema}.deferred USING gin (waits_for);
CREATE TABLE {schema}.deferred_message (
    token bigint PRIMARY KEY DEFAULT nextval('{schema}.deferred_token'),
    queue_group text NOT NULL, body text NOT NULL, due timestamptz NOT NULL);

CREATE TABLE {schema}.cursor (sync text PRIMARY KEY, body text NOT NULL);
CREATE TABLE {schema}.breaker (side text PRIMARY KEY, body text NOT NULL);
CREATE TABLE {schema}.paused (sync text PRIMARY KEY, reason text NOT NULL, at timestamptz NOT NULL DEFAULT now());

CREATE TABLE {schema}.queue_group (
    name        text PRIMARY KEY,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    token       text);
CREATE TABLE {schema}.queue_message (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_group   text NOT NULL,
    body          text NOT NULL,
    receive_count int NOT NULL DEFAULT 0,
    token         text,
    sent_at       timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON {schema}.queue_message (queue_group, id);
