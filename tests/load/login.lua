-- The log-ins of flood.sh: a hundred at a time, of users who do not exist, which takes as long as of others. (Of one
-- account, only a few wait at a time.)
wrk.method = "POST"
wrk.path = wrk.path .. "/auth/login"
wrk.headers["Content-Type"] = "application/json"
local count = 0
function request()
  count = count + 1
  return wrk.format(nil, nil, nil, '{"login":"nobody-' .. count .. '","password":"battery staple"}')
end
