-- False once a sync is no longer in the configuration file. Its definition stays, for the case that it comes back.
ALTER TABLE {schema}.definition ADD COLUMN served boolean NOT NULL DEFAULT true;
