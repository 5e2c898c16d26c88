-- The draws that a schedule made. A lottery has one at a time planned, however often the service starts, and
-- whatever becomes of the draw: it may be given other times, or be cancelled.

CREATE TABLE planned_draws (
    lottery text        NOT NULL REFERENCES lotteries,
    draw_at timestamptz NOT NULL,                  -- as planned
    draw_id bigint      NOT NULL UNIQUE REFERENCES draws,
    pool    integer     NOT NULL CHECK (pool >= 0), -- tickets to make in advance; made when there are any
    PRIMARY KEY (lottery, draw_at)
);
