-- Gives a role the privileges that Syncline needs, and no others. Run this file with psql as the owner of the
-- database:
--
--   psql DATABASE -v role=syncline -v database=app -v owner=app_owner -v tables='contacts, accounts' -f grants.sql
--
-- Create the role first: CREATE ROLE syncline LOGIN PASSWORD '…' (or with a login by IAM or certificate).
\set ON_ERROR_STOP on

-- CREATE is for Syncline's own schema, with the capture log, history, tombstones and pulse. The app owns
-- nothing in this schema.
GRANT CONNECT, CREATE ON DATABASE :"database" TO :"role";

-- The synced tables. TRIGGER is for the triggers that write the capture log. DELETE is for
-- deletes = "propagate".
GRANT USAGE ON SCHEMA public TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON :tables TO :"role";

-- Default values of key columns come from sequences.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"role";

-- While `syncline apply` adds the link column and enables the triggers, the role must be a member of the
-- tables' owner, because PostgreSQL allows ALTER TABLE only to the owner. Once the syncs are applied, take
-- the membership away: REVOKE :"owner" FROM :"role".
GRANT :"owner" TO :"role";
