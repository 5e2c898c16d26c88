// The page that verifies.
