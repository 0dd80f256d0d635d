-- The least role that Syncline works with. Run it with psql as the owner of the database:
--
--   psql DATABASE -v role=syncline -v database=app -v owner=app_owner -v tables='contacts, accounts' -f grants.sql
--
-- Give the role a password first: CREATE ROLE syncline LOGIN PASSWORD '…' (or an IAM or certificate login).
\set ON_ERROR_STOP on

-- Syncline's own schema: capture log, history, tombstones, pulse. Nothing of it is the app's.
GRANT CONNECT, CREATE ON DATABASE :"database" TO :"role";

-- The tables that are synced. TRIGGER is for the capture log, DELETE for deletes = "propagate".
GRANT USAGE ON SCHEMA public TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON :tables TO :"role";

-- Defaults of the key draw from sequences.
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"role";

-- Once, while `syncline apply` adds the link column and the triggers, the role is a member of the tables' owner.
-- Afterwards: REVOKE :"owner" FROM :"role". With link_table = true it never has to be.
GRANT :"owner" TO :"role";
