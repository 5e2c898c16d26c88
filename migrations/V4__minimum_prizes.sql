-- A shared tier may guarantee a minimum to each winner. Fixed amounts and minimums are those for the draw's own price.
-- Draws that existed before have no minimum, and keep the amounts that they have.

ALTER TABLE draw_tiers
    ADD COLUMN minimum bigint, -- a shared tier: what each winner gets at least; null: nothing is guaranteed
    ADD CONSTRAINT draw_tiers_minimum_check CHECK (minimum IS NULL OR minimum > 0 AND share IS NOT NULL);
