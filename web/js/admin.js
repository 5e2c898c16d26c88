// The pages of admins.
