-- How far housekeeping has come in a table that it walks through in the order of its ids. A hot table has no index that
-- finds its old rows, and a walk reads each row once, because its place outlives a restart.
CREATE TABLE housekeeping (
    task  text PRIMARY KEY,
    place uuid NOT NULL     -- everything up to this id is done
);

-- Of payments and tickets, only orders that ended unpaid are ever deleted. A trigger for DELETE costs a purchase nothing.
-- An order that was charged to a card stays: its money may still arrive.
CREATE TRIGGER payments_stay BEFORE DELETE ON payments FOR EACH ROW
    WHEN (NOT coalesce(OLD.kind = 'purchase' AND OLD.status = 'expired' AND OLD.method IS NULL, false))
    EXECUTE FUNCTION refuse();
CREATE TRIGGER tickets_stay BEFORE DELETE ON tickets FOR EACH ROW
    WHEN (OLD.status NOT IN ('expired', 'returned')) EXECUTE FUNCTION refuse();
