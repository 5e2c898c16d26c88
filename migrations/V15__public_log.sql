-- The jackpot that comes into a draw is what an earlier draw of the lottery left. With draws whose sales overlap, only the
-- transaction that draws the numbers knows which one that was.
ALTER TABLE draw_results ADD COLUMN after_entry bigint;   -- index in log_entries; null: there was none
DROP TRIGGER draw_results_stay ON draw_results;
CREATE TRIGGER draw_results_stay BEFORE DELETE OR UPDATE OF draw_id, pick, drawn_at, jackpot, after_entry ON draw_results
    EXECUTE FUNCTION refuse();
