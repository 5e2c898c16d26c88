-- Which programs may work on this schema: those whose newest migration has this number or a higher one. An older program
-- that is in the range works on the newer schema and migrates nothing, so that two nodes are upgraded one after the
-- other. A migration that only adds leaves the number alone. One that a program of before cannot live with (it drops or
-- renames something, or fills a column in a way that the program does not) sets it to its own number:
--   UPDATE schema_compatibility SET oldest_program = 12;
CREATE TABLE schema_compatibility (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest_program integer NOT NULL
);
INSERT INTO schema_compatibility (oldest_program) VALUES (11);
