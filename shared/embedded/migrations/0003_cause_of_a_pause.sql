ALTER TABLE {schema}.paused ADD COLUMN cause text;
