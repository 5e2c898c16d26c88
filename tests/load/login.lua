-- The log-ins of flood.sh: one account, a hundred at a time.
wrk.method = "POST"
wrk.path = wrk.path .. "/auth/login"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"login":"' .. os.getenv("LOGIN") .. '","password":"battery staple"}'
